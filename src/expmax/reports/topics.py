"""A fitted topic model on a page: topics by their top words, the bound, and how the fit ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from expmax.reports.summary import search_sentence, status_sentence
from expmax.reports.text import Report, aligned, grid, heading, line

__all__ = ["summary"]

MOST = 50  # topics shown


def summary(estimator: Any, feature_names: Any = None, n: int = 10) -> Report:
    """The fitted topics on a page; printed, it is plain text of 80 columns.

    Parameters
    ----------
    estimator : fitted TopicModel
    feature_names : sequence of str, optional
        A name for every word; default: those of the training table, or else positions.
    n : int
        Words of each topic.
    """
    check_is_fitted(estimator)
    k, n_words = estimator.components_.shape
    documents = f"{estimator.n_documents_seen_:.6g} documents"
    title = f"Topic model: {k} topic{'s' * (k != 1)} over {n_words} words, {documents}"
    sizes = estimator.components_.sum(axis=1)
    table = grid([("topic", "right"), ("share", "right"), ("words", "left")], fill=2)
    shares = aligned((sizes / sizes.sum()).tolist(), 3)
    shown = list(zip(shares, estimator.top_words(feature_names, n), strict=True))[:MOST]
    for number, (share, words) in enumerate(shown):
        table.add_row(str(number), share, " ".join(map(str, words)))
    more = [line(f"… and {k - MOST} more topics.")] if k > MOST else []
    facts = [line(words) for words in _facts(estimator)]
    return Report((heading(title), "", table, *more, "", *facts))


def _facts(estimator: Any) -> Iterator[str]:
    if not hasattr(estimator, "lower_bound_"):
        n = estimator.n_batch_iter_
        yield (
            f"learned online by partial_fit, {n} update{'s' * (n != 1)}: nothing proves an ascent; "
            "bound(X) is the bound of documents"
        )
        return
    yield (
        f"bound on log p(words) {estimator.lower_bound_:.2f} nats "
        f"({estimator.n_parameters_} parameters, {estimator._words_seen:.6g} words)"
    )
    if np.isfinite(estimator.perplexity_):
        yield f"perplexity {estimator.perplexity_:.1f}"
    yield status_sentence(estimator)
    yield from search_sentence(estimator)
