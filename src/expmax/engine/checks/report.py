"""What `check_model` found: one row an identity, printable at 80 columns."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal

__all__ = ["Report", "Row", "Verdict"]

Verdict = Literal["holds", "fails", "does not apply"]
WIDTH = 80
MARKS = {"holds": "holds", "fails": "FAILS", "does not apply": "n/a"}


@dataclass(frozen=True, slots=True)
class Row:
    """One identity: whether it holds, and by how much it does not."""

    name: str
    identity: str  # the formula
    verdict: Verdict
    amount: float = float("nan")  # the largest violation found
    tolerance: float = float("nan")  # what rounding and differences explain there
    unit: str = "nats"
    reason: str = ""  # why it does not apply, or where it fails

    def __str__(self) -> str:
        head = f"  {MARKS[self.verdict]:5}  {self.name:22}  "
        return textwrap.fill(
            self._detail(),
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
        )

    def _detail(self) -> str:
        if self.verdict == "does not apply":
            return self.reason
        if self.amount != self.amount and self.reason:
            return self.reason
        if self.tolerance == 0:
            off = "no difference" if self.amount == 0 else "differs"
        else:
            off = f"off by {self.amount:.1e}, allowed {self.tolerance:.1e} {self.unit}"
        if self.verdict == "holds":
            return off
        return f"{off}{self.reason and ' '}{self.reason}. The rule: {self.identity}"


@dataclass(frozen=True, slots=True)
class Report:
    """All rows; `ok` where none fails."""

    title: str
    rows: tuple[Row, ...]

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that fail."""
        return tuple(row for row in self.rows if row.verdict == "fails")

    @property
    def ok(self) -> bool:
        """Whether no identity fails."""
        return not self.failures

    def __getitem__(self, name: str) -> Row:
        """The row of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def __str__(self) -> str:
        counts = dict.fromkeys(MARKS, 0)
        for row in self.rows:
            counts[row.verdict] += 1
        foot = (
            f"{counts['holds']} hold, {counts['fails']} fail, "
            f"{counts['does not apply']} do not apply."
        )
        return "\n".join([self.title, *map(str, self.rows), foot])
