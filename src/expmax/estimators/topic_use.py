"""What fitted topics are good for: proportions, bounds, top words, draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import make_compute
from expmax.contract import Block
from expmax.errors import DataError, ImpossibleDataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.documents import document_blocks, read_documents
from expmax.estimators.search import seed_of
from expmax.estimators.shared import Saved
from expmax.estimators.topic_arguments import document_lengths, word_names
from expmax.inference.documents import Documents
from expmax.models.topics import TopicParameters, Topics
from expmax.models.topics_draws import draw_documents, draw_topics
from expmax.statistics import Array

__all__ = ["FittedTopics", "perplexity_of"]


class FittedTopics(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Saved, BaseEstimator):
    """Methods that need fitted topics; fitting is the subclass's."""

    n_jobs: int | None
    random_state: Any
    components_: Array
    topic_words_: Array
    document_prior_: Array
    n_documents_seen_: float
    _model: Topics
    _parameters: TopicParameters
    _words_seen: float

    # -- documents ---------------------------------------------------------------------------------
    def _infer(self, X: Any) -> tuple[Array, Array, Documents]:
        """γ and the bound of every document."""
        check_is_fitted(self)
        documents, _ = read_documents(X)
        prepare.validate_features(self, X, reset=False)
        model, params = self._model, self._parameters
        blocks = document_blocks(documents, None, model.n_words)
        gamma, bound = np.empty((len(documents), model.n_topics)), np.empty(len(documents))
        _ = params.log_topics  # computed once, before threads ask for it

        def one(block: Block) -> int:
            part: Any = block.x
            assert block.weight is not None
            with np.errstate(invalid="ignore"):
                sums = model.infer(params, part, block.weight, assign=False)
            own = slice(part.first, part.first + len(part))
            gamma[own], bound[own] = sums.proportions, sums.bound
            return 0

        with single_threaded_blas():
            make_compute(self.n_jobs).total(one, blocks)
        bound[np.isnan(bound)] = -np.inf  # a word that no topic holds
        return gamma, bound, documents

    def transform(self, X: Any) -> Array:
        """Topic proportions E θ_d = γ_d / Σγ_d of each document: shape (n, n_topics).

        A document without words gets the prior's mean.

        Raises
        ------
        ImpossibleDataError
            A document holds a word of probability zero under every (point) topic.
        """
        gamma, bound, _ = self._infer(X)
        bad = np.flatnonzero(np.isneginf(bound))
        if len(bad):
            raise ImpossibleDataError(
                f"document {bad[0]} holds a word of probability zero under every topic; drop the "
                "word, or fit with a topic_prior."
            )
        return np.asarray(gamma / gamma.sum(axis=1, keepdims=True))

    def score_samples(self, X: Any) -> Array:
        """The bound of each document given the topics, nats: shape (n,); −inf where it is impossible."""
        return self._infer(X)[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`: nats a document."""
        return float(self.score_samples(X).mean())

    def bound(self, X: Any) -> float:
        """Σ_d bound_d − Σ_k KL(q(β_k) ‖ p(β_k)), nats: what `fit` raises (scikit-learn's `score`)."""
        return float(self.score_samples(X).sum()) + self._parameters.log_prior

    def perplexity(self, X: Any, *, topics: bool = True) -> float:
        """exp(−bound per word).

        Parameters
        ----------
        topics : bool
            Whether −KL(q(β) ‖ p(β)) is part of the bound, as in scikit-learn; False suits documents held out.
        """
        _, bound, documents = self._infer(X)
        total = float(bound.sum()) + (self._parameters.log_prior if topics else 0.0)
        return perplexity_of(total, float(documents.counts.sum()))

    # -- topics ------------------------------------------------------------------------------------
    def top_words(
        self, feature_names: Sequence[str] | ArrayLike | None = None, n: int = 10
    ) -> list[list[Any]]:
        """The n most probable words of each topic, the most probable first.

        Parameters
        ----------
        feature_names : sequence of str, optional
            A name for every column; default: those of the training table, or else positions.
        n : int
        """
        check_is_fitted(self)
        prepare.positive_integer("n", n)
        n_words = self.components_.shape[1]
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", np.arange(n_words))
        names = word_names(feature_names, n_words)
        order = np.argsort(-self.components_, axis=1, kind="stable")[:, :n]
        return [names[row].tolist() for row in order]

    def sample_topics(self, n_samples: int = 1) -> Array:
        """Draw all topics from q(β), β_k ~ Dirichlet(λ_k): shape (n_samples, n_topics, n_words).

        Their spread says how certain the topics are, as the variational posterior (too narrow, as a
        rule) has it.

        Raises
        ------
        ParameterError
            Point topics, which have no distribution.
        """
        check_is_fitted(self)
        n = prepare.positive_integer("n_samples", n_samples)
        self._refuse_points("sample_topics")
        rng = np.random.default_rng(seed_of(self.random_state))
        return draw_topics(self._parameters.pseudo_counts, n, rng)

    def sample(
        self,
        n_samples: int | None = None,
        *,
        lengths: int | ArrayLike | None = None,
        topic_words: Literal["mean", "draw"] = "mean",
    ) -> tuple[csr_array, Array]:
        """Draw documents and their topic proportions: θ_d ~ Dirichlet(α), z ~ θ_d, w ~ β_z.

        Parameters
        ----------
        n_samples : int, optional
            Documents; default: as many as there are lengths, or one.
        lengths : int or array of int, shape (n_samples,), optional
            Words of each; default: Poisson numbers with the mean of the training documents.
        topic_words : {"mean", "draw"}
            β: the posterior means `topic_words_`, or one draw from q(β) for all the documents, so that
            they vary from call to call as the topics are uncertain.

        Returns
        -------
        counts : csr_array of int, shape (n_samples, n_words)
        proportions : ndarray, shape (n_samples, n_topics)
            θ.

        Raises
        ------
        ParameterError
            A bad argument; topic_words="draw" of point topics.

        References
        ----------
        Blei, Ng & Jordan (2003), JMLR 3, §3.

        Examples
        --------
        >>> import numpy as np
        >>> from expmax import TopicModel
        >>> counts = np.kron(np.eye(2, dtype=int), np.ones((6, 3), int)) * 4
        >>> model = TopicModel(2, random_state=0).fit(counts)
        >>> drawn, proportions = model.sample(lengths=[5, 8])
        >>> drawn.sum(axis=1), proportions.shape
        (array([5, 8]), (2, 2))
        """
        check_is_fitted(self)
        if not (isinstance(topic_words, str) and topic_words in ("mean", "draw")):
            raise parameter_error("topic_words", 'one of ("mean", "draw")', topic_words)
        rng = np.random.default_rng(seed_of(self.random_state))
        if lengths is None:
            n = 1 if n_samples is None else prepare.positive_integer("n_samples", n_samples)
            lengths = rng.poisson(self._mean_length(), n)
        sizes = document_lengths(n_samples, lengths)
        topics = self.topic_words_
        if topic_words == "draw":
            self._refuse_points('topic_words="draw"')
            topics = draw_topics(self._parameters.pseudo_counts, 1, rng)[0]
        return draw_documents(topics, self.document_prior_, sizes, rng)

    def _mean_length(self) -> float:
        if not self._words_seen > 0:
            raise DataError("the training documents hold no words; give lengths=….")
        return self._words_seen / self.n_documents_seen_

    def _refuse_points(self, asked: str) -> None:
        if self._parameters.point:
            raise ParameterError(
                f'{asked} needs topics with a distribution; these were fitted with topics="point". '
                'Fit with topics="distribution".'
            )

    def standard_errors(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: there is no likelihood to take them from, and q(β) says how certain the topics are.

        Raises
        ------
        ParameterError
            Always; it names what to use instead.
        """
        raise ParameterError(
            "standard_errors needs a likelihood; a topic model has a bound on it. Of topics with a "
            "distribution q(β_k) = Dirichlet(components_[k]): sample_topics(n) draws from it."
        )

    # -- reports -----------------------------------------------------------------------------------
    def summary(self, feature_names: Sequence[str] | ArrayLike | None = None, n: int = 10) -> Any:
        """The topics on a page, by their n top words, and how the fit ended; print it.

        Parameters
        ----------
        feature_names, n
            As for `top_words`.
        """
        from expmax.reports.topics import summary

        return summary(self, feature_names, n)


def perplexity_of(bound: float, words: float) -> float:
    """exp(−bound / words); NaN without words."""
    return float(np.exp(-bound / words)) if words > 0 else float("nan")
