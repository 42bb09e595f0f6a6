"""Consensus of crowd labels, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import make_compute
from expmax.contract import Start
from expmax.data.annotations import Annotations, Layout, Reading, read_annotations
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.errors import DataError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.answers import AnswerTraining
from expmax.estimators.crowd_arguments import (
    distribution,
    imaginary_labels,
    item_weights,
    known_classes,
)
from expmax.estimators.crowd_design import as_array, library_of
from expmax.estimators.crowd_use import FittedCrowd, worker_quality
from expmax.models.answers import AnswerParameters
from expmax.models.dawid_skene import STRUCTURES, DawidSkeneModel, DawidSkeneStarts
from expmax.statistics import Array

__all__ = ["DawidSkene"]


class DawidSkene(FittedCrowd):
    """True classes of items and error rates of workers from nothing but the workers' labels, by EM.

    Given the true class k of an item, worker w gives label l with probability π_wkl, independently:

        p(labels of item i) = Σ_k p_k Π_{(w, l) of i} π_wkl.

    Parameters
    ----------
    model : {"full", "class_conditional", "one_coin", "homogeneous"}
        π_w: a matrix each worker; one accuracy a class and worker, or one a worker, with errors spread
        evenly over the other labels; or one matrix for all workers.
    prior : number or mapping, optional
        Imaginary labels, which make the fit MAP: a number for every (true, given) pair of every worker, and
        as many imaginary items of each class; or {"confusion": number or (K, K) array of true × given,
        "prevalence": number or (K,) array}.
    classes : sequence, optional
        All label values, in order; default: those in the data, sorted.
    start : {"auto", "majority"} or mapping
        "majority": from each item's label frequencies alone, the classic start. "auto": that one, and
        random ones as `n_init` says; the best maximum is kept. {"prevalence": (K,), "confusion":
        (W, K, K)}: from there alone.
    n_init : "auto" or int
        Starts in all, the vote among them; "auto": 101 where labels are few, down to 3 for millions.
    layout : {"auto", "long", "wide"}
        Whether a row is a label or an item. "auto": long where columns are called item (or task), worker and
        label, or where there are three; else wide.
    columns : sequence of three names or positions, optional
        Item, worker and label of a long table; default: by those names, or else the first three.
    tol : float
        Nats of the total log-likelihood that may be left to gain.
    max_iter : int
        Parameter updates of a run.
    accelerate : {"auto", "lbfgs", "squarem", "anderson", None}
    random_state : int, RandomState or None
    n_jobs : int, optional
        Threads; the result does not depend on their number.
    progress : bool or callable
        Called as progress(iteration, objective, seconds) after each step of each run, with a fourth argument,
        if it has room for one, the estimated seconds left (NaN where unknown); True shows a live line on
        standard error.

    Attributes
    ----------
    prevalence_ : ndarray, shape (K,)
    confusion_ : ndarray, shape (W, K, K)
        π[w, k, l]: worker, true class, given label.
    labels_ : ndarray, shape (number of items,)
        Consensus: the most probable class of each training item.
    probabilities_ : ndarray, shape (number of items, K)
    items_, workers_, classes_ : ndarray
        Identities, in the order of the arrays above.
    worker_quality_ : dict of ndarray, shape (W,)
        "labels": how many each gave. "accuracy": Σ_k p_k π_wkk. "entropy": H(label | class) and
        "information": the mutual information of label and class, nats, under the prevalences; a worker
        of no information answers alike whatever the class.
    params_ : dict
        "prevalence" and "confusion".
    log_likelihood_ : float
        Σ over items of w_i log p(labels of i), nats.
    status_, converged_, certificate_, n_iter_, n_expect_, history_, starts_, n_parameters_
        A fit with probabilities of 0 ends with status "boundary": the maximum on that face, and EM lowers
        any of them that is nudged off 0.

    Raises
    ------
    ParameterError, DataError
        A bad argument; labels of one value only; a row without item, worker or label.

    Notes
    -----
    The likelihood has many local maxima, and the highest is not always the most sensible: compare
    `start="majority"` with the default when workers are few. Classes are named by the labels that they agree
    with; without known classes a crowd wrong more often than right is taken at its word.

    References
    ----------
    Dawid & Skene (1979), Appl. Statist. 28(1), 20-28.

    Examples
    --------
    >>> import expmax as em
    >>> said = {"ann": "cat dog cat dog dog", "bob": "cat dog cat dog cat", "cyd": "dog dog cat dog cat"}
    >>> said["dan"] = "dog cat cat dog dog"
    >>> answers = [
    ...     (f"{i}.jpg", worker, label)
    ...     for worker, labels in said.items()
    ...     for i, label in enumerate(labels.split())
    ... ]
    >>> model = em.DawidSkene("one_coin", prior=0.5, random_state=0).fit(answers)
    >>> model.labels_.tolist()
    ['cat', 'dog', 'cat', 'dog', 'cat']
    >>> accuracy = model.worker_quality_["accuracy"].round(2).tolist()
    >>> dict(zip(model.workers_.tolist(), accuracy))
    {'ann': 0.69, 'bob': 0.78, 'cyd': 0.69, 'dan': 0.47}
    """

    def __init__(
        self,
        model: str = "full",
        *,
        prior: float | Mapping[str, Any] | None = None,
        classes: Sequence[Any] | None = None,
        start: str | Mapping[str, Any] = "auto",
        n_init: int | str = "auto",
        layout: Layout = "auto",
        columns: Sequence[int | str] | None = None,
        tol: float = 1e-4,
        max_iter: int = 1000,
        accelerate: str | None = "auto",
        random_state: Any = None,
        n_jobs: int | None = None,
        progress: Any = False,
    ) -> None:
        self.model = model
        self.prior = prior
        self.classes = classes
        self.start = start
        self.n_init = n_init
        self.layout = layout
        self.columns = columns
        self.tol = tol
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.progress = progress

    # -- fitting -----------------------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        labels: Any = None,
    ) -> Self:
        """Fit by EM.

        Parameters
        ----------
        X : array or data frame
            Long: columns item, worker, label, one row a label; a worker may label an item several times.
            Wide: one row an item, one column a worker; NaN, None or −1 where there is no label.
        y : ignored
        sample_weight : mapping by item, or array in the order of `items_`, optional
            Weight k is k copies of an item; 0 leaves it out of the fit.
        labels : mapping by item (or pandas Series), or array in the order of `items_`, optional
            True classes of some items; None, NaN or −1 where unknown.
        """
        self._check_parameters()
        data, self._encoder = read_annotations(X, self.layout, self.columns, self.classes)
        if len(data.classes) < 2:
            raise DataError(
                f"the labels hold one value only, {data.classes[:1]}; give classes=[…] if there are others."
            )
        self.n_features_in_ = 3 if self._encoder.layout == "long" else len(data.workers)
        self._library = library_of(X)
        model = self._build(data)
        training = self._training_data(model, data, sample_weight, labels)
        problem = training.problem
        source = DawidSkeneStarts(model, problem.blocks)
        given = self._given_start(model)
        first = source.vote() if given is None else given
        n_random = self._n_random(len(data.item)) if self.start == "auto" else 0
        with single_threaded_blas():
            result = self._search(problem, [first], source, n_random)
        self._name_classes(result, problem)
        self._keep(training, result)
        self._counts = np.bincount(data.worker, minlength=len(data.workers)).astype(float)
        self._publish()
        self._keep_consensus(training, data)
        return self

    def _training_data(
        self, model: DawidSkeneModel, data: Annotations, sample_weight: Any, labels: Any
    ) -> AnswerTraining:
        weight = prepare.check_weights(item_weights(sample_weight, data.items), len(data.items))
        blocks, members = data.blocks(weight, known_classes(labels, data))
        return AnswerTraining(Problem(model, blocks, make_compute(self.n_jobs)), members)

    def _read_again(self, X: Any, sample_weight: Any, labels: Any) -> AnswerTraining:
        return self._training_data(self._model, self._encoder(X), sample_weight, labels)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.model not in STRUCTURES:
            raise parameter_error("model", f"one of {list(STRUCTURES)}", self.model)
        for name, rule in (
            ("classes", "a sequence of label values"),
            ("columns", "three columns of a long table: item, worker, label"),
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Iterable):
                raise parameter_error(name, rule, value)
        if not (isinstance(self.start, Mapping) or self.start in ("auto", "majority")):
            rule = '"auto", "majority" or {"prevalence": …, "confusion": …}'
            raise parameter_error("start", rule, self.start)

    def _build(self, data: Annotations) -> DawidSkeneModel:
        k = len(data.classes)
        bare = DawidSkeneModel(k, n_workers=len(data.workers), structure=self.model)
        if self.prior is None:
            return bare
        items, labels = imaginary_labels(self.prior, k)
        answers = bare.imaginary(labels)
        return DawidSkeneModel(
            k,
            pseudo_weights=items if items.any() else None,
            pseudo_answers=answers if answers.any() else None,
            n_workers=len(data.workers),
            structure=self.model,
        )

    def _given_start(self, model: DawidSkeneModel) -> Start[AnswerParameters] | None:
        if isinstance(self.start, str):
            return None
        k, w = model.n_components, model.n_workers
        unknown = set(self.start) - {"prevalence", "confusion"}
        if unknown or "confusion" not in self.start:
            rule = 'a mapping with "confusion" and perhaps "prevalence"'
            raise parameter_error("start", rule, sorted(map(str, self.start)))
        prevalence = distribution(
            self.start.get("prevalence", np.full(k, 1.0 / k)), (k,), "prevalence"
        )
        confusion = distribution(self.start["confusion"], (w, k, k), "confusion")
        return Start(model.from_confusion(prevalence, confusion), "given")

    def _name_classes(self, result: Search, problem: Problem) -> None:
        """Call the classes of a random start after the labels that agree with them best."""
        run, model = result.best, problem.model
        labelled = any(block.label is not None for block in problem.blocks)
        if run is None or labelled or not model.exchangeable() or not run.point.finite:
            return
        if result.records[result.best_record].kind in ("majority", "given"):
            return
        from scipy.optimize import linear_sum_assignment

        agreement = model.agreement(run.point.expectation.statistics)
        true, label = linear_sum_assignment(-agreement)
        order = np.empty(len(true), np.intp)
        order[label] = true
        run.point = problem.at(model.permute(run.point.params, order))

    def _keep_consensus(self, training: AnswerTraining, data: Annotations) -> None:
        """Posterior of the training items, known classes as known."""
        r, _ = self._posterior(training.problem.blocks, training.members, len(data.items))
        self.items_, self.probabilities_ = as_array(data.items), r
        self.labels_ = self.classes_[np.argmax(r, axis=1)]

    def _publish(self) -> None:
        model: DawidSkeneModel = self._model
        params = self._parameters
        self.prevalence_ = np.exp(params.log_weights)
        self.confusion_ = model.confusion(params)
        self.params_ = {"prevalence": self.prevalence_, "confusion": self.confusion_}
        reading: Reading = self._encoder
        self.classes_ = as_array(list(reading.classes or []))
        self.workers_ = as_array(list(reading.workers or []))
        self.worker_quality_ = worker_quality(self.prevalence_, self.confusion_, self._counts)

    def _described(self, params: AnswerParameters) -> dict[str, Array]:
        return {
            "prevalence": np.exp(params.log_weights),
            "confusion": self._model.confusion(params),
        }
