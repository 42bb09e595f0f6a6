"""`select`: which family, which structure, how many components."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_random_state

from expmax.data.reading import read_table
from expmax.errors import ConvergenceWarning, parameter_error
from expmax.estimators import preparation as prepare
from expmax.selection.bootstrap import choose_by_tests, refuse_one_size, whole_weights
from expmax.selection.candidates import CRITERIA, Candidate, Combination, expand
from expmax.selection.cells import Cell
from expmax.selection.fitting import EFFORT, count_workers, fit_combinations
from expmax.selection.held_out import cross_validate
from expmax.selection.result import Selection

__all__ = ["select"]

Progress = Callable[[str], None]


def select(
    estimator: Any,
    X: Any,
    grid: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    criterion: str = "bic",
    sample_weight: Any = None,
    n_jobs: int | None = None,
    effort: str = "default",
    random_state: Any = None,
    cv: int = 5,
    n_bootstrap: int = 99,
    alpha: float = 0.05,
    progress: bool | Progress = False,
) -> Selection:
    """Fit every combination of a grid and choose one.

    Mixtures are fitted side by side and learn from each other: a fit with K components starts from
    the solutions with K − 1 (one component split) and K + 1 (one left out), and from what other
    families found with K. A combination that cannot be fitted is listed with the reason.

    Parameters
    ----------
    estimator : Mixture, GaussianMixture or another estimator of expmax
        What the grid leaves open is as here.
    X : array or data frame, shape (n, d)
    grid : mapping, or list of mappings
        Values by the name of a parameter, as in scikit-learn: {"n_components": range(1, 10),
        "family": [Gaussian("EEE"), Gaussian("VVV")]}.
    criterion : {"bic", "aic", "icl", "cv", "lrt"}
        Schwarz's, Akaike's, integrated completed likelihood; "cv": log-likelihood of rows left out;
        "lrt": in each family the first K that a bootstrap likelihood-ratio test does not reject
        against the next, and among families BIC.
    sample_weight : array, shape (n,), optional
        Weight k is k copies of a row.
    n_jobs : int, optional
        Threads; the result does not depend on their number. Below some thousands of rows one is used:
        the steps are then so short that threads would wait for one another.
    effort : {"quick", "default", "thorough"}
        At most about 320, 640 or 2560 E-steps a fit (at K = 5, in proportion to K).
    random_state : int, RandomState or None
        Default: the estimator's own.
    cv : int
        Number of folds.
    n_bootstrap : int
        Samples a test.
    alpha : float
        Level of the tests.
    progress : bool or callable
        True shows a line on standard error; a callable is given what is being done, in words.

    Returns
    -------
    Selection

    Raises
    ------
    ParameterError, DataError, DegenerateComponentError
        A bad argument; or the first candidate's error if none could be fitted.

    References
    ----------
    Schwarz (1978), Ann. Statist. 6, 461-464. Biernacki, Celeux & Govaert (2000), IEEE PAMI 22(7),
    719-725. McLachlan (1987), J. R. Statist. Soc. C 36, 318-324.

    Examples
    --------
    >>> import numpy as np
    >>> import expmax as em
    >>> counts = np.repeat([[0.0], [1.0], [2.0], [9.0], [10.0], [12.0]], 20, axis=0)
    >>> grid = {"family": [em.Poisson(), em.Geometric()], "n_components": [1, 2, 3]}
    >>> choice = em.select(em.Mixture(), counts, grid, random_state=0)
    >>> choice
    Selection(6 candidates by bic, 0 failed; best: Poisson, K = 2)
    >>> choice.best_estimator_.params_["rate"].round(2)
    array([ 1. , 10.3])
    """
    if criterion not in (*CRITERIA, "cv", "lrt"):
        raise parameter_error("criterion", "one of bic, aic, icl, cv, lrt", criterion)
    if effort not in EFFORT:
        raise parameter_error("effort", f"one of {', '.join(EFFORT)}", effort)
    threads = count_workers(n_jobs)
    combinations = expand(estimator, grid)
    seed = _seed(estimator, random_state)
    X = X if isinstance(X, np.ndarray) else read_table(X) if _is_frame(X) else X
    threads = threads if _n_rows(X) >= MANY_ROWS else 1
    weight = None
    if sample_weight is not None:
        weight = prepare.check_weights(sample_weight, _n_rows(X))
    if criterion == "cv":
        prepare.positive_integer("cv", cv, 2)
        if cv > _n_rows(X):
            raise parameter_error("cv", f"at most the number of rows, {_n_rows(X)}", cv)
    if criterion == "lrt":
        prepare.positive_integer("n_bootstrap", n_bootstrap, 1)
        if not (isinstance(alpha, int | float) and 0 < alpha < 1):
            raise parameter_error("alpha", "a number between 0 and 1", alpha)
        refuse_one_size(combinations)
        whole_weights(weight)
    fitting, judging = seed.spawn(2)
    unfitted = combinations
    combinations = [_copy(one) for one in unfitted]
    with _quiet(), _reporter(progress) as say:

        def report(stage: str, row: list[Cell]) -> None:
            say(_STAGES[stage].format(k=row[0].k if row else 0))

        candidates, _ = fit_combinations(
            combinations, X, weight, fitting, effort=effort, n_jobs=threads, report=report
        )
        _refuse_nothing(candidates)
        if criterion == "cv":
            candidates = cross_validate(
                candidates,
                unfitted,
                X,
                weight,
                judging,
                int(cv),
                report=lambda fold: say(f"fold {fold + 1} of {cv}"),
                effort=effort,
                n_jobs=threads,
            )
        tests: list[Any] = []
        eligible = candidates
        if criterion == "lrt":
            eligible, tests = choose_by_tests(
                candidates,
                unfitted,
                X,
                judging,
                int(n_bootstrap),
                float(alpha),
                n_jobs=threads,
                report=say,
            )
    best = min(eligible, key=lambda one: one.value(criterion))
    return Selection(criterion, candidates, best, tests)


MANY_ROWS = 5000  # from which on threads help
_STAGES = {
    "up": "fitting K = {k}",
    "down": "learning from more components, K = {k}",
    "again": "improving K = {k}",
    "certify": "certifying",
    "fit": "fitting",
}


def _copy(one: Combination) -> Combination:
    return Combination(clone(one.estimator), one.parameters, one.label, one.group, one.size)


def _seed(estimator: Any, random_state: Any) -> np.random.SeedSequence:
    prepare.refuse_random_state(random_state)
    if random_state is None:
        random_state = getattr(estimator, "random_state", None)
    draw = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return np.random.SeedSequence(int(draw))


def _is_frame(X: Any) -> bool:
    return hasattr(X, "columns") or hasattr(X, "__dataframe__")


def _n_rows(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _refuse_nothing(candidates: Sequence[Candidate]) -> None:
    if any(one.estimator is not None for one in candidates):
        return
    error = candidates[0].error
    assert error is not None
    raise error


@contextmanager
def _quiet() -> Iterator[None]:
    """The table says how each fit ended; categories that a fold lacks are scored as impossible."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "column .* holds categories never seen", UserWarning)
        yield


@contextmanager
def _reporter(progress: bool | Progress) -> Iterator[Progress]:
    if callable(progress):
        yield progress
        return
    if progress not in (True, False):
        raise parameter_error("progress", "True, False or a callable", progress)
    if not progress:
        yield lambda words: None
        return
    from rich.console import Console

    with Console(stderr=True).status("fitting") as status:
        yield status.update
