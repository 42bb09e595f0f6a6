"""Multivariate Student t components, as Gaussians of random precision (an augmented family)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, zeta

from expmax.contract import Degeneracy, Parameters
from expmax.errors import ParameterError
from expmax.families import covariance as structures
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart
from expmax.families.gaussian import ALIASES, Gaussian
from expmax.families.gaussian_charts import DiagonalChart, FullChart
from expmax.families.gaussian_collapse import collapsed
from expmax.families.gaussian_moments import GaussianStatistics
from expmax.families.precision import with_precision
from expmax.families.structured_charts import StructuredChart
from expmax.statistics import Additive, Array

__all__ = ["StudentT", "StudentTChart", "StudentTStatistics"]

LOG_2PI = float(np.log(2 * np.pi))
SMALLEST_DOF, LARGEST_DOF = 1e-2, 1e6  # between which ν is estimated
LARGEST_START = 30.0  # a start nearer the Gaussian would leave it only slowly


@dataclass(frozen=True, slots=True)
class StudentTStatistics(Additive):
    """Expected sums over rows, u being a row's latent precision; moments about a reference point.

    Each number of `excess` and `logs` is O(1/ν) as ν grows: kept apart from `precisions`, they do
    not drown in it.
    """

    counts: Array  # Σ r, shape (K,)
    precisions: Array  # Σ r E[u], shape (K,)
    excess: Array  # Σ r (E[u] − 1), shape (K,)
    logs: Array  # Σ r E[log u], shape (K,)
    reference: Array  # c, the point that the moments are about, shape (K, d)
    first: Array  # Σ r E[u] (x − c), shape (K, d)
    second: Array  # Σ r E[u] (x − c)(x − c)ᵀ, shape (K, d, d)
    entropy: float  # Σ r H[q(u)], nats
    imaginary: float  # rows that a prior imagines: with any, u is not rescaled

    def _combine(self, operation: Any, other: Self) -> Self:
        if other.reference is not self.reference:
            other = other.about(self.reference)
        return type(self)(
            operation(self.counts, other.counts),
            operation(self.precisions, other.precisions),
            operation(self.excess, other.excess),
            operation(self.logs, other.logs),
            self.reference,
            operation(self.first, other.first),
            operation(self.second, other.second),
            operation(self.entropy, other.entropy),
            operation(self.imaginary, other.imaginary),
        )

    def about(self, reference: Array) -> Self:
        """The same sums about another reference."""
        shift = self.reference - reference
        first = self.first + self.precisions[:, None] * shift
        cross = self.first[:, :, None] * shift[:, None, :]
        second = self.second + cross + cross.swapaxes(1, 2)
        second += self.precisions[:, None, None] * shift[:, :, None] * shift[:, None, :]
        return replace(self, reference=reference, first=first, second=second)


@final
@dataclass(frozen=True)
class StudentT(Family):
    """Student t: x | u ~ N(μ, Σ/u) with u ~ Γ(ν/2, rate ν/2), u being latent.

    Usual parameters: `mean` = μ, shape (K, d), the location; `scale` = Σ, shape (K, d, d); and
    `dof` = ν, shape (K,). For ν > 2 the covariance is Σ ν/(ν − 2). One u scales a whole row, so
    that columns depend on each other even where Σ is diagonal. A `dof` of None is estimated, within
    [0.01, 1e6].

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
        x, present = _observed(x, memo)
        mean, factor, half = parameters["mean"], _factor(parameters), 0.5 * parameters["dof"]
        half_columns = 0.5 * mean.shape[1]
        remainder = _stirling_remainder(np.stack([half, half + half_columns]))
        # log Γ(a + d/2)/Γ(a) a^(d/2), a = ν/2, by Stirling's formula: nothing grows with ν
        constant = (half + (half_columns - 0.5)) * np.log1p(half_columns / half) - half_columns
        constant += remainder[1] - remainder[0] + _log_det(factor) - half_columns * LOG_2PI
        squares = _squares(x[None] - mean[:, None], factor)
        squares *= (0.5 / half)[:, None]
        out = np.log1p(squares, out=squares)
        out *= -(half + half_columns)[:, None]
        out += constant[:, None]
        return out.T if present is None else out.T * present[:, None]

    # -- EM ----------------------------------------------------------------------------------------
    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> StudentTStatistics:
        x, present = _observed(x, memo)
        r = responsibilities.T if present is None else responsibilities.T * present
        mean, dof = parameters["mean"], parameters["dof"]
        residuals = x[None] - mean[:, None]
        squares = _squares(residuals, _factor(parameters))
        return self._expected(dof, r, residuals, squares, mean)

    def _expected(
        self, dof: Array, r: Array, residuals: Array, squares: Array, mean: Array
    ) -> StudentTStatistics:
        """Sums of E u = (ν + d)/(ν + δ), E log u = log E u − (log a − ψ(a)), a = (ν + d)/2."""
        n_columns = mean.shape[1]
        counts = r.sum(axis=1)
        lag, spread = _posterior_constants(dof, n_columns)
        log_precision = np.log1p(n_columns / dof)[:, None] - np.log1p(squares / dof[:, None])
        total_log = np.einsum("ki,ki->k", r, log_precision)
        scaled = r / (dof[:, None] + squares)
        weights = scaled * (dof + n_columns)[:, None]
        first, second = _moments(weights, residuals)
        return StudentTStatistics(
            counts,
            weights.sum(axis=1),
            np.einsum("ki,ki->k", scaled, n_columns - squares),
            total_log - counts * lag,
            mean,
            first,
            second,
            float(total_log.sum() + counts @ spread),
            0.0,
        )

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        """Gaussian moments; ν from Mardia's kurtosis, E δ² = d(d + 2)(ν − 2)/(ν − 4)."""
        x, present = _observed(x, memo)
        r = responsibilities.T if present is None else responsibilities.T * present
        n_columns, counts = x.shape[1], r.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            center = x.mean(axis=0)
            divisor = _divisor(counts)
            mean = center + (r @ (x - center)) / divisor
            residuals = x[None] - mean[:, None]
            first, second = _moments(r, residuals)
            shift = first / divisor
            mean = mean + shift
            scatter = second - first[:, :, None] * shift[:, None, :]
            scale = self._scales(counts, scatter, None)
            dof = self._start_dof(counts, r, _squares(residuals, _factor_of(scale)), n_columns)
        shrink = 1.0 - 2.0 / np.maximum(dof, 4.0)
        if self._equal_volume:
            shrink[:] = shrink.mean()
        return _parameters(mean, scale * shrink[:, None, None], dof)

    def _start_dof(self, counts: Array, r: Array, squares: Array, n_columns: int) -> Array:
        if self.dof is not None:
            return np.full(len(counts), float(self.dof))
        kurtosis = np.einsum("ki,ki->k", r, squares**2) / (counts * (n_columns * (n_columns + 2)))
        heavy = np.where(kurtosis > 1.0, 4.0 + 2.0 / (kurtosis - 1.0), LARGEST_START)
        return np.minimum(heavy, LARGEST_START)

    def maximize(
        self, statistics: StudentTStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        """Joint maximum over location, scale, ν and the scale α of u (see the class)."""
        s = statistics
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = s.first / _divisor(s.precisions)
            scatter = s.second - s.first[:, :, None] * shift[:, None, :]
            start = None
            if parameters is not None and self._shape_of(scatter) not in ("VVV", "EEE"):
                ratio = 1.0 + self._expansion(parameters, s)[1]
                start = parameters["scale"] * ratio[:, None, None]
            scale = self._scales(s.counts, scatter, start)
            if s.imaginary:
                dof = self._dof((s.excess - s.logs) / s.counts)
            elif self._equal_volume and len(s.counts) > 1:
                dof, alpha = self._dof_of_common_mean(s)
                scale = scale / alpha
            else:
                mean_precision = s.precisions / s.counts
                log_mean = _log_ratio(s.excess / s.counts, mean_precision)
                dof = self._dof(log_mean - s.logs / s.counts)
                scale = scale / mean_precision[:, None, None]
        return _parameters(s.reference + shift, scale, dof)

    @property
    def _equal_volume(self) -> bool:
        return self.structure[0] == "E"

    def _shape_of(self, scatter: Array) -> str:
        """The structure; in one column only the volume is left of it."""
        return self.structure if scatter.shape[1] > 1 else self.structure[0] * 3

    def _scales(self, counts: Array, scatter: Array, start: Array | None) -> Array:
        """The Gaussian M-step of the structure: shape (K, d, d)."""
        structure = self._shape_of(scatter)
        if structure == "VVV":
            return scatter / counts[:, None, None]
        if structure == "EEE":
            return np.broadcast_to(scatter.sum(axis=0) / counts.sum(), scatter.shape)
        return structures.maximize_covariance(structure, counts, scatter, start)

    def _dof(self, gap: Array) -> Array:
        """ν with log(ν/2) − ψ(ν/2) = gap, or the ν given."""
        return np.full(len(gap), float(self.dof)) if self.dof is not None else 2.0 * _shape(gap)

    def _dof_of_common_mean(self, s: StudentTStatistics) -> tuple[Array, float]:
        """ν_k and α of the u of all components with E u = α, by ascent in turn.

        The two hardly interact, their cross derivative being U/n − α: a few rounds suffice.
        """
        used = s.counts > 0
        precision, excess, logs = (v / s.counts for v in (s.precisions, s.excess, s.logs))
        alpha = float(s.precisions.sum() / s.counts.sum())
        beyond = float(s.excess.sum() / s.counts.sum())  # α − 1
        for _ in range(100):
            gap = _log_ratio(np.array(beyond), np.array(alpha)) + (excess - beyond) / alpha - logs
            dof = self._dof(gap)
            weight = np.where(used, dof * s.counts, 0.0)
            weight /= weight.sum()
            before, alpha = alpha, float(weight[used] @ precision[used])
            beyond = float(weight[used] @ excess[used])
            if abs(alpha - before) <= 1e-14 * alpha:
                break
        return dof, alpha

    def expected_log_density(self, parameters: Parameters, statistics: StudentTStatistics) -> float:
        """Q(θ) = max over α of Σ r E log p(x, u | θ, α), nats (see the class)."""
        if statistics.reference is not parameters["mean"]:
            statistics = statistics.about(parameters["mean"])
        parameters, s = _counted(parameters, statistics)
        half, n_columns = 0.5 * parameters["dof"], s.first.shape[1]
        trace, beyond, log_alpha = self._expansion(parameters, s)
        gaussian = s.counts * (_log_det(_factor(parameters)) - 0.5 * n_columns * LOG_2PI)
        gaussian += 0.5 * (n_columns * s.logs - trace)
        # a log a − log Γ(a) + (a − 1) E log u − a E u by Stirling's formula, a = ν/2
        prior = s.counts * (0.5 * (np.log(half) - LOG_2PI) - _stirling_remainder(half))
        prior -= s.logs + half * (s.excess - s.logs)
        gain = s.counts * (half + 0.5 * n_columns) * (beyond - log_alpha)
        return float((gaussian + prior + gain).sum())

    def _expansion(
        self, parameters: Parameters, s: StudentTStatistics
    ) -> tuple[Array, Array, Array]:
        """T = tr Σ⁻¹ Σ r E u (x − μ)(x − μ)ᵀ, and α̂ − 1 and log α̂: each of shape (K,)."""
        if s.reference is not parameters["mean"]:
            s = s.about(parameters["mean"])
        factor, dof, n_columns = _factor(parameters), parameters["dof"], s.first.shape[1]
        trace = ((s.second @ factor) * factor).sum(axis=(1, 2))
        if s.imaginary:
            return trace, np.zeros_like(trace), np.zeros_like(trace)
        beyond = trace - n_columns * s.counts + dof * s.excess
        total, norm = trace + dof * s.precisions, s.counts * (dof + n_columns)
        if self._equal_volume:
            beyond, total, norm = (np.full_like(v, v.sum()) for v in (beyond, total, norm))
        return trace, beyond / norm, _log_ratio(beyond / norm, total / norm)

    def latent_entropy(self, statistics: StudentTStatistics) -> float:
        return statistics.entropy

    def chart(self, parameters: Parameters, statistics: StudentTStatistics) -> FamilyChart | None:
        structure = self._shape_of(statistics.second)
        return StudentTChart(structure, self.dof is None, parameters, statistics)

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> StudentTStatistics:
        """E u = 1, E log u = ψ(ν/2) − log(ν/2), E u (x − μ)(x − μ)ᵀ = Σ."""
        mean, dof = parameters["mean"], parameters["dof"]
        log_precision = -_log_minus_digamma(0.5 * dof)
        lag, spread = _posterior_constants(dof, mean.shape[1])
        return StudentTStatistics(
            count,
            count,
            np.zeros_like(count),
            count * log_precision,
            mean,
            np.zeros_like(mean),
            count[:, None, None] * parameters["scale"],
            float(count @ (log_precision + lag + spread)),
            float(count.sum()),
        )

    # -- description -------------------------------------------------------------------------------
    def check(self, x: NDArray[Any], names: Any = None) -> None:
        known = self if self.n_columns == x.shape[1] else replace(self, n_columns=x.shape[1])
        Family.check(known, x, names)

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        mean, half = parameters["mean"][component], 0.5 * parameters["dof"][component]
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
        return _parameters(mean, scale**2 * parameters["scale"], parameters["dof"])

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["mean"])

    def named_parameters(self, parameters: Parameters) -> dict[str, Array]:
        return {name: parameters[name] for name in ("mean", "scale", "dof")}

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        factor = _factor(parameters)
        if marginal is not None:
            factor = np.linalg.cholesky(marginal["scale"]).swapaxes(1, 2) @ factor
        counts = None if statistics is None else statistics.counts
        least = self.smallest_count(factor.shape[1])
        bad = collapsed(factor, parameters["mean"], parameters["scale"], counts, least)
        return [
            Degeneracy(int(k), _smallest_direction(parameters["scale"][k]))
            for k in np.flatnonzero(bad)
        ]


class StudentTChart:
    """The Gaussian's chart of (μ, Σ), and √n a √(ψ'(a) − 1/a) log(ν/ν₀), a = ν₀/2, where ν is free.

    The score is that of the ordinary Q (α = 1), which has the same gradient where the E-step was
    taken. A ν at its upper bound has no coordinate.
    """

    def __init__(
        self, structure: str, free_dof: bool, parameters: Parameters, statistics: StudentTStatistics
    ) -> None:
        family, counts = Gaussian(structure), statistics.counts
        self.full = not family.diagonal
        start = self._gaussian(parameters)
        self.moments: FullChart | DiagonalChart | StructuredChart
        if structure in ("VVV", "EEE"):
            self.moments = FullChart(family, start, start["precision_cholesky"], counts)
        elif structure in ("EII", "VII", "EEI", "VVI"):
            self.moments = DiagonalChart(family, start, _per_column(counts, start["mean"]))
        else:
            self.moments = StructuredChart(family, start, self._weighted(parameters, statistics))
        self.dof = parameters["dof"]
        live = (counts > 0) & (self.dof < LARGEST_DOF) & free_dof
        self.live = np.flatnonzero(live)
        self.root = np.sqrt(counts[live] * _information(0.5 * self.dof[live]))
        self.scale = np.concatenate([self.moments.scale, np.sqrt(counts[live])])

    def to_vector(self, parameters: Parameters) -> Array:
        log_ratio = np.log(parameters["dof"][self.live] / self.dof[self.live])
        moments = self.moments.to_vector(self._gaussian(parameters))
        return np.concatenate([moments, self.root * log_ratio])

    def from_vector(self, vector: Array) -> Parameters:
        cut = len(self.moments.scale)
        gaussian = self.moments.from_vector(vector[:cut])
        dof = self.dof.copy()
        log_dof = np.log(dof[self.live]) + vector[cut:] / self.root
        dof[self.live] = np.exp(np.clip(log_dof, np.log(SMALLEST_DOF), np.log(LARGEST_DOF)))
        if not self.full:
            matrices = gaussian["covariance"][:, :, None] * np.eye(gaussian["mean"].shape[1])
            return _parameters(gaussian["mean"], matrices, dof)
        names = {"mean": "mean", "scale": "covariance", "precision_cholesky": "precision_cholesky"}
        return {"dof": dof, **{ours: gaussian[theirs] for ours, theirs in names.items()}}

    def score(self, parameters: Parameters, statistics: StudentTStatistics) -> Array:
        s = statistics.about(parameters["mean"])
        moments = self.moments.score(self._gaussian(parameters), self._weighted(parameters, s))
        half = 0.5 * parameters["dof"]
        gradient = half * (s.counts * _log_minus_digamma(half) - (s.excess - s.logs))
        return np.concatenate([moments, gradient[self.live] / self.root])

    def _gaussian(self, parameters: Parameters) -> dict[str, Array]:
        """Parameters as the Gaussian's charts know them."""
        mean = parameters["mean"]
        if self.full:
            factor = _factor(parameters)
            return {"mean": mean, "covariance": parameters["scale"], "precision_cholesky": factor}
        return {"mean": mean, "covariance": np.einsum("kii->ki", parameters["scale"])}

    def _weighted(
        self, parameters: Parameters, statistics: StudentTStatistics
    ) -> GaussianStatistics:
        """The moments weighted by E u, as the Gaussian's charts know them."""
        s = statistics.about(parameters["mean"])
        counts, second = s.counts, s.second
        if not self.full:
            counts = _per_column(counts, s.first)
            second = np.einsum("kii->ki", second)
        return GaussianStatistics(counts, s.reference, s.first, second)


def _per_column(counts: Array, like: Array) -> Array:
    return np.repeat(counts[:, None], like.shape[1], axis=1)


def _parameters(mean: Array, scale: Array, dof: Array) -> dict[str, Array]:
    return {"mean": mean, "scale": scale, "dof": dof, "precision_cholesky": _factor_of(scale)}


def _factor_of(scale: Array) -> Array:
    """Upper triangular P with Σ⁻¹ = PPᵀ; NaN where Σ is not positive definite: (K, d, d)."""
    return np.asarray(with_precision(scale[:, 0], scale)["precision_cholesky"])


def _factor(parameters: Parameters) -> Array:
    known = parameters.get("precision_cholesky")
    return _factor_of(parameters["scale"]) if known is None else np.asarray(known)


def _log_det(factor: Array) -> Array:
    """log|P| = −½ log|Σ|: shape (K,)."""
    return np.asarray(np.log(np.einsum("kii->ki", factor)).sum(axis=1))


def _squares(residuals: Array, factor: Array) -> Array:
    """Squared Mahalanobis distances: shape (K, n)."""
    if residuals.shape[2] == 1:
        return np.asarray((residuals[:, :, 0] * factor[:, 0]) ** 2)
    whitened = residuals @ factor
    return np.asarray(np.einsum("kij,kij->ki", whitened, whitened))


def _moments(weights: Array, residuals: Array) -> tuple[Array, Array]:
    """Σ w z and Σ w zzᵀ: shapes (K, d) and (K, d, d)."""
    weighted = weights[:, :, None] * residuals
    return weighted.sum(axis=1), weighted.swapaxes(1, 2) @ residuals


def _divisor(counts: Array) -> Array:
    """Counts to divide sums by, shape (K, 1): a component without rows moves nowhere."""
    return np.where(counts > 0, counts, 1.0)[:, None]


def _observed(x: Array, memo: Memo) -> tuple[Array, Array | None]:
    """The rows, and which of them are present (None: all); only a single column may have gaps."""
    x = np.asarray(x, float)
    if x.shape[1] > 1:
        return x, None
    if memo is not None and "observed" in memo:
        return memo["observed"]
    missing = np.isnan(x)
    result: tuple[Array, Array | None] = x, None
    if missing.any():
        fill = x[~missing].mean() if not missing.all() else 0.0
        result = np.where(missing, fill, x), (~missing[:, 0]).astype(float)
    if memo is not None:
        memo["observed"] = result
    return result


def _counted(
    parameters: Parameters, s: StudentTStatistics
) -> tuple[Parameters, StudentTStatistics]:
    """The components that some row supports."""
    used = s.counts > 0
    if used.all():
        return parameters, s
    kept = {name: value[used] for name, value in parameters.items()}
    arrays = (s.counts, s.precisions, s.excess, s.logs)
    counts, precisions, excess, logs = (v[used] for v in arrays)
    moments = kept["mean"], s.first[used], s.second[used]
    return kept, StudentTStatistics(
        counts, precisions, excess, logs, *moments, s.entropy, s.imaginary
    )


def _smallest_direction(scale: Array) -> str:
    if not np.isfinite(scale).all():
        return "no rows support it"
    value = max(float(np.linalg.eigvalsh(scale)[0]), 0.0)
    return f"its smallest squared scale is {value:.2g} along some direction"


# -- functions of a gamma distribution that keep their digits as its shape grows -------------------

_SERIES_FROM = 10.0
_POWERS = np.arange(7)
# B_2j / 2j(2j − 1), B_2j / 2j and B_2j: Abramowitz & Stegun (1964), 6.1.40, 6.3.18, 6.4.11
_BERNOULLI = np.array([1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6])
_LOG_GAMMA_TERMS = _BERNOULLI / ((2 * _POWERS + 2) * (2 * _POWERS + 1))
_DIGAMMA_TERMS = _BERNOULLI / (2 * _POWERS + 2)


def _series(a: Array, terms: Array) -> Array:
    """Σ_j terms[j] a^(−2j)."""
    return np.asarray((1.0 / (a * a))[..., None] ** _POWERS @ terms)


def _stirling_remainder(a: Array) -> Array:
    """R(a) = log Γ(a) − [(a − ½) log a − a + ½ log 2π] = 1/12a + O(a⁻³)."""
    large = np.maximum(a, _SERIES_FROM)
    tail = _series(large, _LOG_GAMMA_TERMS) / large
    if a.min() >= _SERIES_FROM:
        return tail
    exact = gammaln(a) - (a - 0.5) * np.log(a) + a - 0.5 * LOG_2PI
    return np.where(a < _SERIES_FROM, exact, tail)


def _log_minus_digamma(a: Array) -> Array:
    """The gap log a − ψ(a) = 1/2a + 1/12a² + O(a⁻⁴)."""
    large = np.maximum(a, _SERIES_FROM)
    tail = (0.5 + _series(large, _DIGAMMA_TERMS) / large) / large
    if a.min() >= _SERIES_FROM:
        return tail
    return np.where(a < _SERIES_FROM, np.log(a) - digamma(a), tail)


def _information(a: Array) -> Array:
    """a² (ψ'(a) − 1/a), the information on log a: from 1 at 0 to ½ + 1/6a + O(a⁻³)."""
    return np.where(a < 1e3, a * (a * zeta(2, a) - 1.0), 0.5 + 1.0 / (6.0 * a))


_GAPS = _log_minus_digamma(np.array([0.5 * LARGEST_DOF, 0.5 * SMALLEST_DOF]))


def _posterior_constants(dof: Array, n_columns: int) -> tuple[Array, Array]:
    """Of Γ(a, rate b), a = (ν + d)/2: log(a/b) − E log u, and the entropy less log(a/b), nats."""
    half = 0.5 * (dof + n_columns)
    lag = _log_minus_digamma(half)
    spread = _stirling_remainder(half) + (half - 1.0) * lag - 0.5 * (np.log(half) - LOG_2PI)
    return lag, spread


def _shape(gap: Array) -> Array:
    """Shape a of a gamma distribution with log a − ψ(a) = gap = log(mean) − mean(log).

    Newton in 1/a, in which the equation is nearly straight, from Minka's approximation (within
    1.5 %). The gap falls as a grows, so its bounds are those of a; NaN stays NaN.

    References
    ----------
    Minka (2002), Estimating a Gamma distribution, eq. 8-10.
    """
    gap = np.clip(gap, *_GAPS)
    a = (3.0 - gap + np.sqrt((gap - 3.0) ** 2 + 24.0 * gap)) / (12.0 * gap)
    for _ in range(3):  # leaves 2e-14, relative
        a = a / (1.0 - a * (_log_minus_digamma(a) - gap) / _information(a))
    return np.clip(a, 0.5 * SMALLEST_DOF, 0.5 * LARGEST_DOF)


def _log_ratio(beyond: Array, ratio: Array) -> Array:
    """log(ratio), ratio = 1 + beyond: from whichever of the two holds more digits."""
    return np.where(beyond > -0.5, np.log1p(np.maximum(beyond, -0.5)), np.log(ratio))
