"""Whitened coordinates for any model that can pack its parameters into unconstrained numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.statistics import Array

__all__ = ["NumericChart"]

STEP = 1e-4  # of central differences of Q, relative to the size of a coordinate


class NumericChart:
    """v = Lᵀ(u − u₀) with u = pack(θ) and LLᵀ = −∂²Q/∂u² at the M-step of the reference's statistics.

    Q is a function of the statistics alone, so its differences cost no pass over the data. Directions in which
    Q does not curve (gauge directions) have no coordinate.
    """

    def __init__(self, model: Any, params: Any, statistics: Any, weight: float) -> None:
        self.model = model
        self.reference: Array = np.asarray(model.space.pack(params), float)
        best = model.maximize(statistics, params)
        best = model.reduce(best) if hasattr(model, "reduce") else best
        top: Array = np.asarray(model.space.pack(best), float)
        self.steps = STEP * np.maximum(np.abs(top), 1.0)
        information = self._information(top, statistics)
        values, vectors = np.linalg.eigh(information)
        used = values > 1e-9 * max(float(values[-1]), 0.0)
        self.root = vectors[:, used] * np.sqrt(values[used])
        self.inverse = vectors[:, used] / np.sqrt(values[used])
        self.scale = np.full(int(used.sum()), np.sqrt(max(weight, 1.0)))

    def _information(self, top: Array, statistics: Any) -> Array:
        """−∂²Q/∂u², by second differences."""
        size = len(top)
        steps = 10.0 * self.steps
        matrix = np.empty((size, size))
        for i in range(size):
            for j in range(i + 1):
                a, b = np.zeros(size), np.zeros(size)
                a[i], b[j] = steps[i], steps[j]
                corners = [
                    self._q(top + s * a + t * b, statistics) * s * t
                    for s in (1.0, -1.0)
                    for t in (1.0, -1.0)
                ]
                matrix[i, j] = matrix[j, i] = -sum(corners) / (4.0 * steps[i] * steps[j])
        return matrix

    def _q(self, packed: Array, statistics: Any) -> float:
        params = self.model.space.unpack(packed)
        value = float(self.model.expected_log_joint(params, statistics))
        prior = getattr(self.model, "log_prior", None)
        return value if prior is None else value + float(prior(params))

    def to_vector(self, params: Any) -> Array:
        """v of parameters."""
        return np.asarray((np.asarray(self.model.space.pack(params)) - self.reference) @ self.root)

    def from_vector(self, vector: Array) -> Any:
        """Parameters at v."""
        return self.model.space.unpack(self.reference + self.inverse @ vector)

    def score(self, params: Any, statistics: Any) -> Array:
        """∂(Q + log prior)/∂v: analytic where the model has a score, else by central differences."""
        own = getattr(self.model, "score", None)
        if own is not None:
            return np.asarray(self.inverse.T @ np.asarray(own(params, statistics), float))
        packed = np.asarray(self.model.space.pack(params), float)
        gradient = np.empty(len(packed))
        for j, step in enumerate(self.steps):
            shift = np.zeros(len(packed))
            shift[j] = step
            # fourth order: Q is large and its differences small
            near = self._q(packed + shift, statistics) - self._q(packed - shift, statistics)
            far = self._q(packed + 2 * shift, statistics) - self._q(packed - 2 * shift, statistics)
            gradient[j] = (8.0 * near - far) / (12.0 * step)
        return np.asarray(self.inverse.T @ gradient)

    row_score = score
