"""Normal-inverse-gamma distributions of means and variances, column by column."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np
from scipy.special import digamma, gammaln

from expmax.contract import Parameters
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.families.gaussian_moments import LOG_2PI, GaussianStatistics, diagonal_log_density
from expmax.families.log_normal import LogNormal
from expmax.priors.conjugate import Coordinates, check_positive, statistics_of
from expmax.priors.normal_inverse import CONSTANT, NormalInverse, centred_moments
from expmax.statistics import Array

__all__ = ["NormalInverseGamma", "variance_shape"]


@final
@dataclass(frozen=True, eq=False)
class NormalInverseGamma(NormalInverse):
    """σ² ~ inverse gamma(ν/2, s/2), μ | σ² ~ N(m, σ²/κ), column by column.

    For Gaussian("diag"), "spherical" (one σ² a component), EEI and EII (shared by the components), and for
    LogNormal (of log x). The mean of 1/σ² is ν/s. n rows of mean x̄ give κ + n, ν + n (n·d where d columns
    share σ²), m + n/(κ + n)·(x̄ − m) and s + Σ(x − x̄)² + κn/(κ + n)·(x̄ − m)². A missing cell leaves only
    its own column. Predictive: Student t with ν degrees of freedom. Log density with respect to (μ, σ²).

    Parameters
    ----------
    family : Gaussian with variances, or LogNormal
    location, mean_precision : ndarray, shape (K, d)
        m and κ.
    degrees_of_freedom, scale : ndarray, shape (K, d)
        ν and s; a first axis of 1 where components share, a second of 1 where columns do.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, §3.3. Murphy (2007), Conjugate Bayesian analysis of the
    Gaussian distribution.
    """

    classical_name = "normal-inverse-gamma"

    @classmethod
    def of(cls, family: Family, rows: Any) -> Self:
        """From imaginary rows: ν such that the mode over natural parameters is their fit."""
        sums = _moments(family, rows)
        mean, scatter = centred_moments(sums)
        pooled = variance_shape(family, *mean.shape)
        means = mean.size / (pooled[0] * pooled[1])
        degrees = _pool(sums.counts, pooled) + means + 2.0
        return cls(family, mean, sums.counts, degrees, _pool(scatter, pooled))

    @property
    def _means(self) -> float:
        """Means that share one variance."""
        return self.location.size / self.scale.size

    def _each(self, values: Array) -> Array:
        return np.broadcast_to(values, self.location.shape)

    def _sum(self, by_cell: Array, by_variance: Array) -> Array:
        """Sum to one number a component, or to one where components share."""
        if len(self.scale) == self.n_components:
            return np.asarray(by_cell.sum(axis=1) + by_variance.sum(axis=1))
        return np.asarray([by_cell.sum() + by_variance.sum()])

    def is_proper(self) -> bool:
        positive = (self.mean_precision, self.degrees_of_freedom, self.scale)
        return all(bool((value > 0).all()) for value in positive)

    def check(self) -> None:
        """Refuse an improper distribution."""
        check_positive("mean_precision", self.mean_precision)
        check_positive("degrees_of_freedom", self.degrees_of_freedom)
        check_positive("scale", self.scale, CONSTANT)

    # -- natural coordinates: (κ(m − c), κ, ν, s + κ(m − c)²) about c ------------------------------
    def sizes(self, about: Any = None) -> Array:
        each = self._each(self.scale / self.degrees_of_freedom)
        linear = np.sqrt(self.mean_precision * each)
        return self._stack(linear, self.mean_precision, self.degrees_of_freedom, self.scale)

    def natural(self, about: Any = None) -> Array:
        shift = self._shift(about)
        square = _pool(self.mean_precision * shift**2, self.scale.shape)
        linear = self.mean_precision * shift
        parts = linear, self.mean_precision, self.degrees_of_freedom, self.scale + square
        return self._stack(*parts)

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        cells, pooled = self.location.size // len(natural), self.scale.size // len(natural)
        cuts = np.cumsum([cells, cells, pooled])
        linear, precision, degrees, second = np.hsplit(natural, cuts)
        linear = linear.reshape(self.location.shape)
        precision = precision.reshape(self.location.shape)
        degrees, second = degrees.reshape(self.scale.shape), second.reshape(self.scale.shape)
        shift = linear / precision
        scale = second - _pool(linear * shift, self.scale.shape)
        mean = shift + (0.0 if about is None else about)
        return replace(
            self, location=mean, mean_precision=precision, degrees_of_freedom=degrees, scale=scale
        )

    def expected_statistics(self, about: Any = None) -> Array:
        """E of (μ/σ², −½ μ²/σ², −½ log σ², −½/σ²), μ about c."""
        shift = self._shift(about)
        precision = self.degrees_of_freedom / self.scale
        each = self._each(precision)
        square = -0.5 * (1.0 / self.mean_precision + each * shift**2)
        return self._stack(each * shift, square, 0.5 * self._mean_log(), -0.5 * precision)

    def _mean_log(self) -> Array:
        """E[log 1/σ²]."""
        return np.asarray(digamma(0.5 * self.degrees_of_freedom) - np.log(0.5 * self.scale))

    def log_normalizer(self) -> Array:
        half = 0.5 * self.degrees_of_freedom
        return self._sum(
            -0.5 * np.log(self.mean_precision), gammaln(half) - half * np.log(0.5 * self.scale)
        )

    def update(self, data: Any) -> Self:
        sums = _moments(self.family, statistics_of(self.family, data))
        mean, scatter = centred_moments(sums)
        n, pooled = sums.counts, self.scale.shape
        precision = self.mean_precision + n
        shift = np.where(n > 0, mean - self.location, 0.0)
        square = scatter + self.mean_precision * n / precision * shift**2
        return replace(
            self,
            location=self.location + n / precision * shift,
            mean_precision=precision,
            degrees_of_freedom=self.degrees_of_freedom + _pool(n, pooled),
            scale=self.scale + _pool(square, pooled),
        )

    # -- the distribution of θ ---------------------------------------------------------------------
    def _usual(self, mean: Array, variance: Array) -> dict[str, Array]:
        if isinstance(self.family, LogNormal):
            return {"mu": mean[:, 0], "sigma": np.sqrt(variance[:, 0])}
        return {"mean": mean, "covariance": variance}

    def _cells(self, parameters: Parameters) -> tuple[Array, Array]:
        if isinstance(self.family, LogNormal):
            return parameters["mu"][:, None], parameters["sigma"][:, None] ** 2
        return parameters["mean"], parameters["covariance"]

    def log_density(self, parameters: Parameters) -> Array:
        mean, variance = self._cells(parameters)
        shared = variance[: len(self.scale), : self.scale.shape[1]]
        spread = variance / self.mean_precision
        normal = -0.5 * (LOG_2PI + np.log(spread) + (mean - self.location) ** 2 / spread)
        half, s = 0.5 * self.degrees_of_freedom, 0.5 * self.scale
        inverse_gamma = half * np.log(s) - gammaln(half) - (half + 1) * np.log(shared) - s / shared
        return self._sum(normal, inverse_gamma)

    def mean(self) -> dict[str, Any]:
        """m, and E[σ²] = s/(ν − 2); of a LogNormal √E[σ²]."""
        nu = self.degrees_of_freedom
        with np.errstate(divide="ignore"):
            variance = np.where(nu > 2, self.scale / np.maximum(nu - 2, 0.0), np.inf)
        return self._usual(self.location, np.array(self._each(variance)))

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Any]:
        """σ² = s/(ν − g − 2) in natural coordinates, s/(ν + g + 2) in (μ, σ²); g means share σ²."""
        g = self._means + 2.0
        count = self.degrees_of_freedom + (-g if coordinates == "natural" else g)
        with np.errstate(divide="ignore"):
            variance = np.where(count > 0, self.scale / np.maximum(count, 0.0), np.inf)
        return self._usual(self.location, np.array(self._each(variance)))

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Any]:
        row = self._row(component)
        gamma = rng.gamma(0.5 * self.degrees_of_freedom[row], 1.0, (n, self.scale.shape[1]))
        variance = np.broadcast_to(0.5 * self.scale[row] / gamma, (n, self.location.shape[1]))
        noise = rng.standard_normal(variance.shape)
        mean = self.location[component] + noise * np.sqrt(variance / self.mean_precision[component])
        return self._usual(mean, np.array(variance))

    def kl_divergence(self, other: Self) -> Array:
        """Of the means given the variances, and of the variances; nothing large cancels."""
        precision = self.degrees_of_freedom / self.scale
        ratio = other.mean_precision / self.mean_precision
        shift = other.mean_precision * self._each(precision) * (self.location - other.location) ** 2
        means = 0.5 * (ratio - 1.0 - np.log(ratio) + shift)
        a, b = 0.5 * self.degrees_of_freedom, 0.5 * other.degrees_of_freedom
        variances = (a - b) * digamma(a) - gammaln(a) + gammaln(b)
        variances += b * np.log(self.scale / other.scale) + a * (other.scale / self.scale - 1.0)
        return self._sum(means, variances)

    # -- what it says of rows ----------------------------------------------------------------------
    def _rows(self, x: Array) -> tuple[Array, Array]:
        """Rows on the line of the normal distribution, and log |dy/dx|."""
        x = np.asarray(x, float)
        if isinstance(self.family, LogNormal):
            y = np.log(x)
            return y, np.where(np.isnan(y), 0.0, -y)
        return x, np.zeros((len(x), 1))

    def log_predictive(self, x: Array) -> Array:
        y, log_slope = self._rows(x)
        out = np.empty((len(y), self.n_components))
        present = ~np.isnan(y)
        spread = (self.mean_precision + 1.0) / self.mean_precision
        for k in range(self.n_components):
            row = self._row(k)
            nu, s = self.degrees_of_freedom[row], self.scale[row]
            square = np.where(present, (y - self.location[k]) ** 2 / spread[k], 0.0)
            cells = present.astype(float)
            constant = -0.5 * cells @ np.log(np.pi * spread[k] * s)
            if len(s) < y.shape[1]:  # columns that share a variance
                square = square.sum(axis=1, keepdims=True)
                cells = cells.sum(axis=1, keepdims=True)
            half = 0.5 * (nu + cells)
            terms = gammaln(half) - gammaln(0.5 * nu) - half * np.log1p(square / s)
            out[:, k] = constant + terms.sum(axis=1)
        return out + log_slope

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        mean, variance = self._cells(self.sample(component, n, rng))
        y = mean + rng.standard_normal(mean.shape) * np.sqrt(variance)
        return np.exp(y) if isinstance(self.family, LogNormal) else y

    def log_marginal_likelihood(self, data: Any) -> Array:
        statistics = statistics_of(self.family, data)
        gain = self.update(statistics).log_normalizer() - self.log_normalizer()
        if isinstance(self.family, LogNormal):
            return np.asarray(gain + statistics.log_base)
        cells = np.asarray(statistics.counts, float)
        return np.asarray(gain - 0.5 * LOG_2PI * self._sum(cells, np.zeros_like(self.scale)))

    def expected_log_density(self, x: Array, memo: Any = None) -> Array:
        y, log_slope = self._rows(x)
        variance = np.array(self._each(self.scale / self.degrees_of_freedom))
        out = diagonal_log_density(self.location, variance, y)
        half = self._each(0.5 * self.degrees_of_freedom)
        each = 0.5 * (digamma(half) - np.log(half)) - 0.5 / self.mean_precision
        return out + (~np.isnan(y)).astype(float) @ each.T + log_slope

    def expected_log_likelihood(self, statistics: Any) -> float:
        log_base = 0.0
        if isinstance(self.family, LogNormal):
            log_base = statistics.log_base + 0.5 * LOG_2PI * float(statistics.counts.sum())
        sums = _moments(self.family, statistics).about(self.location)
        n = sums.counts
        precision = self._each(self.degrees_of_freedom / self.scale)
        terms = n * (self._each(self._mean_log()) - LOG_2PI - 1.0 / self.mean_precision)
        return float(0.5 * (terms - precision * sums.second).sum()) + log_base


def _moments(family: Family, statistics: Any) -> GaussianStatistics:
    """Moments of the normal variable, cell by cell."""
    if not isinstance(family, LogNormal):
        return statistics
    first, second = np.hsplit(statistics.sums, 2)
    return GaussianStatistics(statistics.counts[:, None], np.zeros_like(first), first, second)


def _pool(values: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the cells that share a variance."""
    axes = tuple(
        axis
        for axis, (size, kept) in enumerate(zip(values.shape, shape, strict=True))
        if kept < size
    )
    return np.asarray(values.sum(axis=axes, keepdims=True)) if axes else values


def variance_shape(family: Family, k: int, d: int) -> tuple[int, int]:
    """Shape of the variances: an axis of 1 where components or columns share them."""
    if isinstance(family, Gaussian):
        return (1 if family.structure[0] == "E" else k, 1 if family.structure[1] == "I" else d)
    return (k, d)
