"""Whitened coordinates of a user's model: Q's own Hessian by automatic differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.general.ascent import normalised_eigen
from expmax.general.statistics import JointStatistics
from expmax.statistics import Array

__all__ = ["JointChart"]

FLAT = 1e-9  # information per unit of weight below which a coordinate in logs counts as flat
GAUGE = (
    1e-10  # eigenvalue of the normalised information below which nothing is known of a direction
)


class JointChart:
    """v = Rᵀ(u − u₀) with RRᵀ = −∇²Q at the M-step of the reference's statistics.

    Directions that Q does not see have no coordinate.
    """

    def __init__(self, model: Any, params: Any, statistics: JointStatistics) -> None:
        self.model, self.statistics = model, statistics
        self.reference: Array = model.space.pack(params)
        top = model.space.pack(model.maximize(statistics, params))
        information = -model.objective_curvature(top, statistics)[2]
        self.usable = bool(np.isfinite(information).all())  # a kink of the density has no curvature
        if not self.usable:
            information = np.zeros_like(information)
        weight = max(statistics.weight, 1.0)
        diagonal = np.diagonal(information)
        used = diagonal > np.where(model.space.has_unit, 0.0, FLAT * weight)
        seen = np.flatnonzero(used)
        unit, values, vectors = normalised_eigen(information[np.ix_(seen, seen)])
        keep = values > GAUGE
        root, inverse = np.zeros((2, len(top), int(keep.sum())))
        root[seen] = unit[:, None] * vectors[:, keep] * np.sqrt(values[keep])
        inverse[seen] = vectors[:, keep] / np.sqrt(values[keep]) / unit[:, None]
        self.root, self.inverse = root, inverse
        self.scale = np.full(int(keep.sum()), np.sqrt(weight))

    def to_vector(self, params: Any) -> Array:
        """v of parameters."""
        return np.asarray((self.model.space.pack(params) - self.reference) @ self.root)

    def from_vector(self, vector: Array) -> Any:
        """Parameters at v."""
        theta = self.model.space.unpack(self.reference + self.inverse @ vector)
        return self.model.following(theta, self.statistics)

    def score(self, params: Any, statistics: JointStatistics) -> Array:
        """∂(Q + log prior)/∂v."""
        return np.asarray(self.inverse.T @ self.model.score(params, statistics))

    def row_score(self, params: Any, statistics: JointStatistics) -> Array:
        """∂Q/∂v without the prior: of single rows."""
        u = self.model.space.pack(params)
        return np.asarray(self.inverse.T @ self.model.q_gradient(u, statistics)[1])
