"""What estimators of every kind share: criteria from a log-likelihood, model files, progress of many runs."""

from __future__ import annotations

from os import PathLike
from types import TracebackType
from typing import Any, Self

import numpy as np

from expmax.engine.arguments import check_progress
from expmax.engine.history import History
from expmax.engine.loop import Moment
from expmax.engine.progress import Reporter
from expmax.errors import parameter_error
from expmax.estimators import preparation as prepare

__all__ = ["Criteria", "Progress", "Saved", "check_run", "number"]


class Saved:
    """An estimator that can be written to a model file."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write a model file (JSON) that `expmax.load` reads."""
        from expmax.persistence import save

        save(self, path)


class Criteria:
    """Information criteria of a fit by maximum likelihood."""

    n_parameters_: int

    def _total(self, X: Any) -> tuple[float, float, float]:
        """Log-likelihood, Σ w and Σ w_i log max_k r_ik of data (default: training data)."""
        raise NotImplementedError  # abstract: each estimator reads its own kind of data

    def aic(self, X: Any = None) -> float:
        """Akaike's criterion −2ℓ + 2p; smaller is better."""
        return -2.0 * self._total(X)[0] + 2.0 * self.n_parameters_

    def bic(self, X: Any = None) -> float:
        """Schwarz's criterion −2ℓ + p log n, n = Σ w; smaller is better."""
        log_likelihood, n, _ = self._total(X)
        return -2.0 * log_likelihood + self.n_parameters_ * float(np.log(n))

    def icl(self, X: Any = None) -> float:
        """BIC − 2 Σ log max_k r_ik (integrated completed likelihood); smaller is better.

        References
        ----------
        Biernacki, Celeux & Govaert (2000), IEEE Trans. Pattern Anal. 22(7).
        """
        log_likelihood, n, hard = self._total(X)
        return -2.0 * log_likelihood + self.n_parameters_ * float(np.log(n)) - 2.0 * hard


class Progress:
    """Tells `progress=` of every step of every run; silent for False."""

    def __init__(self, progress: Any, tol: float) -> None:
        silent = progress is None or progress is False
        self._reporter = None if silent else Reporter(progress, tol)
        self._seen: tuple[int, float] | None = None
        self._history: History | None = None  # of the ascent that is under way
        self.watch = None if silent else self._watch  # what `ascend` is to call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reporter is not None:
            self._reporter.close()

    def _watch(self, moment: Moment) -> None:
        """Tell of a moment of an ascent, unless it is where the last one ended."""
        assert self._reporter is not None
        now = moment.n_rows, moment.point.objective
        if moment.history is not self._history:  # where an ascent begins, or goes on
            self._reporter.begin_run()
        elif now != self._seen:
            self._reporter.report(*now, moment.remaining)
        self._seen, self._history = now, moment.history

    def tell(self, iteration: int, objective: float) -> None:
        """Tell of a step whose remaining gain nobody knows."""
        if self._reporter is not None:
            self._reporter.report(iteration, objective, float("nan"))


def check_run(
    *,
    tol: Any,
    max_iter: Any,
    n_init: Any,
    random_state: Any,
    progress: Any = False,
    least_iter: int = 1,
    automatic: bool = True,
) -> None:
    """Refuse bad arguments of a search by name; `automatic`: whether n_init may be "auto"."""
    prepare.refuse_tolerance(tol)
    prepare.refuse_random_state(random_state)
    check_progress(progress)
    prepare.positive_integer("max_iter", max_iter, least_iter)
    if not (isinstance(n_init, str) and automatic):
        prepare.positive_integer("n_init", n_init)
    elif n_init != "auto":
        raise parameter_error("n_init", '"auto" or an integer of at least 1', n_init)


def number(name: str, value: Any, rule: str, least: float, most: float = np.inf) -> float:
    """A number above `least` and at most `most`, or a refusal by name."""
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (real and least < value <= most):
        raise parameter_error(name, rule, value)
    return float(value)
