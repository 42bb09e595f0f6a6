"""What a fitted crowd is good for: consensus of items, draws of labels, quality of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from expmax.data.annotations import Reading
from expmax.errors import DataError, parameter_error
from expmax.estimators.answers import AnswerEstimator
from expmax.estimators.crowd_design import Design, read_design, table_of_labels
from expmax.estimators.search import seed_of
from expmax.models.dawid_skene import DawidSkeneModel
from expmax.statistics import Array

__all__ = ["FittedCrowd", "worker_quality"]


class FittedCrowd(AnswerEstimator):
    """Methods that need a fitted crowd; fitting is the subclass's."""

    items_: NDArray[Any]
    workers_: NDArray[Any]
    classes_: NDArray[Any]
    probabilities_: Array
    labels_: NDArray[Any]
    _model: DawidSkeneModel
    _encoder: Reading
    _library: str | None

    # -- use ---------------------------------------------------------------------------------------
    def _posterior(
        self, blocks: Any, members: Sequence[NDArray[np.intp]], n_items: int
    ) -> tuple[Array, Array]:
        r = np.empty((n_items, self._model.n_components))
        evidence = np.empty(n_items)
        for block, rows in zip(blocks, members, strict=True):
            with np.errstate(all="ignore"):
                r[rows], evidence[rows], _ = self._model.assign(self._parameters, block)
        return r, evidence

    def _assigned(self, X: Any) -> tuple[Array, Array]:
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
        return self.probabilities_ if X is None else self._assigned(X)[0]

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

    def sample(self, design: Any = None) -> tuple[Any, NDArray[Any]]:
        """Draw labels for given pairs of items and workers, and the items' true classes.

        True classes are drawn from the prevalences (known ones too), then each label from the confusion
        matrix of its worker.

        Parameters
        ----------
        design : int, array or data frame, optional
            Who labels what. Default: as in the training data, once for every label there; they are kept
            up to 32 MiB, and not in a pickle or model file. A number: that many new items, each labelled once
            by every worker. In the long layout a table with a row for every label: item and worker, or
            columns as in training, whose labels are not looked at. In the wide layout a table as for
            `fit`, whose labels only say where there is one, or a table of True and False.

        Returns
        -------
        table : array or data frame
            As `fit` takes it, in the layout of the training data; where those had named columns a frame
            of the same library. Long: item, worker, label, in the rows of the design.
        truth : ndarray, shape (number of items,)
            True classes, items sorted by identity.

        Raises
        ------
        ParameterError, DataError
            A bad design, a worker that the fit did not know; training data that were not kept.

        Examples
        --------
        >>> import expmax as em
        >>> answers = [(i, w, int(i % 2 == (w < 3))) for i in range(20) for w in range(4)]
        >>> model = em.DawidSkene(prior=0.1, random_state=0).fit(answers)
        >>> table, truth = model.sample([("new", 0), ("new", 3), ("other", 1)])
        >>> table.shape, truth.shape
        ((3, 3), (2,))
        """
        check_is_fitted(self)
        chosen = self._training_design() if design is None else self._read_design(design)
        rng = np.random.default_rng(seed_of(self.random_state))
        label, z = self._model.draw(
            self._parameters, chosen.item, chosen.worker, len(chosen.items), rng
        )
        table = table_of_labels(
            chosen, label, self._encoder, self.workers_, self.classes_, self._library
        )
        return table, self.classes_[z]

    def _read_design(self, design: Any) -> Design:
        return read_design(design, self._encoder, len(self.workers_))

    def _training_design(self) -> Design:
        if self._training is None:
            rule = "given where the training data are not kept (large ones, or a loaded model)"
            raise parameter_error("design", rule, None)
        return Design.of_blocks(
            self.items_.tolist(),
            self._training.problem.blocks,
            self._training.members,
            len(self.classes_),
        )


def worker_quality(prevalence: Array, confusion: Array, counts: Array) -> dict[str, Array]:
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
