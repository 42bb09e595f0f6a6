"""Starts on trial: a few steps each, and the way up for those that deserve it.

Any mixture is tried by the engine's own steps (`EngineTrials`), a Gaussian one on complete rows by compiled
steps that keep no records (`ScoutTrials`); what is found is climbed again by the engine either way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from expmax.engine.problem import Point, Problem
from expmax.engine.starts import short_run
from expmax.estimators.spikes import spike_rule
from expmax.models.mixture import MixtureParameters, MixtureStatistics
from expmax.models.scouting import CLIMB, Camp, GaussianScout
from expmax.statistics import Array

__all__ = ["Trial", "Trials", "make_trials"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A start, and how far it came."""

    objective: float  # nats
    spike: bool  # rests on too few rows to be believed
    end: Any
    origin: Any
    record: int = -1  # number of the start

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Sorts the best first, spikes last."""
        return self.spike, -self.objective, self.record


class Trials(Protocol):
    """How starts of one mixture are tried."""

    quick: bool  # whether to climb takes hardly longer than to ask whether it leads anywhere new

    def begin(self, params: MixtureParameters, n_steps: int) -> Trial | str:
        """Steps from a start; a string says why it was abandoned."""
        ...

    def further(self, trial: Trial, n_steps: int) -> Trial | str:
        """More steps."""
        ...

    def parameters(self, trial: Trial) -> MixtureParameters:
        """Where a trial stands."""
        ...

    def start(self, trial: Trial) -> MixtureParameters:
        """Where a trial began."""
        ...

    def approach(self, trial: Trial, floor: float) -> Point | None:
        """The point from which to climb in earnest; None where the floor is out of reach."""
        ...

    def maximize(self, r: Array, old: MixtureParameters) -> MixtureParameters | None:
        """The M-step of weighted responsibilities, begun at other parameters; None if irregular."""
        ...


def make_trials(problem: Problem, scout: GaussianScout | None) -> Trials:
    """Compiled trials where there is a scout."""
    return EngineTrials(problem) if scout is None else ScoutTrials(problem, scout)


class EngineTrials:
    """By the engine's steps."""

    quick = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rule = spike_rule(problem.model, problem.blocks[0].x)

    def begin(self, params: MixtureParameters, n_steps: int) -> Trial | str:
        found = short_run(self.problem, params, n_steps)
        return found if isinstance(found, str) else self._trial(found.end, found.origin)

    def further(self, trial: Trial, n_steps: int) -> Trial | str:
        found = short_run(self.problem, trial.end.params, n_steps)
        if isinstance(found, str):
            return found
        return replace(self._trial(found.end, trial.origin), record=trial.record)

    def parameters(self, trial: Trial) -> MixtureParameters:
        params: MixtureParameters = trial.end.params
        return params

    def start(self, trial: Trial) -> MixtureParameters:
        params: MixtureParameters = trial.origin.params
        return params

    def approach(self, trial: Trial, floor: float) -> Point | None:
        origin: Point = trial.origin
        return origin  # the climb repeats the trial, with its proof

    def maximize(self, r: Array, old: MixtureParameters) -> MixtureParameters | None:
        model, block = self.problem.model, self.problem.blocks[0]
        if model.inner_latent or model.local_statistics:
            return None
        sums = tuple(
            group.family.statistics(part, block.x, r[:, group.index])
            for group, part in zip(model.groups, old.components, strict=True)
        )
        params: MixtureParameters = model.maximize(MixtureStatistics(r.sum(axis=0), sums), old)
        return params if model.is_regular(params) else None

    def _trial(self, end: Point, origin: Point) -> Trial:
        spike = self.rule(end.expectation.statistics.counts, lambda: end.params)
        return Trial(end.objective, spike, end, origin)


class ScoutTrials:
    """By compiled steps; E-steps count as the problem's."""

    quick = True

    def __init__(self, problem: Problem, scout: GaussianScout) -> None:
        self.problem, self.scout = problem, scout
        self.rule = spike_rule(problem.model, problem.blocks[0].x)

    def begin(self, params: MixtureParameters, n_steps: int) -> Trial | str:
        camp = self._counting(lambda: self.scout.begin(params))
        if camp is None:
            return "not finite"
        return self._walk(camp, n_steps, Trial(camp.objective, False, camp, camp))

    def further(self, trial: Trial, n_steps: int) -> Trial | str:
        return self._walk(trial.end, n_steps, trial)

    def parameters(self, trial: Trial) -> MixtureParameters:
        return self.scout.parameters(trial.end)

    def start(self, trial: Trial) -> MixtureParameters:
        return self.scout.parameters(trial.origin)

    def approach(self, trial: Trial, floor: float) -> Point | None:
        camp, lost = self._counting(lambda: self.scout.climb(trial.end, floor, CLIMB))
        return None if lost else self.problem.at(self.scout.parameters(camp))

    def maximize(self, r: Array, old: MixtureParameters) -> MixtureParameters | None:
        params = self.scout.maximize(r, old)
        return params if params is not None and self.problem.model.is_regular(params) else None

    def _walk(self, camp: Camp, n_steps: int, trial: Trial) -> Trial | str:
        camp, lost = self._counting(lambda: self.scout.walk(camp, n_steps))
        if lost:
            return self._why(camp)
        spike = self.rule(camp.counts, lambda: self.scout.parameters(camp))
        return replace(trial, objective=camp.objective, spike=spike, end=camp)

    def _why(self, camp: Camp) -> str:
        """Which component collapsed in the step after this."""
        with np.errstate(all="ignore"):
            point = self.problem.at(self.scout.parameters(camp))
            end = Point(self.problem.maximize(point), point.expectation, np.nan)
            found = self.problem.degeneracies(end)
        return str(found[0]) if found else "not finite"

    def _counting(self, task: Callable[[], Any]) -> Any:
        before = self.scout.n_expect
        found = task()
        self.problem.n_expect += self.scout.n_expect - before
        return found
