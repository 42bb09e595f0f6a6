"""Fit the combinations of a grid, judge what came of them, choose one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone

from expmax.errors import ConvergenceWarning, parameter_error
from expmax.estimators import preparation as prepare
from expmax.selection.bootstrap import (
    LikelihoodRatioTest,
    check_samples,
    choose_by_tests,
    refuse_one_size,
    whole_weights,
)
from expmax.selection.candidates import CRITERIA, Candidate, Combination
from expmax.selection.cells import Cell
from expmax.selection.fitting import EFFORT, fit_combinations
from expmax.selection.held_out import cross_validate
from expmax.selection.result import Selection
from expmax.statistics import Array

__all__ = ["Criterion", "Say", "choose", "count_rows"]

Say = Callable[[str], None]
ALL_CRITERIA = (*CRITERIA, "cv", "lrt")
FALLBACK = "bic"  # judges where an interrupt left a criterion unfinished
STAGES = {
    "up": "fitting K = {k}",
    "down": "learning from more components, K = {k}",
    "again": "improving K = {k}",
    "certify": "certifying",
    "fit": "fitting",
}


@dataclass(frozen=True, slots=True)
class Criterion:
    """What candidates are judged by, and how carefully."""

    name: str = "bic"
    cv: int = 5  # folds
    n_bootstrap: int = 99  # samples a test
    alpha: float = 0.05  # level of the tests

    def check(self, combinations: Sequence[Combination], n_rows: int, weight: Array | None) -> None:
        """Refuse by name what cannot be judged so.

        Raises
        ------
        ParameterError
        """
        if self.name not in ALL_CRITERIA:
            raise parameter_error("criterion", f"one of {', '.join(ALL_CRITERIA)}", self.name)
        if self.name == "cv" and prepare.positive_integer("cv", self.cv, 2) > n_rows:
            raise parameter_error("cv", f"at most the number of rows, {n_rows}", self.cv)
        if self.name == "lrt":
            check_samples(self.n_bootstrap, self.alpha)
            refuse_one_size(combinations)
            whole_weights(weight)


@dataclass
class _Verdict:
    """Judged candidates."""

    candidates: list[Candidate]
    eligible: list[Candidate]
    tests: list[LikelihoodRatioTest] = field(default_factory=list)
    interrupted: bool = False


def choose(
    combinations: Sequence[Combination],
    X: Any,
    weight: Array | None,
    seed: np.random.SeedSequence,
    criterion: Criterion,
    *,
    effort: str = "default",
    n_jobs: int = 1,
    say: Say = lambda words: None,
    tired: Callable[[list[Cell]], bool] | None = None,
) -> Selection:
    """Fit every combination and choose one.

    After an interrupt nothing more is begun: the choice is among what was fitted so far.

    Parameters
    ----------
    effort : {"quick", "default", "thorough"}
    say : callable, optional
        Told what is being done, in words.
    tired : callable, optional
        Whether a family needs no more components; see `sweep`.

    Raises
    ------
    ParameterError, DataError, DegenerateComponentError
        A bad argument; or the first candidate's error if none could be fitted.
    KeyboardInterrupt
        Interrupted before anything was fitted.
    """
    if effort not in EFFORT:
        raise parameter_error("effort", f"one of {', '.join(EFFORT)}", effort)
    criterion.check(combinations, count_rows(X), weight)
    fitting, judging = seed.spawn(2)

    def report(stage: str, row: list[Cell]) -> None:
        if row or stage == "fit":
            say(STAGES[stage].format(k=row[0].k if row else 0))

    options: dict[str, Any] = {"effort": effort, "n_jobs": n_jobs}
    copies = [_copy(one) for one in combinations]
    with _quiet():
        fits = fit_combinations(copies, X, weight, fitting, report=report, tired=tired, **options)
        _refuse_nothing(fits.candidates)
        verdict = _Verdict(fits.candidates, fits.candidates, interrupted=fits.interrupted)
        if not fits.interrupted:
            try:
                _judge(verdict, criterion, combinations, X, weight, judging, say, options)
            except KeyboardInterrupt:
                verdict.interrupted = True
    judge = criterion.name
    if verdict.interrupted and judge not in CRITERIA:
        judge = FALLBACK
    best = min(verdict.eligible, key=lambda one: one.value(judge))
    chosen = Selection(
        criterion.name,
        verdict.candidates,
        best,
        verdict.tests,
        chosen_by=judge,
        interrupted=verdict.interrupted,
        stopped_after=_last_size(fits.candidates, combinations, fits.stopped),
    )
    if not verdict.interrupted and not best.converged:
        warnings.warn(_not_converged(best), ConvergenceWarning, stacklevel=3)
    return chosen


def _judge(
    verdict: _Verdict,
    criterion: Criterion,
    combinations: Sequence[Combination],
    X: Any,
    weight: Array | None,
    seed: np.random.SeedSequence,
    say: Say,
    options: dict[str, Any],
) -> None:
    """What takes more fits than those of the candidates."""
    if criterion.name == "cv":
        verdict.candidates = verdict.eligible = cross_validate(
            verdict.candidates,
            combinations,
            X,
            weight,
            seed,
            int(criterion.cv),
            report=lambda fold: say(f"fold {fold + 1} of {criterion.cv}"),
            **options,
        )
    if criterion.name == "lrt":
        verdict.eligible = choose_by_tests(
            verdict.candidates,
            combinations,
            X,
            seed,
            int(criterion.n_bootstrap),
            float(criterion.alpha),
            n_jobs=options["n_jobs"],
            tests=verdict.tests,
            report=say,
        )


def _copy(one: Combination) -> Combination:
    return Combination(clone(one.estimator), one.parameters, one.label, one.group, one.size)


def count_rows(X: Any) -> int:
    """Rows of an array, a list or a table."""
    if hasattr(X, "n_rows"):
        return int(X.n_rows)
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _refuse_nothing(candidates: Sequence[Candidate]) -> None:
    if any(one.estimator is not None for one in candidates):
        return
    error = candidates[0].error
    assert error is not None
    raise error


def _last_size(
    candidates: Sequence[Candidate], combinations: Sequence[Combination], stopped: set[int]
) -> int | None:
    """The largest number of components that was tried where a family was stopped early."""
    labels = {one.label for one in combinations if one.group in stopped}
    return max((one.n_components for one in candidates if one.label in labels), default=None)


def _not_converged(best: Candidate) -> str:
    advice = getattr(getattr(best.estimator, "certificate_", None), "advice", "")
    return f"the chosen candidate ({best.name}) ended with status {best.status!r}. {advice}".strip()


@contextmanager
def _quiet() -> Iterator[None]:
    """The table says how each fit ended; categories that a fold lacks are scored as impossible."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "column .* holds categories never seen", UserWarning)
        yield
