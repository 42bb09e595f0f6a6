"""What the identities are checked on: the model, its data, and points in the space of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from expmax.contract import Block, Expectation
from expmax.engine.arguments import OneAfterAnother
from expmax.engine.bootstrap import rows_of
from expmax.engine.checks.differences import Fixed, settle
from expmax.engine.fit import named_numbers
from expmax.engine.problem import Point, Problem
from expmax.errors import parameter_error
from expmax.statistics import Array

__all__ = ["Gap", "NotApplicableError", "Setting", "rows_of"]

NEAR = 0.1  # how far θ' is from θ, in units of one observation's coordinate
N_NEAR = 3
N_STEPS = 10  # EM steps looked at
SAME = 1e-7  # relative difference of parameters that iterative M-steps may leave


class NotApplicableError(Exception):
    """An identity has nothing to say of this model and data; the message says why."""


class Gap:
    """The worst of several comparisons: the one furthest beyond what is allowed there."""

    def __init__(self, unit: str = "nats") -> None:
        self.unit = self._unit = unit
        self.amount, self.tolerance, self.where = 0.0, 0.0, ""
        self.ratio = -1.0

    def equal(
        self, a: float, b: float, tolerance: float, where: str = "", unit: str | None = None
    ) -> None:
        """Two numbers that must agree."""
        self._add(0.0 if a == b else abs(float(a) - float(b)), tolerance, where, unit)

    def at_least(self, a: float, b: float, tolerance: float, where: str = "") -> None:
        """A number that must not be below another."""
        self._add(0.0 if a >= b else float(b) - float(a), tolerance, where, None)

    def same(self, a: object, b: object, where: str = "") -> None:
        """Values that must be equal to the last bit."""
        self._add(float(a != b), 0.0, where, None)

    def arrays(self, a: Array, b: Array, tolerance: Array | float, where: str = "") -> None:
        """Arrays that must agree number by number."""
        allowed = np.broadcast_to(tolerance, np.shape(a))
        for x, y, t in zip(np.ravel(a), np.ravel(b), np.ravel(allowed), strict=True):
            self.equal(x, y, t, where)

    def _add(self, amount: float, tolerance: float, where: str, unit: str | None) -> None:
        ratio = 0.0 if amount == 0 else amount / tolerance if tolerance > 0 else np.inf
        if not np.isfinite(amount):
            ratio = np.inf
        if ratio > self.ratio:
            self.amount, self.tolerance, self.where = amount, float(tolerance), where
            self.unit = self._unit if unit is None else unit
            self.ratio = ratio

    @property
    def holds(self) -> bool:
        """Whether every comparison was within its tolerance."""
        return self.ratio <= 1.0


class Setting:
    """A model with data and a point to look around in."""

    def __init__(
        self, model: Any, blocks: Sequence[Block], params: Any, random_state: int = 0
    ) -> None:
        self.model = model
        self.blocks = [replace(block, memo=None) for block in blocks]
        self.problem = Problem(model, self.blocks, OneAfterAnother())
        self.seed = random_state
        hold = getattr(model, "hold", None)
        with np.errstate(all="ignore"):
            self.start = self.problem.at(params if hold is None else hold(params))
        if not self.start.finite:
            raise parameter_error(
                "params",
                "parameters at which the data have a finite log-likelihood",
                self.start.objective,
                "Start from parameters that a few EM steps have visited",
            )

    # -- what the model offers ---------------------------------------------------------------------
    def rng(self, name: str) -> np.random.Generator:
        """Random numbers of one identity, the same whichever others run."""
        return np.random.default_rng([self.seed, crc32(name.encode())])

    def need(self, method: str, purpose: str = "") -> Any:
        """An optional method of the model."""
        found = getattr(self.model, method, None)
        if found is None:
            raise NotApplicableError(f"needs model.{method}{purpose and ' '}{purpose}")
        return found

    def declared(self, name: str, default: bool) -> bool:
        """An optional yes or no of the model."""
        return bool(getattr(self.model, name, default))

    def need_exact(self) -> None:
        """Refuse where the E-step gives no log-likelihood."""
        kind = self.start.expectation.kind
        if kind != "exact":
            raise NotApplicableError(f"the E-step gives no log-likelihood: it is {kind!r}")

    def need_maximum(self) -> None:
        """Refuse where the M-step only ascends."""
        if not self.declared("exact_m_step", True):
            raise NotApplicableError("the model declares exact_m_step = False")

    def need_rows(self) -> None:
        """Refuse where rows are not the units."""
        if not self.declared("independent_rows", True):
            raise NotApplicableError("the model declares independent_rows = False")

    def coordinates(self, point: Point) -> Any:
        """Whitened coordinates about a point."""
        with np.errstate(all="ignore"):
            chart = self.problem.chart(point)
        if chart is None or not len(chart.scale):
            raise NotApplicableError(
                "needs coordinates: model.chart, or model.space (pack, unpack)"
            )
        return chart

    # -- points ------------------------------------------------------------------------------------
    @cached_property
    def chart(self) -> Any:
        """Coordinates about the parameters given."""
        return self.coordinates(self.start)

    @cached_property
    def near(self) -> list[Point]:
        """Random parameters θ' near θ: in coordinates, or by M-steps of reweighted data."""
        try:
            found = [self._around(self.chart, self.rng(f"near {i}")) for i in range(N_NEAR)]
        except Exception:  # no coordinates, or broken ones: the row "coordinates" tells
            found = [self.problem.at(params) for params in self._reweighted()]
        return [point for point in found if point.finite]

    def _around(self, chart: Any, rng: np.random.Generator) -> Point:
        direction = rng.uniform(-1.0, 1.0, len(chart.scale)) * chart.scale
        length = NEAR
        for _ in range(5):
            with np.errstate(all="ignore"):
                point = self.problem.at(chart.from_vector(length * direction))
            if point.finite:
                break
            length /= 2
        return point

    def _reweighted(self) -> Iterator[Any]:
        """M-steps of the data with some rows counted twice; where there is one row, EM steps."""
        rng = self.rng("reweighted")
        total = self.start.expectation.statistics
        if len(self.blocks) == 1 and len(self.blocks[0].x) == 1:
            yield from (point.params for point in self.path[1 : 1 + N_NEAR])
            return
        for _ in range(N_NEAR):
            block = self.blocks[rng.integers(len(self.blocks))]
            some = np.sort(rng.choice(len(block.x), (len(block.x) + 1) // 2, replace=False))
            part = self.model.expect(self.start.params, rows_of(block, some))
            new = self.model.maximize(total + part.statistics, self.start.params)
            yield self.problem.reduce(new)

    @cached_property
    def path(self) -> list[Point]:
        """The first EM steps from θ, θ first."""
        points = [self.start]
        for _ in range(N_STEPS):
            point = self.problem.at(self.problem.maximize(points[-1]))
            if not point.finite:
                break
            points.append(point)
        return points

    @cached_property
    def _settled(self) -> Fixed | None:
        try:
            with np.errstate(all="ignore"):
                return settle(self.problem, self.path[-1])
        except np.linalg.LinAlgError:  # of coordinates where the steps ran away
            return None

    @property
    def fixed_point(self) -> Fixed:
        """Where the EM steps from θ end."""
        fixed = self._settled
        if fixed is None:
            raise NotApplicableError("the EM steps from these parameters did not settle")
        bad = self.problem.degeneracies(fixed.point)
        if bad:
            raise NotApplicableError(f"EM from here ends at a degeneracy: {bad[0].reason}")
        return fixed

    @property
    def interior(self) -> Fixed:
        """The same, refused without coordinates or on the boundary."""
        fixed = self.fixed_point
        if fixed.chart is None:
            raise NotApplicableError(
                "needs coordinates: model.chart, or model.space (pack, unpack)"
            )
        edges = self.problem.boundary(fixed.point.params)
        if edges:
            raise NotApplicableError(f"EM from here ends on the boundary: {edges[0]}")
        return fixed

    # -- comparisons -------------------------------------------------------------------------------
    def q(self, params: Any, point: Point) -> float:
        """Q(params; S of the point) + log prior, nats."""
        return self.problem.q(params, point) + self.problem.log_prior(params)

    def rounding(self, *points: Point) -> float:
        """What rounding explains at these points, nats."""
        with np.errstate(all="ignore"):
            return max(self.problem.careful_rounding(point) for point in points)

    def crossed(self, params: Any, point: Point) -> Point:
        """Parameters beside the statistics of another point, for the size of Q's terms."""
        return Point(params, point.expectation, point.objective)

    def numbers(self, params: Any) -> dict[str, Array]:
        """Parameters as named arrays."""
        space = getattr(self.model, "space", None)
        if space is not None:
            return {"packed": np.asarray(space.pack(params), float)}
        try:
            return named_numbers(params)
        except (TypeError, ValueError) as error:
            raise NotApplicableError(
                "the parameters are no arrays to compare; offer model.space.pack"
            ) from error

    def same_params(self, gap: Gap, a: Any, b: Any, where: str = "", times: float = 1.0) -> None:
        """Parameters that must agree, each array relative to its largest number."""
        left, right = self.numbers(a), self.numbers(b)
        for name, values in left.items():
            x, y = np.ravel(values), np.ravel(right[name])
            finite = np.isfinite(x) & np.isfinite(y)
            size = max((float(np.abs(v[finite]).max(initial=0.0)) for v in (x, y)), default=0.0)
            with np.errstate(invalid="ignore"):
                worst = np.where(x == y, 0.0, np.abs(x - y)).max(initial=0.0)
            gap.equal(float(worst) / (size or 1.0), 0.0, times * SAME, where, "(relative)")

    def same_sums(
        self, gap: Gap, a: Expectation[Any], b: Expectation[Any], where: str = ""
    ) -> None:
        """Expectations that must agree: ℓ, H, Σ w, and Q as a function of the parameters."""
        points = [self.start, *self.near]
        slack = 2.0 * self.rounding(*points)
        gap.equal(a.log_likelihood, b.log_likelihood, slack, f"in ℓ {where}".rstrip())
        gap.equal(a.entropy, b.entropy, slack, f"in H {where}".rstrip())
        gap.equal(a.weight, b.weight, 1e-12 * abs(b.weight), f"in Σw {where}".rstrip())
        for point in points:
            size = self.rounding(
                Point(point.params, a, point.objective), Point(point.params, b, point.objective)
            )
            gap.equal(
                self.model.expected_log_joint(point.params, a.statistics),
                self.model.expected_log_joint(point.params, b.statistics),
                2.0 * size + slack,
                f"in Q {where}".rstrip(),
            )
