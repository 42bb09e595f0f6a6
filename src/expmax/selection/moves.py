"""From the solution of one mixture to starts of its neighbours: responsibilities in, responsibilities out.

All that one fit hands to another is who belongs together, r_ik = P(k | x_i). So families and
structures can learn from each other, whatever their parameters are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from expmax.statistics import Array

__all__ = ["agreement", "deletions", "merges", "splits"]


def splits(r: Array, points: Array, rng: np.random.Generator | None = None) -> Iterator[Array]:
    """Each component cut in two by a plane through its centre: (n, K) → (n, K + 1), K of them.

    Parameters
    ----------
    r : ndarray, shape (n, K)
        Responsibilities.
    points : ndarray, shape (n, q)
        Rows as points, in comparable units.
    rng : Generator, optional
        Of random axes; without it the axis is the longest of the component.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> next(splits(np.ones((4, 1)), points)).T
    array([[1., 1., 0., 0.],
           [0., 0., 1., 1.]])
    """
    for parent in range(r.shape[1]):
        share = r[:, parent]
        total = share.sum()
        if not total > 0:
            continue
        centred = points - (share @ points) / total
        if rng is None:
            _, vectors = np.linalg.eigh((centred * share[:, None]).T @ centred)
            axis = np.asarray(vectors[:, -1] * _sign(vectors[:, -1]))
        else:
            axis = rng.standard_normal((points.shape[1],))
        far = centred @ axis > 0
        out = np.column_stack([r, np.where(far, share, 0.0)])
        out[far, parent] = 0.0
        yield out


def _sign(vector: Array) -> float:
    """Makes the largest entry positive: a plane has no side of its own."""
    return 1.0 if vector[np.argmax(np.abs(vector))] > 0 else -1.0


def deletions(r: Array) -> Iterator[Array]:
    """Each component left out, its rows shared among the others: (n, K) → (n, K − 1), K of them.

    Examples
    --------
    >>> next(deletions(np.array([[0.5, 0.25, 0.25]])))
    array([[0.5, 0.5]])
    """
    for k in range(r.shape[1]):
        rest = np.delete(r, k, axis=1)
        total = rest.sum(axis=1, keepdims=True)
        lost = total[:, 0] < 1e-12
        total[lost] = 1.0
        rest = rest / total
        rest[lost] = 1.0 / rest.shape[1]
        yield rest


def merges(r: Array, weight: Array | None, most: int) -> Iterator[Array]:
    """The pairs that overlap most made one: (n, K) → (n, K − 1), at most `most` of them.

    Examples
    --------
    >>> next(merges(np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]), None, 1))
    array([[1., 0.],
           [0., 1.]])
    """
    weighted = r if weight is None else r * weight[:, None]
    overlap = weighted.T @ r
    size = np.sqrt(np.maximum(np.diag(overlap), 1e-300))
    overlap = overlap / (size[:, None] * size)
    first, second = np.triu_indices(r.shape[1], 1)
    for i in np.argsort(-overlap[first, second], kind="stable")[:most]:
        out = np.delete(r, second[i], axis=1)
        out[:, first[i]] = r[:, first[i]] + r[:, second[i]]
        yield out


def agreement(one: NDArray[np.intp], other: NDArray[np.intp], weight: Array | None) -> float:
    """Share of rows that two partitions give to the same component, at the best matching of labels.

    Examples
    --------
    >>> agreement(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1]), None)
    0.75
    """
    k = int(max(one.max(), other.max())) + 1
    table = np.bincount(one * k + other, weight, k * k).reshape(k, k)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / table.sum())
