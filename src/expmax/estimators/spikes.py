"""Solutions not to be believed: components that only a few rows, or repeated values, hold up.

Such a component is no collapse: its likelihood is bounded, or not yet unbounded. But it is high for what
the data hold by accident, so a search ranks it last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.engine.problem import Point
from expmax.families.gaussian import Gaussian
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.statistics import Array

__all__ = ["fragile", "spike_rule", "spiked"]

FEW = 3  # times the rows that a component needs at least: a small one
FLAT = 1e-7  # smallest over largest variance of a component: a small one that is flatter is a spike
PINNED = 0.25  # standard deviation, in steps of a column, below which a component sits on one value
Rule = Callable[[Array, Callable[[], MixtureParameters]], bool]


def spike_rule(model: MixtureModel, x: NDArray[Any]) -> Rule:
    """Whether a component that could collapse rests on too little.

    That is: on very few rows, on few and is nearly flat, or on a single value of a column whose values
    repeat. The rule takes the expected rows of each component, and how to get the parameters.
    """
    if model.prior is not None:  # nothing is unbounded
        return lambda counts, params: False
    least, limit = _least(model, x), (PINNED * _steps(x)) ** 2

    def is_spike(counts: Array, params: Callable[[], MixtureParameters]) -> bool:
        if (counts < least).any():
            return True
        if limit.any() and _pinned(model, params(), limit).any():
            return True
        few = counts < FEW * least
        return bool(few.any() and (few & _flat(model, params())).any())

    return is_spike


def spiked(model: MixtureModel, x: NDArray[Any]) -> Callable[[Point], bool]:
    """The same rule for a point."""
    rule = spike_rule(model, x)
    return lambda point: rule(point.expectation.statistics.counts, lambda: point.params)


def fragile(
    model: Any, params: MixtureParameters, counts: Array, x: NDArray[Any]
) -> tuple[str, ...]:
    """The components of a mixture that such a rule would not believe, each with its reason."""
    if not isinstance(model, MixtureModel) or model.prior is not None:
        return ()
    found = []
    least, limit = _least(model, x), (PINNED * _steps(x)) ** 2
    few = (counts < FEW * least) & _flat(model, params)
    pinned = _pinned(model, params, limit)
    for k in range(model.n_components):
        if pinned[k].any():
            found.append(f"component {k} sits on one value of column {int(pinned[k].argmax())}")
        elif counts[k] < least[k]:
            found.append(f"component {k} rests on {counts[k]:.1f} rows")
        elif few[k]:
            found.append(f"component {k} rests on {counts[k]:.1f} rows and is nearly flat")
    return tuple(found)


def _least(model: MixtureModel, x: NDArray[Any]) -> Array:
    """Rows that a component needs to be believed: shape (K,)."""
    least = np.zeros(model.n_components)
    for group in model.groups:
        least[group.index] = group.family.smallest_count(x.shape[1])
    return least


def _steps(x: NDArray[Any]) -> Array:
    """The smallest difference between values of each column in which most repeat, else 0: shape (d,)."""
    steps = np.zeros(x.shape[1])
    for j, column in enumerate(np.asarray(x, float).T):
        values = np.unique(column[np.isfinite(column)])
        if 1 < len(values) <= len(column) / 2:
            steps[j] = np.diff(values).min()
    return steps


def _pinned(model: MixtureModel, params: MixtureParameters, limit: Array) -> NDArray[np.bool_]:
    """Where a Gaussian component varies by less than the limit (a variance) of a column: shape (K, d)."""
    pinned = np.zeros((model.n_components, len(limit)), bool)
    for group, part in zip(model.groups, params.components, strict=True):
        if isinstance(group.family, Gaussian):
            covariance = part["covariance"]
            variances = covariance if covariance.ndim == 2 else covariance.diagonal(0, 1, 2)
            pinned[group.index] = variances < limit
    return pinned


def _flat(model: MixtureModel, params: MixtureParameters) -> NDArray[np.bool_]:
    """Gaussian components on a hyperplane, nearly: in units of the columns, shape (K,)."""
    flat = np.zeros(model.n_components, bool)
    for g, group in enumerate(model.groups):
        if not isinstance(group.family, Gaussian) or model.marginal is None:
            continue
        covariance, whole = params.components[g]["covariance"], model.marginal[g]["covariance"][0]
        if covariance.ndim == 2:
            variances = np.sort(covariance / whole, axis=1)
        else:
            unit = np.sqrt(np.diagonal(whole))
            scaled = covariance / np.outer(unit, unit)
            usable = np.isfinite(scaled).all(axis=(1, 2))
            variances = np.zeros(scaled.shape[:2])
            variances[usable] = np.linalg.eigvalsh(scaled[usable])
        flat[group.index] = variances[:, 0] < FLAT * variances[:, -1]
    return flat
