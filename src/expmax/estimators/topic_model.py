"""Topics of a collection of documents, as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import make_compute
from expmax.engine.loop import Run, certificate_of
from expmax.engine.problem import Problem
from expmax.engine.starts import StartRecord
from expmax.errors import ConvergenceWarning
from expmax.estimators import preparation as prepare
from expmax.estimators import topic_arguments as arguments
from expmax.estimators import topic_fit
from expmax.estimators.documents import document_blocks, read_documents
from expmax.estimators.outcome import CONVERGED
from expmax.estimators.search import seed_of
from expmax.estimators.shared import Progress
from expmax.estimators.topic_use import FittedTopics, perplexity_of
from expmax.inference.documents import Documents
from expmax.models.topics import TopicParameters
from expmax.statistics import Array

__all__ = ["TopicModel"]

TOL_PER_WORD = 1e-5  # nats
KEPT = 1 << 22  # numbers that may be kept for a certificate: γ of every document
OF_A_FIT = (
    "lower_bound_",
    "perplexity_",
    "history_",
    "certificate_",
    "starts_",
    "n_iter_",
    "n_expect_",
)


class TopicModel(FittedTopics):
    """Latent Dirichlet allocation by variational EM, in batches or online.

    Topic k is a distribution β_k ~ Dirichlet(η) over the words, document d has topic proportions
    θ_d ~ Dirichlet(α), and each of its words is drawn from a topic drawn from θ_d. The fit raises a bound
    on log p(words): with q(θ_d) = Dirichlet(γ_d), q(β_k) = Dirichlet(λ_k) and q(z),

        Σ_d [Σ_w c_dw log Σ_k exp(E log θ_dk + E log β_kw) − KL(q(θ_d) ‖ p(θ_d))] − Σ_k KL(q(β_k) ‖ p(β_k)).

    Parameters
    ----------
    n_topics : int
    document_prior : float or array, shape (n_topics,), optional
        α; default 1/n_topics.
    topic_prior : float or array, shape (n_words,), optional
        η; default 1/n_topics. For point topics: words added to each topic; default 0.
    topics : {"distribution", "point"}
        q(β), or β itself by maximum likelihood (maximum a posteriori in log β with a prior).
    learn_document_prior : bool or "symmetric"
        Whether α is estimated, each entry on its own or all equal; `document_prior` is where it starts.
    learn_topic_prior : bool
        Whether a symmetric η is estimated.
    learning : {"batch", "online"}
        Online updates the topics after every `batch_size` documents, in random order.
    tol : float, optional
        Nats of the total bound that may be left to gain (batch); default 1e-5 a word.
    max_iter : int, optional
        Passes over the documents; default 1000, online 10.
    max_document_iter : int
        Rounds of one document step.
    document_tol : float
        Mean absolute change of γ that ends a document step; tightened where the bound could not be seen
        to rise.
    batch_size, learning_offset, learning_decay : int, float, float
        Online step t moves the topics by the share (learning_offset + t)^−learning_decay.
    total_documents : float, optional
        Size of the collection that `partial_fit` sees parts of; default: what it has seen.
    init : array, shape (n_topics, n_words), optional
        λ to start from; default: gamma numbers of mean 1 and variance .01.
    n_init : int
        Random starts; the highest bound is kept.
    certify : "auto" or bool
        Whether a batch fit ends with exact document steps and a check of the curvature, which costs
        some dozens of passes. "auto": where γ of all documents takes at most 32 MB. Without it a fit ends
        "uncertified". There is none for point topics or learned priors.
    n_jobs : int, optional
        Threads; the result does not depend on their number.
    random_state : int, RandomState or None
    progress : bool or callable
        Called as progress(pass, bound, seconds) after each pass, with a fourth argument, if it has room for
        one, the estimated seconds left (NaN where unknown); True shows a live line on standard error.

    Attributes
    ----------
    components_ : ndarray, shape (n_topics, n_words)
        λ: expected words of each topic, prior included; the largest topic first (`init` keeps its order).
    topic_words_ : ndarray, shape (n_topics, n_words)
        E β, rows that sum to 1.
    document_prior_, topic_prior_ : ndarray, shape (n_topics,) and (n_words,)
    lower_bound_ : float
        The bound at these parameters, nats, all constants but the multinomial coefficients included (a
        document is a sequence of words).
    perplexity_ : float
        exp(−lower_bound_ / words) of the training documents.
    kind_ : str
        "bound".
    status_, converged_, certificate_, n_iter_, n_expect_, history_, starts_, n_parameters_
        `history_.objective` is the bound pass by pass. Online learning is always "uncertified".
    n_batch_iter_, n_documents_seen_ : int, float
        Online updates made, and documents (their weights) that the topics rest on.

    Raises
    ------
    ParameterError, DataError
        A bad argument; a count that is negative or not finite.

    Notes
    -----
    A document step starts from the prior's mean in every pass, so that memory holds the data, the topics and
    one block; keeping γ from pass to pass is faster and ends in lower bounds. Counts need not be whole:
    they are powers of the words' probabilities, and the bound holds.

    References
    ----------
    Blei, Ng & Jordan (2003), JMLR 3, 993-1022. Hoffman, Blei & Bach (2010), NIPS 23. Minka (2000), Estimating a
    Dirichlet distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import TopicModel
    >>> counts = np.kron(np.eye(2, dtype=int), np.ones((6, 3), int)) * 4
    >>> model = TopicModel(2, random_state=0).fit(counts)
    >>> names = ["cat", "dog", "hen", "bus", "car", "van"]
    >>> sorted(sorted(words) for words in model.top_words(names, 3))
    [['bus', 'car', 'van'], ['cat', 'dog', 'hen']]
    >>> float(model.transform(counts[:1]).max().round(2)), model.status_
    (0.96, 'stationary')
    """

    def __init__(
        self,
        n_topics: int = 10,
        *,
        document_prior: float | ArrayLike | None = None,
        topic_prior: float | ArrayLike | None = None,
        topics: Literal["distribution", "point"] = "distribution",
        learn_document_prior: bool | str = False,
        learn_topic_prior: bool = False,
        learning: Literal["batch", "online"] = "batch",
        tol: float | None = None,
        max_iter: int | None = None,
        max_document_iter: int = 100,
        document_tol: float = 1e-3,
        batch_size: int = 128,
        learning_offset: float = 10.0,
        learning_decay: float = 0.7,
        total_documents: float | None = None,
        init: ArrayLike | None = None,
        n_init: int = 1,
        certify: bool | str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: Any = False,
    ) -> None:
        self.n_topics = n_topics
        self.document_prior = document_prior
        self.topic_prior = topic_prior
        self.topics = topics
        self.learn_document_prior = learn_document_prior
        self.learn_topic_prior = learn_topic_prior
        self.learning = learning
        self.tol = tol
        self.max_iter = max_iter
        self.max_document_iter = max_document_iter
        self.document_tol = document_tol
        self.batch_size = batch_size
        self.learning_offset = learning_offset
        self.learning_decay = learning_decay
        self.total_documents = total_documents
        self.init = init
        self.n_init = n_init
        self.certify = certify
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = True
        return tags

    # -- fitting -----------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any = None, *, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the topics to a table of counts, documents × words, sparse or dense.

        Parameters
        ----------
        X : array, sparse matrix or frame, shape (n, V)
        y : ignored
        sample_weight : array, shape (n,), optional
            Weight k is k copies of the document.
        """
        arguments.check_arguments(self, online=self.learning == "online")
        documents, n_words, weight = self._read_training(X, sample_weight, reset=True)
        if not weight.all():
            used = np.flatnonzero(weight)
            documents, weight = documents.take(used), weight[used]
        seeds = seed_of(self.random_state)
        starts = arguments.starts(self, len(documents), n_words, seeds)
        fit = self._fit_online if self.learning == "online" else self._fit_batch
        with single_threaded_blas():
            blocks = document_blocks(documents, weight, n_words)
            model, compute = arguments.build(self, n_words), make_compute(self.n_jobs)
            problem = topic_fit.Remembering(model, blocks, compute)
            self.n_documents_seen_ = float(weight.sum())
            self._words_seen = _words(documents, weight)
            fit(problem, documents, weight, starts, seeds)
        return self

    def _read_training(
        self, X: Any, sample_weight: ArrayLike | None, *, reset: bool
    ) -> tuple[Documents, int, Array]:
        """Documents, number of words and weights."""
        documents, shape = read_documents(X)
        prepare.validate_features(self, X, reset=reset)
        weight = prepare.check_weights(sample_weight, len(documents))
        return documents, shape[1], np.ones(len(documents)) if weight is None else weight

    def _fit_batch(
        self,
        problem: topic_fit.Remembering,
        documents: Documents,
        weight: Array,
        starts: list[TopicParameters],
        seeds: np.random.SeedSequence,
    ) -> None:
        tol = TOL_PER_WORD * max(self._words_seen, 1.0) if self.tol is None else float(self.tol)
        may_keep = self.certify is True or len(documents) * int(self.n_topics) <= KEPT
        with Progress(self.progress, tol) as progress:
            runs = topic_fit.batch_from_each(
                problem,
                starts,
                arguments.certifiers(self, may_keep, seeds, len(starts)),
                tol=tol,
                max_iter=arguments.passes(self),
                may_keep=may_keep,
                progress=progress,
            )
        best = max(runs, key=lambda run: run.point.objective)
        agree = [run.point.objective > best.point.objective - 2.0 * tol for run in runs]
        self.certificate_ = certificate_of(problem, best, len(runs), sum(agree))
        kind = "random" if self.init is None else "given"
        self.starts_ = [
            StartRecord(kind, i, run.point.objective, run.status, same)
            for i, (run, same) in enumerate(zip(runs, agree, strict=True))
        ]
        self.n_batch_iter_ = 0
        self._accept(problem, best)
        if not self.converged_ and not (best.status == "uncertified" and self.certify is False):
            self._warn(best)

    def _fit_online(
        self,
        problem: Problem,
        documents: Documents,
        weight: Array,
        starts: list[TopicParameters],
        seeds: np.random.SeedSequence,
    ) -> None:
        with Progress(self.progress, 0.0) as progress:
            run, self.n_batch_iter_ = topic_fit.online_passes(
                problem,
                starts[0],
                documents,
                weight,
                arguments.schedule_of(self),
                n_passes=arguments.passes(self),
                rng=np.random.default_rng(seeds.spawn(1)[0]),
                progress=progress,
            )
        self.certificate_ = topic_fit.online_certificate(run, problem.rounding(run.point))
        kind = "random" if self.init is None else "given"
        self.starts_ = [StartRecord(kind, 0, run.point.objective, run.status, True)]
        self._accept(problem, run)

    def partial_fit(self, X: Any, y: Any = None, *, sample_weight: ArrayLike | None = None) -> Self:
        """Update the topics online with some more documents, in the order given.

        The first call starts as `fit` does; a call after `fit` goes on from its topics. What a fit says of its
        end (`lower_bound_`, `history_`, `certificate_` …) does not hold of the new topics and is gone.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        arguments.check_arguments(self, online=True)
        first = not hasattr(self, "_parameters")
        if not first:
            arguments.refuse_other_topics(self, self._parameters)
        documents, n_words, weight = self._read_training(X, sample_weight, reset=first)
        if first:
            seeds = seed_of(self.random_state)
            self._parameters = arguments.starts(self, len(documents), n_words, seeds)[0]
            self.n_batch_iter_, self.n_documents_seen_, self._words_seen = 0, 0.0, 0.0
        self._model = arguments.build(self, n_words)
        problem = Problem(self._model, [], make_compute(self.n_jobs))
        with single_threaded_blas():
            self._parameters, self.n_batch_iter_ = topic_fit.online_in_order(
                problem,
                self._parameters,
                documents,
                weight,
                arguments.schedule_of(self),
                n_updates=self.n_batch_iter_,
                n_seen=self.n_documents_seen_,
                total=self.total_documents,
            )
        self.n_documents_seen_ += float(weight.sum())
        self._words_seen += _words(documents, weight)
        self.kind_, self.status_, self.converged_ = "bound", "uncertified", False
        for name in OF_A_FIT:
            if hasattr(self, name):
                delattr(self, name)
        self._publish()
        return self

    # -- results -----------------------------------------------------------------------------------
    def _accept(self, problem: Problem, run: Run) -> None:
        self._model = arguments.build(self, problem.model.n_words)
        params = run.point.params
        self.status_ = str(run.status)
        self.converged_ = run.status in CONVERGED
        self.n_iter_ = len(run.history) - 1
        self.n_expect_ = problem.n_expect
        self.history_ = run.history
        self.kind_ = "bound"
        self.lower_bound_ = float(run.point.objective)
        self.perplexity_ = perplexity_of(self.lower_bound_, self._words_seen)
        order = np.arange(self._model.n_topics)
        if self.init is None:
            order = np.argsort(-params.pseudo_counts.sum(axis=0), kind="stable")
        self._parameters = TopicParameters(
            np.ascontiguousarray(params.pseudo_counts[:, order]),
            params.document_prior[order],
            params.topic_prior,
            params.point,
            params.compiled,
        )
        self._publish()

    def _publish(self) -> None:
        """Fitted attributes in the field's words."""
        params, model = self._parameters, self._model
        self.components_ = np.ascontiguousarray(params.pseudo_counts.T)
        self.topic_words_ = self.components_ / self.components_.sum(axis=1, keepdims=True)
        self.document_prior_ = params.document_prior.copy()
        self.topic_prior_ = params.topic_prior.copy()
        self.params_ = {
            "components": self.components_,
            "document_prior": self.document_prior_,
            "topic_prior": self.topic_prior_,
        }
        k, v = self.components_.shape
        learned = {False: 0, "symmetric": 1, "vector": k}[model.learn_document_prior]
        self.n_parameters_ = k * (v - 1) + learned + model.learn_topic_prior
        self._n_features_out = k

    def _warn(self, run: Run) -> None:
        warnings.warn(
            f"TopicModel stopped with status {run.status!r} after {self.n_iter_} passes: "
            f"{self.certificate_.advice} Estimated remaining gain: {run.remaining:.3g} nats.",
            ConvergenceWarning,
            stacklevel=4,
        )


def _words(documents: Documents, weight: Array) -> float:
    """Σ_d weight_d Σ_w c_dw."""
    return float(np.repeat(weight, np.diff(documents.offsets)) @ documents.counts)
