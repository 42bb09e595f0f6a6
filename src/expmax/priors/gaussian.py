"""Normal-inverse-gamma and normal-inverse-Wishart distributions of means and covariances."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np
from scipy.special import digamma, gammaln, multigammaln

from expmax.contract import Parameters
from expmax.errors import parameter_error
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.families.gaussian_moments import (
    LOG_2PI,
    GaussianStatistics,
    diagonal_log_density,
    full_log_density,
)
from expmax.families.log_normal import LogNormal
from expmax.families.precision import with_precision
from expmax.priors.conjugate import Conjugate, Coordinates, check_positive, statistics_of
from expmax.statistics import Array

__all__ = ["NormalInverseGamma", "NormalInverseWishart"]


@final
@dataclass(frozen=True, eq=False)
class NormalInverseGamma(Conjugate):
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

    family: Family
    location: Array
    mean_precision: Array
    degrees_of_freedom: Array
    scale: Array

    classical_name = "normal-inverse-gamma"

    @classmethod
    def of(cls, family: Family, rows: Any) -> Self:
        """From imaginary rows: ν such that the mode over natural parameters is their fit."""
        sums = _moments(family, rows)
        mean, scatter = _centred(sums)
        pooled = _shape(family, *mean.shape)
        means = mean.size / (pooled[0] * pooled[1])
        degrees = _pool(sums.counts, pooled) + means + 2.0
        return cls(family, mean, sums.counts, degrees, _pool(scatter, pooled))

    @property
    def n_components(self) -> int:
        return len(self.location)

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
    def reference(self) -> Any:
        return self.location

    def sizes(self, about: Any = None) -> Array:
        each = self._each(self.scale / self.degrees_of_freedom)
        linear = np.sqrt(self.mean_precision * each)
        return self._stack(linear, self.mean_precision, self.degrees_of_freedom, self.scale)

    def _stack(self, *parts: Array) -> Array:
        rows = len(self.scale)
        return np.hstack([part.reshape(rows, -1) for part in parts])

    def natural(self, about: Any = None) -> Array:
        shift = self.location - (0.0 if about is None else about)
        square = _pool(self.mean_precision * shift**2, self.scale.shape)
        linear = self.mean_precision * shift
        parts = linear, self.mean_precision, self.degrees_of_freedom, self.scale + square
        return self._stack(*parts)

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        cells, pooled = self.location.size // len(natural), self.scale.size // len(natural)
        cuts = np.cumsum([cells, cells, pooled])
        linear, precision, degrees, second = np.hsplit(natural, cuts)
        linear, precision = (
            linear.reshape(self.location.shape),
            precision.reshape(self.location.shape),
        )
        degrees, second = degrees.reshape(self.scale.shape), second.reshape(self.scale.shape)
        shift = linear / precision
        scale = second - _pool(linear * shift, self.scale.shape)
        mean = shift + (0.0 if about is None else about)
        return replace(
            self, location=mean, mean_precision=precision, degrees_of_freedom=degrees, scale=scale
        )

    def expected_statistics(self, about: Any = None) -> Array:
        """E of (μ/σ², −½ μ²/σ², −½ log σ², −½/σ²), μ about c."""
        shift = self.location - (0.0 if about is None else about)
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
        mean, scatter = _centred(sums)
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
        row = component if len(self.scale) > 1 else 0
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
            row = k if len(self.scale) > 1 else 0
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


@final
@dataclass(frozen=True, eq=False)
class NormalInverseWishart(Conjugate):
    """Σ ~ inverse Wishart(ν, S), μ | Σ ~ N(m, Σ/κ); for Gaussian("full"), and "tied", which shares Σ.

    The mean of Σ⁻¹ is νS⁻¹. n rows of mean x̄ give κ + n, ν + n, m + n/(κ + n)·(x̄ − m) and S + Σ(x − x̄)(x
    − x̄)ᵀ + κn/(κ + n)·(x̄ − m)(x̄ − m)ᵀ. Predictive: Student t with ν − d + 1 degrees of freedom. Log
    density with respect to (μ, Σ), Σ by its entries on and below the diagonal.

    Parameters
    ----------
    family : Gaussian with matrices
    location : ndarray, shape (K, d)
        m.
    mean_precision : ndarray, shape (K,)
        κ.
    degrees_of_freedom, scale : ndarray, shapes (K,) and (K, d, d); (1,) and (1, d, d) for "tied"
        ν > d − 1, and S.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, §3.6. Bishop (2006), Pattern Recognition and Machine
    Learning, §10.2. Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution.
    """

    family: Family
    location: Array
    mean_precision: Array
    degrees_of_freedom: Array
    scale: Array

    classical_name = "normal-inverse-Wishart"

    @classmethod
    def of(cls, family: Family, rows: GaussianStatistics) -> Self:
        """From imaginary rows: ν such that the mode over natural parameters is their fit."""
        mean, scatter = _centred(rows)
        k, d = mean.shape
        shared = _is_tied(family)
        degrees = rows.counts.sum(keepdims=True) if shared else rows.counts
        scale = scatter.sum(axis=0, keepdims=True) if shared else scatter
        return cls(family, mean, rows.counts, degrees + d + 1.0 + (k if shared else 1), scale)

    @property
    def n_components(self) -> int:
        return len(self.location)

    @property
    def _d(self) -> int:
        return self.location.shape[1]

    @property
    def _means(self) -> float:
        return len(self.location) / len(self.scale)

    def _sum(self, by_component: Array, by_matrix: Array) -> Array:
        if len(self.scale) == self.n_components:
            return np.asarray(by_component + by_matrix)
        return np.asarray([by_component.sum() + by_matrix.sum()])

    def is_proper(self) -> bool:
        try:
            self.check()
        except ValueError:
            return False
        return True

    def check(self) -> None:
        """Refuse an improper distribution."""
        check_positive("mean_precision", self.mean_precision)
        if not (self.degrees_of_freedom > self._d - 1).all():
            raise parameter_error(
                "degrees_of_freedom", f"above d − 1 = {self._d - 1}", self.degrees_of_freedom
            )
        symmetric = np.allclose(self.scale, self.scale.swapaxes(1, 2))
        if not symmetric or not (np.linalg.eigvalsh(self.scale) > 0).all():
            raise parameter_error("scale", "symmetric and positive definite", self.scale, CONSTANT)

    # -- natural coordinates: (κ(m − c), κ, ν, S + κ(m − c)(m − c)ᵀ) about c -----------------------
    def reference(self) -> Any:
        return self.location

    def sizes(self, about: Any = None) -> Array:
        deviation = np.sqrt(np.diagonal(self.scale, axis1=1, axis2=2))
        each = np.broadcast_to(deviation, self.location.shape)
        nu = np.broadcast_to(self.degrees_of_freedom, self.mean_precision.shape)
        linear = np.sqrt(self.mean_precision / nu)[:, None] * each
        lower = np.tril_indices(self._d)
        flat = [
            linear,
            self.mean_precision,
            self.degrees_of_freedom,
            _outer(deviation, deviation)[:, *lower],
        ]
        return np.hstack([part.reshape(len(self.scale), -1) for part in flat])

    def natural(self, about: Any = None) -> Array:
        shift = self.location - (0.0 if about is None else about)
        linear = self.mean_precision[:, None] * shift
        square = _outer(linear, shift)
        square = square if len(self.scale) > 1 or self._means == 1 else square.sum(axis=0)[None]
        lower = np.tril_indices(self._d)
        rows = len(self.scale)
        parts = [linear, self.mean_precision, self.degrees_of_freedom]
        flat = [part.reshape(rows, -1) for part in parts]
        return np.hstack([*flat, (self.scale + square)[:, *lower]])

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        rows, d = len(natural), self._d
        own = self.n_components // rows
        linear, precision, degrees, second = np.hsplit(natural, np.cumsum([own * d, own, 1]))
        linear, precision = linear.reshape(-1, d), precision.ravel()
        shift = linear / precision[:, None]
        matrix = np.zeros((rows, d, d))
        lower = np.tril_indices(d)
        matrix[:, *lower] = second
        matrix.swapaxes(1, 2)[:, *lower] = second
        scale = matrix - _outer(linear, shift).reshape(rows, own, d, d).sum(axis=1)
        mean = shift + (0.0 if about is None else about)
        return replace(
            self,
            location=mean,
            mean_precision=precision,
            degrees_of_freedom=degrees[:, 0],
            scale=scale,
        )

    def expected_statistics(self, about: Any = None) -> Array:
        """E of (Σ⁻¹μ, −½ μᵀΣ⁻¹μ, −½ log|Σ|, −½ Σ⁻¹), μ about c, off-diagonal entries twice."""
        shift = self.location - (0.0 if about is None else about)
        precision = self._precision()
        linear = np.einsum("kij,kj->ki", self._each(precision), shift)
        square = -0.5 * (self._d / self.mean_precision + (linear * shift).sum(axis=1))
        lower = np.tril_indices(self._d)
        entries = -0.5 * precision[:, *lower] * np.where(lower[0] == lower[1], 1.0, 2.0)
        rows = len(self.scale)
        parts = [linear, square, 0.5 * self._mean_log_det()]
        return np.hstack([*[part.reshape(rows, -1) for part in parts], entries])

    def _each(self, matrices: Array) -> Array:
        return np.broadcast_to(matrices, (self.n_components, *matrices.shape[1:]))

    def _precision(self) -> Array:
        """E[Σ⁻¹] = νS⁻¹."""
        return np.asarray(self.degrees_of_freedom[:, None, None] * np.linalg.inv(self.scale))

    def _log_det(self) -> Array:
        """log|S|; NaN where S is not positive definite."""
        sign, value = np.linalg.slogdet(self.scale)
        return np.where(sign > 0, value, np.nan)

    def _mean_log_det(self) -> Array:
        """E[log|Σ⁻¹|]."""
        half = 0.5 * (self.degrees_of_freedom[:, None] - np.arange(self._d))
        return np.asarray(digamma(half).sum(axis=1) + self._d * np.log(2.0) - self._log_det())

    def log_normalizer(self) -> Array:
        half = 0.5 * self.degrees_of_freedom
        matrix = multigammaln(half, self._d) + half * (self._d * np.log(2.0) - self._log_det())
        return self._sum(-0.5 * self._d * np.log(self.mean_precision), matrix)

    def update(self, data: Any) -> Self:
        sums = statistics_of(self.family, data)
        mean, scatter = _centred(sums)
        n = sums.counts
        precision = self.mean_precision + n
        shift = np.where(n[:, None] > 0, mean - self.location, 0.0)
        weight = self.mean_precision * n / precision
        matrices = scatter + weight[:, None, None] * _outer(shift, shift)
        shared = len(self.scale) == 1
        return replace(
            self,
            location=self.location + (n / precision)[:, None] * shift,
            mean_precision=precision,
            degrees_of_freedom=self.degrees_of_freedom + (n.sum() if shared else n),
            scale=self.scale + (matrices.sum(axis=0) if shared else matrices),
        )

    # -- the distribution of θ ---------------------------------------------------------------------
    def log_density(self, parameters: Parameters) -> Array:
        shift = parameters["mean"] - self.location
        covariance = parameters["covariance"]
        factor = np.linalg.cholesky(covariance)
        whitened = np.linalg.solve(factor, shift[:, :, None])[:, :, 0]
        log_det = 2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        d, kappa = self._d, self.mean_precision
        normal = -0.5 * (
            d * (LOG_2PI - np.log(kappa)) + log_det + kappa * (whitened**2).sum(axis=1)
        )
        shared = slice(len(self.scale))
        nu = self.degrees_of_freedom
        trace = np.trace(np.linalg.solve(covariance[shared], self.scale), axis1=1, axis2=2)
        wishart = 0.5 * nu * (self._log_det() - d * np.log(2.0)) - multigammaln(0.5 * nu, d)
        wishart -= 0.5 * ((nu + d + 1.0) * log_det[shared] + trace)
        return self._sum(normal, wishart)

    def _usual(self, covariance: Array) -> dict[str, Any]:
        return with_precision(self.location, np.array(self._each(covariance)))

    def _scaled(self, count: Array) -> dict[str, Any]:
        """S/count, infinite on the diagonal where the count is not positive."""
        if (count > 0).all():
            return self._usual(self.scale / count[:, None, None])
        covariance = np.where((count > 0)[:, None, None], self.scale, np.inf)
        return {"mean": self.location, "covariance": np.array(self._each(covariance))}

    def mean(self) -> dict[str, Any]:
        """m, and E[Σ] = S/(ν − d − 1)."""
        return self._scaled(self.degrees_of_freedom - self._d - 1.0)

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Any]:
        """Σ = S/(ν − d − 1 − g) in natural coordinates, S/(ν + d + 1 + g) in (μ, Σ); g means share Σ."""
        g = self._d + 1.0 + self._means
        return self._scaled(self.degrees_of_freedom + (-g if coordinates == "natural" else g))

    def _roots(self, component: int, n: int, rng: np.random.Generator) -> Array:
        """n draws of R with Σ⁻¹ = RRᵀ, by Bartlett's decomposition: shape (n, d, d)."""
        row = component if len(self.scale) > 1 else 0
        d, nu = self._d, self.degrees_of_freedom[row]
        triangle = np.tril(rng.standard_normal((n, d, d)), -1)
        i = np.arange(d)
        triangle[:, i, i] = np.sqrt(rng.chisquare(nu - i, (n, d)))
        return np.linalg.cholesky(np.linalg.inv(self.scale[row])) @ triangle

    def _around(self, roots: Array, centre: Array, rng: np.random.Generator) -> Array:
        noise = rng.standard_normal((len(roots), self._d, 1))
        return np.asarray(centre + np.linalg.solve(roots.swapaxes(1, 2), noise)[:, :, 0])

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Any]:
        roots = self._roots(component, n, rng)
        centre = self.location[component]
        spread = np.sqrt(self.mean_precision[component])
        mean = self._around(roots * spread, centre, rng)
        inverse = np.linalg.inv(roots)
        return with_precision(mean, inverse.swapaxes(1, 2) @ inverse)

    def kl_divergence(self, other: Self) -> Array:
        """Of the means given Σ, and of Σ; nothing large cancels."""
        d, precision = self._d, self._precision()
        shift = self.location - other.location
        square = np.einsum("ki,kij,kj->k", shift, self._each(precision), shift)
        ratio = other.mean_precision / self.mean_precision
        means = 0.5 * (d * (ratio - 1.0 - np.log(ratio)) + other.mean_precision * square)
        nu, nu_other = self.degrees_of_freedom, other.degrees_of_freedom
        half = 0.5 * (nu[:, None] - np.arange(d))
        whitened = np.linalg.solve(self.scale, other.scale)
        trace = np.trace(whitened, axis1=1, axis2=2)
        matrices = 0.5 * (nu - nu_other) * digamma(half).sum(axis=1)
        matrices += multigammaln(0.5 * nu_other, d) - multigammaln(0.5 * nu, d)
        matrices += 0.5 * nu_other * (self._log_det() - other._log_det())
        matrices += 0.5 * nu * (trace - d)
        return self._sum(means, matrices)

    # -- what it says of rows ----------------------------------------------------------------------
    def log_predictive(self, x: Array) -> Array:
        d = self._d
        nu = np.broadcast_to(self.degrees_of_freedom - d + 1.0, (self.n_components,))
        spread = (self.mean_precision + 1.0) / (self.mean_precision * nu)
        factor = with_precision(self.location, self._each(self.scale) * spread[:, None, None])
        normal = full_log_density(self.location, factor["precision_cholesky"], np.asarray(x, float))
        log_det = np.log(np.diagonal(factor["precision_cholesky"], axis1=1, axis2=2)).sum(axis=1)
        square = -2.0 * (normal - log_det) - d * LOG_2PI
        constant = gammaln(0.5 * (nu + d)) - gammaln(0.5 * nu) - 0.5 * d * np.log(np.pi * nu)
        return np.asarray(constant + log_det - 0.5 * (nu + d) * np.log1p(square / nu))

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        roots = self._roots(component, n, rng)
        spread = np.sqrt(self.mean_precision[component])
        mean = self._around(roots * spread, self.location[component], rng)
        return self._around(roots, mean, rng)

    def log_marginal_likelihood(self, data: Any) -> Array:
        statistics = statistics_of(self.family, data)
        gain = self.update(statistics).log_normalizer() - self.log_normalizer()
        cells = self._sum(self._d * statistics.counts, np.zeros(len(self.scale)))
        return np.asarray(gain - 0.5 * LOG_2PI * cells)

    def expected_log_density(self, x: Array, memo: Any = None) -> Array:
        d, nu = self._d, self.degrees_of_freedom
        factor = with_precision(self.location, self._each(self.scale / nu[:, None, None]))
        out = full_log_density(self.location, factor["precision_cholesky"], np.asarray(x, float))
        half = 0.5 * (nu[:, None] - np.arange(d))
        each = 0.5 * (digamma(half).sum(axis=1) - d * np.log(0.5 * nu))
        return out + each - 0.5 * d / self.mean_precision

    def expected_log_likelihood(self, statistics: Any) -> float:
        sums = statistics.about(self.location)
        each = self._mean_log_det() - self._d * LOG_2PI - self._d / self.mean_precision
        spread = (self._precision() * sums.second).sum()
        return 0.5 * float(sums.counts @ each - spread)


CONSTANT = "Leave out constant and dependent columns"


def _moments(family: Family, statistics: Any) -> GaussianStatistics:
    """Moments of the normal variable, cell by cell."""
    if not isinstance(family, LogNormal):
        return statistics
    first, second = np.hsplit(statistics.sums, 2)
    return GaussianStatistics(statistics.counts[:, None], np.zeros_like(first), first, second)


def _centred(sums: GaussianStatistics) -> tuple[Array, Array]:
    """Mean and scatter about it; the reference and 0 where there are no rows."""
    matrices = sums.second.ndim == 3
    n = sums.counts[:, None] if matrices else sums.counts
    shift = np.divide(sums.first, n, out=np.zeros_like(sums.first), where=n > 0)
    if matrices:
        scatter = sums.second - _outer(sums.first, shift)
        return sums.reference + shift, 0.5 * (scatter + scatter.swapaxes(1, 2))
    return sums.reference + shift, np.maximum(sums.second - sums.first * shift, 0.0)


def _outer(a: Array, b: Array) -> Array:
    return np.asarray(a[:, :, None] * b[:, None, :])


def _pool(values: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the cells that share a variance."""
    axes = tuple(
        axis
        for axis, (size, kept) in enumerate(zip(values.shape, shape, strict=True))
        if kept < size
    )
    return np.asarray(values.sum(axis=axes, keepdims=True)) if axes else values


def _shape(family: Family, k: int, d: int) -> tuple[int, int]:
    """Shape of the variances."""
    if isinstance(family, Gaussian):
        return (1 if family.structure[0] == "E" else k, 1 if family.structure[1] == "I" else d)
    return (k, d)


def _is_tied(family: Family) -> bool:
    return isinstance(family, Gaussian) and family.structure == "EEE"
