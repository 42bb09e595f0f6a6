"""Topics of a collection of documents, as a scikit-learn estimator."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import make_compute
from expmax.contract import Block
from expmax.engine.loop import Run, certificate_of
from expmax.engine.problem import Problem
from expmax.engine.starts import StartRecord
from expmax.errors import ConvergenceWarning, ImpossibleDataError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators import topic_fit
from expmax.estimators.documents import document_blocks, read_documents
from expmax.inference.documents import Documents
from expmax.models.topics import TopicParameters, Topics
from expmax.statistics import Array

__all__ = ["TopicModel"]

CONVERGED = ("stationary", "boundary")
TOL_PER_WORD = 1e-5  # nats
ITERATIONS = {"batch": 1000, "online": 10}
KEPT = 1 << 22  # numbers that may be kept for a certificate: γ of every document
WORTH = 4  # documents from which on numba's import pays: a pass takes about 1 ms each without


class TopicModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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
        Called as progress(pass, bound, seconds) after each pass; True prints them.

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
    n_batch_iter_ : int
        Online updates made.

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
        self._check_parameters()
        documents, shape = read_documents(X)
        prepare.validate_features(self, X, reset=True)
        weight = prepare.check_weights(sample_weight, len(documents))
        weight = np.ones(len(documents)) if weight is None else weight
        if not weight.all():
            used = np.flatnonzero(weight)
            documents, weight = documents.take(used), weight[used]
        seeds = self._seeds()
        starts = self._starts(documents, shape[1], seeds)
        model = self._build(shape[1])
        with single_threaded_blas():
            blocks = document_blocks(documents, weight, shape[1])
            problem = topic_fit.Remembering(model, blocks, make_compute(self.n_jobs))
            if self.learning == "online":
                self._fit_online(problem, documents, weight, starts, seeds)
            else:
                self._fit_batch(problem, documents, weight, starts, seeds)
        return self

    def _fit_batch(
        self,
        problem: topic_fit.Remembering,
        documents: Documents,
        weight: Array,
        starts: list[TopicParameters],
        seeds: np.random.SeedSequence,
    ) -> None:
        words = _words(documents, weight)
        tol = TOL_PER_WORD * max(words, 1.0) if self.tol is None else float(self.tol)
        runs: list[Run] = []
        may_keep = self.certify is True or len(documents) * int(self.n_topics) <= KEPT
        fresh = problem.model
        for params in starts:
            problem.model = fresh
            run = topic_fit.batch(
                problem,
                params,
                tol=tol,
                max_iter=self._passes(),
                may_keep=may_keep,
                certifier=self._certifier(may_keep, seeds),
                on_step=self._on_step(),
            )
            runs.append(run)
            if run.status == "interrupted":
                break
        best = max(runs, key=lambda run: run.point.objective)
        agree = [run.point.objective > best.point.objective - 2.0 * tol for run in runs]
        self.certificate_ = certificate_of(problem, best, len(runs), sum(agree))
        kind = "random" if self.init is None else "given"
        self.starts_ = [
            StartRecord(kind, i, run.point.objective, run.status) for i, run in enumerate(runs)
        ]
        self._accept(problem, best, words)
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
        run, self.n_batch_iter_ = topic_fit.online_passes(
            problem,
            starts[0],
            documents,
            weight,
            self._schedule(),
            n_passes=self._passes(),
            rng=np.random.default_rng(seeds.spawn(1)[0]),
            on_step=self._on_step(),
        )
        self.n_documents_seen_ = float(weight.sum())
        self.certificate_ = topic_fit.online_certificate(run, problem.rounding(run.point))
        self.starts_ = [StartRecord("random", 0, run.point.objective, run.status)]
        self._accept(problem, run, _words(documents, weight))

    def partial_fit(self, X: Any, y: Any = None, *, sample_weight: ArrayLike | None = None) -> Self:
        """Update the topics online with some more documents, in the order given.

        The first call starts as `fit` does; a call after `fit` goes on from its topics.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        """
        self._check_parameters()
        first = not hasattr(self, "_parameters")
        documents, shape = read_documents(X)
        prepare.validate_features(self, X, reset=first)
        weight = prepare.check_weights(sample_weight, len(documents))
        weight = np.ones(len(documents)) if weight is None else weight
        if first:
            self._parameters = self._starts(documents, shape[1], self._seeds())[0]
        if not hasattr(self, "n_batch_iter_"):
            self.n_batch_iter_, self.n_documents_seen_ = 0, 0.0
        self._model = self._build(shape[1])
        params, schedule = self._parameters, self._schedule()
        problem = Problem(self._model, [], make_compute(self.n_jobs))
        with single_threaded_blas():
            for start in range(0, len(documents), schedule.batch_size):
                stop = min(start + schedule.batch_size, len(documents))
                own = weight[start:stop]
                self.n_documents_seen_ += float(own.sum())
                total = self.total_documents or self.n_documents_seen_
                block = Block(documents.part(start, stop), own)  # type: ignore[arg-type]
                share = schedule.step(self.n_batch_iter_)
                params, _ = topic_fit.online_update(problem, params, [block], total, share)
                self.n_batch_iter_ += 1
        self._parameters = params
        self.status_, self.converged_ = "uncertified", False
        self._publish()
        return self

    # -- what a fit needs --------------------------------------------------------------------------
    def _check_parameters(self) -> None:
        prepare.positive_integer("n_topics", self.n_topics)
        prepare.positive_integer("n_init", self.n_init)
        prepare.positive_integer("batch_size", self.batch_size)
        prepare.positive_integer("max_document_iter", self.max_document_iter)
        prepare.refuse_tolerance(self.document_tol, "document_tol")
        prepare.refuse_random_state(self.random_state)
        if self.max_iter is not None:
            prepare.positive_integer("max_iter", self.max_iter, 0)
        if self.tol is not None:
            prepare.refuse_tolerance(self.tol)
        choices: dict[str, tuple[Any, ...]] = {
            "learning": ("batch", "online"),
            "topics": ("distribution", "point"),
            "learn_document_prior": (False, True, "symmetric"),
            "learn_topic_prior": (False, True),
            "certify": ("auto", True, False),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if not any(value is one or value == one for one in allowed):
                raise parameter_error(name, f"one of {allowed}", value)
        if not 0.5 < self.learning_decay <= 1.0:
            raise parameter_error("learning_decay", "above 0.5 and at most 1", self.learning_decay)
        if not self.learning_offset >= 1.0:
            raise parameter_error("learning_offset", "at least 1", self.learning_offset)
        if self.total_documents is not None and not self.total_documents > 0:
            raise parameter_error("total_documents", "positive, or None", self.total_documents)
        if self.learn_topic_prior and self.topics == "point":
            raise parameter_error("learn_topic_prior", 'False with topics="point"', True)
        if self.learning == "online" and (self.learn_document_prior or self.learn_topic_prior):
            raise parameter_error(
                "learn_document_prior and learn_topic_prior", 'False with learning="online"', True
            )

    def _build(self, n_words: int) -> Topics:
        learn: Any = "vector" if self.learn_document_prior is True else self.learn_document_prior
        return Topics(
            int(self.n_topics),
            n_words,
            max_rounds=int(self.max_document_iter),
            document_tol=float(self.document_tol),
            learn_document_prior=learn,
            learn_topic_prior=bool(self.learn_topic_prior),
        )

    def _seeds(self) -> np.random.SeedSequence:
        state = check_random_state(self.random_state)
        return np.random.SeedSequence(int(state.randint(np.iinfo(np.int32).max)))

    def _starts(
        self, documents: Documents, n_words: int, seeds: np.random.SeedSequence
    ) -> list[TopicParameters]:
        """Parameters to start from: the given one, or random ones."""
        shape = (int(self.n_topics), n_words)
        default = 1.0 / shape[0]
        alpha = _prior("document_prior", self.document_prior, default, shape[0])
        point = self.topics == "point"
        eta = _prior("topic_prior", self.topic_prior, 0.0 if point else default, n_words, point)
        if self.init is None:
            rngs = [np.random.default_rng(seed) for seed in seeds.spawn(int(self.n_init))]
            tables = [rng.gamma(100.0, 0.01, shape[::-1]) for rng in rngs]
        else:
            given = np.asarray(self.init, float)
            if given.shape != shape or not ((given > 0) & np.isfinite(given)).all():
                rule = f"positive numbers of shape {shape}"
                raise parameter_error("init", rule, f"shape {given.shape}")
            tables = [np.ascontiguousarray(given.T)]
        compiled = len(documents) >= WORTH
        return [TopicParameters(table, alpha, eta, point, compiled) for table in tables]

    def _passes(self) -> int:
        return ITERATIONS[self.learning] if self.max_iter is None else int(self.max_iter)

    def _schedule(self) -> topic_fit.Schedule:
        return topic_fit.Schedule(
            int(self.batch_size), float(self.learning_offset), float(self.learning_decay)
        )

    def _certifier(
        self, may_keep: bool, seeds: np.random.SeedSequence
    ) -> np.random.Generator | None:
        wanted = may_keep if isinstance(self.certify, str) else self.certify
        possible = self.topics == "distribution"
        possible = possible and not (self.learn_document_prior or self.learn_topic_prior)
        return np.random.default_rng(seeds.spawn(1)[0]) if wanted and possible else None

    def _on_step(self) -> topic_fit.Report | None:
        if not self.progress:
            return None
        begun = time.perf_counter()
        show = self.progress if callable(self.progress) else _print

        def report(iteration: int, bound: float) -> None:
            show(iteration, bound, time.perf_counter() - begun)

        return report

    # -- results -----------------------------------------------------------------------------------
    def _accept(self, problem: Problem, run: Run, words: float) -> None:
        self._model = self._build(problem.model.n_words)
        params = run.point.params
        self.status_ = str(run.status)
        self.converged_ = run.status in CONVERGED
        self.n_iter_ = len(run.history) - 1
        self.n_expect_ = problem.n_expect
        self.history_ = run.history
        self.kind_ = "bound"
        self.lower_bound_ = float(run.point.objective)
        self.perplexity_ = _perplexity(self.lower_bound_, words)
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
        params = self._parameters
        self.components_ = np.ascontiguousarray(params.pseudo_counts.T)
        self.topic_words_ = self.components_ / self.components_.sum(axis=1, keepdims=True)
        self.document_prior_, self.topic_prior_ = params.document_prior, params.topic_prior
        self.params_ = {
            "components": self.components_,
            "document_prior": self.document_prior_,
            "topic_prior": self.topic_prior_,
        }
        k, v = self.components_.shape
        learned = k if self.learn_document_prior is True else bool(self.learn_document_prior)
        self.n_parameters_ = k * (v - 1) + learned + bool(self.learn_topic_prior)
        self._n_features_out = k

    def _warn(self, run: Run) -> None:
        warnings.warn(
            f"TopicModel stopped with status {run.status!r} after {self.n_iter_} passes: "
            f"{self.certificate_.advice} Estimated remaining gain: {run.remaining:.3g} nats.",
            ConvergenceWarning,
            stacklevel=4,
        )

    # -- use ---------------------------------------------------------------------------------------
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
        return _perplexity(total, float(documents.counts.sum()))

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
        names = np.asarray(feature_names)
        if names.shape != (n_words,):
            raise parameter_error("feature_names", f"of length {n_words}", names.shape)
        order = np.argsort(-self.components_, axis=1, kind="stable")[:, :n]
        return [names[row].tolist() for row in order]


def _prior(name: str, given: Any, default: float, size: int, zero: bool = False) -> Array:
    """A number or a vector as a vector of positive numbers (or zeros, if allowed)."""
    value = np.asarray(default if given is None else given)
    rule = f"{'at least 0' if zero else 'positive'}: a number, or an array of shape ({size},)"
    if value.dtype.kind not in "iuf" or value.shape not in ((), (size,)):
        raise parameter_error(name, rule, given)
    if not (np.isfinite(value) & ((value >= 0) if zero else (value > 0))).all():
        raise parameter_error(name, rule, given)
    return np.array(np.broadcast_to(value.astype(float), (size,)))


def _words(documents: Documents, weight: Array) -> float:
    """Σ_d weight_d Σ_w c_dw."""
    return float(np.repeat(weight, np.diff(documents.offsets)) @ documents.counts)


def _perplexity(bound: float, words: float) -> float:
    return float(np.exp(-bound / words)) if words > 0 else float("nan")


def _print(iteration: int, bound: float, seconds: float) -> None:
    print(f"pass {iteration}: bound {bound:.6g} nats, {seconds:.1f} s")
