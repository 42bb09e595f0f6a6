"""Monte Carlo EM: iterations that must show their ascent against their own noise, or average it away.

A model with random draws offers `stochastic` (a `Schedule`), `redrawn(turn, draws)`,
`gain(new, old, statistics)` with its standard error, `log_likelihood_error(statistics)`,
`remaining_gain(params, statistics)` and `explain_draws(params, blocks)`. The engine asks for them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtri

from expmax.engine.certificate import Certificate
from expmax.engine.history import History
from expmax.engine.loop import Moment, Run
from expmax.engine.problem import Point, Problem

__all__ = ["Schedule", "StochasticRun", "ascend_stochastic"]

LEVEL = 0.9  # one-sided, of every confidence bound
GROWTH = 4  # times as many draws where the noise hides the ascent
HIDDEN = 3  # iterations of a burn-in whose ascent the noise hid: it has arrived
REPORTED = (
    1000  # draws at least at the end of "saem", for the log-likelihood and the standard errors
)
Z = float(ndtri(LEVEL))


class Schedule(Protocol):
    """What the model's user chose."""

    draws: int
    algorithm: str
    max_draws: int
    tol: float
    burn_in: int
    average: int


@dataclass
class StochasticRun(Run):
    """A run whose numbers have a Monte Carlo error."""

    problem: Problem | None = None  # the model with the draws of the end
    error: float = 0.0  # standard error of the log-likelihood, nats
    draws: int = 0  # of each row, at the end
    reason: str = ""  # why it ended

    def certificate(self, found: Certificate) -> Certificate:
        """A certificate in the light of the noise."""
        assert self.problem is not None
        gains = np.diff(self.history.objective)
        least = (
            self.problem.model.stochastic.draws
        )  # of a step: its noise is that of the end or more
        noise = 3.0 * self.error * np.sqrt(2.0 * self.draws / least)
        rows = self.problem.model.explain_draws(self.point.params, self.problem.blocks)
        text = (
            f"{self.reason} The log-likelihood has a Monte Carlo standard error of {self.error:.2g} nats "
            f"({self.draws} draws a row). {rows}"
        )
        own = self.status in ("uncertified", "max_iter")
        return replace(
            found,
            monotone=bool((gains >= -max(noise, found.rounding)).all()),
            advice=text.strip() if own else found.advice,
        )


def ascend_stochastic(
    problem: Problem,
    params: Any,
    *,
    tol: float,
    max_iter: int,
    watch: Callable[[Moment], None] | None = None,
) -> StochasticRun:
    """Monte Carlo EM from parameters, by the algorithm that the model's user chose.

    Parameters
    ----------
    tol : float
        Nats; the larger of it and the schedule's own counts.
    max_iter : int
        Parameter updates.
    watch : callable, optional
        Called after every one.

    References
    ----------
    Caffo, Jank & Jones (2005), J. R. Statist. Soc. B 67(2), §3. Delyon, Lavielle & Moulines (1999), Ann.
    Statist. 27(1).
    """
    schedule: Schedule = problem.model.stochastic
    climb = _Averaged if schedule.algorithm == "saem" else _Ascending
    return climb(problem, params, max(tol, schedule.tol), max_iter, watch).run()


class _Climb:
    """What the two algorithms share."""

    def __init__(
        self,
        problem: Problem,
        params: Any,
        tol: float,
        max_iter: int,
        watch: Callable[[Moment], None] | None,
    ) -> None:
        self.problem, self.params, self.tol, self.max_iter = problem, params, tol, max_iter
        self.schedule: Schedule = problem.model.stochastic
        self.watch = watch
        self.history = History()
        self.turn, self.draws = 0, self.schedule.draws
        self.status: Any = "max_iter"
        self.reason = "Stopped by max_iter: raise it."
        self.remaining = float("inf")

    def run(self) -> StochasticRun:
        """Iterate, then look at the end with draws of its own."""
        try:
            while len(self.history) < self.max_iter and self.status == "max_iter":
                self.step()
        except KeyboardInterrupt:
            self.status = "interrupted"
        here = self.drawn(self.turn + 1, self.last_draws())
        point = here.at(self.params)
        self.problem.n_expect += 1
        end = StochasticRun(point, self.status, self.history, problem=here, reason=self.reason)
        end.draws = self.last_draws()
        self.judge(end)
        nan = float("nan")
        elbo = here.q(point.params, point) + point.expectation.entropy if point.finite else nan
        self.history.append(
            point.expectation.log_likelihood, point.objective, elbo, nan, nan, "end"
        )
        return end

    def judge(self, end: StochasticRun) -> None:
        """Noise, remaining gain and degeneracies of the end."""
        point, model = end.point, end.problem.model if end.problem else None
        if model is None or not point.finite:
            end.status = "not_finite"
            return
        statistics = point.expectation.statistics
        end.error = model.log_likelihood_error(statistics)
        left = model.remaining_gain(point.params, statistics)
        end.remaining = max(left, self.remaining if isfinite(self.remaining) else 0.0)
        end.degeneracies = self.problem.degeneracies(point)
        if end.degeneracies:
            end.status = "degenerate"

    def drawn(self, turn: int, draws: int) -> Problem:
        """The problem with other draws."""
        return replace(self.problem, model=self.problem.model.redrawn(turn, draws), n_expect=0)

    def last_draws(self) -> int:
        """Of the evaluation at the end."""
        return self.draws

    def step(self) -> None:
        """One update of the parameters, or the end."""
        raise NotImplementedError  # abstract: each algorithm has its own step

    def expect(self, here: Problem) -> Point:
        self.problem.n_expect += 1
        return here.at(self.params)

    def move(self, here: Problem, point: Point, new: Any, gain: float, kind: str) -> None:
        """Take new parameters."""
        elbo = here.q(point.params, point) + point.expectation.entropy
        self.history.append(
            point.expectation.log_likelihood, point.objective, elbo, gain, float("nan"), kind
        )
        self.params = new
        if self.watch is not None:
            self.watch(Moment(point, self.history, len(self.history), self.remaining, {}))
        if here.degeneracies(Point(new, point.expectation, point.objective)):
            self.status = "degenerate"


class _Ascending(_Climb):
    """Ascent-based Monte Carlo EM: the draws grow until ΔQ shows against its noise."""

    def step(self) -> None:
        self.turn += 1
        while True:
            here = self.drawn(self.turn, self.draws)
            point = self.expect(here)
            if not point.finite:
                self.status = "not_finite"
                return
            statistics = point.expectation.statistics
            new = here.maximize(point)
            gain, error = here.model.gain(new, self.params, statistics)
            self.remaining = gain + Z * error
            arrived, rises = self._arrived(here, point), gain - Z * error > 0
            if rises:
                self.move(here, point, new, gain, "monte_carlo")
            if arrived and self.status == "max_iter":
                self.status, self.reason = "uncertified", self._end(gain, error)
            if rises and not arrived:
                self._raise_to(self.draws * (2 * Z * error / gain) ** 2)
            if rises or arrived:
                return
            if self.draws >= self.schedule.max_draws:
                self.status = "uncertified"
                self.reason = (
                    f"The noise hides the ascent: with max_draws = {self.draws} draws a row the next step "
                    f"would raise Q by {gain:.2g} ± {error:.2g} nats; raise max_draws, or tol of MonteCarlo."
                )
                return
            self._raise_to(self.draws + 1)

    def _arrived(self, here: Problem, point: Point) -> bool:
        """Whether the bound on ΔQ, and score and information too, leave no more to gain: EM may crawl."""
        if not self.remaining < self.tol:
            return False
        left = here.model.remaining_gain(point.params, point.expectation.statistics)
        self.remaining = max(self.remaining, left if isfinite(left) else 0.0)
        return not self.tol < left < float("inf")

    def _raise_to(self, wanted: float) -> None:
        """The least power of the growth that gives so many draws: few numbers, few compilations."""
        while self.draws < wanted and self.draws < self.schedule.max_draws:
            self.draws = min(ceil(GROWTH * self.draws), self.schedule.max_draws)

    def _end(self, gain: float, error: float) -> str:
        return (
            f"The last M-step raised Q by {gain:.2g} ± {error:.2g} nats, less than {self.tol:g} with "
            f"confidence {LEVEL:.0%}; a Monte Carlo fit is not certified further."
        )


class _Averaged(_Climb):
    """Stochastic approximation EM: the noise of few draws is averaged away over iterations."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.statistics: Any = None
        self.hidden = 0
        self.averaged = 0

    def step(self) -> None:
        self.turn += 1
        here = self.drawn(self.turn, self.draws)
        point = self.expect(here)
        if not point.finite:
            self.status = "not_finite"
            return
        burning = self.hidden < HIDDEN or len(self.history) < self.schedule.burn_in
        fresh = point.expectation.statistics
        if burning or not self.averaged:
            self.statistics = fresh
        else:
            share = 1.0 / (self.averaged + 1)
            self.statistics = (1.0 - share) * self.statistics + share * fresh
        new = here.model.maximize(self.statistics, self.params)
        gain, error = here.model.gain(new, self.params, self.statistics)
        self.remaining = gain + Z * error
        self.hidden += bool(burning and gain - Z * error <= 0)
        self.averaged += not burning
        self.move(here, point, new, gain, "burn_in" if burning else "saem")
        if self.averaged >= self.schedule.average and self.status == "max_iter":
            self.status = "uncertified"
            self.reason = (
                f"The average of {self.averaged} rounds is complete; raise average for more, or compare "
                "another seed."
            )

    def last_draws(self) -> int:
        return min(max(self.draws, REPORTED), self.schedule.max_draws)
