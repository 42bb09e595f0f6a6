"""Gaussian components with full, tied, diagonal, spherical or any of mclust's 14 covariance structures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import ParameterError
from expmax.families import covariance as structures
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart
from expmax.families.gaussian_charts import TINY, DiagonalChart, FullChart
from expmax.families.gaussian_collapse import diagonal_degeneracies, full_degeneracies
from expmax.families.gaussian_moments import (
    LOG_2PI,
    GaussianStatistics,
    add_ridge,
    diagonal_log_density,
    diagonal_moments,
    full_log_density,
    full_moments,
    weighted_means,
)
from expmax.families.parameters import POSITIVE, intervals, within
from expmax.families.precision import precision_cholesky, trace_of_precision, with_precision
from expmax.families.structured_charts import StructuredChart
from expmax.statistics import Array

__all__ = ["ALIASES", "Gaussian"]

VARIANCES = intervals(covariance=POSITIVE)
ALIASES = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}


@final
@dataclass(frozen=True)
class Gaussian(Family):
    """Gaussian: T(x) = (x, xxᵀ), mean parameters (E x, E xxᵀ), A(μ, Σ) = ½ μᵀΣ⁻¹μ + ½ log|Σ| + d/2 log 2π.

    Usual parameters: `mean`, shape (K, d), and `covariance`, shape (K, d, d) — or the variances, shape
    (K, d), of the axis-parallel structures. Computations use whitened residuals (x − μ)ᵀP, Σ⁻¹ = PPᵀ,
    and moments about the current means, never the cancelling natural coordinates.

    Parameters
    ----------
    covariance : str
        "full" (= VVV), "tied" (= EEE), "diag" (= VVI), "spherical" (= VII), or mclust's name for the
        structure Σ_k = λ_k D_k A_k D_kᵀ: volume, shape and orientation each Equal, Variable or Identity.
    penalty : float
        ε of the penalty exp(−½ ε tr Σ_k⁻¹) per row, which adds ε to the diagonal in the M-step.

    Raises
    ------
    ParameterError
        An unknown structure.

    References
    ----------
    Celeux & Govaert (1995), Pattern Recognition 28(5), 781-793. Scrucca et al. (2016), The R Journal 8(1).

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Gaussian
    >>> Gaussian().estimate(np.array([[0.0], [2.0], [4.0]]))["mean"]
    array([[2.]])
    """

    covariance: str = "full"
    penalty: float = field(default=0.0, repr=False)

    support = "the real numbers"

    def __post_init__(self) -> None:
        if self.structure not in structures.STRUCTURES:
            names = ", ".join([*ALIASES, *structures.STRUCTURES])
            raise ParameterError(f"covariance must be one of {names}; got {self.covariance!r}.")

    @cached_property
    def structure(self) -> str:
        """mclust's name of the covariance structure."""
        return ALIASES.get(self.covariance, self.covariance)

    @property
    def shares_parameters(self) -> bool:  # type: ignore[override]
        return "E" in self.structure

    @cached_property
    def diagonal(self) -> bool:
        """Whether covariances are axis-parallel and stored as variances."""
        return self.structure in structures.DIAGONAL_STRUCTURES

    @property
    def accepts_missing(self) -> bool:  # type: ignore[override]
        return self.diagonal

    def bind(self, x: NDArray[Any]) -> Family:
        if x.shape[1] == 1 and not self.diagonal:  # one column: VVV and EEE are plain variances
            equal = self.structure[0] == "E"
            return Gaussian("EII" if equal else "VII", self.penalty).bind(x)
        return super().bind(x)

    def in_space(self, parameters: Parameters) -> NDArray[np.bool_]:
        inside = within(parameters, VARIANCES if self.diagonal else {})
        if not self.diagonal and "precision_cholesky" not in parameters:
            inside &= np.isfinite(precision_cholesky(parameters)).all(axis=(1, 2))
        return inside

    def retract(self, parameters: Parameters, weights: Array) -> Parameters:
        """The covariances of the structure nearest in Kullback-Leibler divergence: their M-step."""
        if self.structure in structures.LINEAR or not self.in_space(parameters).all():
            return parameters
        return {
            **parameters,
            "covariance": structures.nearest(self.structure, weights, parameters["covariance"]),
        }

    # -- density -----------------------------------------------------------------------------------
    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        mean, covariance = parameters["mean"], parameters["covariance"]
        if self.diagonal:
            return diagonal_log_density(mean, covariance, x, self.penalty, memo)
        out = full_log_density(mean, precision_cholesky(parameters), x, memo)
        return out + self.log_penalty(parameters) if self.penalty else out

    def log_penalty(self, parameters: Parameters) -> Array:
        """−½ ε tr Σ_k⁻¹: shape (K,)."""
        if self.diagonal:
            return -0.5 * self.penalty * (1.0 / parameters["covariance"]).sum(axis=1)
        return -0.5 * self.penalty * trace_of_precision(parameters)

    def entropy(self, parameters: Parameters) -> Array:
        """½ log|2πe Σ_k|, nats: shape (K,)."""
        d = parameters["mean"].shape[1]
        return 0.5 * (d * (LOG_2PI + 1.0) + self._log_det(parameters))

    def _log_det(self, parameters: Parameters) -> Array:
        if self.diagonal:
            return np.log(parameters["covariance"]).sum(axis=1)
        return -2.0 * np.log(precision_cholesky(parameters).diagonal(0, 1, 2)).sum(axis=1)

    # -- EM ----------------------------------------------------------------------------------------
    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> GaussianStatistics:
        moments = diagonal_moments if self.diagonal else full_moments
        return moments(parameters["mean"], x, responsibilities, memo)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        mean = weighted_means(x, responsibilities, memo)
        return self.maximize(self.statistics({"mean": mean}, x, responsibilities, memo), None)

    def maximize(
        self, statistics: GaussianStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        """Moment matching: means, then the structure's covariance from the scatter about them."""
        counts = statistics.counts if self.diagonal else statistics.counts[:, None]
        populated = bool(counts.min() > 0)
        if populated:
            shift = moved = statistics.first / counts
        else:  # an empty component adds nothing to a shared scatter and has no mean of its own
            with np.errstate(invalid="ignore", divide="ignore"):
                shift = statistics.first / counts
            moved = np.where(counts > 0, shift, 0.0)
        mean = statistics.reference + shift
        start = None if parameters is None else parameters["covariance"]
        if self.diagonal:
            scatter = statistics.second - counts * shift**2
            scatter = np.maximum(scatter, 0.0) + self.penalty * counts
            variances = structures.maximize_variances(
                self.structure, statistics.counts, np.nan_to_num(scatter), start
            )
            return {"mean": mean, "covariance": variances}
        scatter = statistics.second - statistics.first[:, :, None] * moved[:, None, :]
        if self.penalty:
            add_ridge(scatter, self.penalty * statistics.counts)
        if populated and self.structure == "VVV":
            return with_precision(mean, scatter / counts[:, :, None])
        return with_precision(mean, self._matrices(statistics.counts, scatter, start))

    def _matrices(self, counts: Array, scatter: Array, start: Array | None) -> Array:
        if self.structure == "VVV":
            with np.errstate(invalid="ignore", divide="ignore"):
                return scatter / counts[:, None, None]
        if self.structure == "EEE":
            return np.broadcast_to(scatter.sum(axis=0) / counts.sum(), scatter.shape)
        return structures.maximize_covariance(self.structure, counts, scatter, start)

    def expected_log_density(self, parameters: Parameters, statistics: GaussianStatistics) -> float:
        mean = parameters["mean"]
        statistics = statistics.about(mean)
        if self.diagonal:
            used = statistics.counts > 0
            counts, variance = statistics.counts[used], parameters["covariance"][used]
            scatter = statistics.second[used] + self.penalty * counts
            return -0.5 * float((counts * (LOG_2PI + np.log(variance)) + scatter / variance).sum())
        counts, factor = statistics.counts, precision_cholesky(parameters)
        scatter = statistics.second
        if self.penalty:
            scatter = add_ridge(scatter.copy(), self.penalty * counts)
        if not counts.min() > 0:
            used = counts > 0
            counts, factor, scatter = counts[used], factor[used], scatter[used]
        log_det = np.log(factor.diagonal(0, 1, 2)).sum(axis=1)
        quadratic = np.vdot(scatter @ factor, factor)
        return float(counts @ (log_det - 0.5 * mean.shape[1] * LOG_2PI) - 0.5 * quadratic)

    def magnitude(self, parameters: Parameters, statistics: GaussianStatistics) -> float:
        """Moments about another point than the mean cancel; quadratic forms lose by the condition."""
        counts, covariance = statistics.counts, parameters["covariance"]
        shift = np.abs(statistics.reference - parameters["mean"])
        if self.diagonal:
            spread = statistics.second + shift * (2 * np.abs(statistics.first) + counts * shift)
            logs = LOG_2PI + 1 + np.abs(np.log(covariance))
            return float((counts * logs + spread / covariance).sum())
        values = np.maximum(np.linalg.eigvalsh(covariance), TINY)
        condition = values[:, -1] / values[:, 0]
        moved = shift * (2 * np.abs(statistics.first) + counts[:, None] * shift)
        spread = np.trace(statistics.second, axis1=1, axis2=2) + moved.sum(axis=1)
        logs = np.abs(np.log(values)).sum(axis=1) + values.shape[1] * condition
        return float(counts @ logs + (spread / values[:, 0]).sum())

    def chart(self, parameters: Parameters, statistics: GaussianStatistics) -> FamilyChart | None:
        if self.structure in ("VVV", "EEE"):
            factor = precision_cholesky(parameters)
            return FullChart(self, parameters, factor, statistics.counts)
        if self.structure in ("EII", "VII", "EEI", "VVI"):
            return DiagonalChart(self, parameters, statistics.counts)
        return StructuredChart(self, parameters, statistics)

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> GaussianStatistics:
        mean, covariance = parameters["mean"], parameters["covariance"]
        if self.diagonal:
            counts = np.repeat(count[:, None], mean.shape[1], axis=1)
            return GaussianStatistics(counts, mean, np.zeros_like(mean), counts * covariance)
        return GaussianStatistics(
            count, mean, np.zeros_like(mean), count[:, None, None] * covariance
        )

    # -- description -------------------------------------------------------------------------------
    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        mean, covariance = parameters["mean"][component], parameters["covariance"][component]
        noise = rng.standard_normal((n, len(mean)))
        if self.diagonal:
            return mean + noise * np.sqrt(covariance)
        return mean + noise @ np.linalg.cholesky(covariance).T

    def n_parameters(self, parameters: Parameters) -> int:
        n_components, n_columns = parameters["mean"].shape
        return parameters["mean"].size + structures.n_covariance_parameters(
            self.structure, n_components, n_columns
        )

    def rescale(self, parameters: Parameters, shift: Array, scale: float) -> Parameters | None:
        """Parameters of shift + scale · x; None under a penalty, which knows the unit of x."""
        if self.penalty:
            return None
        mean, covariance = shift + scale * parameters["mean"], scale**2 * parameters["covariance"]
        if self.diagonal:
            return {"mean": mean, "covariance": covariance}
        return with_precision(mean, covariance)

    def location(self, parameters: Parameters) -> Array:
        return parameters["mean"]

    def smallest_count(self, n_columns: int) -> float:
        own_volume = self.structure[0] == "V"
        return float(max(n_columns + 1, 5)) if own_volume else 0.0

    def named_parameters(self, parameters: Parameters) -> dict[str, Array]:
        return {name: parameters[name] for name in ("mean", "covariance")}

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        counts = None if statistics is None else statistics.counts
        find = diagonal_degeneracies if self.diagonal else full_degeneracies
        least = self.smallest_count(parameters["mean"].shape[1])
        return find(parameters, counts, marginal, penalty=self.penalty, least=least)
