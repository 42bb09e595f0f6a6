"""Which workers label which items, and tables of labels drawn for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block
from expmax.data.annotations import Reading
from expmax.data.columns import Column
from expmax.data.reading import read_table
from expmax.data.tables import Table
from expmax.errors import DataError
from expmax.estimators import preparation as prepare

__all__ = ["Design", "as_array", "library_of", "read_design", "table_of_labels"]


@dataclass(frozen=True, eq=False)
class Design:
    """One entry for each label that is to be given."""

    items: list[Any]  # identities, sorted
    item: NDArray[np.intp]  # shape (number of labels,)
    worker: NDArray[np.intp]

    @classmethod
    def complete(cls, n_items: int, n_workers: int) -> Self:
        """Every worker labels every item once."""
        item, worker = (axis.ravel() for axis in np.indices((n_items, n_workers)))
        return cls(list(range(n_items)), item, worker)

    @classmethod
    def of_blocks(
        cls, items: list[Any], blocks: Sequence[Block], members: Sequence[NDArray[np.intp]], k: int
    ) -> Self:
        """The design of blocks of codes w · K + l, sorted by item and worker."""
        item, worker = [], []
        for block, rows in zip(blocks, members, strict=True):
            row, place = np.nonzero(block.x >= 0)
            item.append(rows[row])
            worker.append(np.asarray(block.x[row, place], np.intp) // k)
        who, whom = np.concatenate(item), np.concatenate(worker)
        order = np.lexsort((whom, who))
        return cls(items, who[order], whom[order])


def read_design(given: Any, reading: Reading, n_workers: int) -> Design:
    """A design from a number of items, from pairs (item, worker), or from a table as for a fit.

    Raises
    ------
    ParameterError, DataError
        A number below 1; a missing item or worker; a worker that the fit did not know.
    """
    if isinstance(given, Integral):
        return Design.complete(prepare.positive_integer("design", given), n_workers)
    table = read_table(given, name="design")
    table.require_size(1, 1)
    if reading.layout == "long":
        return _of_pairs(table, reading)
    mask = set(table.kinds) == {"boolean"} and not _are_boolean(reading.classes or [])
    if not mask:
        data = reading(table)
        return Design(data.items, data.item, data.worker)
    if table.n_columns != n_workers:
        raise DataError(
            f"design has {table.n_columns} columns where the fit had {n_workers} workers, one a column; "
            "keep a column for each of them."
        )
    item, worker = np.nonzero(np.stack([column.cells == 1 for column in table.columns], axis=1))
    return Design(list(range(table.n_rows)), item, worker)


def _are_boolean(classes: Sequence[Any]) -> bool:
    return any(isinstance(value, bool) for value in classes)


def _of_pairs(table: Table, reading: Reading) -> Design:
    table.require_size(1, 2)
    keys: Sequence[Any] = reading.columns or (0, 1)
    unnamed = table.names is None and isinstance(keys[0], str)
    if table.n_columns == 2 and (unnamed or not isinstance(keys[0], str)):
        keys = (0, 1)
    items, workers = (table.column(key) for key in keys[:2])
    for column, role in ((items, "item"), (workers, "worker")):
        _refuse_missing(column, role)
    found, known = items.encode(), workers.encode(reading.workers)
    if known.unseen:
        row = int(np.argmax(known.codes == -1))
        raise DataError(
            f"{workers.label} of design holds a worker that is not known, {known.unseen[0]!r} (row {row}); "
            "the fit tells nothing of them. Leave the row out."
        )
    return Design(found.categories, found.codes.astype(np.intp), known.codes.astype(np.intp))


def _refuse_missing(column: Column, role: str) -> None:
    if column.missing.any():
        row = int(column.missing.argmax())
        raise DataError(f"{column.label} of design holds no {role} (row {row}); leave the row out.")


# -- tables ----------------------------------------------------------------------------------------
def library_of(X: Any) -> str | None:
    """The data-frame library of a table, by name; None of what is no data frame."""
    if isinstance(X, Table):
        return None
    frame = nw.from_native(X, pass_through=True)
    return str(frame.implementation) if isinstance(frame, nw.DataFrame) else None


def table_of_labels(
    design: Design,
    label: NDArray[np.int64],
    reading: Reading,
    workers: NDArray[Any],
    classes: NDArray[Any],
    library: str | None,
) -> Any:
    """Labels in the layout of the training table; a frame of that library where columns have names."""
    if reading.layout == "wide":
        columns = _wide_columns(design, label, len(workers), classes)
        names: Sequence[Any] = workers.tolist()
    else:
        items = as_array(design.items)
        columns = [items[design.item], workers[design.worker], classes[label]]
        names = reading.columns or ()
    if library is not None and len(names) > 0 and all(isinstance(name, str) for name in names):
        backend: Any = library
        return nw.from_dict(dict(zip(names, columns, strict=True)), backend=backend).to_native()
    kinds = {"number" if column.dtype.kind in "iuf" else column.dtype.kind for column in columns}
    if len(kinds) > 1:
        columns = [column.astype(object) for column in columns]
    return np.stack(columns, axis=1)


def _wide_columns(
    design: Design, label: NDArray[np.int64], n_workers: int, classes: NDArray[Any]
) -> list[NDArray[Any]]:
    """One column a worker; NaN (of numbers) or None (of the rest) where there is no label."""
    numbers = classes.dtype.kind in "iuf"
    whole = np.bincount(design.worker, minlength=n_workers) == len(design.items)
    columns = []
    for w in range(n_workers):
        own = design.worker == w
        if whole[w]:
            column = np.empty(len(design.items), classes.dtype)
        elif numbers:
            column = np.full(len(design.items), np.nan)
        else:
            column = np.full(len(design.items), None, object)
        column[design.item[own]] = classes[label[own]]
        columns.append(column)
    return columns


def as_array(values: list[Any]) -> NDArray[Any]:
    """Identities as an array of their own type; of objects where they are of several."""
    if len({type(value) for value in values}) > 1:
        out = np.empty(len(values), object)
        out[:] = values
        return out
    return np.array(values)
