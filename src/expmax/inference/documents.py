"""The document step of topic models, plainly: mean-field posteriors in the log domain, one document at a time.

A document draws its proportions θ ~ Dirichlet(α), and each of its words a topic z ~ θ and then itself from that
topic. With q(θ) = Dirichlet(γ) and q(z) free, coordinate ascent repeats q(z = k) ∝ exp(E log θ_k + E log β_kw)
and γ_k = α_k + Σ_w c_w q(z_w = k). A count c_w need not be whole: it is a power of the word's probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, logsumexp

from expmax.statistics import Array

__all__ = ["DocumentSums", "Documents", "infer", "log_dirichlet_norm"]


@dataclass(frozen=True)
class Documents:
    """Some rows of a document-term table: the distinct words of each, and how often they occur."""

    offsets: NDArray[
        np.int64
    ]  # document d owns entries offsets[d] to offsets[d + 1], shape (n + 1,)
    words: NDArray[np.int32]  # columns, distinct within a document
    counts: Array  # positive
    first: int = 0  # which document of the corpus is the first here

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def longest(self) -> int:
        """Distinct words of the longest document."""
        return int(np.diff(self.offsets).max(initial=0))

    def part(self, start: int, stop: int) -> Documents:
        """Documents start to stop, sharing memory."""
        low, high = self.offsets[start], self.offsets[stop]
        offsets = self.offsets[start : stop + 1] - low
        return Documents(offsets, self.words[low:high], self.counts[low:high], self.first + start)

    def take(self, rows: NDArray[np.intp]) -> Documents:
        """Some documents, copied, in the order asked for."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        entries = entries + np.arange(offsets[-1])
        return Documents(offsets, self.words[entries], self.counts[entries])


class DocumentSums(NamedTuple):
    """What is known of each document of a block, and what they add up to."""

    proportions: Array  # γ,                                              shape (n, K)
    bound: Array  # Σ_w c_w log Σ_k exp(E log θ_k + E log β_kw) − KL(q(θ) ‖ p(θ)), nats, shape (n,)
    entropy: Array  # H[q(θ)] + H[q(z)] − Σ_kw c_w q(z_w = k) E log β_kw, nats, shape (n,)
    rounds: NDArray[np.int64]  # rounds made,                             shape (n,)
    assigned: Array  # Σ_d weight_d c_dw q(z_dw = k),                     shape (V, K)
    log_proportions: Array  # Σ_d weight_d E log θ_dk,                    shape (K,)
    joint: float  # Σ_d weight_d Σ_k (Σ_w c_dw q(z_dw = k)) E log θ_dk, nats


def log_dirichlet_norm(alpha: Array) -> float:
    """log ∫ Π θ_k^(α_k − 1) dθ = Σ log Γ(α_k) − log Γ(Σα_k)."""
    return float(gammaln(alpha).sum() - gammaln(alpha.sum()))


def infer(
    documents: Documents,
    weight: Array,
    log_topics: Array,
    prior: Array,
    start: Array | None,
    max_rounds: int,
    tol: float,
    *,
    assign: bool = True,
) -> DocumentSums:
    """Mean-field posteriors of documents, with what they add to the topics.

    Parameters
    ----------
    documents : Documents
    weight : ndarray, shape (n,)
        Of each document in the sums.
    log_topics : ndarray, shape (V, K)
        E log β_kw, nats; -inf where a topic never holds the word.
    prior : ndarray, shape (K,)
        α.
    start : ndarray, shape (n, K), or None
        γ to start from; None starts at α (1 + Σ_w c_w / Σα).
    max_rounds, tol : int, float
        A document stops when the mean absolute change of γ is below tol.
    assign : bool
        False leaves `assigned` empty.

    References
    ----------
    Blei, Ng & Jordan (2003), JMLR 3, eq. 14-16. Hoffman, Blei & Bach (2010), NIPS 23, algorithm 1.
    """
    n, (V, K) = len(documents), log_topics.shape
    sums = DocumentSums(
        np.empty((n, K)),
        np.zeros(n),
        np.zeros(n),
        np.zeros(n, np.int64),
        np.zeros((V, K) if assign else (0, K)),
        np.zeros(K),
        0.0,
    )
    return add_documents(
        sums, range(n), documents, weight, log_topics, prior, start, max_rounds, tol
    )


def add_documents(
    sums: DocumentSums,
    which: NDArray[np.intp] | range,
    documents: Documents,
    weight: Array,
    log_topics: Array,
    prior: Array,
    start: Array | None,
    max_rounds: int,
    tol: float,
) -> DocumentSums:
    """Some of the documents, written into and added to sums that lack them."""
    joint = sums.joint
    for d in which:
        own = slice(documents.offsets[d], documents.offsets[d + 1])
        words, counts = documents.words[own], documents.counts[own]
        gamma = prior * (1.0 + counts.sum() / prior.sum()) if start is None else start[d]
        table = log_topics[words]
        gamma, sums.rounds[d] = _ascend(table, counts, prior, gamma, max_rounds, tol)
        log_share = digamma(gamma) - digamma(gamma.sum())
        log_joint = table + log_share
        log_evidence = logsumexp(log_joint, axis=1)
        with np.errstate(invalid="ignore"):
            assigned = counts[:, None] * np.exp(log_joint - log_evidence[:, None])
        evidence, norm = float(counts @ log_evidence), log_dirichlet_norm(gamma)
        own_joint = float(assigned.sum(axis=0) @ log_share)
        sums.proportions[d] = gamma
        divergence = log_dirichlet_norm(prior) - norm + float((gamma - prior) @ log_share)
        sums.bound[d] = evidence - divergence
        sums.entropy[d] = evidence + norm - float((gamma - 1.0) @ log_share) - own_joint
        sums.log_proportions[:] += weight[d] * log_share
        joint += weight[d] * own_joint
        if len(sums.assigned):
            sums.assigned[words] += weight[d] * assigned
    return sums._replace(joint=joint)


def _ascend(
    table: Array, counts: Array, prior: Array, gamma: Array, max_rounds: int, tol: float
) -> tuple[Array, int]:
    """Coordinate ascent of one document: γ and the rounds made."""
    if not len(counts):
        return prior.copy(), 0
    for i in range(max_rounds):
        log_joint = table + (digamma(gamma) - digamma(gamma.sum()))
        top = log_joint.max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            shares = np.exp(log_joint - top)
        new = prior + (counts / shares.sum(axis=1)) @ shares
        change = float(np.abs(new - gamma).mean())
        gamma = new
        if change < tol:
            return gamma, i + 1
    return gamma, max_rounds
