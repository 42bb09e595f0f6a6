"""How a `GaussianMixture` is searched for: scikit-learn's starts, warm starts, and what reg_covar holds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.engine.history import History
from expmax.engine.loop import WARM_UP, Run, ascend
from expmax.engine.problem import Problem
from expmax.engine.starts import Budget, Search, climber, search
from expmax.errors import ParameterError
from expmax.estimators.gaussian_starts import LenientMixture, RecipeStarts
from expmax.estimators.mixture import Mixture
from expmax.estimators.search import single
from expmax.estimators.shared import Progress
from expmax.estimators.spikes import spiked
from expmax.estimators.training import Training
from expmax.models.mixture import MixtureModel
from expmax.statistics import Array

__all__ = ["GaussianSearch", "cut_history"]

TRAIL = 16  # steps of earlier fits that a warm start remembers
LENIENT_STARTS = 10  # starts when only reg_covar holds the components up and n_init is "auto"


class GaussianSearch(Mixture):
    """The search of `GaussianMixture`, which has the parameters."""

    family: Any = None
    init: Any = None
    reg_covar: float
    warm_start: bool
    means_: NDArray[Any]
    _trail: History

    def _given(self, n_columns: int) -> dict[str, Array]:
        """The checked `*_init` that were given, as float64: weights, means, covariances (K, …)."""
        return {}

    def _search(self, training: Training, progress: Progress) -> Search:
        """Find a proper maximum; where there is none, what reg_covar alone holds up."""
        problem, x = training.problem, training.rows.x
        given = self._given(x.shape[1])
        n_distinct = self._too_few_rows(x)
        if n_distinct:
            reason = f"{self.n_components} components share {n_distinct} distinct rows"
            result = Search(reasons=[reason])
        else:
            result = self._attempt(training, given, progress)
        best = result.best
        if self.reg_covar == 0 or not (best is None or best.status == "degenerate"):
            return result
        strict: MixtureModel = problem.model
        lenient = replace(problem, model=LenientMixture.of(strict))
        result = self._attempt(replace(training, problem=lenient), given, progress)
        problem.n_expect = lenient.n_expect
        run = result.best
        if run is not None:
            point = run.point
            run.degeneracies = strict.degeneracies(point.params, point.expectation.statistics)
            if run.degeneracies:
                run.status = "degenerate"
            elif run.status == "uncertified" and self.certify:
                result.best = self._climb(problem, run, np.random.default_rng(0), progress)
        return result

    def _too_few_rows(self, x: NDArray[Any]) -> int:
        """The number of distinct rows where it is at most K: each component may sit on one; else 0."""
        k = int(self.n_components or 0)
        if self.prior is not None or k == 1 or len(x) > 2 * k:
            return 0
        n_distinct = len(np.unique(x, axis=0))
        return n_distinct if n_distinct <= k else 0

    def _attempt(
        self, training: Training, given: Mapping[str, Array], progress: Progress
    ) -> Search:
        problem, n_columns = training.problem, training.rows.x.shape[1]
        if self._continues:
            return self._continue_fit(problem, n_columns, progress)
        searched = not given and self.max_iter > 0
        automatic = isinstance(self.n_init, str) and searched
        lenient = isinstance(problem.model, LenientMixture)
        if (automatic and not lenient) or (searched and problem.model.n_components == 1):
            return super()._search(training, progress)
        n = LENIENT_STARTS if automatic else 1 if isinstance(self.n_init, str) else int(self.n_init)
        if self.max_iter == 0 or len(given) == 3:
            n = 1
        recipes = RecipeStarts.of(self, training, given)
        return self._from_starts(training, recipes, n, progress)

    def _from_starts(
        self, training: Training, starts: RecipeStarts, n: int, progress: Progress
    ) -> Search:
        """Run n starts to their ends, then certify the best."""
        problem = training.problem
        rng = None if isinstance(problem.model, LenientMixture) else self._certifier()
        if n == 1:
            start = next(starts.starts(iter([np.random.default_rng(0)])), None)
            if start is None:
                return Search(reasons=["the start is singular"])
            run = Run(problem.at(start.params), "max_iter", History())
            run = self._climb(problem, run, None, progress)
            if rng is not None and run.status == "uncertified":
                run = self._climb(problem, run, rng, progress)
            return single(run, start.kind)
        budget = Budget(0, round_size=n, short=0, continued=n)
        climb = climber(
            problem,
            tol=self.tol,
            max_iter=int(self.max_iter),
            accelerator=self._accelerator(),
            watch=progress.watch,
        )
        spike = spiked(problem.model, training.rows.x)
        result = search(problem, starts, np.random.SeedSequence(0), budget, climb, spike)
        if rng is not None and result.best is not None and result.best.status == "uncertified":
            result.best = self._climb(problem, result.best, rng, progress)
        return result

    def _certifier(self) -> np.random.Generator | None:
        """The random directions of the certificate; None without one."""
        return np.random.default_rng(0) if self.certify else None

    def _climb(
        self,
        problem: Problem,
        run: Run,
        certifier: np.random.Generator | None,
        progress: Progress,
    ) -> Run:
        """Go on with a run; to a certificate if there is a certifier."""
        return ascend(
            problem,
            run.point,
            tol=self.tol,
            max_iter=int(self.max_iter),
            accelerator=self._accelerator(),
            certifier=certifier,
            history=run.history.reopen(),
            watch=progress.watch,
        )

    # -- warm start --------------------------------------------------------------------------------
    @property
    def _continues(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "converged_")

    def _continue_fit(self, problem: Problem, n_columns: int, progress: Progress) -> Search:
        """Go on from the fitted parameters; on the same rows with the history of the last fits."""
        k = problem.model.n_components
        if np.shape(self.means_) != (k, n_columns):
            raise ParameterError(
                f"warm_start needs the shape of the last fit; got n_components={k} and {n_columns} "
                f"columns after means_ of shape {np.shape(self.means_)}. Set warm_start=False."
            )
        _, params = self._fitted()
        point = problem.at(params)
        trail = getattr(self, "_trail", History())
        last = trail.objective[-1] if len(trail) else np.nan
        known = abs(point.objective - last) <= 1e-6 * max(abs(last), 1.0)
        trail = trail.reopen() if known else History()
        before, few = len(trail), self.max_iter < 2 * WARM_UP  # acceleration has no time to learn
        run = ascend(
            problem,
            point,
            tol=self.tol,
            max_iter=before + int(self.max_iter),
            accelerator=None if few else self._accelerator(),
            certifier=self._certifier(),
            history=trail,
            watch=progress.watch,
        )
        self._trail = cut_history(run.history, slice(-TRAIL, None))
        run.history = cut_history(run.history, slice(before, None))
        return single(run, "warm start")


def cut_history(history: History, rows: slice) -> History:
    """Some rows of a history."""
    return History(**{one.name: getattr(history, one.name)[rows] for one in fields(history)})
