"""Local coordinates of all parameters of a mixture: weights and each group's own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from expmax.families.charts import FamilyChart, SimplexCoordinates
from expmax.models.mixture import MixtureModel, MixtureParameters, MixtureStatistics
from expmax.statistics import Array

__all__ = ["MixtureChart"]


class MixtureChart:
    """Coordinates v with v = 0 at the reference and −∂²Q/∂v² = I there; what is fixed has none."""

    def __init__(
        self, model: MixtureModel, params: MixtureParameters, statistics: MixtureStatistics
    ) -> None:
        self.model, self.params = model, params
        full = self._with_prior(statistics)
        self.charts: list[FamilyChart | None] = [
            group.family.chart(params.components[g], full.components[g])
            if group.family.is_estimated
            else None
            for g, group in enumerate(model.groups)
        ]
        held = model.fixed_weights is not None
        total = np.array([0.0 if held else full.counts.sum()])
        self.weights = SimplexCoordinates(params.log_weights[None], total)
        scales = [self.weights.scale] + [c.scale for c in self.charts if c is not None]
        ends = np.cumsum([0, *(len(s) for s in scales)]).tolist()
        self.parts = [slice(start, end) for start, end in pairwise(ends)]
        self.scale = np.concatenate(scales)
        self.size = len(self.scale)
        self.free: Any = slice(None)  # which coordinates move: all, where nothing is fixed
        if model.fixed:
            self.free = self._respond()
            self.scale = self.scale[self.free]

    @property
    def complete(self) -> bool:
        """Whether every group with parameters has coordinates."""
        return all(
            chart is not None or not group.family.is_estimated
            for chart, group in zip(self.charts, self.model.groups, strict=True)
        )

    def to_vector(self, params: MixtureParameters) -> Array:
        """v of parameters."""
        return self._all(params)[self.free]

    def from_vector(self, vector: Array) -> MixtureParameters:
        """Parameters at v."""
        full = np.zeros(self.size)
        full[self.free] = vector
        log_weights = self.weights.from_vector(full[self.parts[0]])[0]
        rest = iter(self.parts[1:])
        components = tuple(
            self.params.components[g] if chart is None else chart.from_vector(full[next(rest)])
            for g, chart in enumerate(self.charts)
        )
        params = MixtureParameters(log_weights, components)
        held = self.model.fixed or self.model.fixed_weights is not None
        return self.model.hold(params) if held else params

    def score(self, params: MixtureParameters, statistics: MixtureStatistics) -> Array:
        """∂(Q + log prior)/∂v: by Fisher's identity the score of the objective."""
        return self.row_score(params, self._with_prior(statistics))

    def row_score(self, params: MixtureParameters, statistics: MixtureStatistics) -> Array:
        """∂ log p(x_i)/∂v of single rows: the score without the prior."""
        parts = [self.weights.score(params.log_weights[None], statistics.counts[None])]
        parts += [
            chart.score(params.components[g], statistics.components[g])
            for g, chart in enumerate(self.charts)
            if chart is not None
        ]
        return np.concatenate(parts)[self.free]

    def _all(self, params: MixtureParameters) -> Array:
        parts = [self.weights.to_vector(params.log_weights[None])]
        parts += [
            chart.to_vector(params.components[g])
            for g, chart in enumerate(self.charts)
            if chart is not None
        ]
        return np.concatenate(parts)

    def _respond(self) -> Any:
        """Which coordinates still move when what is fixed is put back."""
        moved = self._all(self.from_vector(0.1 * self.scale))
        return np.abs(moved) > 1e-9 * self.scale

    def _with_prior(self, statistics: MixtureStatistics) -> MixtureStatistics:
        model = self.model
        if model.prior is None and model.concentration == 1.0:
            return statistics
        components = statistics.components
        if model.prior is not None:
            components = tuple(s + p for s, p in zip(components, model.prior, strict=True))
        return MixtureStatistics(statistics.counts + (model.concentration - 1.0), components)
