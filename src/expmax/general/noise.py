"""Random numbers that are a function of a key and a counter: cheap to compile, and more go on from fewer.

The generator is SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, fig. 17), its output function of key + γ counter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.general.backend import jax, jnp

__all__ = ["fold", "normals"]

GAMMA = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def fold(key: Any, number: Any) -> Any:
    """Another key (64 bits) from a key and a number."""
    return _mixed(jnp.asarray(key, np.uint64) ^ _mixed(jnp.asarray(number).astype(np.uint64)))


def normals(key: Any, rows: int, columns: int) -> Any:
    """Standard normal numbers, shape (rows, columns); the first rows are those of fewer rows."""
    counter = jnp.arange(rows * columns, dtype=np.uint64)
    bits = _mixed(key + counter * np.uint64(GAMMA))
    uniform = ((bits >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53
    return jax.scipy.special.ndtri(uniform).reshape(rows, columns)


def _mixed(value: Any) -> Any:
    value = value + np.uint64(GAMMA)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(SECOND)
    return value ^ (value >> np.uint64(31))
