"""What single constraints decide, and the errors of what cannot be: each with its proof."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from expmax.errors import InfeasibleMomentsError
from expmax.maxent.arrays import is_sparse
from expmax.maxent.feasibility import Separation, conflicting, separate
from expmax.maxent.moments import Moments
from expmax.maxent.reduction import Contradiction, Reduced, reduce_features
from expmax.statistics import Array

__all__ = [
    "as_given",
    "distinct_rows",
    "feature_range",
    "refuse",
    "refuse_jointly",
    "shortest",
    "tighten",
]

ROUNDING = 16 * np.finfo(float).eps


def feature_range(features: Any) -> tuple[Array, Array]:
    """Smallest and largest value of each feature."""
    low, high = features.min(axis=0), features.max(axis=0)
    if is_sparse(features):
        low, high = low.toarray(), high.toarray()
    return np.asarray(low, float).ravel(), np.asarray(high, float).ravel()


def tighten(features: Any, moments: Moments, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The points that single constraints leave possible.

    Raises
    ------
    InfeasibleMomentsError
        A moment lies outside the range of its feature.
    """
    hard = np.flatnonzero(moments.tolerance == 0)
    first, active = active, active.copy()
    while len(hard):
        rows = features if active.all() else features[np.flatnonzero(active)]
        low, high = feature_range(rows)
        below, above = low + ROUNDING * np.abs(low), high - ROUNDING * np.abs(high)
        for j in map(int, hard):
            if (
                moments.lower[j] > 2 * high[j] - above[j]
                or moments.upper[j] < 2 * low[j] - below[j]
            ):
                if active.sum() < first.sum():  # constraints at the ends of their ranges join in
                    refuse_jointly(features[np.flatnonzero(first)], moments)
                _refuse_range(j, moments, low[j], high[j])
        at_top = moments.lower[hard] >= above[hard]
        at_bottom = moments.upper[hard] <= below[hard]
        loose = below[hard] < above[hard]
        stop = hard[(at_top | at_bottom) & loose]
        if not len(stop):
            break
        columns = rows[:, stop]
        values = columns.toarray() if is_sparse(columns) else columns
        top = moments.lower[stop] >= above[stop]
        keep = np.where(top, values >= above[stop], values <= below[stop]).all(axis=1)
        if not keep.any():
            refuse_jointly(features[np.flatnonzero(first)], moments)
        active[np.flatnonzero(active)[~keep]] = False
    return active


def refuse(
    direction: Array, moments: Moments, because: str = "", *, bounded: bool = False
) -> NoReturn:
    """Raise the error of a separating direction, the constraints named by its non-zeros."""
    direction = direction / np.abs(direction).max()
    names = [moments.names[j] for j in np.flatnonzero(direction)]
    shown = ", ".join(repr(name) for name in names[:8]) + (", …" if len(names) > 8 else "")
    reason = f" ({because})" if because else ""
    proof = "any weights allowed lie" if bounded else "every point of the support lies"
    if len(names) == 1:
        j = int(np.flatnonzero(direction)[0])
        asked = moments.lower[j] if direction[j] > 0 else moments.upper[j]
        start = f"nothing meets the constraint E[{names[0]}] = {asked:.10g}{reason}"
    else:
        start = f"the constraints {shown} cannot hold together{reason}"
    raise InfeasibleMomentsError(
        f"{start}: along the direction attached to this error {proof} on the wrong side. Correct "
        "them, or give an interval or a tolerance.",
        direction=direction,
        conflicts=names,
    )


def _refuse_range(j: int, moments: Moments, low: float, high: float) -> NoReturn:
    direction = np.zeros(len(moments))
    direction[j] = 1.0 if moments.lower[j] > high else -1.0
    name = moments.names[j]
    asked = moments.lower[j] if moments.lower[j] > high else moments.upper[j]
    raise InfeasibleMomentsError(
        f"the constraint {name!r} asks E[{name}] = {asked:.10g}, outside the range [{low:.10g}, "
        f"{high:.10g}] of the feature on the support; correct it, or give it a tolerance.",
        direction=direction,
        conflicts=[name],
    )


def refuse_jointly(rows: Any, moments: Moments) -> NoReturn:
    """Constraints that each leave points but none in common."""
    reduced = reduce_features(rows, moments)
    if isinstance(reduced, Contradiction):
        refuse(reduced.direction, moments)
    distinct, _ = distinct_rows(reduced.features)
    half = reduced.penalty.halfwidth
    found = separate(distinct, half, reduced.centre)
    if found is None:
        raise InfeasibleMomentsError(
            "no point of the support is left possible by all constraints; correct one of them, or "
            "give it an interval or a tolerance.",
            direction=np.zeros(len(moments)),
            conflicts=list(moments.names),
        )
    live, proof = shortest(distinct, half, found, reduced.centre, reduced)
    refuse(as_given(proof, live, reduced, len(moments)), moments)


def distinct_rows(features: Any) -> tuple[Any, NDArray[np.intp]]:
    """Equal points share their fate."""
    if is_sparse(features):
        return features, np.arange(features.shape[0])
    rows, inverse = np.unique(features, axis=0, return_inverse=True)
    return rows, np.asarray(inverse).ravel()


def shortest(
    rows: Any, half: Array, found: Separation, centre: Array | None, reduced: Reduced
) -> tuple[NDArray[np.intp], Separation]:
    """The shortest list of constraints in conflict; rotated features are turned back first."""
    if reduced.rotation is None:
        return conflicting(rows, half, found, centre)
    plain = rows @ reduced.rotation
    again = separate(plain, half)
    if again is None:
        turned = np.asarray(np.linalg.solve(reduced.rotation, found.direction), np.float64)
        return np.arange(len(turned)), Separation(turned, found.margin)
    return conflicting(plain, half, again)


def as_given(proof: Separation, live: NDArray[np.intp], reduced: Reduced, m: int) -> Array:
    """A direction in the features as given: shape (m,)."""
    out = np.zeros(m)
    out[reduced.kept[live]] = proof.direction / reduced.scale[live]
    return out
