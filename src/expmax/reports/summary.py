"""The result of one fit on a page: components, criteria, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from sklearn.utils.validation import check_is_fitted

from expmax.reports.parameters import Row, family_words, parameter_rows
from expmax.reports.text import Report, aligned, grid, heading, line, significant

__all__ = ["STATUS", "criteria", "is_bound", "search_sentence", "status_sentence", "summary"]

MOST_ROWS = 120  # rows of parameters shown

STATUS = {  # in a word or two
    "stationary": "converged",
    "boundary": "converged (edge)",
    "degenerate": "collapsed",
    "max_iter": "max_iter reached",
    "interrupted": "interrupted",
    "not_finite": "not finite",
    "decreased": "decreased",
    "uncertified": "not certified",
}


def summary(estimator: Any) -> Report:
    """The fitted estimator on a page.

    Parameters
    ----------
    estimator : fitted estimator of expmax

    Returns
    -------
    Report
        Printed, it is plain text of 80 columns; rich renders it in the width of a terminal.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Mixture, Poisson
    >>> counts = np.repeat([[0.0], [1.0], [2.0], [9.0], [10.0], [12.0]], 20, axis=0)
    >>> print(summary(Mixture(Poisson(), 2, random_state=0).fit(counts)))
    Mixture of 2 components: Poisson
    <BLANKLINE>
     component            0      1
     weight           0.498  0.502
     column 0   rate   1.00  10.30
    <BLANKLINE>
     log-likelihood -286.77 (3 parameters, 120 rows)
     AIC 579.53   BIC 587.89   ICL 588.32
     converged: an estimated ... nats left to gain
     ... starts, ... ended here; ... iterations in the last run, ... E-steps in all
    """
    check_is_fitted(estimator)
    parts: list[RenderableType] = [
        heading(_title(estimator)),
        "",
        _Components(estimator),
        "",
        *(line(words) for words in _facts(estimator)),
    ]
    return Report(tuple(parts))


def _title(estimator: Any) -> str:
    k = estimator._model.n_components
    families = [family_words(family) for family in estimator._families()]
    words = dict.fromkeys(families)
    plural = "component" if k == 1 else "components"
    return f"Mixture of {k} {plural}: {', '.join(words)}"


class _Components:
    """Parameters as rows, components as columns, as many side by side as the width takes."""

    def __init__(self, estimator: Any) -> None:
        self.rows = parameter_rows(estimator)
        self.weights = [float(weight) for weight in estimator.weights_]
        families = [type(family).__name__ for family in estimator._families()]
        self.families = families if len(set(families)) > 1 else []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self.rows[:MOST_ROWS]
        columns, labels = _labelled(shown)
        texts = [aligned(row.values, row.decimals) for row in shown]
        weights = aligned(self.weights, 3)
        cells = [*weights, *(text for row in texts for text in row), *self.families]
        width = max(map(len, cells)) + 2
        left = 4 + sum(max([len(word) for word in part], default=0) for part in (columns, labels))
        left = min(max(left, 12), options.max_width // 2)
        many = max(1, (options.max_width - left) // width)
        for start in range(0, len(weights), many):
            if start:
                yield ""
            yield self._table(slice(start, start + many), columns, labels, texts, weights)
        if len(self.rows) > len(shown):
            yield line(f"… and {len(self.rows) - len(shown)} more rows; params_ holds them all.")

    def _table(
        self,
        part: slice,
        columns: Sequence[str],
        labels: Sequence[str],
        texts: Sequence[Sequence[str]],
        weights: Sequence[str],
    ) -> Table:
        numbers = list(range(len(weights)))[part]
        titles = [("component", "left"), ("", "left"), *((str(k), "right") for k in numbers)]
        table = grid(titles)
        table.add_row("weight", "", *weights[part])
        if self.families:
            table.add_row("family", "", *self.families[part])
        for column, label, text in zip(columns, labels, texts, strict=True):
            table.add_row(column, label, *text[part])
        return table


def _labelled(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Column and quantity of each row; a column is named once."""
    columns = [
        "" if i and rows[i - 1].column == row.column else row.column for i, row in enumerate(rows)
    ]
    return columns, [row.quantity for row in rows]


def is_bound(estimator: Any) -> bool:
    """Whether what rose was a variational bound, and no likelihood."""
    return getattr(estimator, "kind_", "exact") == "bound" and hasattr(estimator, "lower_bound_")


def criteria(estimator: Any) -> dict[str, float]:
    """The information criteria of the training data, by name."""
    return {name: float(getattr(estimator, name)()) for name in ("aic", "bic", "icl")}


def status_sentence(estimator: Any) -> str:
    """How the fit ended, and what follows."""
    certificate = estimator.certificate_
    left = f"an estimated {significant(certificate.remaining)} nats left to gain"
    if not np.isfinite(certificate.remaining):
        left = certificate.left
    if estimator.status_ == "stationary":
        near = "".join(f"; {one}" for one in certificate.near_degenerate)
        return f"converged: {left}{near}"
    if estimator.status_ == "boundary":
        n = len(certificate.boundary)
        where = f" ({n} parameter{'s' * (n != 1)})" if n else ""
        return f"converged on the edge of the parameters{where}: {left}"
    words = STATUS.get(estimator.status_, str(estimator.status_))
    return f"NOT converged ({words}): {left}. {certificate.advice}"


def _facts(estimator: Any) -> Iterator[str]:
    weight = estimator._total_weight
    rows = f"{weight:.0f} rows" if weight == round(weight) else f"rows of weight {weight:.6g}"
    size = f"({estimator.n_parameters_} parameters, {rows})"
    if is_bound(estimator):
        yield f"bound on log p(X) {estimator.lower_bound_:.2f} {size}"
        yield f"log-likelihood at the posterior means {estimator.log_likelihood_:.2f}"
    else:
        yield f"log-likelihood {estimator.log_likelihood_:.2f} {size}"
    yield "   ".join(f"{name.upper()} {value:.2f}" for name, value in criteria(estimator).items())
    yield status_sentence(estimator)
    yield from search_sentence(estimator)


def search_sentence(estimator: Any) -> Iterator[str]:
    """How many starts there were, how many ended at this optimum, and what it took."""
    records = estimator.starts_
    steps = f"{estimator.n_iter_} iteration{'s' * (estimator.n_iter_ != 1)}"
    if len(records) < 2:
        yield f"{steps}, {estimator.n_expect_} E-steps"
        return
    agree = sum(record.agrees for record in records)
    yield (
        f"{len(records)} starts, {agree} ended here; {steps} in the last run, "
        f"{estimator.n_expect_} E-steps in all"
    )
