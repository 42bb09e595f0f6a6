"""From what a user passes to what a model takes: matrices, weights, labels, bound families."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_random_state, validate_data

from expmax.contract import Parameters, iterate_rows
from expmax.data.compression import Rows, _distinct
from expmax.data.tables import Table
from expmax.engine.arguments import positive_integer, refuse_tolerance
from expmax.errors import DataError, ParameterError, parameter_error
from expmax.families.base import Family
from expmax.families.categorical import Categorical
from expmax.families.product import Product
from expmax.statistics import Array

__all__ = [
    "Encoder",
    "bind_family",
    "check_labels",
    "check_weights",
    "fit_encoder",
    "marginal_fit",
    "positive_integer",
    "refuse_tolerance",
    "validate_features",
]

CHUNK = 65536  # rows looked at at a time


@dataclass(frozen=True)
class Encoder:
    """Turns a table into the matrix that a fitted model takes."""

    names: list[str] | None
    categories: dict[int, list[Any]]  # of the columns that hold categories

    def __call__(self, table: Table) -> tuple[NDArray[Any], dict[int, list[Any]]]:
        """The matrix, and by column the categories never seen in training."""
        if not self.categories:
            return table.values, {}
        encoded = table.encode(self.categories)
        return encoded.values, encoded.unseen


def fit_encoder(table: Table, families: Sequence[Family]) -> Encoder:
    """Learn the categories of the columns that a `Categorical` without a given size describes."""
    wanted: set[int] = set()
    for family in families:
        wanted |= set(_categorical_columns(family, table))
    return Encoder(table.names, {i: table.columns[i].encode().categories for i in sorted(wanted)})


def _categorical_columns(family: Family, table: Table) -> Iterable[int]:
    if isinstance(family, Categorical) and family.n_categories is None:
        return range(table.n_columns)
    if isinstance(family, Product):
        slices = family.resolve(table.n_columns, table.names)
        return [
            int(column)
            for part, columns in zip(family.families, slices, strict=True)
            if isinstance(part, Categorical) and part.n_categories is None
            for column in columns
        ]
    return ()


def bind_family(family: Family, x: NDArray[Any], encoder: Encoder) -> Family:
    """Bind a family to data, with the categories that the encoder knows."""
    if isinstance(family, Categorical) and family.n_categories is None:
        family = _categorical(encoder, range(x.shape[1]))
    if isinstance(family, Product) and not family.slices:
        slices = family.resolve(x.shape[1], encoder.names)
        parts = [
            _categorical(encoder, columns)
            if isinstance(part, Categorical) and part.n_categories is None
            else part
            for part, columns in zip(family.families, slices, strict=True)
        ]
        family = Product(columns=dict(zip(family.keys, parts, strict=True)))
        family.slices = tuple(slices)
    try:
        return family.bind(x)
    except DataError:
        family.check(x, encoder.names)  # the same complaint, with the column's name
        raise


def _categorical(encoder: Encoder, columns: Iterable[int]) -> Family:
    sizes = [max(len(encoder.categories[int(column)]), 1) for column in columns]
    parts = [Categorical(size) for size in sizes]
    return parts[0] if len(parts) == 1 else Product(*parts)


def check_weights(sample_weight: ArrayLike | None, n_rows: int) -> Array | None:
    """Row weights: finite, not negative, not all zero."""
    if sample_weight is None:
        return None
    try:
        weight = np.asarray(sample_weight, dtype=float)
    except (TypeError, ValueError):
        given = f"a {type(sample_weight).__name__} that holds something else"
        raise parameter_error("sample_weight", "numbers, one a row", given) from None
    if weight.ndim == 0:
        weight = np.full(n_rows, float(weight))
    if weight.shape != (n_rows,):
        raise parameter_error("sample_weight", f"of shape ({n_rows},)", weight.shape)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise parameter_error(
            "sample_weight", "finite and at least 0", f"{weight[bad[0]]} (row {bad[0]})"
        )
    if not weight.any():
        raise parameter_error("sample_weight", "positive somewhere", "all zeros")
    return weight


def check_labels(
    labels: ArrayLike | None, n_rows: int, n_components: int, name: str = "labels"
) -> NDArray[np.int64] | None:
    """Partial labels: −1 unknown, else the component."""
    if labels is None:
        return None
    label = np.asarray(labels)
    if label.shape != (n_rows,):
        raise parameter_error(name, f"of shape ({n_rows},)", label.shape)
    rule = f"-1 (unknown) or a component from 0 to {n_components - 1}"
    if label.dtype.kind not in "biufO":
        raise parameter_error(name, rule, f"values of dtype {label.dtype}")
    try:
        with np.errstate(invalid="ignore"):
            whole = label.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        raise parameter_error(name, rule, "values that are no numbers") from None
    bad = np.flatnonzero((whole != label) | (whole < -1) | (whole >= n_components))
    if len(bad):
        raise parameter_error(name, rule, f"{label[bad[0]]} (row {bad[0]})")
    return whole


def in_one_order(rows: Rows) -> Rows:
    """Weighted rows without copies and sorted, as compressed rows are: weight k is k copies, to the bit."""
    if rows.weight is None or not 1 < len(rows.x) <= CHUNK or rows.x.shape[1] == 0:
        return rows
    first, inverse, n = _distinct(rows.x, rows.label)
    total, count, square = (
        np.bincount(inverse, values, n).astype(np.float64)
        for values in (rows.weight, rows.count, rows.square)
    )
    label = None if rows.label is None else rows.label[first]
    return Rows(rows.x[first] + 0.0, total, label, count, square)


def refuse_random_state(value: Any) -> None:
    """None, a seed, or a generator of NumPy's older kind: as scikit-learn takes them."""
    try:
        check_random_state(value)
    except (TypeError, ValueError):
        raise parameter_error("random_state", "None, an integer or a RandomState", value) from None


def marginal_fit(family: Family, x: NDArray[Any], weight: Array | None) -> Parameters:
    """The one-component fit of all rows, block by block."""
    head = slice(0, CHUNK)
    first = np.ones(len(x[head])) if weight is None else weight[head]
    if not first.any():
        first = np.ones(len(first))
    params = family.initialize(np.asarray(x[head], float), first[:, None])
    if len(x) <= CHUNK:
        return params
    total: Any = None
    for rows in iterate_rows(len(x), CHUNK):
        r = np.ones((len(x[rows]), 1)) if weight is None else weight[rows, None]
        part = family.statistics(params, np.asarray(x[rows], float), r)
        total = part if total is None else total + part
    return family.maximize(total, params)


def resolve_families(
    family: Family | Sequence[Family] | None, n_components: int | None, default: Family
) -> list[Family]:
    """One family a component."""
    if family is None:
        family = default
    if isinstance(family, Family):
        return [family] * positive_integer("n_components", n_components)
    if isinstance(family, str) or not isinstance(family, Iterable):
        raise parameter_error("family", "a family such as Gaussian(), or a list of them", family)
    families = list(family)
    for one in families:
        if not isinstance(one, Family):
            raise parameter_error("family", "made of families such as Gaussian()", one)
    if not families:
        raise parameter_error("family", "a list of at least one family", families)
    if n_components not in (None, 1, len(families)):
        raise ParameterError(
            f"n_components must be left out or equal the number of families ({len(families)}); "
            f"got {n_components}."
        )
    return families


def validate_features(estimator: Any, X: Any, *, reset: bool) -> None:
    """Number and names of the columns: learned, or compared with those of training."""
    if not isinstance(X, Table):
        validate_data(estimator, X, skip_check_array=True, reset=reset)
        return
    if reset:
        validate_data(estimator, np.empty((1, X.n_columns)), skip_check_array=True, reset=True)
        if X.names is not None:
            estimator.feature_names_in_ = np.array(X.names, dtype=object)
        return
    if X.n_columns != estimator.n_features_in_:
        raise DataError(
            f"X has {X.n_columns} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    trained = getattr(estimator, "feature_names_in_", None)
    if trained is not None and X.names is not None and list(trained) != X.names:
        raise DataError(
            f"the columns of {X.source} must be those of the fit, in their order: {list(trained)}; "
            f"got {X.names}. Select them by name."
        )


def refuse_empty(table: Table) -> None:
    """At least one row and one column."""
    table.require_size(1, 1)


def impossible_rows(log_likelihood: Array) -> None:
    """Raise if a row has probability zero."""
    if np.isneginf(log_likelihood).any():
        row = int(np.argmin(log_likelihood))
        raise DataError(f"row {row} has probability zero under every component.")
