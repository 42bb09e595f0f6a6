"""Local coordinates of many probability vectors at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expmax.models.answers import AnswerModel, AnswerParameters, AnswerStatistics
from expmax.statistics import Array

__all__ = ["AnswerChart"]

LEAST = 1e-3  # expected answers below which a segment has no coordinates
NONE = 1e-9  # expected answers below which a probability has none


class AnswerChart:
    """Coordinates v with v = 0 at the reference and −∂²Q/∂v² = I there; what is held or at 0 has none.

    Each segment: log p = a − log Σ exp a, a = log p₀ + H v / √(n p₀), where the reflection
    H = I − u uᵀ/(1 + √p₀_ref), u = √p₀ + e_ref, sends √p₀ (the direction that changes nothing) to −e_ref; so
    the coordinate of the largest probability, ref, is left out.
    """

    def __init__(
        self, model: AnswerModel, params: AnswerParameters, statistics: AnswerStatistics
    ) -> None:
        self.model, self.params = model, params
        self.sizes = np.concatenate([[model.n_components], model.sizes])
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.log_p = _flat(params.log_weights, params.log_probability)
        full = model.with_prior(statistics)
        n = self._sums(_flat(full.counts, full.answers))
        free = n > LEAST
        weights_held = np.full(model.n_components, model.fixed_weights is not None)
        free &= ~np.concatenate([weights_held, model.held])
        self.live = free & (np.exp(self.log_p) * n > NONE)
        self.side = np.where(self.live, np.exp(0.5 * self.log_p), 0.0)
        reference = self._first_largest()
        self.u = self.side + reference
        self.half = 1.0 / (1.0 + self._sums(self.side * reference))
        self.root = np.sqrt(np.where(self.live, n, 1.0))
        self.stretch = np.where(self.live, self.side, 1.0) * self.root
        self.used = self.live & ~reference
        self.free = self._sums(self.live.astype(float)) > 0
        self.scale = self.root[self.used]

    def to_vector(self, params: AnswerParameters) -> Array:
        """v of parameters."""
        new = _flat(params.log_weights, params.log_probability)
        change = np.zeros(len(new))
        change[self.live] = (new[self.live] - self.log_p[self.live]) * self.stretch[self.live]
        return self._reflect(change)[self.used]

    def from_vector(self, vector: Array) -> AnswerParameters:
        """Parameters at v."""
        full = np.zeros(len(self.log_p))
        full[self.used] = vector
        a = self.log_p + np.where(self.live, self._reflect(full), 0.0) / self.stretch
        top = np.maximum.reduceat(a, self.starts)
        top = np.repeat(np.where(np.isfinite(top), top, 0.0), self.sizes)
        log_p = a - top - np.log(self._sums(np.exp(a - top)))
        log_p = np.where(self.free, log_p, self.log_p)
        k = self.model.n_components
        p = np.where(
            self.free[k:], np.exp(log_p[k:]), self.params.probability
        )  # to the bit if held
        return AnswerParameters(log_p[:k], p)

    def score(self, params: AnswerParameters, statistics: AnswerStatistics) -> Array:
        """∂(Q + log prior)/∂v: by Fisher's identity the score of the objective."""
        return self.row_score(params, self.model.with_prior(statistics))

    def row_score(self, params: AnswerParameters, statistics: AnswerStatistics) -> Array:
        """∂ log p(x_i)/∂v of single units: the score without the prior."""
        counts = _flat(statistics.counts, statistics.answers)
        p = np.exp(_flat(params.log_weights, params.log_probability))
        slope = np.where(self.live, counts - self._sums(counts) * p, 0.0)
        return self._reflect(slope / self.stretch)[self.used]

    def _sums(self, values: Array) -> Array:
        """Sums over the segments, spread over their members."""
        return np.repeat(np.add.reduceat(values, self.starts), self.sizes)

    def _reflect(self, y: Array) -> Array:
        return y - self.u * (self.half * self._sums(self.u * y))

    def _first_largest(self) -> NDArray[np.bool_]:
        """One live member of each segment, the most probable, marked."""
        largest = np.repeat(np.maximum.reduceat(self.side, self.starts), self.sizes)
        hit = (self.side == largest) & self.live
        order = np.cumsum(hit)
        before = np.repeat(order[self.starts] - hit[self.starts], self.sizes)
        return hit & (order - before == 1)


def _flat(weights: Array, answers: Array) -> Array:
    return np.concatenate([weights, answers])
