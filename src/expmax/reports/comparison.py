"""Candidates side by side: numbers of components, families, structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from expmax.reports.summary import STATUS
from expmax.reports.text import ABSENT, Report, grid, heading, line

__all__ = ["comparison"]

MOST = 12  # candidates of one table, unless there is one family alone


def comparison(candidates: Sequence[Any], criterion: str = "bic", best: Any = None) -> Report:
    """Log-likelihood, parameters and criteria of every candidate, the chosen one marked.

    Parameters
    ----------
    candidates : sequence of Candidate
    criterion : {"bic", "aic", "icl"}
        What they were judged by; smaller is better.
    best : Candidate, optional
        The one to mark.
    """
    labels = list(dict.fromkeys(candidate.label for candidate in candidates))
    parts: list[RenderableType] = [
        heading(f"Candidates by {criterion.upper()} (smaller is better)"),
        "",
    ]
    shown = list(candidates)
    if len(labels) > 1 and len(candidates) > MOST:
        parts += [_by_structure(candidates, labels, criterion, best), ""]
        fitted = [one for one in candidates if one.error is None]
        shown = sorted(fitted, key=lambda one: one.value(criterion))[:6]
        parts += [heading("The best of them"), ""]
    parts.append(_detailed(shown, len(labels) > 1, criterion, best))
    failed = [one for one in candidates if one.error is not None and one.reached]
    left = [one for one in candidates if not one.reached]
    if failed or left:
        parts.append("")
    parts += [line(_reason(one, len(labels) > 1)) for one in failed[:6]]
    if len(failed) > 6:
        parts.append(line(f"… and {len(failed) - 6} more that have no maximum."))
    if left:
        parts.append(line(_unreached(left, len(labels) > 1)))
    return Report(tuple(parts))


def _detailed(shown: Sequence[Any], families: bool, criterion: str, best: Any) -> Table:
    names = list(dict.fromkeys(["bic", "icl", criterion]))
    titles = [("", "left"), ("K", "right")]
    titles += [("family", "left")] * families
    titles += [("log-likelihood", "right"), ("parameters", "right")]
    titles += [(name.upper(), "right") for name in names] + [("status", "left")]
    table = grid(titles)
    for one in shown:
        chosen = one is best
        cells = ["→" if chosen else "", str(one.n_components)] + [one.label] * families
        if one.error is None:
            cells += [f"{one.log_likelihood:.2f}", str(one.n_parameters)]
            cells += [f"{one.value(name):.2f}" for name in names]
            cells.append(STATUS.get(one.status, one.status))
        else:
            cells += [ABSENT] * (2 + len(names)) + [_short(one.error)]
        table.add_row(*cells, style="bold" if chosen else "")
    return table


def _by_structure(
    candidates: Sequence[Any], labels: Sequence[str], criterion: str, best: Any
) -> Table:
    """One row a family, one column a number of components."""
    numbers = sorted({one.n_components for one in candidates})
    table = grid([("", "left"), *((f"K = {k}", "right") for k in numbers)])
    cells = {(one.label, one.n_components): one for one in candidates}
    for label in labels:
        row = []
        for k in numbers:
            one = cells.get((label, k))
            text = ABSENT if one is None or one.error is not None else f"{one.value(criterion):.1f}"
            row.append(f"→ {text}" if one is not None and one is best else text)
        table.add_row(label, *row)
    return table


def _short(error: Exception) -> str:
    name = type(error).__name__.removesuffix("Error")
    return {
        "DegenerateComponent": "collapsed",
        "Data": "impossible",
        "NotFinite": "not finite",
        "DecreasedLikelihood": "decreased",
        "Parameter": "refused",
        "Unreached": "not fitted",
    }.get(name, name)


def _reason(one: Any, families: bool) -> str:
    label = f"K = {one.n_components}" + (f", {one.label}" if families else "")
    return f"{label}: {one.error}"


def _unreached(left: Sequence[Any], families: bool) -> str:
    if families:
        return f"{len(left)} candidate{'s' * (len(left) != 1)} not fitted: interrupted"
    return f"K = {', '.join(str(one.n_components) for one in left)}: not fitted: interrupted"
