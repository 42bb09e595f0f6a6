"""Fit the combinations of a grid: mixtures side by side, everything else one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
from expmax.selection.sweep import Report, Workers, sweep, workers

__all__ = ["EFFORT", "count_workers", "fit_combinations"]

EFFORT = {"quick": 320, "default": 640, "thorough": 2560}  # E-steps a fit, at K = 5
GIVEN = ("init", "fixed", "weights_init", "means_init", "precisions_init")


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
) -> tuple[list[Candidate], set[int]]:
    """Fit every combination; returns the candidates in their order, and the groups stopped early.

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
        Interrupted before anything was found.
    """
    shared = [i for i, one in enumerate(combinations) if _learns(one.estimator)]
    chosen = set(shared)
    alone = [i for i in range(len(combinations)) if i not in chosen]
    first, *rest = seed.spawn(1 + len(alone))
    outcome: dict[int, Candidate] = {}
    stopped: set[int] = set()
    with workers(n_jobs) as work:
        if shared:
            given = {
                (combinations[i].group, combinations[i].size): params
                for i, params in (hints or {}).items()
            }
            swept, stopped = _sweep(
                [combinations[i] for i in shared],
                X,
                sample_weight,
                first,
                EFFORT[effort],
                work,
                report,
                tired,
                given,
                repeats,
            )
            outcome |= {shared[i]: one for i, one in swept.items()}
        if alone:
            report("fit", [])
        tasks = [(combinations[i], own) for i, own in zip(alone, rest, strict=True)]
        fitted = work(lambda task: _fit_alone(task[0], task[1], X, sample_weight, effort), tasks)
        outcome |= dict(zip(alone, fitted, strict=True))
    return [outcome[i] for i in sorted(outcome)], stopped


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
    combinations: list[Combination],
    X: Any,
    sample_weight: Any,
    seed: np.random.SeedSequence,
    effort: float,
    work: Workers,
    report: Report,
    tired: Callable[[list[Cell]], bool] | None,
    hints: dict[tuple[int, int], MixtureParameters],
    repeats: int,
) -> tuple[dict[int, Candidate], set[int]]:
    cells = make_cells(
        [one.estimator for one in combinations],
        [one.group for one in combinations],
        X,
        sample_weight,
        seed,
        effort,
        repeats,
    )
    sound = [cell for cell in cells if isinstance(cell, Cell)]
    stopped: set[int] = set()
    try:
        stopped = sweep(sound, work, report=report, tired=tired, hints=hints, certify=repeats == 1)
    except KeyboardInterrupt:
        _interrupt(sound)
    outcome: dict[int, Candidate] = {}
    for i, (one, cell) in enumerate(zip(combinations, cells, strict=True)):
        if isinstance(cell, ExpmaxError):
            outcome[i] = one.candidate(error=cell)
        elif cell.started:
            outcome[i] = _published(one, cell)
    return outcome, stopped


def _interrupt(cells: list[Cell]) -> None:
    """Label what was found so far; where there is nothing, the interrupt goes on."""
    found = [cell for cell in cells if cell.search.best is not None]
    if not found:
        raise KeyboardInterrupt
    for cell in cells:
        cell.started = cell.search.best is not None
    for cell in found:
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
