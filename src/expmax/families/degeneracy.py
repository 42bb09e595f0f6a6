"""Components of one scale at which the likelihood is unbounded: which, and how that shows."""

from __future__ import annotations

import numpy as np

from expmax.contract import Degeneracy
from expmax.families.gaussian_collapse import COLLAPSE
from expmax.statistics import Array

__all__ = [
    "collapsed",
]


def collapsed(
    name: str,
    spread: Array,
    marginal: Array | None,
    counts: Array | None,
    *,
    least: float,
    floor: Array | float = 1e-13,
) -> list[Degeneracy]:
    """Components that shrink without end, and not just lie far from the others.

    A component much narrower than the data is a spike where it rests on fewer than `least` rows or has come
    down to the resolution of its own moments: as for a Gaussian.

    Parameters
    ----------
    name : str
        What `spread` is, for the message.
    spread : ndarray, shape (K,)
        A squared scale of each component; 0 where its values do not vary.
    marginal : ndarray, shape (1,), optional
        The same of the one-component fit: from 1e-9 of it on a component is much narrower than the data.
    counts : ndarray, shape (K,), optional
        Expected rows of each component, where known.
    least : float
        Rows below which a small component is a spike.
    floor : float or ndarray, shape (K,)
        What rounding of the moments leaves of a spread of zero.
    """
    bad = ~(spread > floor)
    if marginal is not None and np.isfinite(marginal[0]) and counts is not None:
        bad |= (spread * COLLAPSE < marginal[0]) & (counts < least)
    return [
        Degeneracy(int(k), f"its values do not vary ({name} {spread[k]:.2g})")
        for k in np.flatnonzero(bad)
    ]
