"""Draws from a topic model: topics from q(β), documents from topics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from expmax.statistics import Array

__all__ = ["draw_documents", "draw_topics"]


def draw_topics(pseudo_counts: Array, n: int, rng: np.random.Generator) -> Array:
    """n draws of all topics, β_k ~ Dirichlet(λ_k).

    Parameters
    ----------
    pseudo_counts : ndarray, shape (V, K)
        λ.

    Returns
    -------
    ndarray, shape (n, K, V)
        Rows that sum to 1.
    """
    return np.stack([rng.dirichlet(row, n) for row in pseudo_counts.T], axis=1)


def draw_documents(
    topic_words: Array, prior: Array, lengths: NDArray[np.int64], rng: np.random.Generator
) -> tuple[csr_array, Array]:
    """Documents of given lengths: θ_d ~ Dirichlet(α), each word from a topic drawn from θ_d.

    Parameters
    ----------
    topic_words : ndarray, shape (K, V)
        β, rows that sum to 1.
    prior : ndarray, shape (K,)
        α.
    lengths : ndarray of int, shape (n,)

    Returns
    -------
    counts : csr_array of int, shape (n, V)
    proportions : ndarray, shape (n, K)
        θ.

    References
    ----------
    Blei, Ng & Jordan (2003), JMLR 3, §3.
    """
    shape = len(lengths), topic_words.shape[1]
    proportions = rng.dirichlet(prior, len(lengths))
    of_topic = rng.multinomial(lengths, proportions)  # words of each document and topic
    documents = [np.repeat(np.arange(len(lengths)), own) for own in of_topic.T]
    words = [
        _draw_words(own, int(n), rng)
        for own, n in zip(topic_words, of_topic.sum(axis=0), strict=True)
    ]
    row, column = np.concatenate(documents), np.concatenate(words)
    counts = csr_array((np.ones(len(row), np.int64), (row, column)), shape=shape)
    counts.sum_duplicates()
    return counts, proportions


def _draw_words(topic: Array, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """n words of a topic, by inversion of its distribution function."""
    edges = np.cumsum(topic)
    word = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
    return np.minimum(word, np.flatnonzero(topic)[-1])  # where the product rounds up to the end
