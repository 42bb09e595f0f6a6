"""Natural, mean and usual parameters of exponential families, of Gaussians and of products of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.base import Family
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.gaussian import Gaussian
from expmax.families.gaussian_moments import LOG_2PI
from expmax.families.precision import log_determinant, precision_cholesky, with_precision
from expmax.families.product import Product
from expmax.statistics import Array

__all__ = ["Coordinates", "coordinates"]


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
        log_det = -2.0 * log_determinant(theta["precision_cholesky"])
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


def _split(vector: Array) -> tuple[Array, Array]:
    """(K, d + d²) as (K, d) and (K, d, d)."""
    k, size = vector.shape
    d = int((np.sqrt(1 + 4 * size) - 1) / 2 + 0.5)
    return vector[:, :d], vector[:, d:].reshape(k, d, d)


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
        self.labels = family.labels
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
