"""Normal-inverse-Wishart distributions of means and covariance matrices."""
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
from expmax.families.gaussian_moments import LOG_2PI, GaussianStatistics, full_log_density
from expmax.families.precision import log_determinant, precision_factor, with_precision
from expmax.priors.conjugate import Coordinates, check_positive, statistics_of
from expmax.priors.normal_inverse import CONSTANT, NormalInverse, centred_moments, outer
from expmax.statistics import Array

__all__ = ["NormalInverseWishart"]


@final
@dataclass(frozen=True, eq=False)
class NormalInverseWishart(NormalInverse):
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

    classical_name = "normal-inverse-Wishart"

    @classmethod
    def of(cls, family: Family, rows: GaussianStatistics) -> Self:
        """From imaginary rows: ν such that the mode over natural parameters is their fit."""
        mean, scatter = centred_moments(rows)
        k, d = mean.shape
        shared = isinstance(family, Gaussian) and family.structure == "EEE"
        degrees = rows.counts.sum(keepdims=True) if shared else rows.counts
        scale = scatter.sum(axis=0, keepdims=True) if shared else scatter
        return cls(family, mean, rows.counts, degrees + d + 1.0 + (k if shared else 1), scale)

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
    def sizes(self, about: Any = None) -> Array:
        deviation = np.sqrt(np.diagonal(self.scale, axis1=1, axis2=2))
        each = np.broadcast_to(deviation, self.location.shape)
        nu = np.broadcast_to(self.degrees_of_freedom, self.mean_precision.shape)
        linear = np.sqrt(self.mean_precision / nu)[:, None] * each
        lower = np.tril_indices(self._d)
        second = outer(deviation, deviation)[:, *lower]
        return self._stack(linear, self.mean_precision, self.degrees_of_freedom, second)

    def natural(self, about: Any = None) -> Array:
        shift = self._shift(about)
        linear = self.mean_precision[:, None] * shift
        square = outer(linear, shift)
        square = square if len(self.scale) > 1 or self._means == 1 else square.sum(axis=0)[None]
        second = (self.scale + square)[:, *np.tril_indices(self._d)]
        return self._stack(linear, self.mean_precision, self.degrees_of_freedom, second)

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
        scale = matrix - outer(linear, shift).reshape(rows, own, d, d).sum(axis=1)
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
        shift = self._shift(about)
        precision = self._precision()
        linear = np.einsum("kij,kj->ki", self._each(precision), shift)
        square = -0.5 * (self._d / self.mean_precision + (linear * shift).sum(axis=1))
        lower = np.tril_indices(self._d)
        entries = -0.5 * precision[:, *lower] * np.where(lower[0] == lower[1], 1.0, 2.0)
        return self._stack(linear, square, 0.5 * self._mean_log_det(), entries)

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
        mean, scatter = centred_moments(sums)
        n = sums.counts
        precision = self.mean_precision + n
        shift = np.where(n[:, None] > 0, mean - self.location, 0.0)
        weight = self.mean_precision * n / precision
        matrices = scatter + weight[:, None, None] * outer(shift, shift)
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
        log_det = 2.0 * log_determinant(factor)
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
        row = self._row(component)
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
        factor = precision_factor(self._each(self.scale) * spread[:, None, None])
        normal = full_log_density(self.location, factor, np.asarray(x, float))
        log_det = log_determinant(factor)
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
        factor = precision_factor(self._each(self.scale / nu[:, None, None]))
        out = full_log_density(self.location, factor, np.asarray(x, float))
        half = 0.5 * (nu[:, None] - np.arange(d))
        each = 0.5 * (digamma(half).sum(axis=1) - d * np.log(0.5 * nu))
        return out + each - 0.5 * d / self.mean_precision

    def expected_log_likelihood(self, statistics: Any) -> float:
        sums = statistics.about(self.location)
        each = self._mean_log_det() - self._d * LOG_2PI - self._d / self.mean_precision
        spread = (self._precision() * sums.second).sum()
        return 0.5 * float(sums.counts @ each - spread)
