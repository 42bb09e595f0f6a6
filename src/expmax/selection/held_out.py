"""Cross-validated log-likelihood: what rows that a fit has not seen think of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from expmax.data.reading import read_table
from expmax.data.tables import Table, table_of_columns
from expmax.errors import ExpmaxError
from expmax.selection.candidates import Candidate, Combination
from expmax.selection.fitting import fit_combinations
from expmax.statistics import Array

__all__ = ["cross_validate", "folds"]


def folds(n_rows: int, n_folds: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """The rows of each fold, as equal in number as can be.

    Examples
    --------
    >>> [len(rows) for rows in folds(10, 3, np.random.default_rng(0))]
    [4, 3, 3]
    """
    return [np.sort(rows) for rows in np.array_split(rng.permutation(n_rows), n_folds)]


def cross_validate(
    candidates: Sequence[Candidate],
    combinations: Sequence[Combination],
    X: Any,
    weight: Array | None,
    seed: np.random.SeedSequence,
    n_folds: int,
    *,
    report: Callable[[int], None] = lambda fold: None,
    **options: Any,
) -> list[Candidate]:
    """The candidates with their held-out log-likelihood a row and its standard error.

    Every fold is fitted from the start, by the same sweep: nothing of the rows left out leaks in.

    Raises
    ------
    KeyboardInterrupt
        Interrupted: some folds say nothing that could be compared.

    References
    ----------
    Smyth (2000), Model selection for probabilistic clustering using cross-validated likelihood,
    Statistics and Computing 10, 63-72.
    """
    n_rows = len(X) if hasattr(X, "__len__") else read_table(X).n_rows
    first, *rest = seed.spawn(n_folds + 1)
    parts = folds(n_rows, n_folds, np.random.default_rng(first))
    ones = np.ones(n_rows) if weight is None else weight
    totals = np.zeros((len(candidates), n_folds))
    mass = np.array([ones[rows].sum() for rows in parts])
    keys = {(one.label, one.size): i for i, one in enumerate(combinations)}
    position = [keys[one.label, one.n_components] for one in candidates]
    for fold, (rows, own) in enumerate(zip(parts, rest, strict=True)):
        report(fold)
        train = np.setdiff1d(np.arange(n_rows), rows)
        unfitted = [
            replace(combinations[i], estimator=clone(combinations[i].estimator)) for i in position
        ]
        fits = fit_combinations(
            unfitted,
            take_rows(X, train),
            None if weight is None else weight[train],
            own,
            **options,
        )
        if fits.interrupted:
            raise KeyboardInterrupt
        seen = take_rows(X, rows)
        for i, one in enumerate(fits.candidates):
            totals[i, fold] = _score(one, seen, ones[rows])
    return [_scored(*item, mass) for item in zip(candidates, totals, strict=True)]


def _score(one: Candidate, X: Any, weight: Array) -> float:
    """Σ w log p(x) of rows left out, nats; −∞ where the fit failed or a row is impossible."""
    if one.estimator is None:
        return -np.inf
    try:
        log_density = np.asarray(one.estimator.score_samples(X), float)
    except ExpmaxError:  # a value outside what training has seen
        return -np.inf
    used = weight > 0
    return float(weight[used] @ log_density[used])


def _scored(one: Candidate, totals: Array, mass: Array) -> Candidate:
    if one.estimator is None:
        return one
    used = mass > 0
    mean = float(totals[used].sum() / mass.sum())
    if not np.isfinite(mean):
        return replace(one, held_out=-np.inf, weight=float(mass.sum()))
    spread = totals[used] / mass[used] - mean
    error = float(np.sqrt((spread**2).sum() / (len(spread) - 1) / len(spread)))
    return replace(one, held_out=mean, held_out_error=error, weight=float(mass.sum()))


def take_rows(X: Any, rows: NDArray[np.intp]) -> Any:
    """Some rows of an array, a list or a data frame of any library."""
    if isinstance(X, Table):
        columns = [(column.kind, column.cells[rows]) for column in X.columns]
        return table_of_columns(columns, X.names, n_rows=len(rows), source=X.source)
    if isinstance(X, np.ndarray):
        return X[rows]
    if isinstance(X, list | tuple):
        return [X[i] for i in rows]
    return _safe_indexing(X, rows)
