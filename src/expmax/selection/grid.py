"""The same data fitted with several numbers of components and families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_random_state

from expmax.estimators.mixture import Mixture
from expmax.families.base import Family
from expmax.selection.candidates import CRITERIA, Combination
from expmax.selection.cells import Cell
from expmax.selection.judging import Criterion, choose
from expmax.selection.result import Selection

__all__ = ["fit_grid"]


def fit_grid(
    X: Any,
    families: Mapping[str, Family],
    n_components: Iterable[int],
    *,
    criterion: str = "bic",
    cv: int = 5,
    n_bootstrap: int = 99,
    alpha: float = 0.05,
    patience: int | None = None,
    sample_weight: Any = None,
    say: Callable[[str], None] = lambda words: None,
    **settings: Any,
) -> Selection:
    """Fit every combination; one that has no maximum keeps its error.

    Parameters
    ----------
    X : array, table or data frame
    families : mapping
        Families by the label that tables give them.
    n_components : iterable of int
    criterion, cv, n_bootstrap, alpha
        See `select`.
    patience : int, optional
        Stop a family after so many numbers of components in a row did not improve on its best, by
        BIC where the criterion is known only after all fits.
    say : callable, optional
        Told what is being done, in words.
    **settings
        Of `Mixture`.

    Raises
    ------
    ParameterError, DataError
        A bad argument; or the first candidate's error if none could be fitted.
    KeyboardInterrupt
        Interrupted before anything was fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> counts = np.repeat([[0.0], [1.0], [2.0], [9.0], [10.0], [12.0]], 20, axis=0)
    >>> fit_grid(counts, {"Poisson": Poisson()}, range(1, 4), random_state=0).best.n_components
    2
    """
    combinations = [
        Combination(Mixture(family, k, **settings), {"family": family}, label, group, k)
        for group, (label, family) in enumerate(families.items())
        for k in sorted(set(n_components))
    ]
    draw = check_random_state(settings.get("random_state")).randint(np.iinfo(np.int32).max)
    known = criterion if criterion in CRITERIA else "bic"
    return choose(
        combinations,
        X,
        sample_weight,
        np.random.SeedSequence(int(draw)),
        Criterion(criterion, cv, n_bootstrap, alpha),
        effort=settings.get("effort", "default"),
        say=say,
        tired=None if patience is None else partial(_tired, known, patience),
    )


def _tired(criterion: str, patience: int, cells: list[Cell]) -> bool:
    """Whether so many numbers of components in a row were no better."""
    values = [cell.value(criterion) for cell in cells]
    if len(values) <= patience or not np.isfinite(values).any():
        return False
    return len(values) - 1 - int(np.argmin(values)) >= patience
