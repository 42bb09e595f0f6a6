"""Charts of Gaussian parameters: whitened means and the logarithm of the Cholesky factor.

Full and tied: P = P₀B with B upper triangular (Σ⁻¹ = PPᵀ); v holds √n P₀ᵀ(μ − μ₀), √n B_ij above the diagonal
and √(2n) log B_ii. Axis-parallel: √n (μ − μ₀)/σ₀ and √(2n) log(σ/σ₀), shared as the structure says.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.gaussian_moments import add_ridge
from expmax.families.precision import covariance_of, precision_cholesky
from expmax.statistics import Array

__all__ = ["DiagonalChart", "FullChart"]

TINY = float(np.finfo(float).tiny)


class FullChart:
    """VVV and EEE: one triangular factor a component, or one for all."""

    def __init__(self, family: Any, parameters: Parameters, factor: Array, counts: Array) -> None:
        self.family = family
        self.mean, self.factor = parameters["mean"], factor
        self.tied = family.structure == "EEE"
        d = self.mean.shape[1]
        self.entries = _upper(d)
        root = np.sqrt(np.maximum(counts, TINY))
        spread = np.sqrt(counts.sum(keepdims=True)) if self.tied else root
        self.mean_root = root[:, None]
        self.factor_root = np.repeat(spread[:, None], len(self.entries), axis=1)
        self.scale = np.concatenate([np.repeat(root, d), self.factor_root.ravel()])
        self.factor_root[:, :d] *= np.sqrt(2.0)
        self.inverse = np.linalg.inv(factor)

    def to_vector(self, parameters: Parameters) -> Array:
        d = self.mean.shape[1]
        shift = (parameters["mean"] - self.mean) * self.mean_root
        means = shift[:, None, :] @ self.factor
        ratio = self.inverse @ precision_cholesky(parameters)
        entries = (ratio[:1] if self.tied else ratio).reshape(-1, d * d)[:, self.entries]
        entries[:, :d] = np.log(entries[:, :d])
        return np.concatenate([means.ravel(), (entries * self.factor_root).ravel()])

    def from_vector(self, vector: Array) -> Parameters:
        k, d = self.mean.shape
        means = vector[: k * d].reshape(k, d) / self.mean_root
        mean = self.mean + (means[:, None, :] @ self.inverse)[:, 0]
        entries = vector[k * d :].reshape(self.factor_root.shape) / self.factor_root
        entries[:, :d] = np.exp(entries[:, :d])
        ratio = np.zeros((len(entries), d * d))
        ratio[:, self.entries] = entries
        factor = self.factor @ ratio.reshape(-1, d, d)
        covariance = covariance_of(factor)
        return {"mean": mean, "covariance": covariance, "precision_cholesky": factor}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        k, d = self.mean.shape
        at = statistics.about(parameters["mean"])
        factor = precision_cholesky(parameters)
        ratio = self.inverse @ factor
        whitened = at.first[:, None, :] @ factor
        means = (whitened @ ratio.swapaxes(1, 2))[:, 0] / self.mean_root
        scatter = at.second
        if self.family.penalty:
            scatter = add_ridge(scatter.copy(), self.family.penalty * at.counts)
        moment = self.factor.swapaxes(1, 2) @ scatter @ factor
        gradient = -moment.reshape(k, d * d)[:, self.entries]
        gradient[:, :d] *= ratio.diagonal(0, 1, 2)
        gradient[:, :d] += at.counts[:, None]
        if self.tied:
            gradient = gradient.sum(axis=0, keepdims=True)
        return np.concatenate([means.ravel(), (gradient / self.factor_root).ravel()])


@cache
def _upper(d: int) -> NDArray[np.intp]:
    """Where a flat d × d matrix holds its diagonal, and then what lies above it."""
    rows, columns = np.triu_indices(d, 1)
    return np.concatenate([np.arange(d) * (d + 1), rows * d + columns])


class DiagonalChart:
    """EII VII EEI VVI: standard deviations shared over components, columns, both or neither."""

    def __init__(self, family: Any, parameters: Parameters, counts: Array) -> None:
        self.family = family
        self.mean, self.deviation = parameters["mean"], np.sqrt(parameters["covariance"])
        k, d = self.mean.shape
        structure = family.structure
        self.rows: NDArray[Any] = np.zeros(k, int) if structure[0] == "E" else np.arange(k)
        self.columns: NDArray[Any] = np.zeros(d, int) if structure[1] == "I" else np.arange(d)
        self.shape = (int(self.rows[-1]) + 1, int(self.columns[-1]) + 1)
        self.mean_root = np.sqrt(np.maximum(counts, TINY))
        self.spread_root = np.sqrt(2.0 * self._pool(counts))
        self.scale = np.concatenate(
            [self.mean_root.ravel(), (self.spread_root / np.sqrt(2.0)).ravel()]
        )

    def _pool(self, values: Array) -> Array:
        """Sum over the cells that share a standard deviation."""
        out = np.zeros(self.shape)
        np.add.at(out, (self.rows[:, None], self.columns[None, :]), values)
        return out

    def to_vector(self, parameters: Parameters) -> Array:
        means = (parameters["mean"] - self.mean) / self.deviation * self.mean_root
        log_ratio = np.log(np.sqrt(parameters["covariance"]) / self.deviation)
        shared = np.empty(self.shape)
        shared[self.rows[:, None], self.columns[None, :]] = log_ratio
        return np.concatenate([means.ravel(), (shared * self.spread_root).ravel()])

    def from_vector(self, vector: Array) -> Parameters:
        means = vector[: self.mean.size].reshape(self.mean.shape) / self.mean_root
        log_ratio = vector[self.mean.size :].reshape(self.shape) / self.spread_root
        with np.errstate(over="ignore"):
            deviation = self.deviation * np.exp(log_ratio[self.rows][:, self.columns])
            variance = deviation**2
        variance = np.where(variance > 0.0, variance, np.nan)  # so small that it has no inverse
        return {"mean": self.mean + means * self.deviation, "covariance": variance}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        at = statistics.about(parameters["mean"])
        variance = parameters["covariance"]
        means = at.first / variance * self.deviation / self.mean_root
        scatter = at.second + self.family.penalty * at.counts
        spread = self._pool(scatter / variance - at.counts) / self.spread_root
        return np.concatenate([means.ravel(), spread.ravel()])
