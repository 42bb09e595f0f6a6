"""The parameters of a fitted mixture as rows that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from expmax.contract import Parameters
from expmax.families.base import Family
from expmax.families.categorical import Categorical
from expmax.families.product import Product
from expmax.statistics import Array

__all__ = ["Row", "column_names", "family_words", "parameter_rows"]

CORRELATIONS = 10  # shown: the strongest
CATEGORIES = 12  # shown of one column: the most probable
MATRICES = ("covariance", "scale")  # parameters that are shown as sd and correlation


@dataclass(frozen=True)
class Row:
    """One quantity of every component."""

    column: str  # which column of the data it is about
    quantity: str
    values: tuple[float | None, ...]  # one a component; None where it has no such parameter
    order: int = 0  # position of the column in the data
    decimals: int | None = None


def column_names(estimator: Any) -> list[str]:
    """Names of the columns the estimator was fitted on; "column 0" … where they have none."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        names = estimator._encoder.names
    if names is None:
        return [f"column {i}" for i in range(estimator.n_features_in_)]
    return [str(name) for name in names]


def family_words(family: Family) -> str:
    """A family in a few words.

    Examples
    --------
    >>> from expmax import Categorical, Gaussian, Poisson, Product
    >>> family_words(Product(Gaussian("tied"), Poisson(), Poisson(), Categorical(3)))
    'Gaussian (tied) × 2 Poisson × Categorical'
    """
    if isinstance(family, Product):
        words = [family_words(part) for part in family.families]
        counted = {word: words.count(word) for word in words}
        return " × ".join(f"{n} {word}" if n > 1 else word for word, n in counted.items())
    covariance = getattr(family, "covariance", None)
    name = type(family).__name__
    return f"{name} ({covariance})" if isinstance(covariance, str) else name


def parameter_rows(estimator: Any) -> list[Row]:
    """The parameters of all components, column after column of the data, then correlations."""
    model, names = estimator._model, column_names(estimator)
    rows: list[Row] = []
    for group, params in zip(model.groups, estimator._parameters.components, strict=True):
        for row in _rows(group.family, params, names, range(len(names)), estimator._encoder):
            values: list[float | None] = [None] * model.n_components
            for place, value in zip(group.index, row.values, strict=True):
                values[int(place)] = value
            rows.append(replace(row, values=tuple(values)))
    return _merged(sorted(rows, key=lambda row: row.order))


def _merged(rows: Sequence[Row]) -> list[Row]:
    """Rows of the same quantity in several groups of components become one."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row.column, row.quantity)
        if key in found:
            pairs = zip(found[key].values, row.values, strict=True)
            row = replace(row, values=tuple(b if a is None else a for a, b in pairs))
        found[key] = row
    return list(found.values())


def _rows(
    family: Family, params: Parameters, names: Sequence[str], columns: Sequence[int], encoder: Any
) -> Iterator[Row]:
    if isinstance(family, Product):
        for i, (part, own) in enumerate(zip(family.families, family.slices, strict=True)):
            inside = [columns[int(c)] for c in own]
            labels = [names[int(c)] for c in own]
            yield from _rows(part, family._part(params, i), labels, inside, encoder)
        return
    named = family.named_parameters(params)
    if isinstance(family, Categorical):
        yield from _category_rows(named["probability"], names[0], columns[0], encoder)
        return
    per_column: dict[int, list[Row]] = {i: [] for i in range(len(names))}
    last: list[Row] = []
    for name, value in named.items():
        value = np.asarray(value, float)
        decimals = 3 if name in ("probability", "mixing") else None
        if name in MATRICES and value.ndim >= 2:
            deviation = _deviations(value)
            for i in per_column:
                per_column[i].append(Row(names[i], "sd", tuple(deviation[:, i]), columns[i]))
            last += _correlation_rows(value, names, columns)
        elif value.ndim == 2 and value.shape[1] == len(names):
            for i in per_column:
                per_column[i].append(Row(names[i], name, tuple(value[:, i]), columns[i], decimals))
        else:
            label = names[0] if len(names) == 1 else "together"
            last += _flat_rows(name, value, label, columns[-1], decimals)
    for rows in per_column.values():
        yield from rows
    yield from last


def _deviations(covariance: Array) -> Array:
    if covariance.ndim == 3:
        covariance = np.diagonal(covariance, axis1=1, axis2=2)
    return np.sqrt(covariance)


def _correlation_rows(
    covariance: Array, names: Sequence[str], columns: Sequence[int]
) -> Iterator[Row]:
    if covariance.ndim != 3 or len(names) == 1:
        return
    deviation = _deviations(covariance)
    pairs = list(combinations(range(len(names)), 2))
    values = {(i, j): covariance[:, i, j] / (deviation[:, i] * deviation[:, j]) for i, j in pairs}
    strength = sorted(pairs, key=lambda pair: -float(np.abs(values[pair]).max()))
    shown = set(strength[:CORRELATIONS])
    title = "correlation" if len(shown) == len(pairs) else f"strongest of {len(pairs)} correlations"
    for i, j in pairs:
        if (i, j) in shown:
            pair = f"{names[i]}, {names[j]}"
            yield Row(title, pair, tuple(values[i, j]), columns[-1], 2)


def _flat_rows(
    name: str, value: Array, label: str, order: int, decimals: int | None
) -> Iterator[Row]:
    for place in np.ndindex(value.shape[1:]):
        suffix = f" {', '.join(map(str, place))}" if place else ""
        yield Row(label, name + suffix, tuple(value[(slice(None), *place)]), order, decimals)


def _category_rows(probability: Array, name: str, column: int, encoder: Any) -> Iterator[Row]:
    categories: Mapping[int, Sequence[Any]] = encoder.categories
    labels = categories.get(column, range(probability.shape[1]))
    likely = np.argsort(-probability.max(axis=0), kind="stable")[:CATEGORIES]
    for code in sorted(likely):
        yield Row(name, f"= {labels[code]}", tuple(probability[:, code]), column, 3)
    rest = sorted(set(range(probability.shape[1])) - set(likely.tolist()))
    if rest:
        others = probability[:, rest].sum(axis=1)
        yield Row(name, f"{len(rest)} others", tuple(others), column, 3)
