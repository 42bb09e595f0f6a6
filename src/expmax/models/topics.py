"""Topic models (latent Dirichlet allocation) under q(β) q(θ) q(z), as coordinate ascent of a bound.

Topic k is a distribution β_k over words; a document draws its proportions θ_d ~ Dirichlet(α), and each of its
words a topic z ~ θ_d and then itself. The bound on log p(w) is E_q log p(w, z, θ | β) + H[q(z)] + H[q(θ)]
− KL(q(β) ‖ p(β)). To the engine it is EM: the parameters are q(β) = Dirichlet(λ) and the priors, the E-step is
the document step, the statistics are the expected word counts of each topic, and −KL(q(β) ‖ p(β)) is the log
prior. With point topics β is a parameter, and the prior its pseudo-counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.special import gammaln, psi, xlogy

from expmax.contract import Block, Expectation
from expmax.families.solvers import dirichlet_concentration
from expmax.inference import documents as plain
from expmax.inference.documents import Documents, DocumentSums, log_dirichlet_norm
from expmax.models.topics_chart import TopicChart
from expmax.models.topics_priors import symmetric_concentration
from expmax.statistics import Additive, Array

EXACT, EXACT_ROUNDS = (
    1e-9,
    5000,
)  # tolerance and rounds of a document step that leaves nothing to gain

STORED = ("pseudo_counts", "document_prior", "topic_prior", "point", "compiled")

__all__ = ["Kept", "TopicParameters", "TopicStatistics", "Topics"]

LearnDocumentPrior = Literal[False, "symmetric", "vector"]


class Kept(Additive):
    """γ of the documents of each block, by the number of its first document: blocks unite."""

    __slots__ = ("parts",)

    def __init__(self, parts: Mapping[int, Array] | None = None) -> None:
        self.parts = dict(parts or {})

    def _combine(self, operation: Callable[[Any, Any], Any], other: Kept) -> Kept:
        return Kept(self.parts | other.parts)


@dataclass(frozen=True, slots=True)
class TopicStatistics(Additive):
    """Expected sufficient statistics of some documents, weights included."""

    counts: Array  # Σ_d c_dw q(z_dw = k): words that each topic holds,   shape (V, K)
    log_proportions: Array  # Σ_d E log θ_dk,                             shape (K,)
    joint: float  # Σ_d E log p(z_d | θ_d), nats
    documents: float  # Σ_d weight_d
    kept: Kept  # γ, where the next document step is to start


@dataclass(frozen=True, eq=False)
class TopicParameters:
    """q(β), or β itself, and the priors; arrays of words × topics have one row a word.

    The derived arrays are computed once, at first use.
    """

    pseudo_counts: Array  # λ: prior + expected counts; point topics are in proportion, shape (V, K)
    document_prior: Array  # α,                                             shape (K,)
    topic_prior: Array  # η,                                                shape (V,)
    point: bool = False
    compiled: bool = False
    kept: Kept = field(default_factory=Kept)
    exact: bool = False  # whether document steps run until nothing changes

    def to_fields(self) -> dict[str, Any]:
        """What a model file holds: everything but how far document steps have come."""
        return {name: getattr(self, name) for name in STORED}

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> TopicParameters:
        """The parameters that `to_fields` described."""
        return cls(**{name: values[name] for name in STORED})

    def __getstate__(self) -> dict[str, Any]:
        """Pickles hold no derived arrays."""
        return {name: value for name, value in vars(self).items() if name != "_derived"}

    @cached_property
    def _derived(self) -> tuple[Array, Array, float]:
        """E log β, its exponential, and the log prior."""
        with np.errstate(divide="ignore"):
            return self._of_points() if self.point else self._of_distributions()

    def _of_points(self) -> tuple[Array, Array, float]:
        topics = self.pseudo_counts / self.pseudo_counts.sum(axis=0)
        return np.log(topics), topics, float(xlogy(self.topic_prior[:, None], topics).sum())

    def _of_distributions(self) -> tuple[Array, Array, float]:
        size, prior = self.pseudo_counts.sum(axis=0), self.topic_prior
        if self.compiled:
            from expmax.inference import kernels_topics

            log_topics, topics, tilt, norm = kernels_topics.dirichlet(self.pseudo_counts, prior)
        else:
            log_topics = psi(self.pseudo_counts) - psi(size)
            topics = np.exp(log_topics)
            tilt = ((prior[:, None] - self.pseudo_counts) * log_topics).sum(axis=0)
            norm = gammaln(self.pseudo_counts).sum(axis=0)
        divergence = log_dirichlet_norm(prior) - (norm - gammaln(size)) - tilt
        return log_topics, topics, -float(divergence.sum())

    @property
    def log_topics(self) -> Array:
        """E log β_kw, nats (log β_kw of point topics): shape (V, K)."""
        return self._derived[0]

    @property
    def topics(self) -> Array:
        """exp E log β_kw: shape (V, K)."""
        return self._derived[1]

    @property
    def log_prior(self) -> float:
        """−KL(q(β) ‖ p(β)), or Σ η log β of point topics, nats."""
        return self._derived[2]


@dataclass(frozen=True)
class Topics:
    """Latent Dirichlet allocation as the engine sees it.

    References
    ----------
    Blei, Ng & Jordan (2003), JMLR 3, 993-1022: point topics §5.3, a prior on topics §5.4. Hoffman, Blei & Bach
    (2010), NIPS 23. Minka (2000), Estimating a Dirichlet distribution: the priors.
    """

    n_topics: int
    n_words: int
    max_rounds: int = 100  # of a document step
    document_tol: float = 1e-3  # mean absolute change of γ that ends one
    keep: bool = False  # whether the next document step starts from the last γ
    learn_document_prior: LearnDocumentPrior = False
    learn_topic_prior: bool = False

    # -- E-step ------------------------------------------------------------------------------------
    def infer(
        self, params: TopicParameters, documents: Documents, weight: Array, *, assign: bool = True
    ) -> DocumentSums:
        """The document step: γ, the bound of each document, and what they add up to."""
        start = params.kept.parts.get(documents.first)
        rounds, tol = self.max_rounds, self.document_tol
        if params.exact:
            rounds, tol = EXACT_ROUNDS, EXACT
        options = (params.document_prior, start, rounds, tol)
        if not params.compiled:
            return plain.infer(documents, weight, params.log_topics, *options, assign=assign)
        from expmax.inference import kernels_topics

        sums = kernels_topics.infer(documents, weight, params.topics, *options, assign=assign)
        failed = np.flatnonzero(sums.rounds < 0)
        return plain.add_documents(sums, failed, documents, weight, params.log_topics, *options)

    def expect(self, params: TopicParameters, block: Block) -> Expectation[TopicStatistics]:
        """E-step on one block; `log_likelihood` is its share of the bound."""
        documents: Documents = block.x  # type: ignore[assignment]
        weight = np.ones(len(documents)) if block.weight is None else block.weight
        sums = self.infer(params, documents, weight)
        used = weight > 0
        bound = float(weight[used] @ sums.bound[used])
        entropy = float(weight[used] @ sums.entropy[used])
        entropy -= _dot(sums.assigned, params.log_topics)
        kept = Kept({documents.first: sums.proportions} if self.keep else None)
        statistics = TopicStatistics(
            sums.assigned, sums.log_proportions, sums.joint, float(weight.sum()), kept
        )
        return Expectation(statistics, bound, entropy, block.total_weight, "bound")

    # -- M-step ------------------------------------------------------------------------------------
    def maximize(self, statistics: TopicStatistics, params: TopicParameters) -> TopicParameters:
        """The conjugate update of q(β), then the priors that are learned."""
        new = replace(
            params,
            pseudo_counts=statistics.counts + params.topic_prior[:, None],
            kept=statistics.kept,
        )
        if self.learn_topic_prior:
            mean_log = float(new.log_topics.mean())
            value = symmetric_concentration(self.n_words, mean_log)
            new = replace(new, topic_prior=np.full(self.n_words, value))
        if self.learn_document_prior and statistics.documents > 0:
            new = replace(new, document_prior=self._document_prior(statistics, params))
        return new

    def _document_prior(self, statistics: TopicStatistics, params: TopicParameters) -> Array:
        mean_log = statistics.log_proportions / statistics.documents
        if self.n_topics == 1 or not np.exp(mean_log).sum() < 1.0:
            return params.document_prior
        if self.learn_document_prior == "symmetric":
            return np.full(self.n_topics, symmetric_concentration(self.n_topics, mean_log.mean()))
        return dirichlet_concentration(mean_log[None])[0]

    def expected_log_joint(self, params: TopicParameters, statistics: TopicStatistics) -> float:
        """E_q log p(w, z, θ | β), nats, from the statistics alone."""
        alpha = params.document_prior
        proportions = float((alpha - 1.0) @ statistics.log_proportions)
        proportions -= statistics.documents * log_dirichlet_norm(alpha)
        return _dot(statistics.counts, params.log_topics) + statistics.joint + proportions

    def log_prior(self, params: TopicParameters) -> float:
        """−KL(q(β) ‖ p(β)), or Σ η log β of point topics, nats."""
        return params.log_prior

    def magnitude(self, params: TopicParameters, statistics: TopicStatistics) -> float:
        """Size of the terms that the bound sums, nats."""
        pulls = abs(float((params.document_prior + 1.0) @ statistics.log_proportions))
        norms = statistics.documents * abs(log_dirichlet_norm(params.document_prior))
        prior = float(params.topic_prior.sum())
        size = float(np.abs(gammaln(params.pseudo_counts)).sum()) + abs(gammaln(prior))
        size += float(gammaln(params.pseudo_counts.sum(axis=0)).sum())
        words = -_dot(statistics.counts, params.log_topics) - statistics.joint
        return 4.0 * (pulls + norms + size + words)

    def chart(self, params: TopicParameters, statistics: TopicStatistics) -> TopicChart | None:
        """Whitened coordinates of q(β), where document steps are exact and nothing else is learned."""
        learns = self.learn_document_prior or self.learn_topic_prior
        if params.point or learns or not params.exact:
            return None
        return TopicChart(params, statistics)

    def boundary(self, params: TopicParameters) -> list[str]:
        """Topics that hold some word with probability zero."""
        if not params.point:
            return []
        without = np.flatnonzero((params.pseudo_counts == 0).any(axis=0))
        return [f"topic {k} holds words of probability zero" for k in without]


def _dot(counts: Array, log_topics: Array) -> float:
    """Σ counts · log_topics, with 0 · −∞ = 0."""
    total = float(np.vdot(counts, log_topics))
    if np.isfinite(total):
        return total
    used = counts > 0
    return float(counts[used] @ log_topics[used])
