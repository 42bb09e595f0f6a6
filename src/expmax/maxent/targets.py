"""Named targets of a calibration: means, totals and category shares of the columns of a table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.errors import DataError, InfeasibleMomentsError, ParameterError, parameter_error
from expmax.maxent.moments import Moments
from expmax.statistics import Array

__all__ = ["Targets", "Total", "read_targets"]


@dataclass(frozen=True, slots=True)
class Total:
    """A target given as a weighted total instead of a mean or shares.

    Parameters
    ----------
    value : number, pair (low, high), or mapping of category to these

    Examples
    --------
    >>> Total({"north": 120.0, "south": 80.0}).value["north"]
    120.0
    """

    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Columns to be balanced, and what their weighted means must be."""

    features: Array  # (n, m)
    moments: Moments  # of the means
    used: NDArray[
        np.bool_
    ]  # which are passed to the solver, (m,) bool: the last share of a full set follows
    unit: Array  # what a mean is multiplied by to be in the units of its target, (m,)
    total: float  # Σ w


def read_targets(
    table: Any, targets: Mapping[Any, Any], base_weights: Array, total: float | None, tolerance: Any
) -> Targets:
    """Read targets as a user names them.

    Parameters
    ----------
    table : Table
    targets : mapping
        By column, or by a tuple of columns for their cross-classification: a number or a pair (low,
        high), the mean of a column of numbers; a mapping from category to share; `Total` of either.
    base_weights : ndarray, shape (n,)
    total : float, optional
        Σ w; by default what full sets of category totals sum to, or else Σ d.
    tolerance : number or mapping by name, optional
        In the units of the targets.
    """
    if not isinstance(targets, Mapping) or not targets:
        raise parameter_error("targets", "a mapping from columns to what is asked", targets)
    population = _population(table, targets, base_weights, total)
    columns: list[Array] = []
    names: list[str] = []
    values: list[Any] = []
    used: list[bool] = []
    unit: list[float] = []
    for key, asked in targets.items():
        totals = isinstance(asked, Total)
        wanted = asked.value if isinstance(asked, Total) else asked
        if isinstance(wanted, Mapping):
            part = _shares(table, key, wanted, population if totals else 1.0)
        else:
            part = [(_label(key), _numbers(table, key), wanted, True)]
        for name, column, value, needed in part:
            names.append(name)
            columns.append(column)
            values.append(_scaled(value, population if totals else 1.0))
            used.append(needed)
            unit.append(population if totals else 1.0)
    if len(set(names)) < len(names):
        raise parameter_error("targets", "of distinct names", names)
    spread = _spread(tolerance, names, np.array(unit))
    moments = read_moments_of(values, names, spread)
    features = np.column_stack(columns)
    needed_all = np.array(used) | (spread > 0)
    return Targets(features, moments, needed_all, np.array(unit), population)


def read_moments_of(values: Sequence[Any], names: Sequence[str], spread: Array) -> Moments:
    """Moments of means already in their own units."""
    from expmax.maxent.moments import read_moments

    return read_moments(list(values), names, spread)


def _spread(tolerance: Any, names: Sequence[str], unit: Array) -> Array:
    if tolerance is None:
        return np.zeros(len(names))
    if isinstance(tolerance, Mapping):
        unknown = [name for name in tolerance if name not in names]
        if unknown:
            raise parameter_error("tolerance", f"a mapping with names among {list(names)}", unknown)
        return np.array([float(tolerance.get(name, 0.0)) for name in names]) / unit
    return np.broadcast_to(np.asarray(tolerance, float), len(names)) / unit


def _scaled(value: Any, unit: float) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(None if end is None else float(end) / unit for end in value)
    try:
        return float(value) / unit
    except (TypeError, ValueError):
        raise parameter_error("a target", "a number, a pair or a mapping", value) from None


def _label(key: Any) -> str:
    return " × ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)


def _numbers(table: Any, key: Any) -> Array:
    if isinstance(key, tuple):
        raise parameter_error(
            f"the target of {key}", "a mapping of categories to shares", "a number"
        )
    column = table.column(key)
    if column.kind == "text":
        raise ParameterError(
            f"{column.label} holds text, so it has no mean; give a mapping of categories to shares."
        )
    _complete(column)
    return np.asarray(column.cells, float)


def _complete(column: Any) -> None:
    missing = column.missing
    if missing.any():
        raise DataError(
            f"{column.label} has a missing value (row {int(missing.argmax())}); a row needs a value in "
            "every column with a target. Drop the row or impute it."
        )


def _codes(table: Any, key: Any) -> tuple[Array, list[Hashable]]:
    """Codes of the categories of a column, or of the crossing of several."""
    parts = []
    for name in key if isinstance(key, tuple) else (key,):
        column = table.column(name)
        _complete(column)
        parts.append(column.encode())
    if not isinstance(key, tuple):
        return parts[0].codes, list(parts[0].categories)
    sizes = [len(part.categories) for part in parts]
    codes = np.ravel_multi_index([part.codes.astype(int) for part in parts], sizes)
    seen, inverse = np.unique(codes, return_inverse=True)
    where = [np.unravel_index(int(code), sizes) for code in seen]
    crossed = [
        tuple(part.categories[i] for part, i in zip(parts, index, strict=True)) for index in where
    ]
    return inverse.astype(float), list(crossed)


def _shares(
    table: Any, key: Any, wanted: Mapping[Any, Any], whole: float
) -> list[tuple[str, Array, Any, bool]]:
    codes, categories = _codes(table, key)
    label = _label(key)
    absent = [category for category in wanted if category not in categories]
    for category in absent:
        low = wanted[category][0] if isinstance(wanted[category], tuple) else wanted[category]
        if low:
            raise DataError(
                f"no row of the table has {label} = {category!r}, so no weights give it {low}; leave "
                "the category out or merge it with another."
            )
    full = not [category for category in categories if category not in wanted]
    numbers = [value for value in wanted.values() if isinstance(value, int | float | np.number)]
    exact = len(numbers) == len(wanted)
    if full and exact and abs(float(sum(numbers)) - whole) > 1e-9 * max(whole, 1.0):
        raise InfeasibleMomentsError(
            f"the targets of all categories of {label!r} sum to {float(sum(numbers)):.10g}, not to "
            f"{whole:.10g}; make them agree, or leave one category out.",
            direction=np.sign(whole - float(sum(numbers))) * -np.ones(len(wanted)),
            conflicts=[f"{label}={category}" for category in wanted],
        )
    present = [category for category in wanted if category in categories]
    last = present[-1] if full and exact else None
    return [
        (
            f"{label}={category}",
            (codes == categories.index(category)).astype(float),
            wanted[category],
            category != last,
        )
        for category in present
    ]


def _population(
    table: Any, targets: Mapping[Any, Any], base_weights: Array, total: float | None
) -> float:
    """Σ w: as given, as full sets of category totals say, or Σ d."""
    found: dict[str, float] = {}
    for key, asked in targets.items():
        if isinstance(asked, Total) and isinstance(asked.value, Mapping):
            numbers = list(asked.value.values())
            _, categories = _codes(table, key)
            full = all(category in asked.value for category in categories)
            if full and all(isinstance(value, int | float | np.number) for value in numbers):
                found[_label(key)] = float(sum(numbers))
    if total is not None:
        found = {"total": float(total), **found}
    for name, value in found.items():
        first, reference = next(iter(found.items()))
        if abs(value - reference) > 1e-9 * abs(reference):
            raise InfeasibleMomentsError(
                f"the totals of {first!r} and {name!r} disagree: {reference:.10g} and {value:.10g}; "
                "make them agree, or give one of them as shares.",
                direction=[1.0, -1.0] if reference > value else [-1.0, 1.0],
                conflicts=[first, name],
            )
    result = next(iter(found.values())) if found else float(base_weights.sum())
    if not (np.isfinite(result) and result > 0):
        raise parameter_error("total", "positive and finite", result)
    return result
