"""What the kernels take: plain arrays of one type each, so that numba compiles once."""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.inference.kernels_tiles import Array

FLOAT = np.dtype(np.float64)
_SINGLE = np.dtype(np.float32)
_LABEL = np.dtype(np.int64)
_NO_WEIGHT = np.empty(0)  # arrays of no rows, not None: a second type would compile a second time
_NO_LABEL = np.empty(0, np.int64)


def rows(x: Array, weight: Array | None, label: Array | None) -> tuple[Array, Array, Array]:
    """The data as the kernels take them: one type each, empty where absent."""
    x = ready(x, _SINGLE if x.dtype == _SINGLE else FLOAT)
    weight = _NO_WEIGHT if weight is None else ready(weight, FLOAT)
    label = _NO_LABEL if label is None else ready(label, _LABEL)
    return x, weight, label


def ready(a: Array, dtype: np.dtype[Any]) -> Array:
    """The array as a plain, aligned, C-contiguous one of this dtype, copied only if it must be.

    Read-only arrays are shown to numba as writeable ones, as it would compile everything a second
    time for them; no kernel writes to its inputs.
    """
    if type(a) is np.ndarray and a.dtype == dtype and a.flags.carray:
        return a
    a = np.require(np.asarray(a), dtype, ("C", "A"))
    return a if a.flags.writeable else np.asarray(_Writeable(a))


class _Writeable:
    """The memory of a read-only array, described as writeable; keeps that array alive."""

    def __init__(self, a: Array) -> None:
        self._owner = a
        self.__array_interface__ = {**a.__array_interface__, "data": (a.ctypes.data, False)}
