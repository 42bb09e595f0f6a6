"""Multivariate Student t components, as Gaussians of random precision (an augmented family)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import ParameterError
from expmax.families import covariance as structures
from expmax.families import student_t_mstep as mstep
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart
from expmax.families.gaussian import ALIASES, Gaussian
from expmax.families.gaussian_collapse import collapsed
from expmax.families.gaussian_moments import LOG_2PI
from expmax.families.parameters import SMALLEST, intervals, within
from expmax.families.precision import log_determinant, precision_cholesky, precision_factor
from expmax.families.special import stirling_remainder
from expmax.families.student_t_chart import StudentTChart
from expmax.families.student_t_estep import (
    StudentTStatistics,
    degrees_of_freedom,
    expected_statistics,
    imagined_statistics,
    observed,
    populated,
    residual_moments,
    squared_distances,
)
from expmax.statistics import Array

__all__ = ["StudentT"]

LARGE = 100.0  # ν from which on a component is tried as a Gaussian
LARGEST_START = 30.0  # a start nearer the Gaussian would leave it only slowly


@final
@dataclass(frozen=True)
class StudentT(Family):
    """Student t: x | u ~ N(μ, Σ/u) with u ~ Γ(ν/2, rate ν/2), u being latent.

    Usual parameters: `mean` = μ, shape (K, d), the location; `scale` = Σ, shape (K, d, d); and
    `dof` = ν, shape (K,). For ν > 2 the covariance is Σ ν/(ν − 2). One u scales a whole row, so
    that columns depend on each other even where Σ is diagonal. A `dof` of None is estimated; one that
    rises without end is put to ∞, where the component is Gaussian (a boundary: it has no standard error).
    Before that it is sought within [0.01, 1e6].

    E-step: with δ the squared Mahalanobis distance, u | x ~ Γ((ν + d)/2, rate (ν + δ)/2).

    M-step: EM with expanded parameters. Let u ~ α Γ(ν/2, rate ν/2); then Σ* = αΣ is the scale given
    u, and every α gives x the same density. With n = Σr, U = Σ r E u, L = Σ r E log u and
    T = tr Σ⁻¹ Σ r E u (x − μ)(x − μ)ᵀ, the expected log p(x, u) depends on α at fixed Σ through

        −½ n (ν + d) log α − (T + νU) / 2α,   greatest at α̂ = (T + νU) / n(ν + d),

    which adds ½ n (ν + d) (α̂ − 1 − log α̂) ≥ 0 to the value at α = 1: `expected_log_density`. At
    the parameters of the E-step, E u (ν + δ) = ν + d makes α̂ = 1, so there it is the ordinary Q;
    and as every α gives the same p(x), it is with the entropy a lower bound of the log-likelihood
    everywhere. Jointly in (μ, Σ*, α, ν) the maximum is μ = Σ r E u x / U, the Gaussian Σ* of the
    weighted scatter with counts n, α = U/n, and the one root of log(ν/2) − ψ(ν/2) =
    log(U/n) − L/n. Structures of equal volume need one α for all components: α = Σ νU / Σ νn, and
    the right-hand side becomes log α + U/(nα) − 1 − L/n. Under a prior α is held at 1, which is
    plain EM.

    The likelihood is unbounded where Σ → 0 about rows that hold more than the fraction ν/(ν + d) of
    a component's weight: rows repeated often, or any row as ν → 0.

    Parameters
    ----------
    covariance : str
        Structure of the scale matrices: "full", "tied", "diag", "spherical" or mclust's name, as
        for `Gaussian`.
    dof : float, optional
        ν > 0 of every component; estimated, one a component, if None.

    Raises
    ------
    ParameterError
        An unknown structure, or a `dof` that is not positive and finite.

    References
    ----------
    Liu & Rubin (1995), Statistica Sinica 5, 19-39. Liu, Rubin & Wu (1998), Biometrika 85(4),
    755-770. Peel & McLachlan (2000), Statistics and Computing 10, 339-348. Fernández & Steel
    (1999), Biometrika 86(1), 153-167: the unbounded likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax.families.student_t import StudentT
    >>> x = np.array([[-2.0], [0.0], [1.0], [2.0], [3.0], [1000.0]])
    >>> round(StudentT(dof=4).estimate(x)["mean"].item(), 2)
    0.84
    """

    covariance: str = "full"
    dof: float | None = None
    n_columns: int | None = field(default=None, repr=False)  # known once bound to data

    inner_latent = True
    limits = intervals(dof=(SMALLEST, np.inf))  # ∞: Gaussian

    def __post_init__(self) -> None:
        if self.structure not in structures.STRUCTURES:
            names = ", ".join([*ALIASES, *structures.STRUCTURES])
            raise ParameterError(f"covariance must be one of {names}; got {self.covariance!r}.")
        if self.dof is not None and not 0 < self.dof < np.inf:
            raise ParameterError(
                f"dof must be positive and finite, or None to estimate it; got {self.dof!r}. "
                "For infinite degrees of freedom use Gaussian."
            )

    @property
    def shares_parameters(self) -> bool:  # type: ignore[override]
        return "E" in self.structure

    @property
    def structure(self) -> str:
        """The structure of the scale matrices by its mclust name."""
        return str(ALIASES.get(self.covariance, self.covariance))

    @property
    def accepts_missing(self) -> bool:  # type: ignore[override]
        return self.n_columns == 1

    def bind(self, x: NDArray[Any]) -> Family:
        bound = replace(self, n_columns=x.shape[1])
        bound.check(x)
        return bound

    # -- density -----------------------------------------------------------------------------------
    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        x, present = observed(x, memo)
        mean, half = parameters["mean"], 0.5 * degrees_of_freedom(parameters)
        factor = precision_cholesky(parameters, "scale")
        half_columns = 0.5 * mean.shape[1]
        remainder = stirling_remainder(np.stack([half, half + half_columns]))
        # log Γ(a + d/2)/Γ(a) a^(d/2), a = ν/2, by Stirling's formula: nothing grows with ν
        constant = (half + (half_columns - 0.5)) * np.log1p(half_columns / half) - half_columns
        constant += remainder[1] - remainder[0] + log_determinant(factor) - half_columns * LOG_2PI
        squares = squared_distances(x[None] - mean[:, None], factor)
        squares *= (0.5 / half)[:, None]
        out = np.log1p(squares, out=squares)
        out *= -(half + half_columns)[:, None]
        out += constant[:, None]
        return self._only_inside(parameters, out.T if present is None else out.T * present[:, None])

    # -- EM ----------------------------------------------------------------------------------------
    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> StudentTStatistics:
        x, present = observed(x, memo)
        r = responsibilities.T if present is None else responsibilities.T * present
        return expected_statistics(parameters, x, r)

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        """Gaussian moments; ν from Mardia's kurtosis, E δ² = d(d + 2)(ν − 2)/(ν − 4)."""
        x, present = observed(x, memo)
        r = responsibilities.T if present is None else responsibilities.T * present
        n_columns, counts = x.shape[1], r.sum(axis=1)
        structure = mstep.columnwise_structure(self.structure, n_columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            center = x.mean(axis=0)
            divisor = mstep.divisor(counts)
            mean = center + (r @ (x - center)) / divisor
            residuals = x[None] - mean[:, None]
            first, second = residual_moments(r, residuals)
            shift = first / divisor
            mean = mean + shift
            scatter = second - first[:, :, None] * shift[:, None, :]
            scale = mstep.scale_matrices(structure, counts, scatter, None)
            squares = squared_distances(residuals, precision_factor(scale))
            dof = self._start_dof(counts, r, squares, n_columns)
        shrink = 1.0 - 2.0 / np.maximum(dof, 4.0)
        if self._equal_volume:
            shrink[:] = shrink.mean()
        return mstep.with_factor(mean, scale * shrink[:, None, None], dof)

    def _start_dof(self, counts: Array, r: Array, squares: Array, n_columns: int) -> Array:
        if self.dof is not None:
            return np.full(len(counts), float(self.dof))
        kurtosis = np.einsum("ki,ki->k", r, squares**2) / (counts * (n_columns * (n_columns + 2)))
        heavy = np.where(kurtosis > 1.0, 4.0 + 2.0 / (kurtosis - 1.0), LARGEST_START)
        return np.minimum(heavy, LARGEST_START)

    @property
    def _equal_volume(self) -> bool:
        return self.structure[0] == "E"

    def maximize(
        self, statistics: StudentTStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        """Joint maximum over location, scale, ν and the scale α of u (see the class)."""
        return mstep.joint_maximum(self.structure, self.dof, statistics, parameters)

    def expected_log_density(self, parameters: Parameters, statistics: StudentTStatistics) -> float:
        """Q(θ) = max over α of Σ r E log p(x, u | θ, α), nats (see the class)."""
        statistics = statistics.about(parameters["mean"])
        parameters, s = populated(parameters, statistics)
        half, n_columns = 0.5 * degrees_of_freedom(parameters), parameters["mean"].shape[1]
        trace, beyond, log_alpha = mstep.expansion(self._equal_volume, parameters, s)
        log_det = log_determinant(precision_cholesky(parameters, "scale"))
        gaussian = s.counts * (log_det - 0.5 * n_columns * LOG_2PI)
        gaussian += 0.5 * (n_columns * s.logs - trace)
        # a log a − log Γ(a) + (a − 1) E log u − a E u by Stirling's formula, a = ν/2
        prior = s.counts * (0.5 * (np.log(half) - LOG_2PI) - stirling_remainder(half))
        prior -= s.logs + half * (s.excess - s.logs)
        gain = s.counts * (half + 0.5 * n_columns) * (beyond - log_alpha)
        return float((gaussian + prior + gain).sum())

    def magnitude(self, parameters: Parameters, statistics: StudentTStatistics) -> float:
        """Quadratic forms lose by the condition of Σ, and what E log u and ν add to Q its entropy takes off."""
        parameters, s = populated(parameters, statistics)
        half, n_columns = 0.5 * degrees_of_freedom(parameters), parameters["mean"].shape[1]
        trace, beyond, log_alpha = mstep.expansion(self._equal_volume, parameters, s)
        of_u = s.counts * (np.abs(np.log(half)) + LOG_2PI + half * np.abs(beyond - log_alpha))
        of_u += (
            (n_columns + 1.0) * np.abs(s.logs) + half * np.abs(s.excess - s.logs) + np.abs(trace)
        )
        gaussian = Gaussian("VVV").magnitude(
            {"mean": parameters["mean"], "covariance": parameters["scale"]},
            replace(s.moments, counts=s.counts),
        )
        return float(of_u.sum()) + gaussian + abs(s.entropy)

    def latent_entropy(self, statistics: StudentTStatistics) -> float:
        return statistics.entropy

    def chart(self, parameters: Parameters, statistics: StudentTStatistics) -> FamilyChart | None:
        structure = mstep.columnwise_structure(self.structure, parameters["mean"].shape[1])
        return StudentTChart(structure, self.dof is None, parameters, statistics)

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> StudentTStatistics:
        return imagined_statistics(count, parameters)

    # -- description -------------------------------------------------------------------------------
    def check(self, x: NDArray[Any], names: Any = None) -> None:
        known = self if self.n_columns == x.shape[1] else replace(self, n_columns=x.shape[1])
        Family.check(known, x, names)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        mean, half = parameters["mean"][component], 0.5 * degrees_of_freedom(parameters)[component]
        root = np.linalg.cholesky(parameters["scale"][component])
        noise = rng.standard_normal((n, len(mean))) @ root.T
        return np.asarray(mean + noise * np.sqrt(half / rng.standard_gamma(half, (n, 1))))

    def n_parameters(self, parameters: Parameters) -> int:
        n_components, n_columns = parameters["mean"].shape
        scale = structures.n_covariance_parameters(self.structure, n_components, n_columns)
        return int(n_components * (n_columns + (self.dof is None)) + scale)

    def smallest_count(self, n_columns: int) -> float:
        return 0.0 if self._equal_volume else float(max(n_columns + 1, 5))

    def rescale(self, parameters: Parameters, shift: Array, scale: float) -> Parameters:
        """Parameters of shift + scale · x."""
        mean = shift + scale * parameters["mean"]
        return mstep.with_factor(mean, scale**2 * parameters["scale"], parameters["dof"])

    def in_space(self, parameters: Parameters) -> NDArray[np.bool_]:
        inside = within(parameters, self.limits)
        if "precision_cholesky" not in parameters:
            inside &= np.isfinite(precision_cholesky(parameters, "scale")).all(axis=(1, 2))
        return inside

    def retract(self, parameters: Parameters, weights: Array) -> Parameters:
        """The scale matrices of the structure nearest, as for `Gaussian`."""
        structure = mstep.columnwise_structure(self.structure, parameters["mean"].shape[1])
        if structure in structures.LINEAR or not self.in_space(parameters).all():
            return parameters
        return {**parameters, "scale": structures.nearest(structure, weights, parameters["scale"])}

    def snap(self, parameters: Parameters, statistics: StudentTStatistics) -> Parameters | None:
        """A large ν that still rises is put to ∞, where the component is Gaussian."""
        if self.dof is not None:
            return None
        dof = parameters["dof"]
        with np.errstate(all="ignore"):
            rising = mstep.dof_score(dof, statistics) > 0
        creeping = rising & (dof > LARGE) & (dof < np.inf) & (statistics.counts > 0)
        if not creeping.any():
            return None
        return {**parameters, "dof": np.where(creeping, np.inf, dof)}

    def boundary(self, parameters: Parameters) -> list[tuple[int, str]]:
        """ν at ∞, or at an end of the interval in which it is sought."""
        if self.dof is not None:
            return []
        dof = parameters["dof"]
        edge = ~((dof > mstep.SMALLEST_DOF) & (dof < mstep.LARGEST_DOF))
        return [(int(k), "dof") for k in np.flatnonzero(edge)]

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["mean"])

    def named_parameters(self, parameters: Parameters) -> dict[str, Array]:
        return {name: parameters[name] for name in ("mean", "scale", "dof")}

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        factor = precision_cholesky(parameters, "scale")
        if marginal is not None:
            factor = np.linalg.cholesky(marginal["scale"]).swapaxes(1, 2) @ factor
        counts = None if statistics is None else statistics.counts
        least = self.smallest_count(factor.shape[1])
        bad = collapsed(factor, parameters["mean"], parameters["scale"], counts, least)
        return [
            Degeneracy(int(k), _smallest_direction(parameters["scale"][k]))
            for k in np.flatnonzero(bad)
        ]


def _smallest_direction(scale: Array) -> str:
    if not np.isfinite(scale).all():
        return "no rows support it"
    value = max(float(np.linalg.eigvalsh(scale)[0]), 0.0)
    return f"its smallest squared scale is {value:.2g} along some direction"
