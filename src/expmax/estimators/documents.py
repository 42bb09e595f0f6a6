"""From a document-term table, sparse or dense, to documents in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from expmax.contract import Block
from expmax.data.reading import read_table
from expmax.errors import DataError
from expmax.inference.documents import Documents
from expmax.statistics import Array

__all__ = ["document_blocks", "read_documents"]

WORK = 1 << 15  # entries of a block at least
PER_WORD = 8  # and this many a word, so that adding up tables of words × topics stays cheap
ROWS = 8192  # dense rows looked at at a time


def read_documents(X: Any) -> tuple[Documents, tuple[int, int]]:
    """Rows of a table of counts as documents, and the table's shape.

    Raises
    ------
    DataError
        A negative, missing or infinite count, named by its place; a table without rows or columns.
    """
    if sparse.issparse(X):
        return _of_sparse(X)
    table = read_table(X)
    table.require_size(1, 1)
    table.require_complete()
    return _of_dense(np.asarray(table.values)), table.shape


def _of_sparse(X: Any) -> tuple[Documents, tuple[int, int]]:
    if X.dtype.kind not in "biuf":
        kind = "Complex data not supported" if X.dtype.kind == "c" else "counts must be numbers"
        raise DataError(f"{kind}: X has dtype {X.dtype}.")
    rows = X.tocsr()
    n, d = rows.shape
    for found, noun in ((n, "sample"), (d, "feature")):
        if found < 1:
            raise DataError(
                f"Found array with {found} {noun}(s) (shape={(n, d)}) while a minimum of 1 is required."
            )
    if not rows.has_canonical_format or (rows.data == 0).any():
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    documents = Documents(
        np.asarray(rows.indptr, np.int64),
        np.asarray(rows.indices, np.int32),
        np.asarray(rows.data, np.float64),
    )
    _refuse(documents)
    return documents, (n, d)


def _of_dense(x: Array) -> Documents:
    """Entries that are not zero, a slab of rows at a time."""
    lengths, words, counts = [np.zeros(1, np.int64)], [], []
    for start in range(0, len(x), ROWS):
        slab = x[start : start + ROWS]
        row, column = np.nonzero(slab)
        lengths.append(np.bincount(row, minlength=len(slab)))
        words.append(column.astype(np.int32))
        counts.append(np.asarray(slab[row, column], np.float64))
    offsets = np.cumsum(np.concatenate(lengths))
    documents = Documents(offsets, np.concatenate(words), np.concatenate(counts))
    _refuse(documents)
    return documents


def _refuse(documents: Documents) -> None:
    """Counts must be finite and not negative."""
    bad = np.flatnonzero(~((documents.counts > 0) & np.isfinite(documents.counts)))
    if not len(bad):
        return
    entry = bad[0]
    row = int(np.searchsorted(documents.offsets, entry, side="right")) - 1
    value, column = documents.counts[entry], documents.words[entry]
    if value < 0:
        raise DataError(
            f"Negative values in data passed to X: column {column} holds {value:g} (row {row}); a "
            "count is at least 0."
        )
    raise DataError(
        f"Input X contains NaN or infinity: column {column} holds {value} (row {row}); a count is "
        "finite. Put 0 where a word does not occur."
    )


def document_blocks(documents: Documents, weight: Array | None, n_words: int) -> list[Block]:
    """Runs of documents with about as many entries each; they depend on the data alone."""
    weight = np.ones(len(documents)) if weight is None else weight
    per_block = max(WORK, PER_WORD * n_words)
    n_blocks = max(1, int(documents.offsets[-1]) // per_block)
    goals = np.arange(1, n_blocks) * (documents.offsets[-1] / n_blocks)
    cuts = np.searchsorted(documents.offsets, goals)
    cuts = np.unique(np.concatenate([[0], cuts, [len(documents)]]))
    return [
        Block(documents.part(a, b), weight[a:b])  # type: ignore[arg-type]
        for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
    ]
