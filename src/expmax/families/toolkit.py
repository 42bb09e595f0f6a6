"""What one does with a distribution: change coordinates, compare two, sum data up, estimate with errors.

`Family.at(parameters)` is a `Distribution`, which has every quantity in one place whatever the family;
`Family.summarize(x)` is a `Summary`, an additive record that replaces the data. Families without finite
sufficient statistics (Weibull, StudentT, NegativeBinomial of free size) have no summary; they have
`Family.estimate_with_errors` like the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtri

from expmax.contract import Parameters
from expmax.errors import InformationError, ParameterError, parameter_error
from expmax.families.base import ExponentialFamily, Family
from expmax.families.gaussian import Gaussian
from expmax.families.gaussian_moments import LOG_2PI
from expmax.families.multinomial import Multinomial
from expmax.families.precision import precision_cholesky, with_precision
from expmax.families.product import Product, _label
from expmax.statistics import Array

__all__ = [
    "Distribution",
    "Estimate",
    "Summary",
    "estimate_with_errors",
    "has_summary",
    "summarize",
]

DIFFERENCE = 1e-4  # step of central differences, in units of one observation's coordinate


# -- coordinates -----------------------------------------------------------------------------------
class Coordinates(Protocol):
    """The three coordinate systems of an exponential family and its log-partition."""

    def natural(self, parameters: Parameters) -> Array:
        """η of the usual parameters: shape (K, dim)."""

    def usual(self, natural: Array) -> dict[str, Any]:
        """The usual parameters of η."""

    def to_mean(self, natural: Array) -> Array:
        """μ = E[T]: shape (K, dim)."""

    def to_natural(self, mean: Array) -> Array:
        """η of μ: shape (K, dim)."""

    def log_partition(self, natural: Array) -> Array:
        """A(η), nats: shape (K,)."""

    def fisher_information(self, natural: Array) -> Array:
        """Cov[T]: shape (K, dim, dim)."""


class _FullGaussian:
    """T = (x, xxᵀ): η = (Σ⁻¹μ, −½Σ⁻¹), matrices flattened, each pair of off-diagonal entries twice."""

    def natural(self, parameters: Parameters) -> Array:
        factor = precision_cholesky(parameters)
        precision = factor @ factor.swapaxes(1, 2)
        linear = np.einsum("kij,kj->ki", precision, parameters["mean"])
        return np.hstack([linear, -0.5 * precision.reshape(len(linear), -1)])

    def usual(self, natural: Array) -> dict[str, Any]:
        linear, precision = _split(natural)
        covariance = np.linalg.inv(-2.0 * precision)
        covariance = 0.5 * (covariance + covariance.swapaxes(1, 2))
        return with_precision(np.einsum("kij,kj->ki", covariance, linear), covariance)

    def to_mean(self, natural: Array) -> Array:
        theta = self.usual(natural)
        mean = theta["mean"]
        second = theta["covariance"] + mean[:, :, None] * mean[:, None, :]
        return np.hstack([mean, second.reshape(len(mean), -1)])

    def to_natural(self, mean: Array) -> Array:
        first, second = _split(mean)
        return self.natural(with_precision(first, second - first[:, :, None] * first[:, None, :]))

    def log_partition(self, natural: Array) -> Array:
        theta = self.usual(natural)
        linear, _ = _split(natural)
        factor = theta["precision_cholesky"]
        log_det = -2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        square = (linear * theta["mean"]).sum(axis=1)
        return np.asarray(0.5 * (square + log_det + linear.shape[1] * LOG_2PI))

    def fisher_information(self, natural: Array) -> Array:
        """Isserlis's theorem about the mean."""
        theta = self.usual(natural)
        m, s = theta["mean"], theta["covariance"]
        k, d = m.shape
        cross = np.einsum("kab,kc->kabc", s, m)
        cross = cross + cross.swapaxes(2, 3)
        fourth = np.einsum("kac,kbd->kabcd", s, s) + np.einsum("kad,kbc->kabcd", s, s)
        for left, right in (("kac", "bd"), ("kad", "bc"), ("kbc", "ad"), ("kbd", "ac")):
            fourth = fourth + np.einsum(f"{left},k{right[0]},k{right[1]}->kabcd", s, m, m)
        out = np.empty((k, d + d * d, d + d * d))
        out[:, :d, :d] = s
        out[:, :d, d:] = cross.reshape(k, d, d * d)
        out[:, d:, :d] = out[:, :d, d:].swapaxes(1, 2)
        out[:, d:, d:] = fourth.reshape(k, d * d, d * d)
        return out


class _DiagonalGaussian:
    """T = (x, x²) column by column: η = (μ/σ², −½/σ²)."""

    def natural(self, parameters: Parameters) -> Array:
        precision = 1.0 / parameters["covariance"]
        return np.hstack([parameters["mean"] * precision, -0.5 * precision])

    def usual(self, natural: Array) -> dict[str, Any]:
        linear, half = np.hsplit(natural, 2)
        return {"mean": -0.5 * linear / half, "covariance": -0.5 / half}

    def to_mean(self, natural: Array) -> Array:
        mean, variance = self.usual(natural).values()
        return np.hstack([mean, mean * mean + variance])

    def to_natural(self, mean: Array) -> Array:
        first, second = np.hsplit(mean, 2)
        return self.natural({"mean": first, "covariance": second - first * first})

    def log_partition(self, natural: Array) -> Array:
        mean, variance = self.usual(natural).values()
        return np.asarray(0.5 * (mean**2 / variance + np.log(variance) + LOG_2PI).sum(axis=1))

    def fisher_information(self, natural: Array) -> Array:
        mean, variance = self.usual(natural).values()
        d = mean.shape[1]
        out = np.zeros((len(mean), 2 * d, 2 * d))
        j = np.arange(d)
        out[:, j, j] = variance
        out[:, j, d + j] = out[:, d + j, j] = 2.0 * mean * variance
        out[:, d + j, d + j] = 2.0 * variance**2 + 4.0 * mean**2 * variance
        return out


class _Product:
    """The factors side by side."""

    def __init__(self, family: Product, parameters: Parameters) -> None:
        self.labels = [_label(key) for key in family.keys]
        self.parts = [
            coordinates(factor, parameters[label])
            for factor, label in zip(family.families, self.labels, strict=True)
        ]
        sizes = [
            part.natural(parameters[label]).shape[1]
            for part, label in zip(self.parts, self.labels, strict=True)
        ]
        self.cuts = np.cumsum(sizes)[:-1]

    def natural(self, parameters: Parameters) -> Array:
        pairs = zip(self.parts, self.labels, strict=True)
        return np.hstack([part.natural(parameters[label]) for part, label in pairs])

    def usual(self, natural: Array) -> dict[str, Any]:
        pairs = zip(self.labels, self.parts, np.hsplit(natural, self.cuts), strict=True)
        return {label: part.usual(eta) for label, part, eta in pairs}

    def to_mean(self, natural: Array) -> Array:
        pairs = zip(self.parts, np.hsplit(natural, self.cuts), strict=True)
        return np.hstack([part.to_mean(eta) for part, eta in pairs])

    def to_natural(self, mean: Array) -> Array:
        pairs = zip(self.parts, np.hsplit(mean, self.cuts), strict=True)
        return np.hstack([part.to_natural(mu) for part, mu in pairs])

    def log_partition(self, natural: Array) -> Array:
        pairs = zip(self.parts, np.hsplit(natural, self.cuts), strict=True)
        return np.sum([part.log_partition(eta) for part, eta in pairs], axis=0)

    def fisher_information(self, natural: Array) -> Array:
        size = natural.shape[1]
        out = np.zeros((len(natural), size, size))
        bounds = [0, *self.cuts, size]
        for part, start, end in zip(self.parts, bounds[:-1], bounds[1:], strict=True):
            out[:, start:end, start:end] = part.fisher_information(natural[:, start:end])
        return out


def coordinates(family: Family, parameters: Parameters) -> Coordinates:
    """The formulas of a family's coordinate systems.

    Raises
    ------
    ParameterError
        The family is not an exponential family.
    """
    if isinstance(family, ExponentialFamily):
        return family
    if isinstance(family, Gaussian):
        return _DiagonalGaussian() if parameters["covariance"].ndim == 2 else _FullGaussian()
    if isinstance(family, Product):
        return _Product(family, parameters)
    raise ParameterError(
        f"{family!r} is not an exponential family in all its parameters: it has no natural "
        "parameters. Use its log_density, or fix the shape or size."
    )


def _split(vector: Array) -> tuple[Array, Array]:
    """(K, d + d²) as (K, d) and (K, d, d)."""
    k, size = vector.shape
    d = int((np.sqrt(1 + 4 * size) - 1) / 2 + 0.5)
    return vector[:, :d], vector[:, d:].reshape(k, d, d)


@dataclass(frozen=True, eq=False)
class Distribution:
    """K members of a family, with every quantity of the exponential family in one place.

    Attributes
    ----------
    natural, mean : ndarray, shape (K, dim)
        η, and μ = E[T(x)].
    log_partition, entropy, convex_conjugate : ndarray, shape (K,)
        A(η); H = A − η·μ − E[log h], nats; A*(μ) = η·μ − A(η) = −H − E[log h].
    fisher_information : ndarray, shape (K, dim, dim)
        Cov[T(x)], which is ∇²A(η) where η is free (singular for the over-complete forms of Bernoulli,
        Binomial, Categorical and Multinomial).

    References
    ----------
    Barndorff-Nielsen (1978), Information and Exponential Families, ch. 8-9. Amari & Nagaoka (2000),
    Methods of Information Geometry, ch. 3.

    Examples
    --------
    >>> from expmax import Gamma
    >>> one, other = Gamma().at(shape=3.0, rate=2.0), Gamma().at(shape=2.0, rate=1.0)
    >>> one.natural
    array([[ 3., -2.]])
    >>> one.kl_divergence(other).round(4), one.bregman_divergence(other).round(4)
    (array([0.1159]), array([0.1159]))
    """

    family: Family
    parameters: Parameters

    @property
    def _formulas(self) -> Coordinates:
        return coordinates(self.family, self.parameters)

    @property
    def natural(self) -> Array:
        """η: shape (K, dim)."""
        return self._formulas.natural(self.parameters)

    @property
    def mean(self) -> Array:
        """μ = E[T(x)]: shape (K, dim)."""
        return self._formulas.to_mean(self.natural)

    @property
    def log_partition(self) -> Array:
        """A(η), nats: shape (K,)."""
        return self._formulas.log_partition(self.natural)

    @property
    def fisher_information(self) -> Array:
        """Cov[T(x)], the information of one row about η: shape (K, dim, dim)."""
        return self._formulas.fisher_information(self.natural)

    @property
    def entropy(self) -> Array:
        """H, nats: shape (K,)."""
        return _entropy(self.family, self.parameters)

    @property
    def convex_conjugate(self) -> Array:
        """A*(μ) = η·μ − A(η), nats: shape (K,)."""
        natural = self.natural
        return _dot(natural, self._formulas.to_mean(natural)) - self.log_partition

    def kl_divergence(self, other: Distribution) -> Array:
        """KL(self ‖ other), nats, component by component: shape (K,)."""
        return _kl(self.family, self.parameters, other.parameters)

    def bregman_divergence(self, other: Distribution) -> Array:
        """A*(μ) − A*(μ') − η'·(μ − μ'), nats: the same number as `kl_divergence`, from mean parameters."""
        gap = self.convex_conjugate - other.convex_conjugate
        eta = other.natural
        return gap - _dot(eta, self.mean) + _dot(eta, other.mean)

    def log_density(self, x: Array) -> Array:
        """log p(x_i), nats: shape (n, K)."""
        return self.family.log_density(self.parameters, np.asarray(x, float))

    def sample(self, n: int, rng: np.random.Generator, component: int = 0) -> Array:
        """n rows of one component: shape (n, d)."""
        return self.family.sample(self.parameters, component, n, rng)


def at(family: Family, parameters: Parameters | None, named: Mapping[str, Any]) -> Distribution:
    """The members of a family with these parameters; numbers without a component axis are one component."""
    given = dict(parameters or {}) | dict(named)
    return Distribution(family, _as_components(family, given))


def _as_components(family: Family, given: Parameters) -> dict[str, Any]:
    if isinstance(family, Product):
        labels = zip((_label(key) for key in family.keys), family.families, strict=True)
        return {label: _as_components(factor, given[label]) for label, factor in labels}
    arrays = {name: np.asarray(value, float) for name, value in given.items()}
    if isinstance(family, Gaussian):
        mean, covariance = arrays["mean"], arrays["covariance"]
        mean = np.atleast_2d(mean)
        rank = 2 if family.diagonal else 3
        covariance = covariance.reshape((1,) * (rank - covariance.ndim) + covariance.shape)
        shape = mean.shape if rank == 2 else (*mean.shape, mean.shape[1])
        covariance = np.broadcast_to(covariance, shape)
        return (
            {"mean": mean, "covariance": covariance}
            if rank == 2
            else with_precision(mean, np.array(covariance))
        )
    return {
        name: value[None] if value.ndim == 0 or _is_vector(family, name, value) else value
        for name, value in arrays.items()
    }


def _is_vector(family: Family, name: str, value: Array) -> bool:
    """Whether a one-dimensional array is one component's vector rather than K components' numbers."""
    if value.ndim != 1:
        return False
    kind = type(family).__name__
    wide = {
        "Bernoulli": ("probability",),
        "Categorical": ("probability",),
        "Multinomial": ("probability",),
        "Dirichlet": ("concentration",),
        "VonMisesFisher": ("mean",),
        "StudentT": ("mean",),
    }
    return name in wide.get(kind, ())


def _entropy(family: Family, parameters: Parameters) -> Array:
    if isinstance(family, Product):
        pairs = zip(family.families, family.keys, strict=True)
        return np.sum([_entropy(f, parameters[_label(key)]) for f, key in pairs], axis=0)
    if isinstance(family, ExponentialFamily):
        return family.entropy(family.natural(parameters))
    own: Any = getattr(family, "entropy", None)
    if own is None:
        raise ParameterError(f"{family!r} has no entropy in closed form; average its log_density.")
    return own(parameters)


def _kl(family: Family, one: Parameters, other: Parameters) -> Array:
    if isinstance(family, Product):
        pairs = [(f, _label(key)) for f, key in zip(family.families, family.keys, strict=True)]
        return np.sum([_kl(f, one[label], other[label]) for f, label in pairs], axis=0)
    if isinstance(family, ExponentialFamily):
        return family.kl_divergence(family.natural(one), family.natural(other))
    if not isinstance(family, Gaussian):
        raise ParameterError(f"{family!r} has no KL divergence in closed form; sample it.")
    shift = other["mean"] - one["mean"]
    if family.diagonal:
        ratio = one["covariance"] / other["covariance"]
        square = shift**2 / other["covariance"]
        return 0.5 * (ratio - 1.0 - np.log(ratio) + square).sum(axis=1)
    factor = precision_cholesky(other)
    whitened = factor.swapaxes(1, 2) @ np.linalg.cholesky(one["covariance"])
    square = (np.einsum("kij,ki->kj", factor, shift) ** 2).sum(axis=1)
    log_det = 2.0 * np.log(np.abs(np.diagonal(whitened, axis1=1, axis2=2))).sum(axis=1)
    return np.asarray(0.5 * ((whitened**2).sum(axis=(1, 2)) - shift.shape[1] - log_det + square))


def _dot(natural: Array, mean: Array) -> Array:
    """Row-wise η·μ with 0·(±∞) = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(mean == 0, 0.0, natural * mean).sum(axis=-1)


# -- data summed up --------------------------------------------------------------------------------
def has_summary(family: Family) -> bool:
    """Whether finite sums of the data determine the likelihood of a family."""
    if isinstance(family, Product):
        return all(map(has_summary, family.families))
    return isinstance(family, ExponentialFamily | Gaussian)


@dataclass(frozen=True)
class Summary:
    """Σ w, Σ w T(x) and Σ w log h(x): all that fit, likelihood and posterior need of the data.

    Summaries of parts add to the summary of the whole, in any order (to rounding).

    Parameters
    ----------
    family : Family
        Bound to the data.
    statistics : Additive
        The family's own record, of one component.
    weight : float
        Σ w.
    n_rows : int

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> whole = Poisson().summarize(x[:1]) + Poisson().summarize(x[1:])
    >>> whole.fit(), round(whole.log_likelihood({"rate": 3.0}), 4)
    ({'rate': array([3.])}, -6.3849)
    """

    family: Family
    statistics: Any
    weight: float
    n_rows: int

    def __add__(self, other: Summary) -> Summary:
        if not isinstance(other, Summary):
            return NotImplemented
        if other.family != self.family:
            raise ParameterError(
                f"summaries of {self.family!r} and {other.family!r} do not add; summarize all "
                "parts with one family, its size (n_trials, n_categories) given."
            )
        return Summary(
            self.family,
            self.statistics + other.statistics,
            self.weight + other.weight,
            self.n_rows + other.n_rows,
        )

    def __radd__(self, other: Any) -> Summary:
        """So that `sum(summaries)` works."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def fit(self) -> Parameters:
        """The maximum-likelihood parameters (K = 1)."""
        return self.family.maximize(self.statistics, None)

    def log_likelihood(self, parameters: Parameters | None = None) -> float:
        """Σ w log p(x | θ), nats; at the maximum where no parameters are given."""
        theta = self.fit() if parameters is None else _as_components(self.family, parameters)
        return self.family.expected_log_density(theta, self.statistics)

    def estimate(self) -> Estimate:
        """The fit with standard errors; weights count as frequencies."""
        parameters = self.fit()
        chart = self.family.chart(parameters, self.statistics)
        return _estimate(self.family, parameters, self.log_likelihood(parameters), chart, None)


def summarize(family: Family, x: Array, weight: Array | None = None) -> Summary:
    """See `Family.summarize`."""
    if not has_summary(family):
        raise ParameterError(
            f"{family!r} has no summary: no finite sums of the data determine its likelihood. "
            "Use estimate, or fix the shape or size."
        )
    rows = np.asarray(x, float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    w = _check_weight(weight, len(rows))
    bound = _bind(family, rows)
    center = bound.initialize(rows, w[:, None]) if _has_reference(bound) else {}
    statistics = bound.statistics(center, rows, w[:, None])
    return Summary(bound, statistics, float(w.sum()), int((w > 0).sum()))


def _has_reference(family: Family) -> bool:
    """Whether statistics are moments about a point, which here is the mean itself."""
    if isinstance(family, Product):
        return any(map(_has_reference, family.families))
    return isinstance(family, Gaussian)


def _bind(family: Family, x: Array) -> Family:
    """Bind to the data, but to nothing that the statistics do not depend on."""
    bound = family.bind(x)
    return _without_total(family, bound)


def _without_total(family: Family, bound: Family) -> Family:
    """A Multinomial's total, taken from the data, concerns only what it draws: parts should add."""
    if isinstance(family, Multinomial):
        return family
    if isinstance(bound, Product) and isinstance(family, Product):
        parts = zip(family.families, bound.families, strict=True)
        return bound._bound(bound.slices, [_without_total(*pair) for pair in parts])
    return bound


def _check_weight(weight: Array | None, n: int) -> Array:
    if weight is None:
        return np.ones(n)
    w = np.asarray(weight, float)
    if w.shape != (n,) or not (np.isfinite(w).all() and (w >= 0).all()):
        raise parameter_error("weight", f"{n} finite numbers of at least 0", weight)
    return w


# -- standard errors -------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Estimate:
    """Maximum-likelihood parameters with their covariance, by the delta method.

    Attributes
    ----------
    parameters : mapping
        Of one component (K = 1).
    log_likelihood : float
        Nats, at these parameters.
    names : tuple of str
        "shape[0]", …, in the order of `covariance`.
    standard_errors : dict
        By name, shaped like the parameters.
    covariance : ndarray, shape (m, m)
    """

    parameters: Parameters
    log_likelihood: float
    names: tuple[str, ...]
    estimates: dict[str, Array]
    standard_errors: dict[str, Array]
    covariance: Array

    def interval(self, level: float = 0.95) -> dict[str, tuple[Array, Array]]:
        """Normal-theory confidence limits, estimate ± z · error, by parameter name."""
        if not 0 < level < 1:
            raise parameter_error("level", "between 0 and 1", level)
        z = float(ndtri(0.5 + 0.5 * level))
        return {
            name: (value - z * self.standard_errors[name], value + z * self.standard_errors[name])
            for name, value in self.estimates.items()
        }

    def __str__(self) -> str:
        width = max(map(len, self.names))
        flat = _flat(self.estimates)
        spread = _flat(self.standard_errors)
        rows = zip(self.names, flat, spread, strict=True)
        head = f"{'parameter':{width}}  {'estimate':>12}  {'std. error':>12}"
        return "\n".join([head, *(f"{n:{width}}  {a:12.6g}  {b:12.6g}" for n, a, b in rows)])


def estimate_with_errors(family: Family, x: Array, weight: Array | None = None) -> Estimate:
    """See `Family.estimate_with_errors`."""
    rows = np.asarray(x, float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    w = _check_weight(weight, len(rows))[:, None]
    bound = family.bind(rows)
    parameters = bound.estimate(rows, w[:, 0])
    used = w[:, 0] > 0
    log_density = bound.log_density(parameters, rows[used])[:, 0]
    log_likelihood = float(w[used, 0] @ log_density)
    chart = bound.chart(parameters, bound.statistics(parameters, rows, w))
    information = None
    if bound.inner_latent and chart is not None:  # its own latent variables hide information
        information = _observed(bound, chart, rows, w)
    return _estimate(bound, parameters, log_likelihood, chart, information)


def _observed(family: Family, chart: Any, x: Array, weight: Array) -> Array:
    """−∂²ℓ/∂v² by differences of the score, which Fisher's identity gives: shape (p, p)."""
    rows = []
    for j, scale in enumerate(chart.scale):
        step = np.zeros(len(chart.scale))
        step[j] = DIFFERENCE * scale
        scores = []
        for sign in (1.0, -1.0):
            theta = chart.from_vector(sign * step)
            scores.append(chart.score(theta, family.statistics(theta, x, weight)))
        rows.append((scores[1] - scores[0]) / (2.0 * step[j]))
    matrix = np.array(rows)
    return 0.5 * (matrix + matrix.T)


def _estimate(
    family: Family,
    parameters: Parameters,
    log_likelihood: float,
    chart: Any,
    information: Array | None,
) -> Estimate:
    """Covariance J I⁻¹ Jᵀ of the usual parameters; I is the identity in a chart's coordinates."""
    edges = family.boundary(parameters)
    if edges or chart is None:
        what = f"{edges[0][1]} is on the boundary of its space" if edges else "it has none here"
        raise InformationError(
            f"no standard errors for {family!r}: {what}, so the estimate is not asymptotically "
            "normal. Bootstrap the rows, or take a posterior (docs/priors.md)."
        )
    estimates = {
        name: np.asarray(value, float)[0]
        for name, value in family.named_parameters(parameters).items()
    }

    def described(vector: Array) -> Array:
        return _flat(family.named_parameters(chart.from_vector(vector)))

    columns = []
    for j, scale in enumerate(chart.scale):
        step = np.zeros(len(chart.scale))
        step[j] = DIFFERENCE * scale
        columns.append((described(step) - described(-step)) / (2.0 * step[j]))
    jacobian = np.array(columns).T
    if information is None:
        covariance = jacobian @ jacobian.T
    else:
        if not np.linalg.eigvalsh(information)[0] > 1e-9:
            raise InformationError(
                f"no standard errors for {family!r}: the observed information is not positive "
                "definite; a parameter runs away. Fix it, or bootstrap the rows."
            )
        covariance = jacobian @ np.linalg.inv(information) @ jacobian.T
    names = tuple(
        f"{name}[{', '.join(map(str, index))}]" if index else name
        for name, value in estimates.items()
        for index in np.ndindex(value.shape)
    )
    spread = np.sqrt(np.diagonal(covariance))
    errors, start = {}, 0
    for name, value in estimates.items():
        errors[name] = spread[start : start + value.size].reshape(value.shape)
        start += value.size
    return Estimate(parameters, log_likelihood, names, estimates, errors, covariance)


def _flat(values: Mapping[str, Any]) -> Array:
    return np.concatenate([np.ravel(np.asarray(value, float)) for value in values.values()])
