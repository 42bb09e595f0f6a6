"""Independent blocks of columns, each with its own family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import DataError, ParameterError
from expmax.families.base import Family, Memo
from expmax.families.charts import FamilyChart, ProductChart
from expmax.statistics import Additive, Array

__all__ = ["Product", "ProductStatistics"]

Key = str | int | tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProductStatistics(Additive):
    """One record a factor."""

    factors: tuple[Additive, ...]


class Product(Family):
    """p(x) = Π_f p_f(x_f): columns of different types, independent within a component.

    A missing cell drops out of its own factor and of nothing else.

    Parameters
    ----------
    *families : Family
        One family a column, in order.
    columns : mapping, optional
        Family by column: a name, a position, or a tuple of them for a joint family.
    **named : Family
        Family by column name; short for `columns`.

    Raises
    ------
    ParameterError
        No family, or something that is not a family.
    DataError
        When bound: a column that is not in the data, named twice, or left without a family.

    Examples
    --------
    >>> from expmax import Categorical, Gaussian, Poisson, Product
    >>> Product(age=Gaussian(), visits=Poisson(), sex=Categorical())
    Product(age=Gaussian(covariance='full'), visits=Poisson(), sex=Categorical(n_categories=None))
    >>> Product(columns={("height", "weight"): Gaussian(), "visits": Poisson()}).keys
    (('height', 'weight'), 'visits')
    """

    def __init__(
        self, *families: Family, columns: Mapping[Key, Family] | None = None, **named: Family
    ) -> None:
        entries: list[tuple[Key, Family]] = list(enumerate(families))
        entries += list((columns or {}).items())
        entries += list(named.items())
        if not entries:
            raise ParameterError("Product needs at least one family; got none.")
        for key, family in entries:
            if not isinstance(family, Family):
                raise ParameterError(
                    f"Product[{key!r}] must be a family such as Gaussian(); got {family!r}."
                )
        self.keys: tuple[Key, ...] = tuple(key for key, _ in entries)
        self.families: tuple[Family, ...] = tuple(family for _, family in entries)
        self.labels = tuple(map(_label, self.keys))  # what parameters call each factor
        self.slices: tuple[NDArray[np.intp], ...] = ()  # columns of each factor, once bound

    def __repr__(self) -> str:
        parts = [
            f"{key}={family!r}" if isinstance(key, str) else f"{key!r}: {family!r}"
            for key, family in zip(self.keys, self.families, strict=True)
        ]
        return f"Product({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Product)
            and (self.keys, self.families) == (other.keys, other.families)
            and all(np.array_equal(a, b) for a, b in zip(self.slices, other.slices, strict=False))
        )

    def __hash__(self) -> int:
        return hash((self.keys, self.families))

    @property
    def accepts_missing(self) -> bool:  # type: ignore[override]
        return all(family.accepts_missing for family in self.families)

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        return all(family.discrete for family in self.families)

    @property
    def shares_parameters(self) -> bool:  # type: ignore[override]
        return any(family.shares_parameters for family in self.families)

    @property
    def accepts_prior(self) -> bool:  # type: ignore[override]
        return all(family.accepts_prior for family in self.families)

    @property
    def is_estimated(self) -> bool:  # type: ignore[override]
        return any(family.is_estimated for family in self.families)

    @property
    def inner_latent(self) -> bool:  # type: ignore[override]
        return any(family.inner_latent for family in self.families)

    @property
    def local_statistics(self) -> bool:  # type: ignore[override]
        return any(family.local_statistics for family in self.families)

    # -- binding -----------------------------------------------------------------------------------
    def resolve(self, n_columns: int, names: Sequence[str] | None = None) -> list[NDArray[np.intp]]:
        """The columns of each factor: every column exactly once."""
        slices = [_positions(key, n_columns, names) for key in self.keys]
        used = np.concatenate(slices)
        for column in range(n_columns):
            times = int((used == column).sum())
            if times != 1:
                label = column if names is None else repr(names[column])
                problem = "has no family" if times == 0 else "has two families"
                raise DataError(
                    f"column {label} {problem} in {self!r}; give each column exactly one, or select columns."
                )
        return slices

    def bind(self, x: NDArray[Any], names: Sequence[str] | None = None) -> Product:
        slices = self.slices or self.resolve(x.shape[1], names)
        return self._bound(
            slices, [f.bind(x[:, s]) for f, s in zip(self.families, slices, strict=True)]
        )

    def _bound(self, slices: Sequence[NDArray[np.intp]], families: Sequence[Family]) -> Product:
        bound = Product(columns=dict(zip(self.keys, families, strict=True)))
        bound.slices = tuple(slices)
        return bound

    def check(self, x: NDArray[Any], names: Sequence[str] | None = None) -> None:
        for family, columns in zip(self.families, self.slices, strict=True):
            family.check(x[:, columns], None if names is None else [names[c] for c in columns])

    # -- parameters are nested: the label of a factor, then its own names ----------------------------
    def _part(self, parameters: Parameters, index: int) -> Parameters:
        return parameters[self.labels[index]] if parameters else parameters

    def _join(self, parts: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.labels, parts, strict=True))

    def in_space(self, parameters: Parameters) -> NDArray[np.bool_]:
        parts = [f.in_space(self._part(parameters, i)) for i, f in enumerate(self.families)]
        return np.asarray(np.all(parts, axis=0))

    def retract(self, parameters: Parameters, weights: Array) -> Parameters:
        return self._join(
            [f.retract(self._part(parameters, i), weights) for i, f in enumerate(self.families)]
        )

    # -- the interface, factor by factor -----------------------------------------------------------
    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        return sum(
            (
                family.log_density(self._part(parameters, i), *self._view(x, i, memo))
                for i, family in enumerate(self.families)
            ),
            start=np.zeros(1),
        )

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> ProductStatistics:
        factors = []
        for i, family in enumerate(self.families):
            values, own = self._view(x, i, memo)
            part = self._part(parameters, i)
            factors.append(family.statistics(part, values, responsibilities, own))
        return ProductStatistics(tuple(factors))

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        parts = []
        for i, family in enumerate(self.families):
            values, own = self._view(x, i, memo)
            parts.append(family.initialize(values, responsibilities, own))
        return self._join(parts)

    def maximize(
        self, statistics: ProductStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        return self._join(
            [
                family.maximize(
                    statistics.factors[i], None if parameters is None else self._part(parameters, i)
                )
                for i, family in enumerate(self.families)
            ]
        )

    def expected_log_density(self, parameters: Parameters, statistics: ProductStatistics) -> float:
        return sum(
            family.expected_log_density(self._part(parameters, i), statistics.factors[i])
            for i, family in enumerate(self.families)
        )

    def magnitude(self, parameters: Parameters, statistics: ProductStatistics) -> float:
        return sum(
            family.magnitude(self._part(parameters, i), statistics.factors[i])
            for i, family in enumerate(self.families)
        )

    def latent_entropy(self, statistics: ProductStatistics) -> float:
        return sum(
            family.latent_entropy(factor)
            for family, factor in zip(self.families, statistics.factors, strict=True)
        )

    def chart(self, parameters: Parameters, statistics: ProductStatistics) -> FamilyChart | None:
        charts = [
            family.chart(self._part(parameters, i), statistics.factors[i])
            for i, family in enumerate(self.families)
        ]
        known = (
            c is not None or not f.is_estimated for c, f in zip(charts, self.families, strict=True)
        )
        if not all(known):
            return None
        return ProductChart(self.labels, charts, parameters)

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> ProductStatistics:
        return ProductStatistics(
            tuple(
                family.pseudo_statistics(count, self._part(parameters, i))
                for i, family in enumerate(self.families)
            )
        )

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        n_columns = sum(len(columns) for columns in self.slices)
        out = np.empty((n, n_columns))
        for i, (family, columns) in enumerate(zip(self.families, self.slices, strict=True)):
            out[:, columns] = family.sample(self._part(parameters, i), component, n, rng)
        return out

    def n_parameters(self, parameters: Parameters) -> int:
        return sum(
            family.n_parameters(self._part(parameters, i)) for i, family in enumerate(self.families)
        )

    def location(self, parameters: Parameters) -> Array:
        return np.hstack(
            [f.location(self._part(parameters, i)) for i, f in enumerate(self.families)]
        )

    def boundary(self, parameters: Parameters) -> list[tuple[int, str]]:
        return [
            (k, f"{label}.{name}")
            for i, (label, family) in enumerate(zip(self.labels, self.families, strict=True))
            for k, name in family.boundary(self._part(parameters, i))
        ]

    def embed(self, x: Array) -> Array:
        return np.hstack(
            [f.embed(x[:, columns]) for f, columns in zip(self.families, self.slices, strict=True)]
        )

    def smallest_count(self, n_columns: int) -> float:
        return max(
            f.smallest_count(len(columns))
            for f, columns in zip(self.families, self.slices, strict=True)
        )

    def named_parameters(self, parameters: Parameters) -> dict[str, Array]:
        return {
            f"{label}.{name}": value
            for i, (label, family) in enumerate(zip(self.labels, self.families, strict=True))
            for name, value in family.named_parameters(self._part(parameters, i)).items()
        }

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        found = []
        for i, family in enumerate(self.families):
            part = None if marginal is None else self._part(marginal, i)
            sums = None if statistics is None else statistics.factors[i]
            own = family.degeneracies(self._part(parameters, i), sums, part)
            found += [Degeneracy(d.component, f"{self.labels[i]}: {d.reason}") for d in own]
        return found

    def _view(self, x: Array, index: int, memo: Memo) -> tuple[Array, Memo]:
        """The columns of one factor and its own scratch pad; copied once where there is a memo."""
        if memo is None:
            return x[:, self.slices[index]], None
        if ("view", index) not in memo:
            memo["view", index] = (np.ascontiguousarray(x[:, self.slices[index]]), {})
        return memo["view", index]


def _positions(key: Key, n_columns: int, names: Sequence[str] | None) -> NDArray[np.intp]:
    parts = key if isinstance(key, tuple) else (key,)
    return np.array([_position(part, n_columns, names) for part in parts], dtype=np.intp)


def _position(part: str | int, n_columns: int, names: Sequence[str] | None) -> int:
    if isinstance(part, str):
        if names is None or part not in names:
            known = "the data have no column names" if names is None else f"columns: {list(names)}"
            raise DataError(f"Product names column {part!r}, which is not in the data ({known}).")
        return list(names).index(part)
    if not 0 <= part < n_columns:
        raise DataError(f"Product names column {part}, but the data have {n_columns} columns.")
    return part


def _label(key: Key) -> str:
    return "+".join(map(str, key)) if isinstance(key, tuple) else str(key)
