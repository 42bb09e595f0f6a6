"""Fit the combinations of a grid: mixtures side by side, everything else one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.compute.reduce import _processors
from expmax.errors import ExpmaxError, parameter_error
from expmax.estimators.mixture import Mixture
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.models.mixture import MixtureParameters
from expmax.selection.candidates import Candidate, Combination
from expmax.selection.cells import Cell, make_cells
from expmax.selection.sweep import Report, sweep
from expmax.selection.workers import Workers, workers

__all__ = ["EFFORT", "Fits", "count_workers", "fit_combinations"]

EFFORT = {"quick": 0.25, "default": 1.0, "thorough": 4.0}  # in units of the default
GIVEN = ("init", "fixed", "weights_init", "means_init", "precisions_init")


@dataclass(frozen=True, slots=True)
class Fits:
    """What came of the combinations of a grid."""

    candidates: list[Candidate]  # in the order of the combinations
    stopped: set[int]  # groups that needed no more components: what was not tried is not listed
    interrupted: bool  # what was not reached is listed as such


def count_workers(n_jobs: Any) -> int:
    """Threads: None is 1; negative counts from the processors."""
    if n_jobs is None:
        return 1
    if not isinstance(n_jobs, int | np.integer) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise parameter_error("n_jobs", "a non-zero integer or None", n_jobs)
    return int(n_jobs) if n_jobs > 0 else max(1, _processors() + 1 + int(n_jobs))


def fit_combinations(
    combinations: Sequence[Combination],
    X: Any,
    sample_weight: Any,
    seed: np.random.SeedSequence,
    *,
    effort: str = "default",
    n_jobs: int = 1,
    report: Report = lambda stage, row: None,
    tired: Callable[[list[Cell]], bool] | None = None,
    hints: Mapping[int, MixtureParameters] | None = None,
    repeats: int = 1,
) -> Fits:
    """Fit every combination, until all are or an interrupt comes.

    Parameters
    ----------
    effort : {"quick", "default", "thorough"}
    report, tired
        See `sweep`.
    hints : mapping, optional
        Parameters to start from, by the position of the combination.
    repeats : int
        How many such calls there will be: of many small fits none is certified, and numba pays.

    Raises
    ------
    KeyboardInterrupt
        Interrupted before anything was fitted.
    """
    given = {(combinations[i].group, combinations[i].size): p for i, p in (hints or {}).items()}
    shared = {i: one for i, one in enumerate(combinations) if _learns(one.estimator)}
    alone = {i: one for i, one in enumerate(combinations) if i not in shared}
    first, *rest = seed.spawn(1 + len(alone))
    outcome: dict[int, Candidate] = {}
    stopped: set[int] = set()
    interrupted = False

    def enough(cells: list[Cell]) -> bool:
        if tired is None or not tired(cells):
            return False
        stopped.add(cells[0].family)
        return True

    def fit_one(task: tuple[int, np.random.SeedSequence]) -> None:
        i, own = task
        outcome[i] = _fit_alone(combinations[i], own, X, sample_weight, effort)
        if outcome[i].status == "interrupted":
            raise KeyboardInterrupt  # the others are to end too

    with workers(n_jobs) as work:
        try:
            if shared:
                cells = make_cells(
                    [one.estimator for one in shared.values()],
                    [one.group for one in shared.values()],
                    X,
                    sample_weight,
                    first,
                    EFFORT[effort],
                    repeats,
                )
                by_position = dict(zip(shared, cells, strict=True))
                _sweep(by_position, combinations, outcome, work, report, enough, given, repeats)
            if alone:
                report("fit", [])
                work(fit_one, list(zip(alone, rest, strict=True)))
        except KeyboardInterrupt:
            if all(one.estimator is None for one in outcome.values()):
                raise
            interrupted = True
    if interrupted:
        outcome = {
            i: outcome.get(i) or one.unreached()
            for i, one in enumerate(combinations)
            if i in outcome or one.group not in stopped
        }
    return Fits([outcome[i] for i in sorted(outcome)], stopped, interrupted)


def _learns(estimator: Any) -> bool:
    """Whether a fit can learn from its neighbours: a mixture of one family that is searched for."""
    if not isinstance(estimator, Mixture) or estimator.n_init != "auto":
        return False
    if any(getattr(estimator, name, None) is not None for name in GIVEN):
        return False
    if getattr(estimator, "warm_start", False) or estimator.max_iter == 0:
        return False
    family = estimator.family
    if family is None:
        family = Gaussian()
    size = estimator.n_components
    whole = isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1
    return whole and isinstance(family, Family) and family.is_estimated


def _sweep(
    cells: Mapping[int, Cell | ExpmaxError],
    combinations: Sequence[Combination],
    outcome: dict[int, Candidate],
    work: Workers,
    report: Report,
    tired: Callable[[list[Cell]], bool],
    hints: dict[tuple[int, int], MixtureParameters],
    repeats: int,
) -> None:
    """Fit cells side by side and write down what came of each; an interrupt goes on after that."""
    sound = [cell for cell in cells.values() if isinstance(cell, Cell)]
    interrupted = False
    try:
        sweep(sound, work, report=report, tired=tired, hints=hints, certify=repeats == 1)
    except KeyboardInterrupt:
        interrupted = True
        _settle(sound)
    for i, cell in cells.items():
        if isinstance(cell, ExpmaxError):
            outcome[i] = combinations[i].candidate(error=cell)
        elif cell.started:
            try:
                outcome[i] = _published(combinations[i], cell)
            except KeyboardInterrupt:  # nothing is left to search: this is but written down
                interrupted = True
                outcome[i] = _published(combinations[i], cell)
    if interrupted:
        raise KeyboardInterrupt


def _settle(cells: list[Cell]) -> None:
    """After an interrupt: label what was found so far, and set aside what was not begun."""
    for cell in cells:
        cell.started = cell.search.best is not None
        if cell.started:
            cell.settle_for()


def _published(one: Combination, cell: Cell) -> Candidate:
    began = time.perf_counter()
    cell.publish()
    seconds = cell.seconds + time.perf_counter() - began
    if cell.error is not None:
        return one.candidate(error=cell.error, seconds=seconds)
    weight = float(cell.estimator._total_weight)
    return one.candidate(estimator=cell.estimator, seconds=seconds, weight=weight)


def _fit_alone(
    one: Combination, seed: np.random.SeedSequence, X: Any, sample_weight: Any, effort: str
) -> Candidate:
    """An estimator's own fit."""
    began = time.perf_counter()
    estimator = one.estimator
    names = estimator.get_params(deep=False)
    if "random_state" in names and "random_state" not in one.parameters:
        estimator.set_params(random_state=int(seed.generate_state(1)[0] >> 1))
    if "effort" in names and "effort" not in one.parameters:
        estimator.set_params(effort=effort)
    options = {} if sample_weight is None else {"sample_weight": sample_weight}
    try:
        estimator.fit(X, **options)
    except (ExpmaxError, ValueError, ArithmeticError) as error:
        return one.candidate(error=error, seconds=time.perf_counter() - began)
    weight = float(getattr(estimator, "_total_weight", 1.0))
    return one.candidate(estimator=estimator, seconds=time.perf_counter() - began, weight=weight)
