"""Where parameters live: each constraint with unconstrained coordinates, both ways.

`to_free` and `from_free` are traceable. The edge of a space (a probability or a scale of 0) is represented by
1e-140, small enough for any estimate and large enough for the logarithm's second derivative, −1e280.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jnp
from expmax.statistics import Array

__all__ = ["Constraint", "Interval", "Positive", "Real"]

EDGE = 1e-140  # stands for 0 where a logarithm is taken, and twice differentiated
LEAST = 0.1 * EDGE  # no coordinates lead below: from here on they are flat
ON_EDGE = 1e-100  # relative distance below which a number is on the edge
COLLAPSED = 1e-8  # share of its start below which a scale is asked: is the likelihood unbounded?
SMALL, SMALLER = 1e-4, 1e-6  # scales, relative to the start, between which it would have to rise
INNERMOST = 1.0 - 2.0**-53  # stands for 1 in an interval: its complement has a logarithm
CLOSE = 1e-12  # how far from unit sums, symmetry and the like a given value may be


def make_shape(shape: Any) -> tuple[int, ...]:
    """A shape as given: a number or a tuple."""
    sizes = (shape,) if isinstance(shape, Integral) else tuple(shape)
    if not all(isinstance(size, (int, np.integer)) and size >= 1 for size in sizes):
        raise parameter_error("shape", "an integer or a tuple of integers of at least 1", shape)
    return tuple(int(size) for size in sizes)


def make_size(name: str, value: Any, least: int) -> int:
    """A count as given, refused where it is none."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise parameter_error(name, f"an integer of at least {least}", value)
    return int(value)


class Constraint(ABC):
    """A parameter's space: an array of `batch` independent values of shape `event`.

    Parameters
    ----------
    batch, event : tuple of int
        The value has shape batch + event.
    n_event : int
        Free numbers of one value.
    start : array-like, optional
        Where a fit begins.
    """

    rule: str  # "positive", to complete "must be …"

    def __init__(
        self, batch: tuple[int, ...], event: tuple[int, ...], n_event: int, start: ArrayLike | None
    ) -> None:
        self.batch, self.event = batch, event
        self.shape = batch + event
        self.n_free = prod(batch) * n_event
        self.start: Array | None = None if start is None else self.check("start", start)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"

    def check(self, name: str, value: ArrayLike) -> Array:
        """The value as an array of the right shape, inside the space.

        Raises
        ------
        ParameterError
            Naming the parameter, the rule and the value.
        """
        given = np.asarray(value, float)
        try:
            array = np.array(np.broadcast_to(given, self.shape))
        except ValueError:
            raise ParameterError(
                f"{name} must have shape {self.shape}; got shape {given.shape}."
            ) from None
        if not np.isfinite(array).all() or not self.holds(array):
            raise parameter_error(name, self.rule, given.tolist())
        return array

    @abstractmethod
    def holds(self, value: Array) -> bool:
        """Whether a finite value is inside, its edge included."""

    @abstractmethod
    def default(self) -> Array:
        """A value in the middle."""

    @abstractmethod
    def to_free(self, value: Any) -> Any:
        """Unconstrained coordinates, shape (n_free,)."""

    @abstractmethod
    def from_free(self, free: Any) -> Any:
        """The value at coordinates."""

    def has_unit(self) -> NDArray[np.bool_]:
        """Which coordinates are measured in the data's unit, shape (n_free,); the others in logs."""
        return np.zeros(self.n_free, bool)

    def edges(self, value: Array) -> list[tuple[str, float, Array]]:
        """Each edge of the space: what is small there, how small, and the value moved onto it.

        How small is relative; 0 is on the edge.
        """
        return []

    def collapses(self, value: Array) -> list[tuple[str, Array, Array]]:
        """Each scale that is next to 0: its name, and the value with it small, and smaller."""
        return []


def distance(relative: float) -> float:
    """How far from the edge, 0 on it."""
    return 0.0 if relative < ON_EDGE else relative


def at(index: tuple[int, ...]) -> str:
    """An index in brackets; nothing for a number."""
    return f"[{', '.join(map(str, index))}]" if index else ""


class Real(Constraint):
    """Any real number.

    Parameters
    ----------
    shape : int or tuple of int
    start : array-like, optional
    """

    rule = "finite"

    def __init__(self, shape: Any = (), *, start: ArrayLike | None = None) -> None:
        super().__init__(make_shape(shape), (), 1, start)

    def holds(self, value: Array) -> bool:
        """Always."""
        return True

    def default(self) -> Array:
        """0."""
        return np.zeros(self.shape)

    def to_free(self, value: Any) -> Any:
        """The value itself."""
        return jnp.ravel(value)

    def from_free(self, free: Any) -> Any:
        """The value itself."""
        return free.reshape(self.shape)

    def has_unit(self) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(self.n_free, bool)


class Positive(Constraint):
    """A positive number, by its logarithm.

    Parameters
    ----------
    shape : int or tuple of int
    start : array-like, optional
    """

    rule = "positive"

    def __init__(self, shape: Any = (), *, start: ArrayLike | None = None) -> None:
        super().__init__(make_shape(shape), (), 1, start)

    def holds(self, value: Array) -> bool:
        """0 is the edge."""
        return bool((value >= 0).all())

    def default(self) -> Array:
        """1."""
        return np.ones(self.shape)

    def to_free(self, value: Any) -> Any:
        """The logarithm."""
        return jnp.log(jnp.maximum(jnp.ravel(value), EDGE))

    def from_free(self, free: Any) -> Any:
        """The exponential."""
        return jnp.exp(jnp.maximum(free, np.log(LEAST))).reshape(self.shape)

    def edges(self, value: Array) -> list[tuple[str, float, Array]]:
        """Each number at 0, relative to where it started."""
        size = np.abs(self.default() if self.start is None else self.start)
        found = []
        for index in np.ndindex(self.shape):
            moved = value.copy()
            moved[index] = EDGE
            relative = float(value[index] / (size[index] or 1.0))
            found.append((f"{at(index)} at 0", distance(relative), moved))
        return found

    def collapses(self, value: Array) -> list[tuple[str, Array, Array]]:
        """Numbers far below where they started."""
        size = np.abs(self.default() if self.start is None else self.start)
        found = []
        for index in np.argwhere(value < COLLAPSED * size):
            small, smaller = value.copy(), value.copy()
            where = tuple(map(int, index))
            small[where], smaller[where] = SMALL * size[where], SMALLER * size[where]
            found.append((at(where), small, smaller))
        return found


class Interval(Constraint):
    """A number between a and b, by the logit of its relative position.

    Parameters
    ----------
    a, b : float
    shape : int or tuple of int
    start : array-like, optional
    """

    def __init__(
        self, a: float = 0.0, b: float = 1.0, shape: Any = (), *, start: ArrayLike | None = None
    ) -> None:
        if not (np.isfinite(a) and np.isfinite(b) and a < b):
            raise parameter_error("a and b", "finite with a < b", (a, b))
        self.a, self.b = float(a), float(b)
        self.rule = f"between {a:g} and {b:g}"
        super().__init__(make_shape(shape), (), 1, start)

    def holds(self, value: Array) -> bool:
        """Both ends included."""
        return bool(((value >= self.a) & (value <= self.b)).all())

    def default(self) -> Array:
        """The middle."""
        return np.full(self.shape, 0.5 * (self.a + self.b))

    def to_free(self, value: Any) -> Any:
        """Log of the distances to both ends, their difference."""
        share = jnp.ravel((value - self.a) / (self.b - self.a))
        share = jnp.clip(share, EDGE, INNERMOST)
        return jnp.log(share) - jnp.log1p(-share)

    def from_free(self, free: Any) -> Any:
        """The logistic function, stretched."""
        share = jnp.clip(0.5 * (1.0 + jnp.tanh(0.5 * free)), 0.0, INNERMOST)
        small = jnp.exp(
            jnp.clip(free, np.log(LEAST), 0.0)
        )  # exact far below, where tanh has no digits left
        share = jnp.where(free < -5.0, small / (1.0 + small), share)
        return (self.a + (self.b - self.a) * share).reshape(self.shape)

    def edges(self, value: Array) -> list[tuple[str, float, Array]]:
        """Each number at both ends."""
        found = []
        for index in np.ndindex(self.shape):
            for end, other in ((self.a, self.b), (self.b, self.a)):
                moved = value.copy()
                moved[index] = end
                share = float(abs(value[index] - end) / abs(other - end))
                if end == self.b and share <= 16.0 * (1.0 - INNERMOST):  # and the logit's rounding
                    share = 0.0
                found.append((f"{at(index)} at {end:g}", distance(share), moved))
        return found
