"""Gaussian components with full, tied, diagonal, spherical or any of mclust's 14 covariance structures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import ParameterError
from expmax.families import covariance as structures
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart
from expmax.families.gaussian_charts import DiagonalChart, FullChart
from expmax.families.structured_charts import StructuredChart
from expmax.statistics import Additive, Array

__all__ = ["Gaussian", "GaussianStatistics"]

LOG_2PI = float(np.log(2 * np.pi))
ALIASES = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}
COLLAPSE = 1e9  # largest precision, in units of the one-component fit's
RESOLUTION = 1e-10  # a deviation below this share of the values themselves is rounding
HELD_UP = 1.1  # variance, in units of the penalty, below which nothing else holds a component up


@dataclass(frozen=True, slots=True)
class GaussianStatistics(Additive):
    """Moments about a reference point of each component, so that nothing cancels.

    Full geometry: counts (K,), second (K, d, d). Diagonal geometry, where a missing cell only leaves its
    own column: counts (K, d), second (K, d). `reference` and `first` are (K, d).
    """

    counts: Array  # Σ r
    reference: Array  # c, the point that the moments are about
    first: Array  # Σ r (x − c)
    second: Array  # Σ r (x − c)(x − c)ᵀ

    def _combine(self, operation: Any, other: Self) -> Self:
        if other.reference is not self.reference and not np.array_equal(
            other.reference, self.reference
        ):
            other = other.about(self.reference)
        return type(self)(
            operation(self.counts, other.counts),
            self.reference,
            operation(self.first, other.first),
            operation(self.second, other.second),
        )

    def about(self, reference: Array) -> Self:
        """The same moments about another reference."""
        shift = self.reference - reference
        counts = self.counts if self.counts.ndim == 2 else self.counts[:, None]
        first = self.first + counts * shift
        if self.second.ndim == 2:
            second = self.second + 2 * shift * self.first + counts * shift**2
        else:
            cross = self.first[:, :, None] * shift[:, None, :]
            second = self.second + cross + cross.swapaxes(1, 2)
            second = second + self.counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
        return type(self)(self.counts, reference, first, second)


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

    @property
    def structure(self) -> str:
        """mclust's name of the covariance structure."""
        return ALIASES.get(self.covariance, self.covariance)

    @property
    def shares_parameters(self) -> bool:  # type: ignore[override]
        return "E" in self.structure

    @property
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

    # -- density -----------------------------------------------------------------------------------
    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        if self.diagonal:
            out = _diagonal_log_density(parameters["mean"], parameters["covariance"], x)
        else:
            out = _full_log_density(parameters["mean"], precision_cholesky(parameters), x)
        if self.penalty and self.diagonal and np.isnan(x).any():  # a missing cell has no penalty
            out -= 0.5 * self.penalty * (~np.isnan(x) @ (1.0 / parameters["covariance"]).T)
        elif self.penalty:
            out += self.log_penalty(parameters)
        return out

    def log_penalty(self, parameters: Parameters) -> Array:
        """−½ ε tr Σ_k⁻¹: shape (K,)."""
        return -0.5 * self.penalty * self._trace_precision(parameters)

    def _trace_precision(self, parameters: Parameters) -> Array:
        if self.diagonal:
            return (1.0 / parameters["covariance"]).sum(axis=1)
        factor = precision_cholesky(parameters)
        return np.einsum("kij,kij->k", factor, factor)

    def entropy(self, parameters: Parameters) -> Array:
        """½ log|2πe Σ_k|, nats: shape (K,)."""
        d = parameters["mean"].shape[1]
        return 0.5 * (d * (LOG_2PI + 1.0) + self._log_det(parameters))

    def _log_det(self, parameters: Parameters) -> Array:
        if self.diagonal:
            return np.log(parameters["covariance"]).sum(axis=1)
        diagonals = np.diagonal(precision_cholesky(parameters), axis1=1, axis2=2)
        return -2.0 * np.log(diagonals).sum(axis=1)

    # -- EM ----------------------------------------------------------------------------------------
    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> GaussianStatistics:
        reference = parameters["mean"]
        if self.diagonal:
            return _diagonal_moments(reference, x, responsibilities)
        residuals = x - reference[:, None, :]
        weights = np.ascontiguousarray(responsibilities.T)
        first = (weights[:, None, :] @ residuals)[:, 0]
        second = (residuals * weights[:, :, None]).swapaxes(1, 2) @ residuals
        return GaussianStatistics(weights.sum(axis=1), reference, first, second)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        x = np.asarray(x, float)
        center = np.nanmean(x, axis=0) if len(x) else np.zeros(x.shape[1])
        reference = np.broadcast_to(center, (responsibilities.shape[1], x.shape[1]))
        rough = self.statistics({"mean": reference}, x, responsibilities)
        counts = rough.counts if self.diagonal else rough.counts[:, None]
        with np.errstate(invalid="ignore"):
            mean = reference + rough.first / counts
        return self.maximize(self.statistics({"mean": mean}, x, responsibilities), None)

    def maximize(
        self, statistics: GaussianStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        """Moment matching: means, then the structure's covariance from the scatter about them."""
        counts = statistics.counts if self.diagonal else statistics.counts[:, None]
        full = statistics.counts.min() > 0
        if full:
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
            scatter = scatter + self.penalty * counts[:, :, None] * np.eye(mean.shape[1])
        if full and self.structure == "VVV":
            return with_precision(mean, scatter / statistics.counts[:, None, None])
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
        if statistics.reference is not mean:
            statistics = statistics.about(mean)
        if self.diagonal:
            used = statistics.counts > 0
            counts, variance = statistics.counts[used], parameters["covariance"][used]
            scatter = statistics.second[used] + self.penalty * counts
            return -0.5 * float((counts * (LOG_2PI + np.log(variance)) + scatter / variance).sum())
        counts, factor = statistics.counts, precision_cholesky(parameters)
        scatter = statistics.second
        if self.penalty:
            scatter = scatter + self.penalty * counts[:, None, None] * np.eye(mean.shape[1])
        if not counts.min() > 0:
            used = counts > 0
            counts, factor, scatter = counts[used], factor[used], scatter[used]
        log_det = -2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        quadratic = ((factor.swapaxes(1, 2) @ scatter) * factor.swapaxes(1, 2)).sum()
        return -0.5 * float(counts @ (mean.shape[1] * LOG_2PI + log_det) + quadratic)

    def magnitude(self, parameters: Parameters, statistics: GaussianStatistics) -> float:
        """Moments about another point than the mean cancel; quadratic forms lose by the condition."""
        counts, covariance = statistics.counts, parameters["covariance"]
        shift = np.abs(statistics.reference - parameters["mean"])
        if self.diagonal:
            spread = statistics.second + shift * (2 * np.abs(statistics.first) + counts * shift)
            logs = LOG_2PI + 1 + np.abs(np.log(covariance))
            return float((counts * logs + spread / covariance).sum())
        values = np.maximum(np.linalg.eigvalsh(covariance), np.finfo(float).tiny)
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
        if self.diagonal:
            variance = parameters["covariance"]
            scale = np.ones(1) if marginal is None else marginal["covariance"]
            bad = ~(variance * COLLAPSE > scale)
            if bad.any():
                few = _few(statistics, self.smallest_count(variance.shape[1]), variance.shape)
                resolved = variance > _resolution(parameters["mean"], scale) ** 2
                bad &= ~resolved | few
            if self.penalty:  # held up by the penalty alone, where the data do vary
                bad |= (variance < HELD_UP * self.penalty) & (scale > 2.0 * self.penalty)
            return [
                Degeneracy(int(k), f"the variance of column {int(j)} is {variance[k, j]:.2g}")
                for k, j in _first_per_component(bad)
            ]
        factor = precision_cholesky(parameters)
        if marginal is not None:
            try:
                root = np.linalg.cholesky(marginal["covariance"])
            except np.linalg.LinAlgError:
                reason = "the rows lie in a subspace, such as a constant column"
                return [Degeneracy(k, reason) for k in range(len(factor))]
            factor = root.swapaxes(1, 2) @ factor
        counts = None if statistics is None else statistics.counts
        least = self.smallest_count(factor.shape[1])
        bad = collapsed(factor, parameters["mean"], parameters["covariance"], counts, least)
        return [
            Degeneracy(int(k), _smallest_direction(parameters["covariance"][k]))
            for k in np.flatnonzero(bad | self._held_up(parameters, marginal))
        ]

    def _held_up(self, parameters: Parameters, marginal: Parameters | None) -> NDArray[np.bool_]:
        """Whether a component varies by the penalty alone along some direction in which the data vary."""
        covariance = parameters["covariance"]
        held = np.zeros(len(covariance), bool)
        if not self.penalty or marginal is None:
            return held
        # no variance is below 1 / tr Σ⁻¹: most components need no closer look
        suspect = ~(self._trace_precision(parameters) * HELD_UP * self.penalty < 1.0)
        finite = np.isfinite(covariance).all(axis=(1, 2))
        for k in np.flatnonzero(suspect & finite):
            variances, axes = np.linalg.eigh(covariance[k])
            flat = axes[:, variances < HELD_UP * self.penalty]
            if flat.size:
                spread = flat.T @ marginal["covariance"][0] @ flat
                held[k] = np.linalg.eigvalsh(spread)[-1] > 2.0 * self.penalty
        return held


def collapsed(
    factor: Array, mean: Array, covariance: Array, counts: Array | None, least: float
) -> NDArray[np.bool_]:
    """Which components shrink without end, shape (K,), and not just lie far from the others.

    `factor` is the precision factor in units of the one-component fit. A component much smaller than the
    data is a spike where it rests on fewer than `least` rows, is flat in some direction only, or has come
    down to the resolution of its own location.
    """
    bad = ~((factor**2).sum(axis=(1, 2)) < COLLAPSE)
    for k in np.flatnonzero(bad):
        if not np.isfinite(factor[k]).all() or (counts is not None and counts[k] < least):
            continue
        singular = np.linalg.svd(factor[k], compute_uv=False)
        variances = np.linalg.eigvalsh(covariance[k])
        # flat in the data's units and in its own: neither scaled columns nor distant clusters are
        flat = min((singular[0] / singular[-1]) ** 2, variances[-1] / variances[0]) > COLLAPSE
        bad[k] = (
            flat
            or not variances[0] > 0
            or variances[0] <= (RESOLUTION * np.abs(mean[k]).max()) ** 2
        )
    return bad


def _resolution(mean: Array, variance: Array) -> Array:
    """The smallest deviation that means something at a location: shape (K, d)."""
    return RESOLUTION * np.maximum(np.abs(mean), np.sqrt(variance))


def _few(statistics: Any, least: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if statistics is None:
        return np.zeros(shape, bool)
    return np.broadcast_to(statistics.counts < least, shape)


def precision_cholesky(parameters: Parameters) -> Array:
    """Upper triangular P with Σ_k⁻¹ = P_k P_kᵀ; NaN where Σ_k is not positive definite: (K, d, d)."""
    if "precision_cholesky" in parameters:
        return parameters["precision_cholesky"]
    return with_precision(parameters["mean"], parameters["covariance"])["precision_cholesky"]


def with_precision(mean: Array, covariance: Array) -> dict[str, Array]:
    """Parameters of full geometry together with the factor that densities need."""
    tied = covariance.strides[0] == 0
    matrices = covariance[:1] if tied else covariance
    try:
        factor = np.linalg.inv(np.linalg.cholesky(matrices)).swapaxes(1, 2)
    except np.linalg.LinAlgError:
        factor = np.stack([_factor_or_nan(matrix) for matrix in matrices])
    factor = np.broadcast_to(factor, covariance.shape) if tied else factor
    return {"mean": mean, "covariance": covariance, "precision_cholesky": factor}


def _factor_or_nan(matrix: Array) -> Array:
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(matrix)).T)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def _full_log_density(mean: Array, factor: Array, x: Array) -> Array:
    log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    if x.size * len(mean) <= 1 << 16:
        whitened = (x - mean[:, None, :]) @ factor
        squares = np.einsum("kij,kij->ki", whitened, whitened).T
    else:  # one component at a time keeps the residuals in cache
        squares = np.empty((len(x), len(mean)))
        for k in range(len(mean)):
            whitened = (x - mean[k]) @ factor[k]
            squares[:, k] = np.einsum("ij,ij->i", whitened, whitened)
    return (log_det - 0.5 * mean.shape[1] * LOG_2PI) - 0.5 * squares


def _diagonal_log_density(mean: Array, variance: Array, x: Array) -> Array:
    """Sum over the columns present."""
    log_scale = 0.5 * (LOG_2PI + np.log(variance))
    missing = np.isnan(x)
    out = np.empty((len(x), len(mean)))
    if not missing.any():
        deviation = 1.0 / np.sqrt(variance)
        for k in range(len(mean)):
            z = (x - mean[k]) * deviation[k]
            out[:, k] = np.einsum("ij,ij->i", z, z)
        return -0.5 * out - log_scale.sum(axis=1)
    for k in range(len(mean)):
        terms = 0.5 * (x - mean[k]) ** 2 / variance[k] + log_scale[k]
        out[:, k] = -np.where(missing, 0.0, terms).sum(axis=1)
    return out


def _diagonal_moments(reference: Array, x: Array, responsibilities: Array) -> GaussianStatistics:
    """Per-column sums over the cells present, about each component's reference."""
    missing = np.isnan(x)
    present = np.where(missing, 0.0, 1.0)
    first, second = np.empty_like(reference, float), np.empty_like(reference, float)
    for k in range(len(reference)):
        z = x - reference[k]
        z[missing] = 0.0
        first[k] = responsibilities[:, k] @ z
        second[k] = responsibilities[:, k] @ (z * z)
    return GaussianStatistics(responsibilities.T @ present, reference, first, second)


def _first_per_component(bad: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(int(k), int(np.argmax(bad[k]))) for k in np.flatnonzero(bad.any(axis=1))]


def _smallest_direction(covariance: Array) -> str:
    if not np.isfinite(covariance).all():
        return "no rows support it"
    values = np.linalg.eigvalsh(covariance)
    return f"its smallest variance is {max(values[0], 0.0):.2g} along some direction"
