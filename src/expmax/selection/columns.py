"""Which family suits a column, judged from its cells.

| cells of the column                                                        | family             |
|----------------------------------------------------------------------------|--------------------|
| one value only, or none                                                    | left out           |
| text, another in every row (or nearly: more than 20, and over half)        | left out: names    |
| whole numbers that count the rows: all different, no gap                   | left out: an index |
| text, true/false                                                           | Categorical        |
| 0 and 1                                                                    | Bernoulli          |
| whole numbers from 0 up whose mean is within 4 standard deviations of 0,   |                    |
| with a variance of ½ to 20 times the mean (Poisson has 1): counts          | Poisson            |
| other whole numbers, at most 7 different ones, each 5 times on average     | Categorical        |
| every other number: measurements                                           | Gaussian           |

All Gaussian columns together are one joint Gaussian; the others are independent within a
component. Where a Gaussian column has missing cells, and no covariance is asked for, it is
diagonal: then a missing cell drops out alone. Nothing is left out that was asked for by name, and
with row weights no column is an index, for its values may be the distinct ones of a table of
frequencies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expmax.data.columns import Column
from expmax.data.tables import Table
from expmax.errors import DataError
from expmax.families.base import Family
from expmax.families.bernoulli import Bernoulli
from expmax.families.categorical import Categorical
from expmax.families.gaussian import Gaussian
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.statistics import Array

__all__ = ["Choice", "Verdict", "choose_family"]

NAMES = 20  # texts, different in most rows, above which they are names
NEAR_ZERO = 4.0  # standard deviations
DISPERSION = (0.5, 20.0)  # of counts: variance over mean
CODES, REPEATS = 7, 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided for one column, and why."""

    column: int  # position in the table
    name: str
    kind: str
    family: str | None  # None: left out
    reason: str


@dataclass(frozen=True)
class Choice:
    """The columns used, their family, and the verdict on every column."""

    table: Table
    family: Family
    verdicts: list[Verdict]


def choose_family(
    table: Table,
    weight: Array | None = None,
    *,
    covariance: str | None = None,
    given: Mapping[tuple[int, ...], Family] | None = None,
    keep: Collection[int] = (),
) -> Choice:
    """A family for a table, column by column, by the rules above.

    Parameters
    ----------
    table : Table
    weight : ndarray, shape (n,), optional
        Row weights.
    covariance : str, optional
        Structure of the joint Gaussian; default: "full", or "diag" where cells are missing.
    given : mapping, optional
        Family of a column, or of some together, by position.
    keep : collection of int
        Columns that are not to be left out.

    Raises
    ------
    DataError
        No column is left to describe.

    Examples
    --------
    >>> from expmax.data.files import read_file
    >>> choose_family(read_file("examples/data/iris.csv")).verdicts[4].reason
    '3 categories: setosa, versicolor, virginica'
    """
    table.require_size()
    given = dict(given or {})
    fixed = {column: family for columns, family in given.items() for column in columns}
    verdicts = [
        _as_given(i, table, fixed[i]) if i in fixed else _judge(i, table, weight, kept=i in keep)
        for i in range(table.n_columns)
    ]
    used = [verdict.column for verdict in verdicts if verdict.family is not None]
    if not used:
        reasons = "; ".join(f"{verdict.name}: {verdict.reason}" for verdict in verdicts)
        raise DataError(
            f"no column of {table.source} is left to describe ({reasons}); name columns with a "
            "family each."
        )
    parts: dict[tuple[int, ...], Family] = dict(given)
    parts |= _automatic(table, verdicts, set(fixed), covariance)
    verdicts = [_with_covariance(verdict, parts, set(fixed)) for verdict in verdicts]
    return Choice(table.select(used), _join(parts, used, table.names), verdicts)


def _automatic(
    table: Table, verdicts: list[Verdict], fixed: set[int], covariance: str | None
) -> dict[tuple[int, ...], Family]:
    """Families of the columns that were judged, by their positions."""
    of = {
        name: tuple(v.column for v in verdicts if v.family == name and v.column not in fixed)
        for name in ("Gaussian", "Bernoulli", "Categorical", "Poisson")
    }
    parts: dict[tuple[int, ...], Family] = {(i,): Poisson() for i in of["Poisson"]}
    parts |= {(i,): Categorical() for i in of["Categorical"]}
    if of["Bernoulli"]:
        parts[of["Bernoulli"]] = Bernoulli()
    if of["Gaussian"]:
        missing = any(table.columns[i].missing.any() for i in of["Gaussian"])
        default = "diag" if missing and len(of["Gaussian"]) > 1 else "full"
        parts[of["Gaussian"]] = Gaussian(covariance or default)
    return parts


def _with_covariance(
    verdict: Verdict, parts: Mapping[tuple[int, ...], Family], fixed: set[int]
) -> Verdict:
    """Say that missing cells made the Gaussian diagonal."""
    if verdict.family != "Gaussian" or verdict.column in fixed:
        return verdict
    columns, family = next(item for item in parts.items() if verdict.column in item[0])
    assert isinstance(family, Gaussian)
    if len(columns) > 1 and family.diagonal:
        return replace(verdict, family=f"Gaussian ({family.covariance})")
    return verdict


def _join(
    parts: Mapping[tuple[int, ...], Family], used: list[int], names: list[str] | None
) -> Family:
    if len(parts) == 1:
        return next(iter(parts.values()))
    columns: dict[Any, Family] = {}
    for positions, family in sorted(parts.items()):
        keys: list[Any] = [used.index(i) if names is None else names[i] for i in positions]
        columns[keys[0] if len(keys) == 1 else tuple(keys)] = family
    return Product(columns=columns)


# ------------------------------------------------------------------------------------ one column


def _as_given(i: int, table: Table, family: Family) -> Verdict:
    return Verdict(i, _name(i, table), table.kinds[i], type(family).__name__, "as asked")


def _name(i: int, table: Table) -> str:
    return f"column {i}" if table.names is None else table.names[i]


def _judge(i: int, table: Table, weight: Array | None, kept: bool) -> Verdict:
    column = table.columns[i]
    present = ~column.missing
    if weight is not None:
        present &= weight > 0
    cells = column.cells[present]
    used = None if weight is None else weight[present]
    family, reason = _verdict(column, cells, used, kept)
    if family is not None and not present.all() and weight is None:
        absent = int((~present).sum())
        reason += f"; {absent} cell{'s' * (absent != 1)} missing"
    return Verdict(i, _name(i, table), column.kind, family, reason)


def _verdict(
    column: Column, cells: Any, weight: Array | None, kept: bool
) -> tuple[str | None, str]:
    values = sorted(set(cells)) if column.kind == "text" else np.unique(cells).tolist()
    if len(values) < 2 and not kept:
        return None, f"always {_spell(values[0])}" if values else "every cell is missing"
    if column.kind == "text":
        return _text(values, len(cells), kept)
    if column.kind == "boolean":
        return "Categorical", "true or false"
    low, high = _spell(values[0]) if values else "", _spell(values[-1]) if values else ""
    if not np.array_equal(cells, np.round(cells)):
        return "Gaussian", f"measurements, {low} … {high}"
    if set(values) <= {0.0, 1.0}:
        return "Bernoulli", "0 or 1"
    span = f"whole numbers {low} … {high}"
    if not kept and weight is None and _is_index(values, len(cells)):
        return None, f"it counts the rows, {low} … {high}"
    if values[0] >= 0 and _is_count(np.asarray(cells, float), weight):
        return "Poisson", f"{span} near zero: counts"
    if len(values) <= CODES and len(cells) >= REPEATS * len(values):
        return "Categorical", f"{len(values)} whole numbers, {low} … {high}: codes"
    return "Gaussian", f"{span}: measurements"


def _text(values: list[str], n: int, kept: bool) -> tuple[str | None, str]:
    few = ", ".join(values[:3]) + (" …" if len(values) > 3 else "")
    names = len(values) == n or (len(values) > NAMES and 2 * len(values) > n)
    if names and not kept:
        return None, f"names: {len(values)} different texts in {n} rows ({few})"
    return "Categorical", f"{len(values)} categories: {few}"


def _is_index(values: list[float], n: int) -> bool:
    return len(values) == n and values[-1] - values[0] == n - 1


def _is_count(cells: Array, weight: Array | None) -> bool:
    mean = float(np.average(cells, weights=weight))
    variance = float(np.average((cells - mean) ** 2, weights=weight))
    low, high = DISPERSION
    return mean <= NEAR_ZERO * np.sqrt(variance) and low * mean <= variance <= high * mean


def _spell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.6g}"
