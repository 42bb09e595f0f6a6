"""What a fitted mixture is good for: prediction, densities, draws, criteria, standard errors."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.contract import Block, iterate_rows
from expmax.data.reading import read_table
from expmax.data.tables import Table
from expmax.errors import ImpossibleDataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.shared import Criteria, Saved
from expmax.estimators.training import Training, log_hard, make_training, rows_at_a_time
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.statistics import Array

if TYPE_CHECKING:
    from expmax.engine.information import StandardErrors
    from expmax.estimators.uncertainty import Method

__all__ = ["FittedMixture"]


class FittedMixture(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    DensityMixin,
    Criteria,
    Saved,
    BaseEstimator,
):
    """Methods that need a fitted mixture; fitting is the subclass's."""

    inference: str
    random_state: Any
    n_jobs: int | None
    log_likelihood_: float
    _model: MixtureModel
    _parameters: MixtureParameters
    _encoder: prepare.Encoder
    _total_weight: float
    _log_hard: float | None
    _training: Training | None

    def _fitted(self) -> tuple[MixtureModel, MixtureParameters]:
        """What predictions use."""
        return self._model, self._parameters

    # -- reading -----------------------------------------------------------------------------------
    def _read(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        table = read_table(X)
        prepare.validate_features(self, X, reset=False)
        prepare.refuse_empty(table)
        x, unseen = self._encode(table)
        for column, values in unseen.items():
            warnings.warn(
                f"{table.label(column)} holds categories never seen in training: {values[:5]}; their "
                "rows have probability zero.",
                UserWarning,
                stacklevel=3,
            )
        if not unseen:
            for rows in iterate_rows(len(x), prepare.CHUNK):
                for group in self._fitted()[0].groups:
                    group.family.check(x[rows])
        return x

    def _encode(self, table: Table) -> tuple[NDArray[Any], dict[int, list[Any]]]:
        """Numbers for the cells of a table, and by column the categories never seen."""
        return self._encoder(table)

    def _assign(self, X: Any) -> tuple[Array, Array]:
        """Responsibilities and log-density of every row."""
        x = self._read(X)
        model, parameters = self._fitted()
        r = np.empty((len(x), model.n_components))
        log_density = np.empty(len(x))
        for rows in iterate_rows(len(x), rows_at_a_time(model.n_components, x.shape[1])):
            r[rows], log_density[rows], _ = model.assign(parameters, Block(x[rows]))
        encoder = getattr(self, "_encoder", None)
        for column in () if encoder is None else encoder.categories:
            unseen = x[:, column] == -1  # a category never seen in training
            r[unseen], log_density[unseen] = np.nan, -np.inf
        return r, log_density

    # -- rows --------------------------------------------------------------------------------------
    def predict_proba(self, X: Any) -> Array:
        """Responsibilities P(component k | x_i): shape (n, K)."""
        r, log_density = self._assign(X)
        impossible = np.flatnonzero(np.isneginf(log_density))
        if len(impossible):
            raise ImpossibleDataError(
                f"row {impossible[0]} has probability zero under every component; drop it."
            )
        return r

    def predict(self, X: Any) -> NDArray[np.int64]:
        """The most probable component of each row: shape (n,)."""
        return np.argmax(self.predict_proba(X), axis=1)

    def transform(self, X: Any) -> Array:
        """Responsibilities, as columns for a pipeline: shape (n, K)."""
        return self.predict_proba(X)

    def score_samples(self, X: Any) -> Array:
        """log p(x_i), nats: shape (n,); −∞ where a row is impossible."""
        return self._assign(X)[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood a row, nats."""
        return float(self.score_samples(X).mean())

    # -- the distribution --------------------------------------------------------------------------
    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw rows and the components that they came from."""
        check_is_fitted(self)
        prepare.positive_integer("n_samples", n_samples)
        random_state = check_random_state(self.random_state)
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        return self._model.sample(self._parameters, n_samples, rng)

    def _total(self, X: Any) -> tuple[float, float, float]:
        check_is_fitted(self)
        if X is None:
            return self.log_likelihood_, self._total_weight, self._hardness()
        r, log_density = self._assign(X)
        return float(log_density.sum()), float(len(r)), float(np.log(r.max(axis=1)).sum())

    def standard_errors(
        self,
        X: Any = None,
        *,
        method: Method = "observed",
        sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        n_bootstrap: int = 200,
        random_state: Any = None,
    ) -> StandardErrors:
        """Standard errors of weights and parameters, with their covariance.

        Parameters
        ----------
        X, sample_weight, labels : optional
            The training data; needed only after loading a model, or where they were larger than 32 MiB.
        method : {"observed", "sandwich", "bootstrap"}
            Inverse observed information (weights are frequencies), its robust form H⁻¹(Σ w² s sᵀ)H⁻¹, or
            the spread of refits, from the estimate, to resampled rows (each with its weight); `n_jobs`
            threads.
        n_bootstrap : int
            Refits, at least 10.
        random_state : int, RandomState or None

        Raises
        ------
        InformationError
            A parameter is on its boundary, or the information is not positive definite. The bootstrap gives
            the errors of the parameters that are not on the boundary (the others are NaN, and `notes` says so);
            it is refused where half of its refits collapse.

        References
        ----------
        Louis (1982), J. R. Statist. Soc. B 44(2). White (1982), Econometrica 50(1).
        McLachlan & Peel (2000), §2.15.
        """
        from expmax.estimators.uncertainty import standard_errors

        check_is_fitted(self)
        if self.inference == "variational":
            raise ParameterError(
                'standard_errors needs inference="likelihood"; here posterior_ is the distribution of '
                "the parameters: posterior_.sample(component, n, rng)."
            )
        model, params = self._fitted()
        training = self._training
        if X is not None:
            training = self._read_again(model, X, sample_weight, labels)
        if training is None:
            raise parameter_error("X", "the training data, which are not kept", None)
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        return standard_errors(
            replace(training.problem, model=model),
            params,
            method,
            squares=training.per_block(training.rows.square),
            counts=training.per_block(training.rows.count),
            n_bootstrap=n_bootstrap,
            rng=np.random.default_rng(seed),
            n_jobs=self.n_jobs,
        )

    def _read_again(
        self, model: Any, X: Any, sample_weight: ArrayLike | None, labels: ArrayLike | None
    ) -> Training:
        """The training data, given a second time."""
        x = self._read(X)
        weight = prepare.check_weights(sample_weight, len(x))
        label = prepare.check_labels(labels, len(x), model.n_components)
        return make_training(model, x, weight, label, compressed=True, n_jobs=self.n_jobs)

    def _hardness(self) -> float:
        """Σ w_i log max_k r_ik of the training data, nats; taken when first asked for."""
        if self._log_hard is None:
            assert self._training is not None
            self._log_hard = log_hard(*self._fitted(), self._training.problem.blocks)
        return self._log_hard
