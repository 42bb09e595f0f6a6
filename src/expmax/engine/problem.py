"""A model together with its data: the map θ → expectation that the engine works with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.contract import Block, Compute, Degeneracy, Expectation
from expmax.engine.numeric_chart import NumericChart

__all__ = ["Point", "Problem"]

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, slots=True)
class Point:
    """Parameters with everything one E-step says at them."""

    params: Any
    expectation: Expectation[Any]
    objective: float  # log-likelihood + log prior, nats

    @property
    def finite(self) -> bool:
        """Whether the objective is a number."""
        return math.isfinite(self.objective)


@dataclass
class Problem:
    """A model, blocks of data and who sums them; counts the E-steps."""

    model: Any
    blocks: Sequence[Block]
    compute: Compute
    n_expect: int = 0

    def at(self, params: Any) -> Point:
        """One E-step."""
        self.n_expect += 1

        def expect(block: Block) -> Expectation[Any]:
            with np.errstate(all="ignore"):  # what is not finite is seen; each thread sets its own
                return self.model.expect(params, block)

        expectation = self.compute.total(expect, self.blocks)
        return Point(params, expectation, expectation.log_likelihood + self.log_prior(params))

    def maximize(self, point: Point) -> Any:
        """One M-step."""
        return self.reduce(self.expanded(point))

    def expanded(self, point: Point) -> Any:
        """The M-step as it comes: of a model with `reduce`, at expanded parameters."""
        with np.errstate(all="ignore"):
            return self.model.maximize(point.expectation.statistics, point.params)

    def reduce(self, params: Any) -> Any:
        """Expanded parameters as ordinary ones of the same likelihood; the same without an expansion."""
        reduce = getattr(self.model, "reduce", None)
        if reduce is None:
            return params
        with np.errstate(all="ignore"):
            return reduce(params)

    def update(self, point: Point) -> tuple[Any, float, float]:
        """One M-step with its proof: the new parameters, and Q(·; S) before and after, nats.

        Q is taken where the M-step went, before `reduce`: it is there that it has risen.
        """
        params = self.expanded(point)
        return self.reduce(params), self.q(point.params, point), self.q(params, point)

    def q(self, params: Any, point: Point) -> float:
        """Q(params; S of the point), nats."""
        with np.errstate(all="ignore"):
            return float(self.model.expected_log_joint(params, point.expectation.statistics))

    def log_prior(self, params: Any) -> float:
        """Log prior up to a constant, nats; 0 for a model without one."""
        prior = getattr(self.model, "log_prior", None)
        return 0.0 if prior is None else float(prior(params))

    def degeneracies(self, point: Point) -> list[Degeneracy]:
        """Components at which the likelihood is unbounded."""
        check = getattr(self.model, "degeneracies", None)
        return [] if check is None else list(check(point.params, point.expectation.statistics))

    def chart(self, point: Point) -> Any:
        """Whitened coordinates at a point; None where the model has none."""
        statistics = point.expectation.statistics
        own = getattr(self.model, "chart", None)
        if own is not None:
            return own(point.params, statistics)
        if hasattr(self.model, "space"):
            return NumericChart(self.model, point.params, statistics, point.expectation.weight)
        return None

    def boundary(self, params: Any) -> list[str]:
        """Names of the parameters on the edge of their space."""
        edges = getattr(self.model, "boundary", None)
        return [] if edges is None else list(edges(params))

    def rounding(self, point: Point) -> float:
        """What rounding can explain in the objective at a point, nats.

        Every term carries a relative error of a few eps, and the sum over n rows in blocks and a tree
        loses little more. Σ w stands in for Σ |w log p| where positive and negative logs cancel.
        """
        size = abs(point.objective) + abs(point.expectation.entropy) + point.expectation.weight
        return 32 * EPS * size

    def careful_rounding(self, point: Point) -> float:
        """The same with the size of the terms that the model sums, which may cancel."""
        magnitude = getattr(self.model, "magnitude", None)
        size = 0.0
        if magnitude is not None:
            with np.errstate(all="ignore"):
                size = float(magnitude(point.params, point.expectation.statistics))
        return self.rounding(point) + 32 * EPS * size + self.approximation(point)

    def approximation(self, point: Point) -> float:
        """What an approximate E-step may be wrong by, nats, both points of a comparison; 0 otherwise."""
        error = getattr(self.model, "approximation_error", None)
        if error is None or point.expectation.kind != "approximate":
            return 0.0
        with np.errstate(all="ignore"):
            return 4.0 * float(error(point.params, point.expectation.statistics))
