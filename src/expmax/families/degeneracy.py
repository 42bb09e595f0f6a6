"""Components of one scale whose values do not vary."""

from __future__ import annotations

import numpy as np

from expmax.contract import Degeneracy
from expmax.statistics import Array

__all__ = [
    "collapsed",
]


def collapsed(
    name: str, spread: Array, marginal: Array | None, floor: Array | float = 1e-13
) -> list[Degeneracy]:
    """Components whose squared spread is lost beside that of the one-component fit, or in rounding.

    Parameters
    ----------
    name : str
        What `spread` is, for the message.
    spread : ndarray, shape (K,)
        A squared scale of each component; 0 where its values do not vary.
    marginal : ndarray, shape (1,), optional
        The same of the one-component fit: below 1e-9 of it a component has collapsed.
    floor : float or ndarray, shape (K,)
        What rounding of the moments leaves of a spread of zero.
    """
    limit = np.broadcast_to(np.asarray(floor, float), spread.shape)
    if marginal is not None and np.isfinite(marginal[0]):
        limit = np.maximum(limit, 1e-9 * marginal[0])
    return [
        Degeneracy(int(k), f"collapsed: its values do not vary ({name} {spread[k]:.2g})")
        for k in np.flatnonzero(spread <= limit)
    ]
