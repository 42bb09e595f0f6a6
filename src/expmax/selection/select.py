"""`select`: which family, which structure, how many components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils.validation import check_random_state

from expmax.data.reading import read_table
from expmax.errors import parameter_error
from expmax.estimators import preparation as prepare
from expmax.selection.candidates import expand
from expmax.selection.fitting import count_workers
from expmax.selection.judging import Criterion, Say, choose, count_rows
from expmax.selection.result import Selection

__all__ = ["select"]

MANY_ROWS = 5000  # from which on threads help


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
    progress: bool | Say = False,
) -> Selection:
    """Fit every combination of a grid and choose one.

    Mixtures are fitted side by side and learn from each other: a fit with K components starts from
    the solutions with K − 1 (one component split) and K + 1 (one left out), and from what other
    families found with K. A combination that cannot be fitted is listed with the reason.

    Ctrl-C ends the work, whatever it is: the choice is then among what was fitted so far, by BIC where
    "cv" or "lrt" was not finished, and says so (`interrupted`, `chosen_by`); what was not reached is
    listed as not fitted.

    Parameters
    ----------
    estimator : Mixture, GaussianMixture or another estimator of expmax that has BIC, AIC and ICL
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
        How many starts and swaps of components are tried; quick a quarter, thorough four times as many.
    random_state : int, RandomState or None
        Default: the estimator's own.
    cv : int
        Number of folds.
    n_bootstrap : int
        Samples a test; at least 1/alpha − 1, for the smallest p-value is 1/(n_bootstrap + 1).
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
    KeyboardInterrupt
        Interrupted before anything was fitted.

    Warns
    -----
    ConvergenceWarning
        The fit that was chosen is not certified.

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
    threads = count_workers(n_jobs)
    combinations = expand(estimator, grid)
    seed = _seed(estimator, random_state)
    X = X if isinstance(X, np.ndarray) else read_table(X) if _is_frame(X) else X
    threads = threads if count_rows(X) >= MANY_ROWS else 1
    weight = None
    if sample_weight is not None:
        weight = prepare.check_weights(sample_weight, count_rows(X))
    judge = Criterion(criterion, cv, n_bootstrap, alpha)
    with _reporter(progress) as say:
        return choose(combinations, X, weight, seed, judge, effort=effort, n_jobs=threads, say=say)


def _seed(estimator: Any, random_state: Any) -> np.random.SeedSequence:
    prepare.refuse_random_state(random_state)
    if random_state is None:
        random_state = getattr(estimator, "random_state", None)
    draw = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return np.random.SeedSequence(int(draw))


def _is_frame(X: Any) -> bool:
    return hasattr(X, "columns") or hasattr(X, "__dataframe__")


@contextmanager
def _reporter(progress: bool | Say) -> Iterator[Say]:
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
