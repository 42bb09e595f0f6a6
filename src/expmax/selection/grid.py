"""The same data fitted with several numbers of components and families."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_random_state

from expmax.errors import ConvergenceWarning, DataError, ParameterError, parameter_error
from expmax.estimators.mixture import Mixture
from expmax.families.base import Family
from expmax.selection.candidates import CRITERIA, Candidate, Combination
from expmax.selection.cells import Cell
from expmax.selection.fitting import EFFORT, fit_combinations

__all__ = ["CRITERIA", "Candidate", "Grid", "fit_grid"]


@dataclass(frozen=True)
class Grid:
    """All candidates, in the order of their fits."""

    criterion: str
    candidates: list[Candidate] = field(default_factory=list)
    stopped_after: int | None = None  # K after which no more were tried, for want of improvement

    @property
    def best(self) -> Candidate:
        """The candidate with the smallest criterion.

        Raises
        ------
        ExpmaxError
            The first candidate's, if none could be fitted.
        """
        fitted = [one for one in self.candidates if one.error is None]
        if not fitted:
            assert self.candidates[0].error is not None
            raise self.candidates[0].error
        return min(fitted, key=lambda one: one.value(self.criterion))


def fit_grid(
    X: Any,
    families: Mapping[str, Family],
    n_components: Iterable[int],
    *,
    criterion: str = "bic",
    patience: int | None = None,
    sample_weight: Any = None,
    on_start: Callable[[int, str], None] | None = None,
    **settings: Any,
) -> Grid:
    """Fit every combination; one that has no maximum keeps its error.

    Parameters
    ----------
    X : array, table or data frame
    families : mapping
        Families by the label that tables give them.
    n_components : iterable of int
    criterion : {"bic", "aic", "icl"}
    patience : int, optional
        Stop a family after so many numbers of components in a row did not improve on its best.
    on_start : callable, optional
        Called with K and the label before each fit.
    **settings
        Of `Mixture`.

    Raises
    ------
    ParameterError, DataError
        What no number of components would cure: it is raised at the first fit.
    KeyboardInterrupt
        A fit was interrupted.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> counts = np.repeat([[0.0], [1.0], [2.0], [9.0], [10.0], [12.0]], 20, axis=0)
    >>> fit_grid(counts, {"Poisson": Poisson()}, range(1, 4), random_state=0).best.n_components
    2
    """
    if criterion not in CRITERIA:
        raise parameter_error("criterion", f"one of {', '.join(CRITERIA)}", criterion)
    effort = settings.get("effort", "default")
    if effort not in EFFORT:
        raise parameter_error("effort", f"one of {', '.join(EFFORT)}", effort)
    combinations = [
        Combination(Mixture(family, k, **settings), {"family": family}, label, group, k)
        for group, (label, family) in enumerate(families.items())
        for k in sorted(set(n_components))
    ]

    def report(stage: str, row: list[Cell]) -> None:
        if on_start is not None and stage != "certify" and row:
            label = combinations[0].label if len(families) == 1 else f"{len(row)} families"
            on_start(row[0].k, label)

    seed = np.random.SeedSequence(
        int(check_random_state(settings.get("random_state")).randint(np.iinfo(np.int32).max))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the status says so in the table
        candidates, stopped = fit_combinations(
            combinations,
            X,
            sample_weight,
            seed,
            effort=effort,
            report=report,
            tired=None if patience is None else partial(_tired, criterion, patience),
        )
    first = candidates[0].error
    if isinstance(first, DataError | ParameterError):
        raise first
    if any(one.status == "interrupted" for one in candidates):
        raise KeyboardInterrupt
    last = [
        max(one.n_components for one in candidates if one.label == label)
        for group, label in enumerate(families)
        if group in stopped
    ]
    return Grid(criterion, candidates, max(last, default=None))


def _tired(criterion: str, patience: int, cells: list[Cell]) -> bool:
    """Whether so many numbers of components in a row were no better."""
    values = [cell.value(criterion) for cell in cells]
    if len(values) <= patience or not np.isfinite(values).any():
        return False
    return len(values) - 1 - int(np.argmin(values)) >= patience
