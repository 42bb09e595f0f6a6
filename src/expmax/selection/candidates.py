"""Candidates of a choice: what a grid asks for, and what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import clone

from expmax.errors import ExpmaxError, ParameterError, parameter_error
from expmax.estimators.shared import Criteria
from expmax.families.base import Family

__all__ = ["CRITERIA", "Candidate", "Combination", "UnreachedError", "expand"]

CRITERIA = ("bic", "aic", "icl")
SIZES = ("n_components", "n_states", "n_factors")  # parameters that count components


class UnreachedError(ExpmaxError):
    """An interrupt came before this candidate was fitted."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One combination: its fit, or the error that says why there is none."""

    n_components: int
    family: Family | None
    label: str  # everything but the number of components
    estimator: Any = None
    error: Exception | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    held_out: float | None = None  # nats a row, by cross-validation
    held_out_error: float | None = None  # its standard error, from the folds
    weight: float = 1.0  # Σ w of the rows

    def value(self, criterion: str) -> float:
        """A criterion, smaller is better; infinite without a fit.

        "cv" is −2 × the held-out log-likelihood of all rows, to stand beside AIC and BIC.
        """
        if self.estimator is None:
            return float("inf")
        if criterion == "cv":
            return float("inf") if self.held_out is None else -2.0 * self.weight * self.held_out
        return float(getattr(self.estimator, "bic" if criterion == "lrt" else criterion)())

    @property
    def log_likelihood(self) -> float:
        """Total, nats."""
        return float(self.estimator.log_likelihood_)

    @property
    def n_parameters(self) -> int:
        """Free parameters."""
        return int(self.estimator.n_parameters_)

    @property
    def status(self) -> str:
        """How the fit ended; "failed" without one, "not fitted" where an interrupt came before it."""
        if self.estimator is None:
            return "failed" if self.reached else "not fitted"
        return str(self.estimator.status_)

    @property
    def reached(self) -> bool:
        """Whether it was fitted, or tried; not if an interrupt came before."""
        return not isinstance(self.error, UnreachedError)

    @property
    def converged(self) -> bool:
        """Whether there is a fit whose maximum is certified."""
        return self.estimator is not None and bool(self.estimator.converged_)

    @property
    def name(self) -> str:
        """Label and number of components."""
        size = f"K = {self.n_components}" if self.n_components else ""
        return ", ".join(part for part in (self.label, size) if part)


@dataclass(frozen=True, slots=True)
class Combination:
    """One point of a grid: an unfitted estimator and what it is called."""

    estimator: Any
    parameters: Mapping[str, Any]
    label: str
    group: int  # combinations of one group differ in the number of components alone
    size: int

    def candidate(self, **outcome: Any) -> Candidate:
        """What came of it."""
        family = self.parameters.get("family", getattr(self.estimator, "family", None))
        return Candidate(
            self.size,
            family if isinstance(family, Family) else None,
            self.label,
            parameters=self.parameters,
            **outcome,
        )

    def unreached(self) -> Candidate:
        """What came of it where an interrupt came before."""
        return self.candidate(error=UnreachedError("not fitted: interrupted"))


def expand(estimator: Any, grid: Any) -> list[Combination]:
    """All combinations of a grid, those of one group together and in order of size.

    Parameters
    ----------
    estimator : estimator
        What the grid leaves open is as here.
    grid : mapping or list of mappings
        Values by the name of the parameter.

    Raises
    ------
    ParameterError
        No estimator of expmax; a name that is no parameter of it, no values for one, or a value that
        it refuses whatever the others are.
    """
    _check_estimator(estimator)
    grids = [grid] if isinstance(grid, Mapping) else grid
    if isinstance(grid, str) or not isinstance(grids, Sequence) or not grids:
        raise parameter_error("grid", "a mapping of parameters to values, or a list of some", grid)
    known = estimator.get_params(deep=False)
    size_name = next((name for name in SIZES if name in known), None)
    points: list[dict[str, Any]] = []
    for one in grids:
        points += product_of(one, known)
    made_of = [clone(estimator).set_params(**point) for point in points]
    _refuse_values(points, made_of)
    labels = _Labels(points, size_name)
    found: dict[tuple[str, int], Combination] = {}
    for point, made in zip(points, made_of, strict=True):
        label = labels.of(point)
        size = getattr(made, size_name) if size_name is not None else 0
        size = int(size) if isinstance(size, int | np.integer) else 0
        group = labels.group(label)
        key = (label, size)
        if key not in found or not size_name:
            found[key] = Combination(made, point, label, group, size)
    return sorted(found.values(), key=lambda one: (one.group, one.size))


def _check_estimator(estimator: Any) -> None:
    rule = "an estimator of expmax with criteria (aic, bic, icl), such as Mixture()"
    if isinstance(estimator, type):
        ours = issubclass(estimator, Criteria)
        remedy = f"Make an instance: {estimator.__name__}()" if ours else ""
        raise parameter_error("estimator", rule, estimator, remedy)
    if not isinstance(estimator, Criteria):
        import expmax

        kind = type(estimator)
        ours = kind.__name__ in expmax.__all__ and not kind.__module__.startswith("expmax.")
        remedy = f"expmax has a {kind.__name__} of its own" if ours else ""
        raise parameter_error("estimator", rule, estimator, remedy)


def _refuse_values(points: Sequence[Mapping[str, Any]], estimators: Sequence[Any]) -> None:
    """Refuse a value of the grid with which no combination has sound parameters."""
    errors = [_parameter_error(one) for one in estimators]
    if not any(errors):
        return
    refused: dict[tuple[str, int], list[ParameterError | None]] = {}
    for point, error in zip(points, errors, strict=True):
        for name, value in point.items():
            refused.setdefault((name, id(value)), []).append(error)
    for found in refused.values():
        if all(found) and found[0] is not None:
            raise found[0]


def _parameter_error(estimator: Any) -> ParameterError | None:
    """What an estimator says of its own parameters, before it has seen data."""
    try:
        for check in ("_check_parameters", "_families"):
            getattr(estimator, check, lambda: None)()
    except ParameterError as error:
        return error
    return None


def product_of(grid: Any, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of one mapping."""
    if not isinstance(grid, Mapping) or not grid:
        raise parameter_error("grid", "a mapping of parameters to values", grid)
    values: list[list[Any]] = []
    for name, given in grid.items():
        if name not in known:
            raise ParameterError(
                f"grid names {name!r}, which is no parameter of the estimator; it has "
                f"{', '.join(known)}."
            )
        if isinstance(given, str | Family) or not isinstance(given, Iterable):
            raise parameter_error(f"grid[{name!r}]", "a list of values", given)
        values.append(list(given))
        if not values[-1]:
            raise parameter_error(f"grid[{name!r}]", "at least one value", given)
    return [dict(zip(grid, point, strict=True)) for point in product(*values)]


class _Labels:
    """What combinations are called, as briefly as tells them apart."""

    def __init__(self, points: Sequence[Mapping[str, Any]], size_name: str | None) -> None:
        self.size_name = size_name
        families = [p["family"] for p in points if isinstance(p.get("family"), Family)]
        kinds = {type(family).__name__: set() for family in families}  # type: dict[str, set[str]]
        for family in families:
            kinds[type(family).__name__].add(repr(family))
        self.brief = {name for name, spellings in kinds.items() if len(spellings) == 1}
        self.structures = set(kinds) == {"Gaussian"}
        self.order: dict[str, int] = {}

    def of(self, point: Mapping[str, Any]) -> str:
        """The label of one point."""
        others = [item for item in point.items() if item[0] != self.size_name]
        label = ", ".join(self._spell(name, value) for name, value in others)
        self.order.setdefault(label, len(self.order))
        return label

    def group(self, label: str) -> int:
        """The number of a label, in order of appearance."""
        return self.order[label]

    def _spell(self, name: str, value: Any) -> str:
        if isinstance(value, Family):
            if self.structures and getattr(value, "penalty", 0.0) == 0:
                return str(getattr(value, "covariance", value))
            kind = type(value).__name__
            return kind if kind in self.brief else repr(value)
        if name == "covariance_type":
            return str(value)
        if name == "family" and isinstance(value, Sequence):
            return " + ".join(type(one).__name__ for one in value)
        return f"{name}={value!r}"
