"""Numbers, tables and pages of text: rich on a terminal, plain everywhere else."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["Report", "aligned", "grid", "heading", "line", "significant"]

WIDTH = 80  # columns of plain text
ABSENT = "–"


@dataclass(frozen=True, repr=False)
class Report:
    """A page of tables and sentences; `str` and `repr` give it as plain text of 80 columns."""

    parts: tuple[RenderableType, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(*self.parts)

    def __str__(self) -> str:
        stream = io.StringIO()
        console = Console(file=stream, width=WIDTH, color_system=None, highlight=False)
        console.print(self)
        return "\n".join(text.rstrip() for text in stream.getvalue().splitlines())

    __repr__ = __str__


def heading(words: str) -> Text:
    """A title."""
    return Text(words, style="bold")


def line(words: str) -> Padding:
    """A sentence, indented as tables are."""
    return Padding(Text(words), (0, 0, 0, 1))


def grid(columns: Sequence[tuple[str, str]], *, fill: int | None = None) -> Table:
    """An empty table: a title and "left" or "right" for each column; `fill` may wrap its words."""
    table = Table(box=None, header_style="dim", pad_edge=True, padding=(0, 1))
    for i, (title, side) in enumerate(columns):
        table.add_column(
            title,
            justify="left" if side == "left" else "right",
            no_wrap=i != fill,
            overflow="fold" if i == fill else "ellipsis",
        )
    return table


def aligned(values: Sequence[float | None], decimals: int | None = None) -> list[str]:
    """Numbers of one quantity with equally many decimals: four digits of the largest.

    Examples
    --------
    >>> aligned([54.4785, 7.25, None])
    ['54.48', '7.25', '–']
    >>> aligned([2.5e-9, 1e-12])
    ['2.500e-09', '1.000e-12']
    >>> aligned([0.25, 0.0001, 0.0], decimals=3)
    ['0.250', '<.001', '0']
    """
    known = [value for value in values if value is not None and np.isfinite(value)]
    largest = max((abs(value) for value in known), default=0.0)
    if decimals is not None:
        return [_fixed(value, decimals) for value in values]
    if largest and not 1e-4 <= largest < 1e7:
        return [_special(value) or f"{value:.3e}" for value in values]
    if all(value == int(value) for value in known):
        return [_special(value) or f"{value:.0f}" for value in values]
    decimals = int(np.clip(3 - np.floor(np.log10(largest)), 0, 6)) if largest else 0
    return [_special(value) or f"{value:.{decimals}f}" for value in values]


def _fixed(value: float | None, decimals: int) -> str:
    special = _special(value)
    if special is not None or value is None:
        return special or ABSENT
    if value == 0:
        return "0"
    smallest = 10.0**-decimals
    if abs(value) < smallest / 2:
        return f"{'<' if value > 0 else '>-'}{smallest:.{decimals}f}".replace("0.", ".")
    return f"{value:.{decimals}f}"


def _special(value: float | None) -> str | None:
    if value is None or np.isnan(value):
        return ABSENT
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return None


def significant(value: float, digits: int = 2) -> str:
    """A number to a few digits, for sentences."""
    return _special(value) or f"{value:.{digits}g}"
