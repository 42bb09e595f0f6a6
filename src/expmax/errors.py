"""What expmax raises and warns of: every message says argument, rule, value and remedy.

All errors derive from `ExpmaxError`, and also from the built-in error that a caller would expect
(`ValueError` for a bad argument or bad data), so that both ways of catching them work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning as _SklearnConvergenceWarning

__all__ = [
    "ConvergenceWarning",
    "DataError",
    "DataTypeError",
    "DecreasedLikelihoodError",
    "DegenerateComponentError",
    "ExpmaxError",
    "ImpossibleDataError",
    "InfeasibleMomentsError",
    "InformationError",
    "MissingDependencyError",
    "MissingFileError",
    "NotFiniteError",
    "ParameterError",
    "parameter_error",
]


class ExpmaxError(Exception):
    """Base of every error of expmax; catch it to catch them all."""


class ParameterError(ExpmaxError, ValueError):
    """An argument breaks its rule. The message names the argument, the rule and the value."""


class DataError(ExpmaxError, ValueError):
    """The data cannot be read or used as given.

    Raised for the wrong shape, an infinite value, a value outside a family's support, a ragged
    file and the like. The message names the column and the row, counted from 0, or the line of a
    file, counted from 1. Correct the data or choose another family.
    """


class DataTypeError(DataError, TypeError):
    """A cell, or a whole container, is of a type that holds no data; convert it first."""


class MissingFileError(DataError, FileNotFoundError):
    """There is no file of that name; check the path."""


class ImpossibleDataError(DataError):
    """The model gives the data probability zero, so there is no posterior to take.

    Raised where no component or reachable state can produce a row, as after a zero in an initial
    or transition probability. Drop the row, free the fixed zero, or put a prior on it.
    """


class DegenerateComponentError(ExpmaxError, ValueError):
    """A component collapsed onto too few distinct rows, where the likelihood is unbounded.

    No maximum exists there. Use a prior, fewer components, or parameters shared between the
    components (such as a tied covariance).
    """


class InformationError(ExpmaxError, ValueError):
    """No standard errors from the information matrix: a boundary, a ridge, or no coordinates.

    The message names which. Bootstrap standard errors need no information matrix.
    """


class NotFiniteError(ExpmaxError, ArithmeticError):
    """The log-likelihood or a statistic became NaN or infinite during the fit.

    The message names which and at which iteration. Rescale columns of extreme size, start from
    other parameters, or put a prior on the parameter that runs away.
    """


class DecreasedLikelihoodError(ExpmaxError, ArithmeticError):
    """An invariant of EM broke: a defect of the model's formulas, not a matter of the data.

    Raised when an exact EM step violates its own proof of convergence by more than rounding. Run
    `check_model` on the model; it finds the formula that disagrees with the others.

    Parameters
    ----------
    part : {"tightness", "M-step", "E-step"}
        The equation that broke. Tightness: the log-likelihood must equal Q + H. M-step: the
        maximisation must not lower Q. E-step: the log-likelihood must rise by ΔQ + KL with
        KL ≥ 0.
    iteration : int
        The iteration at which it broke.
    amount : float
        By how much, in nats; positive.
    tolerance : float
        What rounding could explain, in nats.

    Examples
    --------
    >>> print(DecreasedLikelihoodError("M-step", iteration=3, amount=0.5, tolerance=1e-9))
    the M-step broke at iteration 3: it lowered the expected log-joint Q by 0.5 nats (rounding \
explains at most 1e-09); run check_model to find the formula at fault.
    """

    _BREACH: ClassVar = {
        "tightness": "the log-likelihood and Q + entropy differ",
        "M-step": "it lowered the expected log-joint Q",
        "E-step": "the Kullback-Leibler divergence it implies is negative",
    }

    def __init__(
        self,
        part: Literal["tightness", "M-step", "E-step"],
        *,
        iteration: int,
        amount: float,
        tolerance: float,
    ) -> None:
        super().__init__(
            f"the {part} broke at iteration {iteration}: {self._BREACH[part]} by {amount:.3g} nats "
            f"(rounding explains at most {tolerance:.3g}); run check_model to find the formula at "
            "fault."
        )
        self.part = part
        self.iteration = iteration
        self.amount = amount
        self.tolerance = tolerance

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the fields: errors travel back from worker processes pickled."""
        return _rebuild, (self.part, self.iteration, self.amount, self.tolerance)


def _rebuild(
    part: Literal["tightness", "M-step", "E-step"], iteration: int, amount: float, tolerance: float
) -> DecreasedLikelihoodError:
    return DecreasedLikelihoodError(part, iteration=iteration, amount=amount, tolerance=tolerance)


class InfeasibleMomentsError(ExpmaxError, ValueError):
    """No distribution on the support has the moments asked for, and here is the proof.

    Along `direction` v, v·(f(x) − Δ) < 0 at every point x of the support and for every Δ allowed, so
    E[f] = Δ is impossible. Correct one of the constraints in conflict, or give it an interval or a
    tolerance.

    Parameters
    ----------
    message : str
        What conflicts, and how to cure it.
    direction : ndarray, shape (m,)
        v, one number a constraint, largest magnitude 1.
    conflicts : sequence of str
        Names of constraints that cannot hold together; any fewer of them could.
    """

    def __init__(self, message: str, *, direction: ArrayLike, conflicts: Sequence[str]) -> None:
        super().__init__(message)
        self.direction = np.asarray(direction, float)
        self.conflicts = list(conflicts)

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the fields: errors travel back from worker processes pickled."""
        return _rebuild_infeasible, (str(self), self.direction, self.conflicts)


def _rebuild_infeasible(
    message: str, direction: ArrayLike, conflicts: Sequence[str]
) -> InfeasibleMomentsError:
    return InfeasibleMomentsError(message, direction=direction, conflicts=conflicts)


class MissingDependencyError(ExpmaxError, ImportError):
    """An optional package is needed; the message gives the command that installs it."""


class ConvergenceWarning(_SklearnConvergenceWarning):
    """A fit stopped before the estimated remaining gain fell below `tol`.

    The message names the status. Raise `max_iter`, or look at `certificate_` and `history_`.
    """


def parameter_error(argument: str, rule: str, value: object, remedy: str = "") -> ParameterError:
    """Build the error of an argument that breaks its rule; the caller raises it.

    Parameters
    ----------
    argument : str
        Name of the argument.
    rule : str
        What it must be, to follow the words "must be".
    value : object
        What was given.
    remedy : str, optional
        What to do, a sentence without its full stop.

    Examples
    --------
    >>> print(parameter_error("n_components", "an integer of at least 1", 0))
    n_components must be an integer of at least 1; got 0.
    >>> print(parameter_error("tol", "positive", -1.0, "Leave it out for the default"))
    tol must be positive; got -1.0. Leave it out for the default.
    """
    message = f"{argument} must be {rule}; got {value!r}."
    return ParameterError(f"{message} {remedy.rstrip('.')}." if remedy else message)
