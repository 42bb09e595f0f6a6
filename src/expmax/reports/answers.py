"""A fit to discrete answers on a page: crowds of workers, linked records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table
from sklearn.utils.validation import check_is_fitted

from expmax.reports.summary import criteria, search_sentence, status_sentence
from expmax.reports.text import Report, aligned, grid, heading, line

__all__ = ["summary"]

MOST = 20  # workers, fields or classes shown


def summary(estimator: Any) -> Report:
    """The fitted estimator on a page; printed, it is plain text of 80 columns."""
    check_is_fitted(estimator, "params_")
    crowd = hasattr(estimator, "confusion_")
    tables = _crowd(estimator) if crowd else _linkage(estimator)
    parts: list[RenderableType] = []
    for title, table in tables:
        parts += [heading(title), "", table, ""]
    parts += [line(words) for words in _facts(estimator, "items" if crowd else "pairs")]
    return Report(tuple(parts))


def _crowd(estimator: Any) -> Iterator[tuple[str, Table]]:
    classes, workers = estimator.classes_, estimator.workers_
    shown = classes[:MOST]
    table = grid([("class", "left"), ("prevalence", "right"), ("consensus of items", "right")])
    numbers = [int((estimator.labels_ == value).sum()) for value in shown]
    for value, share, n in zip(shown, aligned(estimator.prevalence_, 3), numbers, strict=False):
        table.add_row(str(value), share, str(n))
    title = f"Dawid-Skene ({estimator._model.structure}): {len(estimator.items_)} items, {len(workers)} workers"
    yield title, table
    quality = estimator.worker_quality_
    order = np.argsort(-quality["information"], kind="stable")
    names = [("labels", None), ("accuracy", 3), ("entropy", 3), ("information", 3)]
    table = grid([("worker", "left"), *((name, "right") for name, _ in names)])
    columns = [aligned(quality[name][order], decimals) for name, decimals in names]
    for i, row in _abridged(order):
        table.add_row(str(workers[row]), *(column[i] for column in columns))
    more = "" if len(order) <= MOST else f" ({MOST} of {len(order)})"
    yield f"Workers, the most informative first (nats a label){more}", table


def _abridged(order: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """The first and the last of an order, with their places."""
    half = MOST // 2
    places = range(len(order))
    shown = [*places] if len(order) <= MOST else [*places[:half], *places[-half:]]
    return ((i, int(order[i])) for i in shown)


def _linkage(estimator: Any) -> Iterator[tuple[str, Table]]:
    titles = [("field", "left"), ("level", "right"), ("m", "right"), ("u", "right")]
    table = grid([*titles, ("weight, bits", "right")])
    for name, weights in list(estimator.match_weights_.items())[:MOST]:
        m, u = estimator.m_probabilities_[name], estimator.u_probabilities_[name]
        columns = [aligned(m, 4), aligned(u, 4), aligned(weights, 2)]
        for level in range(len(m)):
            field = str(name) if level == 0 else ""
            table.add_row(field, str(level), *(column[level] for column in columns))
    share = f"{100 * estimator.prevalence_:.3g} % of the pairs are matches"
    yield f"Record linkage: {share} ({estimator.n_patterns_} patterns)", table


def _facts(estimator: Any, units: str) -> Iterator[str]:
    weight = estimator._total_weight
    n = f"{weight:.0f}" if weight == round(weight) else f"weight {weight:.6g} of"
    yield (
        f"log-likelihood {estimator.log_likelihood_:.2f} "
        f"({estimator.n_parameters_} parameters, {n} {units})"
    )
    yield "   ".join(f"{name.upper()} {value:.2f}" for name, value in criteria(estimator).items())
    yield status_sentence(estimator)
    yield from search_sentence(estimator)
