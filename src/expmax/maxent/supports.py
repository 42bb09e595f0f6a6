"""Where a distribution may live: points, tables, and boxes of the line, the plane and space.

A side of a box is worked in a coordinate t in which densities decay fast at both ends: x = t on a finite
interval, x = low + s (eᵗ − 1) on a half line, x = c + s sinh t on the line; where features are singular at a
finite end, x = low + s eᵗ or a logistic curve of t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from expmax.errors import ParameterError, parameter_error
from expmax.statistics import Array

__all__ = ["Box", "ContingencyTable", "Interval", "PointSet", "Side", "read_support"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, half line or the line.

    Parameters
    ----------
    low, high : float
        Ends; infinite by default.
    breaks : sequence of float
        Where features jump or have a corner; quadrature starts new panels there.

    Examples
    --------
    >>> Interval(0.0)
    Interval(low=0.0, high=inf, breaks=())
    """

    low: float = -np.inf
    high: float = np.inf
    breaks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(isinstance(end, int | float | np.number) for end in (self.low, self.high)):
            raise parameter_error("the ends of an Interval", "numbers", (self.low, self.high))
        if not self.low < self.high:
            raise ParameterError(f"an Interval needs low < high; got {self.low} and {self.high}.")
        object.__setattr__(self, "breaks", tuple(sorted(float(b) for b in self.breaks)))


@dataclass(frozen=True, slots=True)
class Box:
    """A product of intervals, in two or three dimensions.

    Parameters
    ----------
    sides : sequence of Interval or of (low, high)

    Examples
    --------
    >>> Box([(0, 1), (0, np.inf)]).sides[1]
    Interval(low=0.0, high=inf, breaks=())
    """

    sides: Sequence[Any]

    def __post_init__(self) -> None:
        sides = tuple(
            side if isinstance(side, Interval) else Interval(float(side[0]), float(side[1]))
            for side in self.sides
        )
        if not 1 <= len(sides) <= 3:
            raise parameter_error("sides", "one to three intervals", len(sides))
        object.__setattr__(self, "sides", sides)


@dataclass(frozen=True, slots=True)
class ContingencyTable:
    """The cells of a table with given numbers of levels.

    Parameters
    ----------
    shape : sequence of int
        Levels of each classification.
    names : sequence of str, optional
        Of the classifications; default axis0, axis1, …

    Examples
    --------
    >>> ContingencyTable((4, 4, 2), names=("hair", "eye", "sex")).axis("sex")
    2
    """

    shape: Sequence[int]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if not shape or min(shape) < 1:
            raise parameter_error("shape", "positive numbers of levels", self.shape)
        names = tuple(self.names) or tuple(f"axis{i}" for i in range(len(shape)))
        if len(names) != len(shape) or len(set(names)) < len(names):
            raise parameter_error("names", f"{len(shape)} distinct names", self.names)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "names", names)

    def axis(self, key: int | str) -> int:
        """Position of a classification."""
        if isinstance(key, str):
            if key not in self.names:
                raise parameter_error("margin", f"made of {list(self.names)}", key)
            return list(self.names).index(key)
        if not 0 <= key < len(self.shape):
            raise parameter_error("margin", f"made of axes 0 to {len(self.shape) - 1}", key)
        return int(key)


@dataclass(frozen=True, slots=True, eq=False)
class PointSet:
    """Finitely many points."""

    values: NDArray[Any] | None  # (n,) or (n, d); None: known by their number alone
    n: int
    columns: tuple[str, ...] | None = None  # names of the columns

    @property
    def matrix(self) -> Array:
        """The points as rows, (n, d); their numbers where they have no values."""
        if self.values is None:
            return np.arange(float(self.n))[:, None]
        values = np.asarray(self.values, float)
        return values[:, None] if values.ndim == 1 else values


def read_support(
    support: Any, n_points: int | None = None
) -> PointSet | Interval | Box | ContingencyTable:
    """What a user calls a support: an object of this module, a name, or an array of points."""
    if isinstance(support, PointSet | Interval | Box | ContingencyTable):
        return support
    if support is None:
        if n_points is None:
            raise ParameterError(
                "support must be given unless features is a matrix with one row a point: an array "
                "of points, Interval(low, high), Box(sides), ContingencyTable(shape), 'line' or "
                "'half-line'."
            )
        return PointSet(None, n_points)
    if isinstance(support, str):
        named = {"line": Interval(), "half-line": Interval(0.0)}
        if support not in named:
            raise parameter_error("support", f"one of {list(named)}, or an object", support)
        return named[support]
    if isinstance(support, tuple) and len(support) == 2 and np.ndim(support[0]) == 0:
        return Interval(*support)  # as a side of a Box; two points are a list or an array
    frame = nw.from_native(support, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return _of_frame(frame)
    values = np.asarray(support)
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or not len(values):
        raise parameter_error("support", "an array of points, shape (n,) or (n, d)", support)
    return PointSet(values, len(values))


def _of_frame(frame: Any) -> PointSet:
    """The rows of a data frame of numbers."""
    text = [name for name in frame.columns if not frame[name].dtype.is_numeric()]
    if text:
        raise ParameterError(
            f"column {text[0]!r} of the support holds no numbers; leave it out, or use calibrate(), "
            "which takes categories."
        )
    return PointSet(np.asarray(frame.to_numpy(), float), len(frame), tuple(frame.columns))


# -- coordinates -----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Side:
    """One side of a box in its coordinate t."""

    kind: Literal["linear", "tail", "half", "line", "logistic"]
    low: float
    high: float
    centre: float = 0.0
    scale: float = 1.0
    upward: bool = True  # of a half line: from low to ∞

    def x(self, t: Array) -> Array:
        """The point at t."""
        if self.kind == "linear":
            return t
        if self.kind == "line":
            return self.centre + self.scale * np.sinh(t)
        if self.kind in ("half", "tail"):
            far = self.scale * (np.exp(t) if self.kind == "half" else np.expm1(t))
            return self.low + far if self.upward else self.high - far
        width = self.high - self.low
        rising = self.low + width / (1.0 + np.exp(-t))
        return np.where(t < 0, rising, self.high - width / (1.0 + np.exp(t)))

    def log_jacobian(self, t: Array) -> Array:
        """log |dx/dt|."""
        if self.kind == "linear":
            return np.zeros_like(t)
        if self.kind == "line":
            return float(np.log(0.5 * self.scale)) + np.abs(t) + np.log1p(np.exp(-2.0 * np.abs(t)))
        if self.kind in ("half", "tail"):
            return float(np.log(self.scale)) + t
        width = self.high - self.low
        return float(np.log(width)) - np.abs(t) - 2.0 * np.log1p(np.exp(-np.abs(t)))

    def t(self, x: Array) -> Array:
        """The coordinate of a point inside."""
        if self.kind == "linear":
            return x
        if self.kind == "line":
            return np.arcsinh((x - self.centre) / self.scale)
        if self.kind in ("half", "tail"):
            far = (x - self.low if self.upward else self.high - x) / self.scale
            return np.log(far) if self.kind == "half" else np.log1p(far)
        return np.log(x - self.low) - np.log(self.high - x)

    @property
    def window(self) -> tuple[float, float]:
        """Where to start looking."""
        if self.kind == "linear":
            return self.low, self.high
        return {
            "line": (-4.0, 4.0),
            "tail": (0.0, 4.0),
            "half": (-20.0, 5.0),
            "logistic": (-20.0, 20.0),
        }[self.kind]

    @property
    def limits(self) -> tuple[float, float]:
        """How far t may ever go."""
        if self.kind == "linear":
            return self.low, self.high
        return {
            "line": (-80.0, 80.0),
            "tail": (0.0, 80.0),
            "half": (-600.0, 80.0),
            "logistic": (-300.0, 300.0),
        }[self.kind]

    def closed(self, upper: bool) -> bool:
        """Whether the support ends at this end of the coordinate."""
        return self.kind == "linear" or (self.kind == "tail" and not upper)

    def placed(self, centre: float, scale: float) -> Side:
        """The same side with the coordinate centred elsewhere."""
        return replace(self, centre=centre, scale=scale)


def side_of(interval: Interval, *, singular: bool = False) -> Side:
    """The coordinate of one side of a box."""
    low, high = interval.low, interval.high
    if np.isfinite(low) and np.isfinite(high):
        return Side("logistic" if singular else "linear", low, high)
    if np.isfinite(low) or np.isfinite(high):
        return Side("half" if singular else "tail", low, high, upward=bool(np.isfinite(low)))
    return Side("line", low, high)
