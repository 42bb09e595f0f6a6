"""Files: CSV by the standard library, Parquet by pyarrow, read into tables.

Columns of a CSV file are typed by what stands in them. Lines of a file count from 1.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expmax.data.columns import Kind
from expmax.data.reading import read_table
from expmax.data.tables import Table, table_of_columns
from expmax.errors import DataError, MissingDependencyError, MissingFileError, parameter_error

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["MISSING", "read_file"]

MISSING = frozenset(
    ["", "NA", "N/A", "<NA>", "NaN", "nan", "NAN", "null", "NULL", "None", "?", "."]
)  # the cells of a CSV file that mean a missing value

_SEPARATORS = "\t;|,"  # a comma last: it also stands inside decimal numbers
_SAMPLE = 1 << 16  # characters read to recognise the separator
_ROWS_AT_ONCE = 256  # few enough that the garbage collector does not wade through rows
_BOOLEANS = {
    "true": True,
    "TRUE": True,
    "True": True,
    "false": False,
    "FALSE": False,
    "False": False,
}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?|[+-]?\d+(?:[eE][+-]?\d+)?")

_DIGITS = frozenset("+-0123456789 \t")
_NUMERALS = _DIGITS | frozenset(".eE")

_log = logging.getLogger("expmax")


def read_file(
    path: str | PathLike[str], *, separator: str | None = None, header: bool | None = None
) -> Table:
    """Read a CSV or Parquet file into a table.

    Parameters
    ----------
    path : path
        A file ending in .parquet or .pq, or beginning as Parquet does, is read as Parquet; any
        other as text in UTF-8 with separated fields.
    separator : str, optional
        One character; by default the one among comma, semicolon, tab and bar that cuts every line
        into equally many fields. With a semicolon, numbers may have a decimal comma.
    header : bool, optional
        Whether the first line holds the names of the columns; by default it does if none of its
        fields is a number.

    Returns
    -------
    Table
        Columns typed as integer, real, boolean (true and false) or text. The fields in `MISSING`
        are missing. A first column without a name counts the rows, as R and pandas write it, and
        is left out with a message to the log.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        No rows, a line with too few or too many fields, two columns of one name, an infinite
        number, text that is not UTF-8.
    MissingDependencyError
        Parquet without pyarrow.

    Examples
    --------
    >>> table = read_file("examples/data/iris.csv")
    >>> table.shape
    (150, 5)
    >>> table.column("Species").kind, table.column("Species").cells[0]
    ('text', 'setosa')
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"there is no file {str(path)!r}; check the path.")
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a directory; give a file.")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty; it needs at least one row of data.")
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1" or path.suffix in (".parquet", ".pq")
    if parquet:
        return _read_parquet(path)
    try:
        return _CsvFile(path, separator, header).read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not text in UTF-8 ({error}); save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path.name} is no readable CSV file: {error}.") from error


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise MissingDependencyError(
            'reading Parquet needs pyarrow; install it by: pip install "expmax[parquet]"'
        ) from None
    try:
        table = read_table(parquet.ParquetFile(path).read(), name=path.name)
    except ArrowInvalid as error:
        raise DataError(f"{path.name} is no readable Parquet file: {error}") from error
    if table.n_rows == 0:
        raise DataError(f"{path.name} holds no rows of data.")
    return table


class _CsvFile:
    """One CSV file: how its fields are cut, and its rows."""

    def __init__(self, path: Path, separator: str | None, header: bool | None) -> None:
        if separator is not None and len(separator) != 1:
            raise parameter_error("separator", "one character", separator)
        self.path = path
        self.header = header
        with self._open() as stream:
            sample = stream.read(_SAMPLE)
        self.separator = separator or _recognise_separator(sample, len(sample) == _SAMPLE)

    def read(self) -> Table:
        """Type the columns and name them."""
        columns = self._columns()
        first = [fields[0].strip() for fields in columns]
        named = _is_header(first) if self.header is None else self.header
        names = first if named else None
        if named:
            columns = [fields[1:] for fields in columns]
        n_rows = len(columns[0])
        if n_rows == 0:
            raise DataError(f"{self.path.name} holds no rows of data, only a header.")
        if names is not None and names[0] == "" and len(names) > 1:
            _log.warning("%s: the first column has no name; left out.", self.path.name)
            names, columns = names[1:], columns[1:]
        if names is not None:
            self._refuse_names(names)
        typed = [_type_column(fields, self.separator == ";") for fields in columns]
        self._refuse_infinity(typed, names, first_row=int(named))
        return table_of_columns(typed, names, n_rows=n_rows, source=self.path.name)

    def _columns(self) -> Sequence[Sequence[str]]:
        """The fields column by column, the first line included."""
        columns = self._even_columns()
        if columns:
            return columns
        rows = [row for _, row in self._numbered_rows()]
        if not rows:
            raise DataError(f"{self.path.name} is empty; it needs at least one row of data.")
        self._refuse_ragged(rows)
        return list(zip(*rows, strict=True))

    def _even_columns(self) -> list[list[str]]:
        """Columns, quickly; none if any line is blank or of another width than the first."""
        columns: list[list[str]] = []
        with self._open() as stream:
            reader = self._reader(stream)
            while rows := list(islice(reader, _ROWS_AT_ONCE)):
                columns = columns or [[] for _ in rows[0]]
                if set(map(len, rows)) != {len(columns)}:
                    return []
                for column, fields in zip(columns, zip(*rows, strict=True), strict=True):
                    column.extend(fields)
        return columns

    def _open(self) -> io.TextIOWrapper:
        return self.path.open(encoding="utf-8-sig", newline="")

    def _reader(self, stream: Iterable[str]) -> Reader:
        return csv.reader(stream, delimiter=self.separator, skipinitialspace=True)

    def _numbered_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with the number of its (last) line; blank lines are no rows.

        In a file of one column a blank line between rows is a missing cell.
        """
        with self._open() as stream:
            reader = self._reader(stream)
            width, blank = 0, list[int]()
            for row in reader:
                if not row:
                    blank.append(reader.line_num)
                    continue
                if width == 1:
                    yield from ((line, [""]) for line in blank)
                blank.clear()
                width = width or len(row)
                yield reader.line_num, row

    def _line(self, row: int) -> int:
        """Line of the file on which that row ends, by reading it again."""
        return next(line for i, (line, _) in enumerate(self._numbered_rows()) if i == row)

    def _refuse_ragged(self, rows: Sequence[list[str]]) -> None:
        expected = len(rows[0])
        row = next((i for i, fields in enumerate(rows) if len(fields) != expected), None)
        if row is None:
            return
        raise DataError(
            f"line {self._line(row)} of {self.path.name} has {len(rows[row])} field(s) where "
            f"the first line has {expected}; the fields are separated by {self.separator!r}. "
            "Correct the line, or quote a field that holds the separator."
        )

    def _refuse_names(self, names: Sequence[str]) -> None:
        for i, name in enumerate(names):
            if not name:
                raise DataError(f"column {i} of {self.path.name} has no name in the first line.")
            if name in names[:i]:
                raise DataError(f"{self.path.name} has two columns named {name!r}; rename one.")

    def _refuse_infinity(
        self,
        columns: Sequence[tuple[Kind, NDArray[Any]]],
        names: Sequence[str] | None,
        first_row: int,
    ) -> None:
        for i, (kind, cells) in enumerate(columns):
            if kind == "real" and np.isinf(cells).any():
                label = repr(names[i]) if names else i
                line = self._line(int(np.isinf(cells).argmax()) + first_row)
                raise DataError(
                    f"column {label} of {self.path.name} holds infinity (line {line}); drop the "
                    "line or replace the value."
                )


def _recognise_separator(sample: str, truncated: bool) -> str:
    """The separator that cuts all lines into equally many fields, else the first line's own."""
    first_line_widths = {}
    for separator in _SEPARATORS:
        stream = io.StringIO(sample, newline="")
        reader = csv.reader(stream, delimiter=separator, skipinitialspace=True)
        widths = [len(row) for row in reader if row]
        if truncated and len(widths) > 1:
            widths.pop()
        if widths and widths[0] > 1 and len(set(widths)) == 1:
            return separator
        first_line_widths[separator] = widths[0] if widths else 1
    widest = max(_SEPARATORS, key=lambda separator: first_line_widths[separator])
    return widest if first_line_widths[widest] > 1 else ","


def _is_header(fields: Sequence[str]) -> bool:
    """Whether no field is a number or boolean, and some field is a name."""
    values = (_type_column([field], decimal_comma=True)[0] for field in fields if field)
    return all(kind == "text" for kind in values) and not all(field in MISSING for field in fields)


def _type_column(fields: Sequence[str], decimal_comma: bool) -> tuple[Kind, NDArray[Any]]:
    """Kind and cells of a column: the narrowest kind that fits every field not missing."""
    characters = set("".join(fields))
    if characters <= _NUMERALS:
        try:
            return _number_kind(characters), np.array(list(map(float, fields)))
        except ValueError:
            pass
    stripped = [field.strip() for field in fields]
    missing = np.fromiter((field in MISSING for field in stripped), bool, len(stripped))
    present = [field for field in stripped if field not in MISSING]
    kind, values = _type_fields(present, decimal_comma)
    if kind == "text":
        cells = np.full(len(fields), None, dtype=object)
    else:
        cells = np.full(len(fields), np.nan)
    cells[~missing] = values
    return kind, cells


def _type_fields(fields: list[str], decimal_comma: bool) -> tuple[Kind, Sequence[Any]]:
    """Kind and values of fields of which none is missing."""
    if fields and all(field in _BOOLEANS for field in fields):
        return "boolean", [_BOOLEANS[field] for field in fields]
    if decimal_comma and fields and all(map(_DECIMAL_COMMA.fullmatch, fields)):
        fields = [field.replace(",", ".") for field in fields]
    characters = set("".join(fields))
    if "_" in characters:  # Python reads 1_000 as a number; in a file it is a word
        return "text", fields
    try:
        return _number_kind(characters), list(map(float, fields))
    except ValueError:
        return "text", fields


def _number_kind(characters: set[str]) -> Kind:
    """Integer if the numbers are written in digits alone; no digits at all are real."""
    return "integer" if characters and characters <= _DIGITS else "real"
