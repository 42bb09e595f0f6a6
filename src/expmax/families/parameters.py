"""Nested mappings of arrays whose first axis is the component: select, replace, join, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters

__all__ = [
    "FINITE",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SHARE",
    "SMALLEST",
    "Interval",
    "all_finite",
    "flatten",
    "intervals",
    "map_arrays",
    "n_components_of",
    "put",
    "stack",
    "take",
    "unflatten",
    "within",
]

LARGEST = float(np.finfo(float).max)
SMALLEST = float(np.nextafter(0.0, 1.0))
Interval = tuple[float, float]  # closed
FINITE: Interval = (-LARGEST, LARGEST)
POSITIVE: Interval = (SMALLEST, LARGEST)
NOT_NEGATIVE: Interval = (0.0, LARGEST)
SHARE: Interval = (0.0, 1.0 + 1e-12)  # shares that sum to 1 in rounding

DERIVED = "precision_cholesky"  # kept beside a covariance for speed; follows from it


def map_arrays(function: Callable[..., Any], *parameters: Parameters) -> dict[str, Any]:
    """Apply a function to each array, name by name."""
    return {
        name: map_arrays(function, *(p[name] for p in parameters))
        if isinstance(value, Mapping)
        else function(*(np.asarray(p[name]) for p in parameters))
        for name, value in parameters[0].items()
    }


def take(parameters: Parameters, index: Any) -> dict[str, Any]:
    """The components of an index array, in its order."""
    return map_arrays(lambda a: a[index], parameters)


def stack(parts: Sequence[Parameters]) -> dict[str, Any]:
    """Join the components of several sets of parameters."""
    return map_arrays(lambda *arrays: np.concatenate(arrays), *parts)


def put(parameters: Parameters, keep: Parameters, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """`parameters`, but `keep` at the components in `mask`."""

    def choose(new: Any, old: Any) -> Any:
        return np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), old, new)

    return map_arrays(choose, parameters, keep)


def n_components_of(parameters: Parameters) -> int:
    """K."""
    value = next(iter(parameters.values()))
    return n_components_of(value) if isinstance(value, Mapping) else len(value)


def all_finite(parameters: Parameters) -> bool:
    """Whether no number is NaN or infinite."""
    return all(
        all_finite(value) if isinstance(value, Mapping) else bool(np.isfinite(value).all())
        for value in parameters.values()
    )


def intervals(**named: Interval) -> Mapping[str, Interval]:
    """The intervals of parameters, by name."""
    return MappingProxyType(named)


def within(parameters: Parameters, limits: Mapping[str, Interval]) -> NDArray[np.bool_]:
    """Components all of whose numbers lie in the interval of their name, or are finite: shape (K,)."""
    inside = np.ones(n_components_of(parameters), bool)
    for name, value in parameters.items():
        low, high = limits.get(name, FINITE)
        values = np.asarray(value)
        inside &= ((values >= low) & (values <= high)).reshape(len(inside), -1).all(axis=1)
    return inside


def flatten(parameters: Parameters) -> NDArray[np.float64]:
    """All numbers but derived ones, as one vector."""
    parts = [
        flatten(value) if isinstance(value, Mapping) else np.asarray(value, float).ravel()
        for name, value in parameters.items()
        if name != DERIVED
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def unflatten(vector: NDArray[np.float64], like: Parameters) -> dict[str, Any]:
    """The inverse of `flatten`, shaped like given parameters."""
    out: dict[str, Any] = {}
    start = 0
    for name, value in like.items():
        if name == DERIVED:
            continue
        size = len(flatten(value)) if isinstance(value, Mapping) else np.size(value)
        piece = vector[start : start + size]
        out[name] = (
            unflatten(piece, value)
            if isinstance(value, Mapping)
            else piece.reshape(np.shape(value))
        )
        start += size
    return out
