"""Where variational fits begin: the mixture's starts and moves, finished by a conjugate update."""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.contract import Start
from expmax.models.mixture_starts import BLENDS, MixtureStarts
from expmax.statistics import Array

__all__ = ["VariationalStarts"]

Rng = np.random.Generator


class VariationalStarts(MixtureStarts):
    """The mixture's starts and moves, finished by a conjugate update: every one is regular."""

    def from_responsibilities(self, responsibilities: Array) -> Any:
        if self.block.label is not None:
            known = np.flatnonzero(self.block.label >= 0)
            responsibilities[known] = 0.0
            responsibilities[known, self.block.label[known]] = 1.0
        share = BLENDS[1]  # so that no component is cut off from the start
        r = (1 - share) * responsibilities + share / self.model.n_components
        if self.block.weight is not None:
            r = r * self.block.weight[:, None]
        model: Any = self.model
        return model.from_responsibilities([(self.block, r)])

    def _steepest(self, params: Any) -> Start[Any] | None:
        return None

    def _swap(self, params: Any, drop: Array, rng: Rng) -> Start[Any] | None:
        model: Any = self.model
        r, _, _ = model._assign(params, self.block)
        dropped = int(rng.integers(model.n_components))
        r[:, dropped] = 0.0
        total = r.sum(axis=1, keepdims=True)
        r = np.where(total > 0, r / np.where(total > 0, total, 1.0), 1.0 / model.n_components)
        others = np.delete(np.arange(model.n_components), dropped)
        draw = rng.random()
        if len(others) and draw < 0.2:  # leave it empty: fewer components
            kind = "emptied"
        elif len(others) and draw < 0.65:
            kind = self._split(r, int(rng.choice(others)), dropped, rng)
        else:
            kind = self._seed_neighbours(r, dropped, rng)
        if kind == "emptied":
            weight = 1.0 if self.block.weight is None else self.block.weight[:, None]
            return Start(model.from_responsibilities([(self.block, r * weight)]), kind)
        return Start(self.from_responsibilities(r), kind)
