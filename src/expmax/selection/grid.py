"""The same data fitted with several numbers of components and families."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expmax.errors import (
    ConvergenceWarning,
    DataError,
    ExpmaxError,
    ParameterError,
    parameter_error,
)
from expmax.estimators.mixture import Mixture
from expmax.families.base import Family

__all__ = ["CRITERIA", "Candidate", "Grid", "fit_grid"]

CRITERIA = ("bic", "aic", "icl")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One combination: its fit, or the error that says why there is none."""

    n_components: int
    family: Family
    label: str
    estimator: Any = None
    error: ExpmaxError | None = None

    def value(self, criterion: str) -> float:
        """A criterion of the training data; infinite without a fit."""
        if self.estimator is None:
            return float("inf")
        return float(getattr(self.estimator, criterion)())

    @property
    def log_likelihood(self) -> float:
        """Total, nats."""
        return float(self.estimator.log_likelihood_)

    @property
    def n_parameters(self) -> int:
        """Free parameters."""
        return int(self.estimator.n_parameters_)

    @property
    def status(self) -> str:
        """How the fit ended."""
        return str(self.estimator.status_)


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
    numbers = sorted(set(n_components))
    candidates: list[Candidate] = []
    stopped = None
    for label, family in families.items():
        own: list[Candidate] = []
        for k in numbers:
            if patience is not None and _tired(own, criterion, patience):
                stopped = max(stopped or 0, own[-1].n_components)
                break
            if on_start is not None:
                on_start(k, label)
            own.append(_fit(X, k, family, label, sample_weight, settings))
            error = own[0].error
            if isinstance(error, DataError | ParameterError) and not candidates:
                raise error
        candidates += own
    return Grid(criterion, candidates, stopped)


def _fit(
    X: Any, k: int, family: Family, label: str, sample_weight: Any, settings: Mapping[str, Any]
) -> Candidate:
    estimator = Mixture(family, k, **settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the status says so in the table
            estimator.fit(X, sample_weight=sample_weight)
    except ExpmaxError as error:
        return Candidate(k, family, label, error=error)
    if estimator.status_ == "interrupted":
        raise KeyboardInterrupt
    return Candidate(k, family, label, estimator)


def _tired(candidates: Sequence[Candidate], criterion: str, patience: int) -> bool:
    values = [one.value(criterion) for one in candidates]
    if len(values) <= patience or not np.isfinite(values).any():
        return False
    return len(values) - 1 - int(np.argmin(values)) >= patience
