"""Observed information by differences of the score, and what follows from it.

Fisher's identity makes the score of the log-likelihood the score of Q, so one E-step gives it; 2p E-steps give
the observed information of any model, with no algebra of its own (Louis 1982 in effect, without his formula).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from expmax.contract import Block
from expmax.engine.problem import Point, Problem
from expmax.errors import InformationError
from expmax.statistics import Array

__all__ = ["delta_method", "inverse_information", "observed_information", "score_covariance"]

DIFFERENCE = 1e-4  # step of central differences, in units of one observation's coordinate


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
            'normal; drop it from the model, or use method="bootstrap".'
        )
    values = np.linalg.eigvalsh(information)
    if not values[0] > 1e-7:
        raise InformationError(
            f"the observed information is not positive definite (smallest eigenvalue {values[0]:.2g} "
            "of at most 1 in whitened coordinates): the point is not a proper maximum, or two "
            'components are the same. Use fewer components, or method="bootstrap".'
        )
    return np.asarray(np.linalg.inv(information))


def score_covariance(problem: Problem, point: Point, chart: Any, squares: list[Array]) -> Array:
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
