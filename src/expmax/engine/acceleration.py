"""Accelerated steps: proposals that are taken only if the objective does not fall."""

from __future__ import annotations

from typing import Protocol

from expmax.engine.problem import Point

__all__ = ["Accelerator"]


class Accelerator(Protocol):
    """Proposes points from what it has seen; None leaves the step to EM."""

    name: str

    def propose(self, point: Point) -> Point | None: ...

    def saw_em_step(self, old: Point, new: Point) -> None: ...
