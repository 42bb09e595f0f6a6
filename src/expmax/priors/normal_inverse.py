"""What distributions of a normal's mean and variance have in common, and the moments that update them."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.families.base import Family
from expmax.families.gaussian_moments import GaussianStatistics
from expmax.priors.conjugate import Conjugate
from expmax.statistics import Array

__all__ = ["CONSTANT", "NormalInverse", "centred_moments", "outer"]

CONSTANT = "Leave out constant and dependent columns"  # remedy for a scale that is not positive


@dataclass(frozen=True, eq=False)
class NormalInverse(Conjugate):
    """A normal distribution of means given variances, and one of variances, some of them shared."""

    family: Family
    location: Array  # m, shape (K, d)
    mean_precision: Array  # κ
    degrees_of_freedom: Array  # ν
    scale: Array  # first axis K, or 1 where the components share

    @property
    def n_components(self) -> int:
        return len(self.location)

    def reference(self) -> Any:
        return self.location

    def _shift(self, about: Any) -> Array:
        """m − c, c being what natural coordinates are about."""
        return np.asarray(self.location - (0.0 if about is None else about))

    def _row(self, component: int) -> int:
        """Where a component's variance stands."""
        return component if len(self.scale) > 1 else 0

    def _stack(self, *parts: Array) -> Array:
        """Natural coordinates side by side: shape (B, m)."""
        rows = len(self.scale)
        return np.hstack([part.reshape(rows, -1) for part in parts])


def centred_moments(sums: GaussianStatistics) -> tuple[Array, Array]:
    """Mean and scatter about it; the reference and 0 where there are no rows."""
    matrices = sums.second.ndim == 3
    n = sums.counts[:, None] if matrices else sums.counts
    shift = np.divide(sums.first, n, out=np.zeros_like(sums.first), where=n > 0)
    if matrices:
        scatter = sums.second - outer(sums.first, shift)
        return sums.reference + shift, 0.5 * (scatter + scatter.swapaxes(1, 2))
    return sums.reference + shift, np.maximum(sums.second - sums.first * shift, 0.0)


def outer(a: Array, b: Array) -> Array:
    """a_k b_kᵀ: shape (K, d, d)."""
    return np.asarray(a[:, :, None] * b[:, None, :])
