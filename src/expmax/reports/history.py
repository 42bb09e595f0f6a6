"""The proof of convergence as a table: one row a step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from expmax.reports.summary import is_bound
from expmax.reports.text import ABSENT, Report, grid, heading, line, significant

__all__ = ["history_table"]

FULL = 24  # steps up to which every one is shown
FIRST, MIDDLE, LAST = 5, 5, 4  # shown of a longer history


def history_table(estimator: Any) -> Report:
    """How the best run climbed: log-likelihood, ELBO, ΔQ and KL of every step.

    Parameters
    ----------
    estimator : fitted estimator of expmax

    Returns
    -------
    Report
        Long histories are abridged: the first steps, some between, the last.
    """
    history = estimator.history_
    values = history.as_arrays()
    n = len(history)
    bound = is_bound(estimator)
    word = "bound" if bound else "log-likelihood"
    penalised = not bound and not np.array_equal(values["objective"], values["log_likelihood"])
    titles = [("step", "right"), ("kind", "left"), (word, "right")]
    titles += [("objective", "right")] * penalised
    titles += [("ELBO", "right"), ("ΔQ", "right"), ("KL", "right")]
    table = grid(titles)
    previous = -1
    for t in _shown(n):
        if t != previous + 1:
            table.add_row("⋮")
        level = values["objective" if bound else "log_likelihood"][t]
        row = [str(t), history.step[t], _nats(level)]
        row += [_nats(values["objective"][t])] * penalised
        row += [_nats(values["elbo"][t]), *(_gain(values[name][t]) for name in ("delta_q", "kl"))]
        table.add_row(*row)
        previous = t
    parts: list[RenderableType] = [
        heading(f"How the {word} rose (nats)"),
        "",
        table,
        "",
        *map(line, _verdict(values, history.step, "objective" if penalised else word)),
    ]
    return Report(tuple(parts))


def _shown(n: int) -> list[int]:
    if n <= FULL:
        return list(range(n))
    middle = np.geomspace(FIRST, n - LAST, MIDDLE + 2).astype(int)[1:-1]
    shown = {*range(FIRST), *map(int, middle), *range(n - LAST, n)}
    gaps = {t + 1 for t in shown if t + 2 in shown}  # of one step: it takes the place of its dots
    return sorted(shown | gaps)


def _nats(value: float) -> str:
    return ABSENT if np.isnan(value) else f"{value:.6f}"


def _gain(value: float) -> str:
    return ABSENT if np.isnan(value) else f"{value:.2e}"


def _verdict(values: dict[str, NDArray[np.float64]], steps: list[str], name: str) -> list[str]:
    """What the rows prove, checked here once more from the numbers themselves."""
    objective = values["objective"]
    gains = np.diff(objective)
    em = ~np.isnan(values["kl"][:-1])
    if not em.any():
        return ["no EM step was needed." if len(objective) < 2 else "no plain EM step was taken."]
    proved = values["delta_q"][:-1] + values["kl"][:-1]
    gap = float(np.abs(gains - proved)[em].max())
    tight = float(np.nanmax(np.abs(values["elbo"] - values["log_likelihood"])))
    smallest = float(min(values["delta_q"][:-1][em].min(), values["kl"][:-1][em].min()))
    lines = [
        f"{int(em.sum())} EM steps: each raised the {name} by ΔQ + KL, to within "
        f"{significant(gap)} nats;",
        f"no ΔQ or KL below {significant(min(smallest, 0.0))}; the ELBO met the log-likelihood to "
        f"within {significant(tight)}.",
    ]
    others = sum(not is_em for is_em in em)
    if others:
        lines.append(
            f"{others} accelerated steps: the lowest gain {significant(float(gains[~em].min()))}."
        )
    return lines
