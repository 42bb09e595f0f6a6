"""What was decided for each column of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expmax.reports.text import Report, grid, heading

__all__ = ["columns_table"]

MOST = 40  # columns of a file shown


def columns_table(title: str, verdicts: Sequence[Any]) -> Report:
    """One line a column: kind, family, reason.

    Parameters
    ----------
    title : str
    verdicts : sequence of Verdict
    """
    table = grid([("column", "left"), ("", "left"), ("family", "left"), ("why", "left")], fill=3)
    for verdict in verdicts[:MOST]:
        out = verdict.family is None
        family = "left out" if out else verdict.family
        table.add_row(
            verdict.name, verdict.kind, family, verdict.reason, style="dim" if out else ""
        )
    if len(verdicts) > MOST:
        table.add_row(f"… and {len(verdicts) - MOST} more")
    return Report((heading(title), "", table))
