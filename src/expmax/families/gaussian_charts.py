"""Charts of Gaussian parameters: whitened means and the logarithm of the Cholesky factor.

Full and tied: P = P₀B with B upper triangular (Σ⁻¹ = PPᵀ); v holds √n P₀ᵀ(μ − μ₀), √n B_ij above the diagonal
and √(2n) log B_ii. Axis-parallel: √n (μ − μ₀)/σ₀ and √(2n) log(σ/σ₀), shared as the structure says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.statistics import Array

__all__ = ["DiagonalChart", "FullChart"]


class FullChart:
    """VVV and EEE: one triangular factor a component, or one for all."""

    def __init__(self, family: Any, parameters: Parameters, factor: Array, counts: Array) -> None:
        self.family, self.counts = family, counts
        self.mean, self.factor = parameters["mean"], factor
        self.tied = family.structure == "EEE"
        d = self.mean.shape[1]
        self.upper = np.triu_indices(d)
        self.on_diagonal: NDArray[np.bool_] = self.upper[0] == self.upper[1]
        root = np.sqrt(np.maximum(counts, np.finfo(float).tiny))
        self.mean_root = root[:, None]
        spread = np.sqrt(counts.sum(keepdims=True)) if self.tied else root
        self.factor_root = spread[:, None] * np.where(self.on_diagonal, np.sqrt(2.0), 1.0)
        self.scale = np.concatenate([np.repeat(root, d), np.repeat(spread, len(self.on_diagonal))])
        self.inverse = np.linalg.inv(factor)

    def to_vector(self, parameters: Parameters) -> Array:
        shift = parameters["mean"] - self.mean
        means = np.einsum("kij,ki->kj", self.factor, shift) * self.mean_root
        ratio = self.inverse @ parameters["precision_cholesky"]
        entries = (ratio[:1] if self.tied else ratio)[:, *self.upper]
        entries[:, self.on_diagonal] = np.log(entries[:, self.on_diagonal])
        return np.concatenate([means.ravel(), (entries * self.factor_root).ravel()])

    def from_vector(self, vector: Array) -> Parameters:
        k, d = self.mean.shape
        means = vector[: k * d].reshape(k, d) / self.mean_root
        mean = self.mean + np.einsum("kji,kj->ki", self.inverse, means)
        entries = vector[k * d :].reshape(-1, len(self.on_diagonal)) / self.factor_root
        entries[:, self.on_diagonal] = np.exp(entries[:, self.on_diagonal])
        ratio = np.zeros((len(entries), d, d))
        ratio[:, *self.upper] = entries
        factor = self.factor @ ratio
        inverse = (
            np.linalg.inv(factor) if np.isfinite(factor).all() else np.full_like(factor, np.nan)
        )
        covariance = inverse.swapaxes(1, 2) @ inverse
        return {"mean": mean, "covariance": covariance, "precision_cholesky": factor}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        at = statistics.about(parameters["mean"])
        factor = parameters["precision_cholesky"]
        ratio = self.inverse @ factor
        whitened = np.einsum("kij,ki->kj", factor, at.first)
        means = np.einsum("kij,kj->ki", ratio, whitened) / self.mean_root
        scatter = at.second
        if self.family.penalty:
            ridge = self.family.penalty * at.counts[:, None, None]
            scatter = scatter + ridge * np.eye(scatter.shape[1])
        moment = self.factor.swapaxes(1, 2) @ scatter @ factor
        gradient = -moment[:, *self.upper]
        diagonals = np.diagonal(ratio, axis1=1, axis2=2)
        gradient[:, self.on_diagonal] *= diagonals
        gradient[:, self.on_diagonal] += at.counts[:, None]
        if self.tied:
            gradient = gradient.sum(axis=0, keepdims=True)
        return np.concatenate([means.ravel(), (gradient / self.factor_root).ravel()])


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
        self.mean_root = np.sqrt(np.maximum(counts, np.finfo(float).tiny))
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
        return {"mean": self.mean + means * self.deviation, "covariance": deviation**2}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        at = statistics.about(parameters["mean"])
        variance = parameters["covariance"]
        means = at.first / variance * self.deviation / self.mean_root
        scatter = at.second + self.family.penalty * at.counts
        spread = self._pool(scatter / variance - at.counts) / self.spread_root
        return np.concatenate([means.ravel(), spread.ravel()])
