"""Labels of items by workers: long tables and wide matrices, read into codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.contract import Block
from expmax.data.columns import Column, Encoding
from expmax.data.reading import read_table
from expmax.data.tables import Table
from expmax.errors import DataError, ParameterError, parameter_error
from expmax.statistics import Array

__all__ = ["Annotations", "Layout", "Reading", "read_annotations"]

Layout = Literal["auto", "long", "wide"]
ROLES = ("item", "worker", "label")
OTHER_NAMES = {"item": ("item", "task"), "worker": ("worker",), "label": ("label",)}
LABELS_A_BLOCK = 1 << 18
SMALL = 1 << 16  # codes that one padded block may hold, however uneven


@dataclass(frozen=True, eq=False)
class Annotations:
    """Who called what what: one entry a label, sorted by item, worker and label."""

    items: list[Any]  # identities, sorted; of a wide matrix the rows 0, 1, …
    workers: list[Any]  # identities, sorted; of a wide matrix the names or numbers of the columns
    classes: list[Any]  # label values, in the order of their codes
    item: NDArray[np.intp]  # shape (number of labels,)
    worker: NDArray[np.intp]
    label: NDArray[np.intp]

    def blocks(
        self, weight: Array | None = None, known: NDArray[np.int64] | None = None
    ) -> tuple[list[Block], list[NDArray[np.intp]]]:
        """Blocks whose rows are items with similar numbers of labels, and which items those are.

        Codes are w · K + l, padded with −1: the memory is that of the labels, up to a factor of 1.5.
        """
        codes = self.worker * len(self.classes) + self.label
        lengths = np.bincount(self.item, minlength=len(self.items))
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        blocks, members = [], []
        for rows in _alike(lengths):
            width = max(int(lengths[rows].max()), 1)
            place = np.arange(width)
            present = place < lengths[rows, None]
            x = np.full((len(rows), width), -1, np.int64)
            x[present] = codes[(first[rows, None] + place)[present]]
            blocks.append(
                Block(
                    x,
                    None if weight is None else weight[rows],
                    None if known is None else known[rows],
                    {},
                )
            )
            members.append(rows)
        return blocks, members


def _alike(lengths: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Items in groups of similar length, each of limited size; all together where they are few."""
    if len(lengths) * max(int(lengths.max(initial=1)), 1) <= SMALL:
        return [np.arange(len(lengths))]
    size = np.ceil(2.0 * np.log2(np.maximum(lengths, 1))).astype(int)  # factors of √2
    groups = []
    for one in np.unique(size):
        rows = np.flatnonzero(size == one)
        step = max(1, LABELS_A_BLOCK // max(int(lengths[rows].max()), 1))
        groups += [rows[i : i + step] for i in range(0, len(rows), step)]
    return groups


@dataclass(frozen=True)
class Reading:
    """How a table is read: learned from the training data, then the same for others."""

    layout: Literal["long", "wide"]
    columns: tuple[int | str, ...] | None  # item, worker, label of a long table
    workers: list[Any] | None = None  # None: those found
    classes: list[Any] | None = None

    def __call__(self, X: Any) -> Annotations:
        """Read a table.

        Raises
        ------
        DataError
            A missing cell of a long table; a worker or a label that training did not know.
        """
        table = X if isinstance(X, Table) else read_table(X)
        table.require_size(1, 1)
        return self._long(table) if self.layout == "long" else self._wide(table)

    def _long(self, table: Table) -> Annotations:
        if self.columns is None:
            table.require_size(1, 3)
        keys = (0, 1, 2) if self.columns is None else self.columns
        columns = [table.column(key) for key in keys]
        for column, role in zip(columns, ROLES, strict=True):
            _refuse_missing(column, role, table.source)
            _refuse_large_numbers(column)
        items, workers = columns[0].encode(), columns[1].encode(self.workers)
        labels = columns[2].encode(self.classes)
        _refuse_unknown(workers, "worker", columns[1])
        _refuse_unknown(labels, "label", columns[2])
        return _in_order(
            _plain(items.categories),
            self.workers or _plain(workers.categories),
            self.classes or _plain(labels.categories),
            items.codes,
            workers.codes,
            labels.codes,
        )

    def _wide(self, table: Table) -> Annotations:
        names: list[Any] = list(table.names or range(table.n_columns))
        if self.workers is not None and len(self.workers) != len(names):
            raise DataError(
                f"{table.source} has {len(names)} columns where the fit had {len(self.workers)} "
                "workers, one a column; keep a column for each of them."
            )
        classes = self.classes
        if classes is None:
            found = {value for c in table.columns for value in c.encode().categories}
            classes = _sorted_values(value for value in found if not _is_minus_one(value))
        item, worker, label = [], [], []
        for w, column in enumerate(table.columns):
            encoding = column.encode(classes)
            codes = encoding.codes
            rated = ~np.isnan(codes)
            if column.kind != "text":
                rated &= ~((column.cells == -1) & (codes < 0))
            if (rated & (codes < 0)).any():
                _refuse_unknown(encoding, "label", column)
            rows = np.flatnonzero(rated)
            item.append(rows)
            worker.append(np.full(len(rows), w))
            label.append(codes[rows])
        return _in_order(
            list(range(table.n_rows)),
            self.workers or names,
            _plain(classes),
            *(np.concatenate(part) for part in (item, worker, label)),
        )


def _in_order(
    items: list[Any],
    workers: list[Any],
    classes: list[Any],
    item: NDArray[Any],
    worker: NDArray[Any],
    label: NDArray[Any],
) -> Annotations:
    """Sorted by item, worker and label: the order of the rows changes no bit of a fit."""
    w, k = len(workers), max(len(classes), 1)
    keys = (item.astype(np.int64) * w + worker.astype(np.int64)) * k + label.astype(np.int64)
    keys.sort()
    rest, label = np.divmod(keys, k)
    item, worker = np.divmod(rest, w)
    return Annotations(items, workers, classes, item, worker, label)


def read_annotations(
    X: Any,
    layout: Layout = "auto",
    columns: Sequence[int | str] | None = None,
    classes: Sequence[Any] | None = None,
) -> tuple[Annotations, Reading]:
    """Read labels, and learn how to read more of them.

    Parameters
    ----------
    X : array or data frame
        Long: one label a row, in columns item, worker, label. Wide: one item a row, one worker a column; NaN,
        None or −1 where a worker did not label the item.
    layout : {"auto", "long", "wide"}
        "auto": long with columns called item (or task), worker and label, or with three columns; else wide.
    columns : sequence of three names or positions, optional
        Item, worker and label of a long table.
    classes : sequence, optional
        All label values, in order; default: those found, sorted.
    """
    if layout not in ("auto", "long", "wide"):
        raise parameter_error("layout", 'one of "auto", "long", "wide"', layout)
    table = read_table(X)
    table.require_size(1, 1)
    if columns is not None:
        columns = tuple(columns)
        if isinstance(columns, str) or len(columns) != 3 or layout == "wide":
            rule = "three columns of a long table: item, worker, label"
            raise parameter_error("columns", rule, columns)
        reading = Reading("long", columns)
    else:
        reading = _recognise(table, layout)
    known = None if classes is None else _checked_classes(classes)
    found = Reading(reading.layout, reading.columns, None, known)(table)
    return found, Reading(reading.layout, reading.columns, found.workers, found.classes)


def _recognise(table: Table, layout: Layout) -> Reading:
    if layout == "wide":
        return Reading("wide", None)
    named = _by_name(table)
    if named is not None:
        return Reading("long", named)
    if layout == "long" or table.n_columns == 3:
        if layout == "auto":
            _refuse_ambiguous(table)
        return Reading("long", None)
    some = {name for names in OTHER_NAMES.values() for name in names} & _lower(table)
    if some:
        raise ParameterError(
            f"X has a column {sorted(some)[0]!r}, as a long table has, but not all of item, worker "
            "and label; name them by columns=(item, worker, label), or give layout='wide'."
        )
    return Reading("wide", None)


def _lower(table: Table) -> set[str]:
    return {name.lower() for name in table.names or []}


def _by_name(table: Table) -> tuple[int | str, ...] | None:
    """The columns called item (or task), worker and label; None unless all are there."""
    names = {name.lower(): name for name in table.names or []}
    found = [next((names[n] for n in OTHER_NAMES[role] if n in names), None) for role in ROLES]
    complete = tuple(name for name in found if name is not None)
    return complete if len(complete) == 3 else None


def _refuse_ambiguous(table: Table) -> None:
    """Three unnamed columns of the same few values may as well be three workers."""
    if table.names is not None:
        return
    values = [set(column.encode().categories) for column in table.columns]
    if values[0] <= values[2] and values[1] <= values[2]:
        raise ParameterError(
            "X has three columns, all of the same values: either item, worker, label or three workers; "
            "say layout='long' or layout='wide'."
        )


def _refuse_missing(column: Column, role: str, source: str) -> None:
    missing = column.missing
    if missing.any():
        raise DataError(
            f"{column.label} of {source} holds no {role} (row {int(missing.argmax())}); leave the row out: "
            "a long table has one row for each label given. If the columns are workers, give "
            "layout='wide'."
        )


def _refuse_large_numbers(column: Column) -> None:
    """Whole numbers that a float cannot tell apart."""
    if column.kind == "text" or not len(column.cells):
        return
    if np.abs(column.cells).max() >= 2.0**53:
        raise DataError(
            f"{column.label} holds numbers of 2⁵³ or more, which numbers of 64 bits cannot tell apart; "
            "give identities as text."
        )


def _refuse_unknown(encoding: Encoding, noun: str, column: Column) -> None:
    if encoding.unseen:
        row = int(np.argmax(encoding.codes == -1))
        raise DataError(
            f"{column.label} holds a {noun} that is not known, {encoding.unseen[0]!r} (row {row}); the "
            f"known ones are {_few(encoding.categories)}. Leave the row out, or fit with it."
        )


def _few(values: Sequence[Any]) -> str:
    shown = ", ".join(repr(value) for value in values[:6])
    return shown if len(values) <= 6 else f"{shown}, … ({len(values)} in all)"


def _checked_classes(classes: Iterable[Any]) -> list[Any]:
    values = list(classes.tolist() if isinstance(classes, np.ndarray) else classes)
    if len(set(values)) < max(len(values), 2):
        raise parameter_error("classes", "at least two distinct label values", values)
    return values


def _is_minus_one(value: Any) -> bool:
    return not isinstance(value, str) and value == -1


def _sorted_values(values: Iterable[Any]) -> list[Any]:
    """Numbers in order, then text."""
    found = list(values)
    texts = [value for value in found if isinstance(value, str)]
    return sorted(v for v in found if not isinstance(v, str)) + sorted(texts)


def _plain(values: list[Any]) -> list[Any]:
    """Whole numbers as int where all are whole: a gap in a column of integers makes floats of them."""
    if all(isinstance(value, float) and value.is_integer() for value in values):
        return [int(value) for value in values]
    return values


def by_item(
    values: Mapping[Any, Any] | ArrayLike | None, items: list[Any], name: str
) -> list[Any] | None:
    """One value an item: from a mapping or a series by item (None where it has none), or in order."""
    if values is None:
        return None
    if not isinstance(values, Mapping) and hasattr(values, "index") and hasattr(values, "to_dict"):
        values = values.to_dict()
    if isinstance(values, Mapping):
        number = {item: i for i, item in enumerate(items)}
        unknown = [item for item in values if item not in number]
        if unknown:
            raise parameter_error(name, "a mapping whose keys are items", unknown[0])
        return [values.get(item) for item in items]
    given = np.asarray(values, dtype=object)
    if given.shape != (len(items),):
        raise parameter_error(
            name, f"a mapping by item, or of shape ({len(items)},) as items_", given.shape
        )
    return list(given)
