"""Consensus of crowd labels, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import make_compute
from expmax.contract import Start
from expmax.data.annotations import Annotations, Layout, Reading, by_item, read_annotations
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.errors import DataError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.answers import AnswerEstimator
from expmax.models.answers import AnswerParameters
from expmax.models.dawid_skene import STRUCTURES, DawidSkeneModel, DawidSkeneStarts
from expmax.statistics import Array

__all__ = ["DawidSkene"]


class DawidSkene(AnswerEstimator):
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
        weight = prepare.check_weights(_weights(sample_weight, data.items), len(data.items))
        known = _known(labels, data)
        model = self._build(data)
        blocks, members = data.blocks(weight, known)
        problem = Problem(model, blocks, make_compute(self.n_jobs))
        source = DawidSkeneStarts(model, blocks)
        given = self._given_start(model)
        first = source.vote() if given is None else given
        n_random = self._n_random(len(data.item)) if self.start == "auto" else 0
        with single_threaded_blas():
            result = self._search(problem, [first], source, n_random)
        self._name_classes(result, problem, known is not None)
        self._keep(problem, result)
        self._counts = np.bincount(data.worker, minlength=len(data.workers)).astype(float)
        self._publish()
        self._keep_consensus(problem, members, data)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.model not in STRUCTURES:
            raise parameter_error("model", f"one of {list(STRUCTURES)}", self.model)
        if not (isinstance(self.start, Mapping) or self.start in ("auto", "majority")):
            rule = '"auto", "majority" or {"prevalence": …, "confusion": …}'
            raise parameter_error("start", rule, self.start)

    def _build(self, data: Annotations) -> DawidSkeneModel:
        k = len(data.classes)
        bare = DawidSkeneModel(k, n_workers=len(data.workers), structure=self.model)
        if self.prior is None:
            return bare
        items, labels = _imaginary(self.prior, k)
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
        prevalence = _distribution(
            self.start.get("prevalence", np.full(k, 1.0 / k)), (k,), "prevalence"
        )
        confusion = _distribution(self.start["confusion"], (w, k, k), "confusion")
        return Start(model.from_confusion(prevalence, confusion), "given")

    def _name_classes(self, result: Search, problem: Problem, labelled: bool) -> None:
        """Call the classes of a random start after the labels that agree with them best."""
        run, model = result.best, problem.model
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

    def _keep_consensus(
        self, problem: Problem, members: list[NDArray[np.intp]], data: Annotations
    ) -> None:
        """Posterior of the training items, known classes as known."""
        r, _ = self._posterior(problem.blocks, members, len(data.items))
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
        self.worker_quality_ = _quality(self.prevalence_, self.confusion_, self._counts)

    def _described(self, params: AnswerParameters) -> dict[str, Array]:
        return {
            "prevalence": np.exp(params.log_weights),
            "confusion": self._model.confusion(params),
        }

    # -- use ---------------------------------------------------------------------------------------
    def _posterior(
        self, blocks: Any, members: list[NDArray[np.intp]], n_items: int
    ) -> tuple[Array, Array]:
        r = np.empty((n_items, self._model.n_components))
        evidence = np.empty(n_items)
        for block, rows in zip(blocks, members, strict=True):
            with np.errstate(all="ignore"):
                r[rows], evidence[rows], _ = self._model.assign(self._parameters, block)
        return r, evidence

    def _assign(self, X: Any) -> tuple[Array, Array]:
        check_is_fitted(self)
        data = self._encoder(X)
        blocks, members = data.blocks()
        return self._posterior(blocks, members, len(data.items))

    def predict_proba(self, X: Any = None) -> Array:
        """P(true class | labels) of the items of X, sorted by identity: shape (number of items, K).

        Without X, of the training items, in the order of `items_` (known classes as known). NaN where the
        fitted confusion matrices rule an item's labels out under every class.
        """
        check_is_fitted(self)
        return self.probabilities_ if X is None else self._assign(X)[0]

    def predict(self, X: Any = None) -> NDArray[Any]:
        """The consensus, in the words of the labels: shape (number of items,)."""
        r = self.predict_proba(X)
        impossible = np.flatnonzero(np.isnan(r).any(axis=1))
        if len(impossible):
            raise DataError(
                f"item number {impossible[0]} (in sorted order) has labels that the fitted workers give "
                "under no true class; fit with prior=…, which leaves nothing impossible."
            )
        return np.asarray(self.classes_[np.argmax(r, axis=1)])

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[Any]:
        """`fit`, then the consensus of the training items."""
        return self.fit(X, y, **fit_params).labels_

    def score_samples(self, X: Any) -> Array:
        """log p(labels of each item), nats, items sorted by identity: shape (number of items,)."""
        return self._assign(X)[1]


# --------------------------------------------------------------------------------------------------
def as_array(values: list[Any]) -> NDArray[Any]:
    """Identities as an array of their own type; of objects where they are of several."""
    if len({type(value) for value in values}) > 1:
        out = np.empty(len(values), object)
        out[:] = values
        return out
    return np.array(values)


def _weights(given: Any, items: list[Any]) -> ArrayLike | None:
    if given is None or (np.ndim(given) == 0 and not isinstance(given, Mapping)):
        return given
    values = by_item(given, items, "sample_weight")
    if values is not None and any(value is None for value in values):
        missing = items[values.index(None)]
        raise parameter_error("sample_weight", f"given for every item; none for {missing!r}", given)
    return values


def _known(labels: Any, data: Annotations) -> NDArray[np.int64] | None:
    """Codes of the known classes, −1 unknown."""
    values = by_item(labels, data.items, "labels")
    if values is None:
        return None
    code = {value: i for i, value in enumerate(data.classes)}
    found = np.full(len(values), -1, np.int64)
    for i, value in enumerate(values):
        plain = value.item() if isinstance(value, np.generic) else value
        if plain in code:
            found[i] = code[plain]
        elif not (plain is None or plain != plain or plain == -1):
            rule = f"made of classes {data.classes}, or None, NaN or -1 where unknown"
            raise parameter_error("labels", rule, value)
    return found


def _imaginary(prior: Any, k: int) -> tuple[Array, Array]:
    """Imaginary items of each class (K,), and labels a worker (K true, K given)."""
    given = prior if isinstance(prior, Mapping) else {"prevalence": prior, "confusion": prior}
    if set(given) - {"prevalence", "confusion"}:
        raise parameter_error("prior", 'a mapping of "confusion" and "prevalence"', prior)
    parts = []
    for name, shape in (("prevalence", (k,)), ("confusion", (k, k))):
        try:
            value = np.asarray(given.get(name, 0.0), float)
            value = np.broadcast_to(value, shape)
        except (TypeError, ValueError):
            rule = f"a number, or for {name} an array of shape {shape}"
            raise parameter_error("prior", rule, given.get(name)) from None
        if not (np.isfinite(value).all() and (value >= 0).all()):
            raise parameter_error("prior", "finite and at least 0", given[name])
        parts.append(value.astype(float))
    return parts[0], parts[1]


def _distribution(value: Any, shape: tuple[int, ...], name: str) -> Array:
    array = np.asarray(value, float)
    if array.shape != shape or (array < 0).any() or not np.allclose(array.sum(axis=-1), 1.0):
        raise parameter_error(
            "start", f"probabilities that sum to 1 for {name}, shape {shape}", value
        )
    return array


def _quality(prevalence: Array, confusion: Array, counts: Array) -> dict[str, Array]:
    """How much each worker's labels tell, under the prevalences, nats."""
    joint = prevalence[:, None] * confusion  # shape (W, K, K)
    label = joint.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(joint > 0, joint * np.log(confusion), 0.0).sum(axis=(1, 2))
        whole = -np.where(label > 0, label * np.log(label), 0.0).sum(axis=(1, 2))
    return {
        "labels": counts,
        "accuracy": np.einsum("wkk->w", joint),
        "entropy": entropy,
        "information": np.maximum(whole - entropy, 0.0),
    }
