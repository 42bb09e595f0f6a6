"""What the estimators of discrete answers share: search, fitted attributes, criteria, standard errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.reduce import Serial
from expmax.contract import Block, Start
from expmax.engine.acceleration import accelerators
from expmax.engine.information import StandardErrors, flatten_values, information_errors
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Problem
from expmax.engine.starts import SAME, Budget, Search, StartRecord, climber, search
from expmax.errors import (
    ConvergenceWarning,
    InformationError,
    NotFiniteError,
    parameter_error,
)
from expmax.estimators import preparation as prepare
from expmax.estimators.outcome import CONVERGED, broken, tell
from expmax.models.answers import AnswerModel, AnswerParameters
from expmax.statistics import Array

__all__ = ["AnswerEstimator"]

SHORT, CONTINUED = 10, 4  # EM steps of a short run; short runs continued to the end
NUDGE = 1e-8  # share at which a probability of 0 shows whether EM would raise it
LIFT = 1e-3  # share from which it then rises
RELEASES = 5
WORK = (
    2_000_000  # answers that the random starts of n_init="auto" may look at, in each of their steps
)
FEWEST = 2  # random starts of n_init="auto"
# answers from which a single start, too, may go to any optimum near: EM's own path is long
LONG_WAY = 20_000
KEPT_BYTES = 1 << 25  # training data up to this size stay at hand for standard errors
LARGEST = 4000  # coordinates of which an information matrix is made


class AnswerEstimator(BaseEstimator):
    """Base of `DawidSkene` and `RecordLinkage`: everything but reading the data and naming the parameters."""

    # -- of subclasses -----------------------------------------------------------------------------
    _most_starts = 100  # random ones of n_init="auto"
    tol: float
    max_iter: int
    n_init: int | str
    accelerate: str | None
    random_state: Any
    _model: Any
    _parameters: AnswerParameters

    def _described(self, params: AnswerParameters) -> dict[str, Array]:
        """Parameters by name."""
        raise NotImplementedError  # abstract: each estimator names its own

    def _publish(self) -> None:
        """Fitted attributes in the field's words."""
        raise NotImplementedError  # abstract: each field has its own words

    # -- fitting -----------------------------------------------------------------------------------
    def _check_parameters(self) -> None:
        prepare.refuse_tolerance(self.tol)
        prepare.refuse_random_state(self.random_state)
        prepare.positive_integer("max_iter", self.max_iter)
        if not (isinstance(self.n_init, str) and self.n_init == "auto"):
            if isinstance(self.n_init, str):
                raise parameter_error("n_init", '"auto" or an integer of at least 1', self.n_init)
            prepare.positive_integer("n_init", self.n_init)
        accelerators(self.accelerate)

    def _n_random(self, n_answers: int) -> int:
        """Random starts beside the usual one."""
        if not isinstance(self.n_init, str):
            return int(self.n_init) - 1
        return int(np.clip(WORK // max(n_answers, 1), FEWEST, self._most_starts))

    def _search(
        self, problem: Problem, first: Sequence[Start[Any]], source: Any, n_random: int
    ) -> Search:
        """The usual starts to their ends, then short runs from random ones and the best continued."""
        state = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        seed = np.random.SeedSequence(int(state))
        n_answers = sum(block.x.size for block in problem.blocks)
        many = len(first) + n_random > 1 or n_answers > LONG_WAY
        climb = climber(
            problem,
            tol=self.tol,
            max_iter=self.max_iter,
            accelerator=accelerators(self.accelerate, search=many),
            certifier=np.random.default_rng(seed.spawn(1)[0]),
        )
        result = Search()
        for start in first:
            run = climb(problem.at(start.params))
            record = StartRecord(start.kind, -1, run.point.objective, run.status)
            _enter(result, run, [record], 0)
            if run.status == "interrupted":
                return result
        if n_random > 0:
            continued = min(CONTINUED, (n_random + 1) // 2)
            budget = Budget(0, round_size=n_random, short=SHORT, continued=continued)
            other = search(problem, source, seed, budget, climb, lambda point: False)
            if other.best is not None:
                _enter(result, other.best, other.records, other.best_record)
        if result.best is not None and result.best.status in CONVERGED:
            result.best = _leave_false_edges(problem, result.best, climb)
            result.settle()
        _mark_agreement(result)
        return result

    def _keep(self, problem: Problem, result: Search) -> None:
        run = _accepted(result)
        self._model, self._parameters = problem.model, run.point.params
        self.n_parameters_ = self._model.n_parameters(self._parameters)
        tell(self, problem, run, result)
        small = sum(block.x.nbytes for block in problem.blocks) <= KEPT_BYTES
        self._training: Problem | None = problem if small else None
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} stopped with status {run.status!r} after {self.n_iter_} "
                f"iterations, with an estimated {run.remaining:.2g} nats still to gain "
                f"(tol={self.tol:g}); raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Pickles hold no data."""
        return super().__getstate__() | {"_training": None}

    # -- use ---------------------------------------------------------------------------------------
    def _total(self, X: Any) -> tuple[float, float]:
        """Log-likelihood and Σ w of data (default: training data)."""
        check_is_fitted(self)
        if X is None:
            return self.log_likelihood_, self._total_weight
        scores = self.score_samples(X)
        return float(scores.sum()), float(len(scores))

    def score_samples(self, X: Any) -> Array:
        """log p(x_i), nats: shape (n,)."""
        raise NotImplementedError  # abstract: each estimator reads its own kind of table

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood a unit, nats."""
        return float(self.score_samples(X).mean())

    def aic(self, X: Any = None) -> float:
        """Akaike's criterion −2ℓ + 2p; smaller is better."""
        return -2.0 * self._total(X)[0] + 2.0 * self.n_parameters_

    def bic(self, X: Any = None) -> float:
        """Schwarz's criterion −2ℓ + p log n, n = Σ w; smaller is better."""
        log_likelihood, n = self._total(X)
        return -2.0 * log_likelihood + self.n_parameters_ * float(np.log(n))

    def standard_errors(
        self, *, method: str = "observed", n_bootstrap: int = 200, random_state: Any = None
    ) -> StandardErrors:
        """Standard errors of the parameters, with their covariance.

        Parameters
        ----------
        method : {"observed", "sandwich", "bootstrap"}
            Inverse observed information (weights are frequencies), its robust form, or the spread of
            refits, from the estimate, to resampled units.
        n_bootstrap : int
        random_state : int, RandomState or None

        Raises
        ------
        InformationError
            A probability of 0 without a prior (use the bootstrap), an information that is singular or
            too large, or data that were not kept (more than 32 MiB, or a loaded model).

        References
        ----------
        Louis (1982), J. R. Statist. Soc. B 44(2). White (1982), Econometrica 50(1).
        """
        check_is_fitted(self)
        problem = getattr(self, "_training", None)
        if problem is None:
            raise InformationError(
                "standard errors need the training data, which are not kept when they are large or the "
                "model was loaded; fit again."
            )
        if method == "bootstrap":
            n = prepare.positive_integer("n_bootstrap", n_bootstrap, 2)
            return self._bootstrap(problem, n, check_random_state(random_state))
        if self.n_parameters_ > LARGEST:
            raise InformationError(
                f"an information matrix of {self.n_parameters_} parameters is too large; use "
                'method="bootstrap".'
            )
        squares = [self._squares(block) for block in problem.blocks]
        point = problem.at(self._parameters)
        return information_errors(problem, point, method, self._described, squares)

    def _bootstrap(self, problem: Problem, n: int, state: Any) -> StandardErrors:
        rng = np.random.default_rng(state.randint(np.iinfo(np.int32).max))
        draws = [self._refit(problem, rng) for _ in range(n)]
        covariance = np.atleast_2d(np.cov(np.array(draws), rowvar=False))
        return StandardErrors.of("bootstrap", self._described(self._parameters), covariance)

    def _refit(self, problem: Problem, rng: np.random.Generator) -> Array:
        """One fit to units drawn with replacement, probabilities of 0 given a chance to rise."""
        counts = [self._units(block) for block in problem.blocks]
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

    def _units(self, block: Block) -> Array:
        """How many units each row of a block stands for."""
        return np.ones(len(block.x))

    def _squares(self, block: Block) -> Array:
        """Σ w² of the units behind each row of a block."""
        return np.ones(len(block.x)) if block.weight is None else block.weight**2

    # -- reports -----------------------------------------------------------------------------------
    def summary(self) -> Any:
        """The fit on a page; print it."""
        from expmax.reports.answers import summary

        return summary(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a model file (JSON) that `expmax.load` reads."""
        from expmax.persistence import save

        save(self, path)


def _enter(result: Search, run: Run, records: list[StartRecord], which: int) -> None:
    """Add records, one of which a run belongs to, and keep the run if it is the best."""
    if result.best is None or run.point.objective > result.best.point.objective + SAME:
        result.best, result.best_record = run, len(result.records) + which
    result.records += records


def _mark_agreement(result: Search) -> None:
    if result.best is not None:
        best = result.best.point.objective
        result.records = [
            replace(record, agrees=abs(record.objective - best) < SAME) for record in result.records
        ]


def _leave_false_edges(problem: Problem, run: Run, climb: Any) -> Run:
    """Go on from where a probability of 0 is none of the maximum's: EM by itself never leaves a 0.

    At a maximum on the boundary EM lowers whatever is nudged off it (the Kuhn-Tucker conditions).
    """
    model: AnswerModel = problem.model
    for _ in range(RELEASES):
        params = run.point.params
        near = problem.at(model.nudged(params, NUDGE))
        with np.errstate(all="ignore"):
            cells, classes = model.growing(near.params, near.expectation.statistics)
        cells &= params.probability <= NUDGE
        classes &= np.exp(params.log_weights) <= NUDGE
        if not (cells.any() or classes.any()) or run.status not in CONVERGED:
            return run
        start = problem.at(model.raised(params, cells, classes, LIFT))
        new = climb(start)
        if not new.point.objective > run.point.objective:
            return run
        run = new
    return run


def _accepted(result: Search) -> Run:
    """The best run, or the error that says why there is none."""
    run = result.best
    if run is None or run.status == "not_finite":
        value = float("nan") if run is None else run.point.objective
        raise NotFiniteError(
            f"the log-likelihood became {value}: some unit has probability zero under every class. "
            "Free what is fixed at 0, or use a prior."
        )
    broken(run)
    return run
