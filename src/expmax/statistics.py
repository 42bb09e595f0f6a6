"""Additive records: what an E-step returns and what blocks of rows sum to.

A record adds field by field, so the sum over blocks, the statistics of a prior, a step of online EM and
the removal of one block are all the same arithmetic: zero, +, −, scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["Additive", "Array"]


class Additive:
    """Base of frozen dataclasses whose fields (numbers, arrays, records, tuples of these) add."""

    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        return self._combine(lambda a, b: a + b, other)

    def __sub__(self, other: Self) -> Self:
        return self._combine(lambda a, b: a - b, other)

    def __mul__(self, factor: float) -> Self:
        return self._combine(lambda a, _: a * factor, self)

    __rmul__ = __mul__

    def zero(self) -> Self:
        """The neutral record of the same shapes."""
        return self._combine(
            lambda a, _: np.zeros_like(a) if isinstance(a, np.ndarray) else 0.0, self
        )

    def _combine(self, operation: Callable[[Any, Any], Any], other: Self) -> Self:
        return type(self)(
            *(
                _apply(operation, getattr(self, name), getattr(other, name))
                for name in _field_names(type(self))  # type: ignore[arg-type]
            )
        )


@cache
def _field_names(record: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record))


def _apply(operation: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if isinstance(a, Additive):
        return a._combine(operation, b)
    if isinstance(a, tuple):
        return tuple(_apply(operation, u, v) for u, v in zip(a, b, strict=True))
    return operation(a, b)
