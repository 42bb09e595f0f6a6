"""Observed information by differences of the score, and what follows from it.

Fisher's identity makes the score of the log-likelihood the score of Q, so one E-step gives it; 2p E-steps give
the observed information of any model, with no algebra of its own (Louis 1982 in effect, without his formula).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from expmax.contract import Block
from expmax.engine.problem import Point, Problem
from expmax.errors import InformationError, parameter_error
from expmax.statistics import Array

__all__ = [
    "StandardErrors",
    "delta_method",
    "flatten_values",
    "information_errors",
    "inverse_information",
    "observed_information",
    "score_covariance",
]

DIFFERENCE = 1e-4  # step of central differences, in units of one observation's coordinate


@dataclass(frozen=True, eq=False)
class StandardErrors:
    """Estimates with their covariance, parameter by parameter.

    `estimates` and `errors` are mappings by parameter name, shaped like `params_`. Weights sum to one, so their
    covariance is singular by one direction, as it should be.
    """

    method: str
    names: tuple[str, ...]  # "rate[0]", …, in the order of `covariance`
    estimates: dict[str, Array]
    errors: dict[str, Array]
    covariance: Array  # shape (m, m)
    information: Array | None = None  # observed, in whitened coordinates
    notes: tuple[str, ...] = ()  # what to know of these numbers

    @classmethod
    def of(
        cls,
        method: str,
        estimates: dict[str, Array],
        covariance: Array,
        information: Array | None = None,
    ) -> StandardErrors:
        """From estimates by name and the covariance of all their numbers in order."""
        names = tuple(
            f"{name}[{', '.join(map(str, index))}]" if index else name
            for name, value in estimates.items()
            for index in np.ndindex(value.shape)
        )
        spread = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
        errors, start = {}, 0
        for name, value in estimates.items():
            errors[name] = spread[start : start + value.size].reshape(value.shape)
            start += value.size
        return cls(method, names, estimates, errors, covariance, information)

    def interval(self, level: float = 0.95) -> dict[str, tuple[Array, Array]]:
        """Normal-theory confidence limits, estimate ± z · error, by parameter name."""
        if not 0 < level < 1:
            raise parameter_error("level", "between 0 and 1", level)
        z = float(ndtri(0.5 + 0.5 * level))
        return {
            name: (value - z * self.errors[name], value + z * self.errors[name])
            for name, value in self.estimates.items()
        }

    def __str__(self) -> str:
        flat, spread = flatten_values(self.estimates), flatten_values(self.errors)
        width = max(map(len, self.names))
        head = f"{'parameter':{width}}  {'estimate':>12}  {'std. error':>12}   ({self.method})"
        rows = [
            f"{name:{width}}  {a:12.6g}  {b:12.6g}"
            for name, a, b in zip(self.names, flat, spread, strict=True)
        ]
        return "\n".join([head, *rows, *(f"note: {note}" for note in self.notes)])


def information_errors(
    problem: Problem,
    point: Point,
    method: str,
    describe: Callable[[Any], dict[str, Array]],
    squares: Sequence[Array] = (),
) -> StandardErrors:
    """Standard errors of the described parameters from the information at a point.

    Parameters
    ----------
    method : {"observed", "sandwich"}
    describe : callable
        Parameters to arrays by name.
    squares : sequence of ndarray
        Σ w² of each row of each block, for the sandwich.
    """
    if method not in ("observed", "sandwich"):
        raise parameter_error("method", "'observed', 'sandwich' or 'bootstrap'", method)
    information, chart = observed_information(problem, point)
    inner = inverse_information(information, problem.boundary(point.params))
    if method == "sandwich":
        inner = inner @ score_covariance(problem, point, chart, squares) @ inner
    covariance = delta_method(chart, lambda params: flatten_values(describe(params)), inner)
    return StandardErrors.of(method, describe(point.params), covariance, information)


def flatten_values(values: dict[str, Array]) -> Array:
    """All numbers in order, as one vector."""
    return np.concatenate([np.ravel(value) for value in values.values()])


def observed_information(problem: Problem, point: Point) -> tuple[Array, Any]:
    """−∂²ℓ/∂v² in the chart at a point, and the chart: shape (p, p).

    Under a prior it is the information of the objective.

    Raises
    ------
    InformationError
        The model has no coordinates.
    """
    chart = problem.chart(point)
    if chart is None:
        raise InformationError(
            "the model has no smooth coordinates here, so there is no information matrix; use "
            'method="bootstrap".'
        )
    size = len(chart.scale)
    own = getattr(problem.model, "information", None)
    exact = None if own is None else own(point.params, problem.blocks)
    if exact is not None:  # in packed coordinates
        return np.asarray(chart.inverse.T @ exact @ chart.inverse), chart
    rows = np.empty((size, size))
    for j in range(size):
        step = np.zeros(size)
        step[j] = DIFFERENCE * chart.scale[j]
        ends = [problem.at(chart.from_vector(sign * step)) for sign in (1.0, -1.0)]
        scores = [chart.score(end.params, end.expectation.statistics) for end in ends]
        rows[j] = (scores[1] - scores[0]) / (2.0 * step[j])
    return 0.5 * (rows + rows.T), chart


def inverse_information(information: Array, edges: list[str]) -> Array:
    """Covariance of v, refused where normal theory does not hold.

    Raises
    ------
    InformationError
        A parameter sits on the boundary of its space, or the information is not positive definite.
    """
    if edges:
        raise InformationError(
            f"{edges[0]} is on the boundary of its space, where the estimate is not asymptotically "
            'normal; fix it or drop it from the model. method="bootstrap" gives standard errors of the other '
            "parameters."
        )
    values = np.linalg.eigvalsh(information)
    if not values[0] > 1e-7:
        raise InformationError(
            f"the observed information is not positive definite (smallest eigenvalue {values[0]:.2g} "
            "of at most 1 in whitened coordinates): the point is not a proper maximum, two components are "
            "the same, or a direction of the parameters changes nothing. Use fewer components, or fix "
            "what the data do not determine."
        )
    return np.asarray(np.linalg.inv(information))


def score_covariance(problem: Problem, point: Point, chart: Any, squares: Sequence[Array]) -> Array:
    """Σ_i w_i² s_i s_iᵀ over the rows, s_i the score of row i: shape (p, p). One small E-step a row.

    `squares` holds Σ w² of each row of each block.
    """
    model: Any = problem.model
    size = len(chart.scale)
    total = np.zeros((size, size))
    for block, weights in zip(problem.blocks, squares, strict=True):
        for i, square in enumerate(weights):
            label = None if block.label is None else block.label[i : i + 1]
            row = Block(np.ascontiguousarray(block.x[i : i + 1]), None, label)
            score = chart.row_score(point.params, model.expect(point.params, row).statistics)
            total += square * np.outer(score, score)
    return total


def delta_method(chart: Any, describe: Callable[[Any], Array], covariance: Array) -> Array:
    """J C Jᵀ with J = ∂(described parameters)/∂v at 0, by central differences: shape (m, m)."""
    columns = []
    for j, scale in enumerate(chart.scale):
        step = np.zeros(len(chart.scale))
        step[j] = DIFFERENCE * scale
        rise = describe(chart.from_vector(step)) - describe(chart.from_vector(-step))
        columns.append(rise / (2.0 * step[j]))
    jacobian = np.array(columns).T
    return np.asarray(jacobian @ covariance @ jacobian.T)
