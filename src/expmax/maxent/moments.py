"""What is asked of the moments: exact values, intervals, tolerances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.errors import ParameterError, parameter_error
from expmax.statistics import Array

__all__ = ["Moments", "read_moments"]


@dataclass(frozen=True, slots=True)
class Moments:
    """lower ≤ E[f] ≤ upper, and how far from it is tolerated; one entry a feature."""

    names: tuple[str, ...]
    lower: Array  # (m,), in the units of the feature; −∞ where only the other side counts
    upper: Array  # (m,)
    tolerance: Array  # standard deviation of what is asked, (m,); 0: it holds exactly

    def __len__(self) -> int:
        return len(self.names)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which constraints are equations."""
        return np.asarray((self.lower == self.upper) & (self.tolerance == 0))

    def within(self, low: Array, high: Array) -> Moments:
        """Infinite sides replaced by sides that never bind, given the range of each feature."""
        pad = np.maximum(high - low, 1.0)
        lower = np.where(np.isneginf(self.lower), np.minimum(low, self.upper) - pad, self.lower)
        upper = np.where(np.isposinf(self.upper), np.maximum(high, self.lower) + pad, self.upper)
        return Moments(self.names, lower, upper, self.tolerance)

    def distance(self, mean: Array) -> Array:
        """E[f] less the nearest value asked: shape (m,); 0 inside an interval."""
        return mean - np.clip(mean, self.lower, self.upper)

    def take(self, index: Any) -> Moments:
        """Some of the constraints."""
        names = tuple(np.array(self.names, dtype=object)[index])
        return Moments(names, self.lower[index], self.upper[index], self.tolerance[index])


def read_moments(moments: Any, names: Sequence[str], tolerance: Any = None) -> Moments:
    """Read the moments a user gives.

    Parameters
    ----------
    moments : number, sequence, or mapping by name
        For each feature a number, or a pair (low, high) either of which may be infinite or None. An
        array of shape (m, 2) holds pairs.
    names : sequence of str
        Of the features.
    tolerance : number, sequence or mapping, optional
        Standard deviations of the moments.

    Examples
    --------
    >>> read_moments([4.5, (1, None)], ["mean", "other"]).upper
    array([4.5, inf])
    """
    pairs = [_pair(value, name) for value, name in zip(_listed(moments, names), names, strict=True)]
    bounds = np.array(pairs, float).reshape(-1, 2)
    spread = np.zeros(len(names))
    if tolerance is not None:
        unknown = [name for name in tolerance if name not in names] if _named(tolerance) else []
        if unknown:
            raise parameter_error("tolerance", f"a mapping with names among {list(names)}", unknown)
        given = (
            [tolerance.get(name, 0.0) for name in names]
            if _named(tolerance)
            else _broadcast(tolerance, len(names))
        )
        spread = np.array(given, float)
        if not (np.isfinite(spread) & (spread >= 0)).all():
            raise parameter_error("tolerance", "finite and at least 0", tolerance)
    return Moments(tuple(names), bounds[:, 0], bounds[:, 1], spread)


def _named(tolerance: Any) -> bool:
    return isinstance(tolerance, Mapping)


def _broadcast(tolerance: Any, m: int) -> Array:
    try:
        return np.broadcast_to(np.asarray(tolerance, float), m)
    except (TypeError, ValueError):
        raise parameter_error(
            "tolerance", f"a number, {m} of them, or a mapping", tolerance
        ) from None


def _listed(moments: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(moments, Mapping):
        missing = [name for name in names if name not in moments]
        unknown = [name for name in moments if name not in names]
        if missing or unknown:
            raise parameter_error("moments", f"given for {list(names)}", list(moments))
        return [moments[name] for name in names]
    if isinstance(moments, int | float | np.number):
        moments = [moments]
    if isinstance(moments, str):
        raise parameter_error("moments", "numbers or pairs (low, high), one a feature", moments)
    values = list(moments)
    if len(values) != len(names):
        raise ParameterError(
            f"moments must be one a feature, {len(names)} in all; got {len(values)}."
        )
    return values


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise parameter_error(
            f"the moment of {name!r}", "a number or a pair (low, high)", value
        ) from None


def _pair(value: Any, name: str) -> tuple[float, float]:
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        if len(value) != 2:
            raise parameter_error(
                f"the moment of {name!r}", "a number or a pair (low, high)", value
            )
        low, high = value
        low = -np.inf if low is None else _number(low, name)
        high = np.inf if high is None else _number(high, name)
    else:
        low = high = _number(value, name)
        if not np.isfinite(low):
            raise parameter_error(f"the moment of {name!r}", "finite", value)
    if not low <= high or low == np.inf or high == -np.inf:
        raise parameter_error(f"the moment of {name!r}", "a pair (low, high), low ≤ high", value)
    return low, high
