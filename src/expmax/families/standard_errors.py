"""Maximum-likelihood parameters of one component with their standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from expmax.contract import Parameters
from expmax.errors import InformationError, parameter_error
from expmax.families.base import Family
from expmax.families.parameters import flatten, unflatten
from expmax.statistics import Array

__all__ = ["Estimate", "estimate_at", "estimate_with_errors", "weighted_rows"]

DIFFERENCE = 1e-4  # step of central differences, in units of one observation's coordinate


@dataclass(frozen=True, eq=False)
class Estimate:
    """Maximum-likelihood parameters with their covariance, by the delta method.

    Attributes
    ----------
    parameters : mapping
        Of one component (K = 1).
    log_likelihood : float
        Nats, at these parameters.
    names : tuple of str
        "shape[0]", …, in the order of `covariance`.
    standard_errors : dict
        By name, shaped like the parameters.
    covariance : ndarray, shape (m, m)
    """

    parameters: Parameters
    log_likelihood: float
    names: tuple[str, ...]
    estimates: dict[str, Array]
    standard_errors: dict[str, Array]
    covariance: Array

    def interval(self, level: float = 0.95) -> dict[str, tuple[Array, Array]]:
        """Normal-theory confidence limits, estimate ± z · error, by parameter name."""
        if not 0 < level < 1:
            raise parameter_error("level", "between 0 and 1", level)
        z = float(ndtri(0.5 + 0.5 * level))
        return {
            name: (value - z * self.standard_errors[name], value + z * self.standard_errors[name])
            for name, value in self.estimates.items()
        }

    def __str__(self) -> str:
        width = max(map(len, self.names))
        flat = flatten(self.estimates)
        spread = flatten(self.standard_errors)
        rows = zip(self.names, flat, spread, strict=True)
        head = f"{'parameter':{width}}  {'estimate':>12}  {'std. error':>12}"
        return "\n".join([head, *(f"{n:{width}}  {a:12.6g}  {b:12.6g}" for n, a, b in rows)])


def estimate_with_errors(family: Family, x: Array, weight: Array | None = None) -> Estimate:
    """See `Family.estimate_with_errors`."""
    rows, w = weighted_rows(x, weight)
    bound = family.bind(rows)
    parameters = bound.estimate(rows, w)
    used = w > 0
    log_density = bound.log_density(parameters, rows[used])[:, 0]
    log_likelihood = float(w[used] @ log_density)
    chart = bound.chart(parameters, bound.statistics(parameters, rows, w[:, None]))
    information = None
    if bound.inner_latent and chart is not None:  # its own latent variables hide information
        information = _observed_information(bound, chart, rows, w[:, None])
    return estimate_at(bound, parameters, log_likelihood, chart, information)


def weighted_rows(x: Array, weight: Array | None) -> tuple[Array, Array]:
    """Rows of shape (n, d), those of one column given flat too, and their weights, shape (n,)."""
    rows = np.asarray(x, float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if weight is None:
        return rows, np.ones(len(rows))
    w = np.asarray(weight, float)
    if w.shape != (len(rows),) or not (np.isfinite(w).all() and (w >= 0).all()):
        raise parameter_error("weight", f"{len(rows)} finite numbers of at least 0", weight)
    return rows, w


def _observed_information(family: Family, chart: Any, x: Array, weight: Array) -> Array:
    """−∂²ℓ/∂v² by differences of the score, which Fisher's identity gives: shape (p, p)."""

    def score(vector: Array) -> Array:
        theta = chart.from_vector(vector)
        return np.asarray(chart.score(theta, family.statistics(theta, x, weight)))

    matrix = -_slopes(score, chart.scale)
    return 0.5 * (matrix + matrix.T)


def _slopes(function: Callable[[Array], Array], scale: Array) -> Array:
    """∂f_j/∂v_i at v = 0 by central differences, v_i in units of `scale`: shape (p, m)."""
    rows = []
    for i, size in enumerate(scale):
        step = np.zeros(len(scale))
        step[i] = DIFFERENCE * size
        rows.append((function(step) - function(-step)) / (2.0 * step[i]))
    return np.array(rows)


def estimate_at(
    family: Family,
    parameters: Parameters,
    log_likelihood: float,
    chart: Any,
    information: Array | None,
) -> Estimate:
    """Covariance J I⁻¹ Jᵀ of the usual parameters; I is the identity in a chart's coordinates."""
    edges = family.boundary(parameters)
    if edges or chart is None:
        what = f"{edges[0][1]} is on the boundary of its space" if edges else "it has none here"
        raise InformationError(
            f"no standard errors for {family!r}: {what}, so the estimate is not asymptotically "
            "normal. Bootstrap the rows, or take a posterior (docs/priors.md)."
        )
    estimates = {
        name: np.asarray(value, float)[0]
        for name, value in family.named_parameters(parameters).items()
    }
    names = tuple(
        f"{name}[{', '.join(map(str, index))}]" if index else name
        for name, value in estimates.items()
        for index in np.ndindex(value.shape)
    )
    covariance = _covariance(family, chart, information)
    errors = unflatten(np.sqrt(np.diagonal(covariance)), estimates)
    return Estimate(parameters, log_likelihood, names, estimates, errors, covariance)


def _covariance(family: Family, chart: Any, information: Array | None) -> Array:
    def described(vector: Array) -> Array:
        return flatten(family.named_parameters(chart.from_vector(vector)))

    jacobian = _slopes(described, chart.scale).T
    if information is None:
        return np.asarray(jacobian @ jacobian.T)
    if not np.linalg.eigvalsh(information)[0] > 1e-9:
        raise InformationError(
            f"no standard errors for {family!r}: the observed information is not positive "
            "definite; a parameter runs away. Fix it, or bootstrap the rows."
        )
    return np.asarray(jacobian @ np.linalg.inv(information) @ jacobian.T)
