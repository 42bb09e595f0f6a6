"""What the estimators of discrete answers share: fitted attributes, criteria, standard errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.reduce import Serial
from expmax.contract import Start
from expmax.engine.acceleration import accelerators
from expmax.engine.information import StandardErrors, flatten_values, information_errors
from expmax.engine.loop import ascend
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.errors import ConvergenceWarning, InformationError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.answer_search import (
    LIFT,
    accepted_answers,
    count_random_starts,
    search_answers,
)
from expmax.estimators.outcome import not_converged, tell
from expmax.estimators.search import seed_of
from expmax.estimators.shared import Criteria, Progress, Saved, check_run
from expmax.models.answers import AnswerParameters
from expmax.statistics import Array

__all__ = ["AnswerEstimator", "AnswerTraining"]

KEPT_BYTES = 1 << 25  # training data up to this size stay at hand for standard errors
LARGEST = 4000  # coordinates of which an information matrix is made


@dataclass(frozen=True)
class AnswerTraining:
    """The problem a fit solved, and the units behind the rows of its blocks."""

    problem: Problem
    members: Sequence[NDArray[np.intp]] = ()  # which units the rows of each block are
    counts: Sequence[Array] | None = (
        None  # units behind each row; None: one each, or none of weight 0
    )
    squares: Sequence[Array] | None = None  # Σ w² of them; None: that of the row

    @property
    def small(self) -> bool:
        """Whether the data may stay at hand."""
        return sum(block.x.nbytes for block in self.problem.blocks) <= KEPT_BYTES

    def units(self) -> list[Array]:
        """How many units each row of each block stands for."""
        if self.counts is not None:
            return list(self.counts)
        return [
            np.ones(len(block.x)) if block.weight is None else (block.weight > 0).astype(float)
            for block in self.problem.blocks
        ]

    def squared_weights(self) -> list[Array]:
        """Σ w² of the units behind each row of each block."""
        if self.squares is not None:
            return list(self.squares)
        return [
            np.ones(len(block.x)) if block.weight is None else block.weight**2
            for block in self.problem.blocks
        ]

    def log_hard(self, params: AnswerParameters) -> float:
        """Σ w_i log max_k r_ik, nats."""
        total = 0.0
        for block in self.problem.blocks:
            with np.errstate(all="ignore"):
                r, _, _ = self.problem.model.assign(params, block)
            largest = np.log(r.max(axis=1))
            weight = np.ones(len(r)) if block.weight is None else block.weight
            used = weight > 0
            total += float(weight[used] @ largest[used])
        return total


class AnswerEstimator(Criteria, Saved, BaseEstimator):
    """Base of `DawidSkene` and `RecordLinkage`: everything but reading the data and naming the parameters."""

    # -- of subclasses -----------------------------------------------------------------------------
    _most_starts = 100  # random ones of n_init="auto"
    tol: float
    max_iter: int
    n_init: int | str
    accelerate: str | None
    random_state: Any
    progress: Any
    log_likelihood_: float
    converged_: bool
    _model: Any
    _parameters: AnswerParameters
    _total_weight: float
    _training: AnswerTraining | None = None
    _log_hard: float | None = None

    def _described(self, params: AnswerParameters) -> dict[str, Array]:
        """Parameters by name."""
        raise NotImplementedError  # abstract: each estimator names its own

    def _publish(self) -> None:
        """Fitted attributes in the field's words."""
        raise NotImplementedError  # abstract: each field has its own words

    def _assigned(self, X: Any) -> tuple[Array, Array]:
        """Posterior and log p of every unit of X: shapes (n, K), (n,)."""
        raise NotImplementedError  # abstract: each estimator reads its own kind of table

    def _read_again(self, X: Any, sample_weight: Any, labels: Any) -> AnswerTraining:
        """The training data, given a second time."""
        raise NotImplementedError  # abstract: each estimator reads its own kind of table

    # -- fitting -----------------------------------------------------------------------------------
    def _check_parameters(self) -> None:
        check_run(
            tol=self.tol,
            max_iter=self.max_iter,
            n_init=self.n_init,
            random_state=self.random_state,
        )
        accelerators(self.accelerate)

    def _n_random(self, n_answers: int) -> int:
        """Random starts beside the usual one."""
        return count_random_starts(self.n_init, n_answers, self._most_starts)

    def _search(
        self, problem: Problem, first: Sequence[Start[Any]], source: Any, n_random: int
    ) -> Search:
        seed = seed_of(self.random_state)
        with Progress(self.progress, self.tol) as progress:
            return search_answers(
                problem,
                first,
                source,
                n_random,
                seed,
                progress,
                tol=self.tol,
                max_iter=self.max_iter,
                accelerate=self.accelerate,
            )

    def _keep(self, training: AnswerTraining, result: Search) -> None:
        run, problem = accepted_answers(result), training.problem
        self._model, self._parameters = problem.model, run.point.params
        self.n_parameters_ = self._model.n_parameters(self._parameters)
        tell(self, problem, run, result)
        self._training, self._log_hard = training, None
        if not training.small:
            self._hardness()
            self._training = None
        if not self.converged_:
            warnings.warn(not_converged(self, run), ConvergenceWarning, stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        """Pickles hold no data, but what the criteria need of them."""
        if getattr(self, "_training", None) is not None:
            self._hardness()
        return super().__getstate__() | {"_training": None}

    # -- use ---------------------------------------------------------------------------------------
    def _total(self, X: Any) -> tuple[float, float, float]:
        check_is_fitted(self)
        if X is None:
            return self.log_likelihood_, self._total_weight, self._hardness()
        r, log_density = self._assigned(X)
        possible = log_density > -np.inf
        hard = float(np.log(r[possible].max(axis=1)).sum())
        return float(log_density.sum()), float(len(r)), hard

    def _hardness(self) -> float:
        """Σ w_i log max_k r_ik of the training data, nats; taken when first asked for."""
        if self._log_hard is None:
            if self._training is None:
                raise parameter_error("X", "the training data, which are not kept", None)
            self._log_hard = self._training.log_hard(self._parameters)
        return self._log_hard

    def score_samples(self, X: Any) -> Array:
        """log p(x_i), nats: shape (n,); −∞ where a unit is impossible."""
        return self._assigned(X)[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood a unit, nats."""
        return float(self.score_samples(X).mean())

    def standard_errors(
        self,
        X: Any = None,
        *,
        method: str = "observed",
        sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        n_bootstrap: int = 200,
        random_state: Any = None,
    ) -> StandardErrors:
        """Standard errors of the parameters, with their covariance.

        Parameters
        ----------
        X, sample_weight, labels : optional
            The training data; needed only after loading a model, or where they were larger than 32 MiB.
        method : {"observed", "sandwich", "bootstrap"}
            Inverse observed information (weights are frequencies), its robust form, or the spread of
            refits, from the estimate, to resampled units.
        n_bootstrap : int
        random_state : int, RandomState or None

        Raises
        ------
        InformationError
            A probability of 0 without a prior (use the bootstrap), an information that is singular or
            too large, or data that were not kept.

        References
        ----------
        Louis (1982), J. R. Statist. Soc. B 44(2). White (1982), Econometrica 50(1).
        """
        check_is_fitted(self)
        prepare.refuse_random_state(random_state)
        training = self._training
        if X is not None:
            training = self._read_again(X, sample_weight, labels)
        if training is None:
            raise InformationError(
                "standard errors need the training data, which are not kept when they are large or the "
                "model was loaded; give X (and the sample_weight and labels of the fit)."
            )
        if method == "bootstrap":
            n = prepare.positive_integer("n_bootstrap", n_bootstrap, 2)
            return self._bootstrap(training, n, check_random_state(random_state))
        if self.n_parameters_ > LARGEST:
            raise InformationError(
                f"an information matrix of {self.n_parameters_} parameters is too large; use "
                'method="bootstrap".'
            )
        point = training.problem.at(self._parameters)
        squares = training.squared_weights()
        return information_errors(training.problem, point, method, self._described, squares)

    def _bootstrap(self, training: AnswerTraining, n: int, state: Any) -> StandardErrors:
        rng = np.random.default_rng(state.randint(np.iinfo(np.int32).max))
        draws = [self._refit(training, rng) for _ in range(n)]
        covariance = np.atleast_2d(np.cov(np.array(draws), rowvar=False))
        return StandardErrors.of("bootstrap", self._described(self._parameters), covariance)

    def _refit(self, training: AnswerTraining, rng: np.random.Generator) -> Array:
        """One fit to units drawn with replacement, probabilities of 0 given a chance to rise."""
        problem, counts = training.problem, training.units()
        whole = np.concatenate(counts)
        drawn = rng.multinomial(round(float(whole.sum())), whole / whole.sum())
        blocks, start = [], 0
        for block, count in zip(problem.blocks, counts, strict=True):
            share = drawn[start : start + len(count)] / np.where(count > 0, count, 1.0)
            start += len(count)
            weight = count if block.weight is None else block.weight
            blocks.append(replace(block, weight=share * weight))
        again = Problem(problem.model, blocks, Serial())
        begin = problem.model.nudged(self._parameters, LIFT)
        run = ascend(
            again, again.at(begin), tol=1e-3, max_iter=500, accelerator=accelerators("auto")
        )
        return flatten_values(self._described(run.point.params))

    # -- reports -----------------------------------------------------------------------------------
    def summary(self) -> Any:
        """The fit on a page; print it."""
        from expmax.reports.answers import summary

        return summary(self)
