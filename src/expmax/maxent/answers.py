"""Moment problems by kind of support, each solved and made into a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from expmax.errors import DataError, parameter_error
from expmax.maxent.continuous import solve_box
from expmax.maxent.domains import BoxDomain, PointDomain
from expmax.maxent.family import MaximumEntropyDensity, MaximumEntropyPoints
from expmax.maxent.features import Features, Some
from expmax.maxent.finite import Solution, solve_points
from expmax.maxent.margins import Margins, proportional_fit
from expmax.maxent.moments import Moments, read_moments
from expmax.maxent.result import MaximumEntropyResult
from expmax.maxent.supports import Box, Interval, PointSet
from expmax.statistics import Array

__all__ = ["of_box", "of_points", "of_table"]


SMALL = 1 << 18  # numbers in the indicators of a table up to which dense ones are quicker


# -- points ----------------------------------------------------------------------------------------
def of_points(
    where: PointSet,
    features: Features,
    moments: Moments,
    base_measure: Any,
    options: dict[str, Any],
) -> MaximumEntropyResult:
    """Over given points."""
    values = where.matrix
    matrix = features.matrix if features.functions is None else features(values)
    if matrix is None:
        matrix = np.empty((where.n, 0))
    if features.functions is not None and not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise DataError(
            f"feature {features.names[column]!r} is {matrix[row, column]} at point {row}; leave the "
            "point out of the support or correct the feature."
        )
    log_base = _log_base_of_points(base_measure, where)
    found = solve_points(matrix, log_base, moments, **options)
    return result_of_points(values, features, matrix, log_base, moments, found)


def _log_base_of_points(base_measure: Any, where: PointSet) -> Array:
    if base_measure is None:
        return np.zeros(where.n)
    if callable(base_measure):
        values = where.matrix
        base_measure = base_measure(values[:, 0] if values.shape[1] == 1 else values)
    base = np.asarray(base_measure, float).ravel()
    if base.shape != (where.n,) or not (np.isfinite(base) & (base >= 0)).all() or not base.any():
        rule = f"{where.n} finite numbers of at least 0, one a point"
        raise parameter_error("base_measure", rule, base_measure)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(base))


def result_of_points(
    values: Array,
    features: Features,
    matrix: Any,
    log_base: Array,
    moments: Moments,
    found: Solution,
    **table: Any,
) -> MaximumEntropyResult:
    """A result from the solution over points."""
    live: Any = np.flatnonzero(np.isfinite(found.log_density))
    if len(live) == len(found.log_density):
        live = slice(None)
    p = np.exp(found.log_density[live])
    log_b = log_base[live]
    kept = found.kept
    domain = PointDomain(values[live], features, matrix[live], log_b)
    part = domain
    if len(kept) < len(moments):
        part = PointDomain(values[live], features, matrix[live][:, kept], log_b)
    family = MaximumEntropyPoints(part, tuple(moments.names[j] for j in kept))
    total = float(np.logaddexp.reduce(log_base))
    dead = np.flatnonzero(np.isneginf(found.log_density) & np.isfinite(log_base))
    return MaximumEntropyResult(
        names=moments.names,
        natural=found.natural,
        log_partition=found.log_partition,
        entropy=found.relative_entropy - float(p @ log_b),
        kl_to_base=total - found.relative_entropy,
        mean=found.mean,
        residuals=moments.distance(found.mean),
        gap=found.gap,
        error=0.0,
        status=found.status,
        reason=_reason(found),
        redundant=tuple(moments.names[j] for j in found.redundant),
        zero_points=dead,
        n_iter=found.n_iter,
        family=family,
        domain=domain,
        moments=moments,
        log_probabilities=found.log_density,
        **table,
    )


def _reason(found: Solution) -> str:
    """Why a descent that stopped short did, and what helps."""
    if found.status != "max_iter":
        return ""
    return (
        f"the moments are met to {found.residual:.1e} standard deviations of their features after "
        f"{found.n_iter} iterations. Where there are about as many exact constraints as points, digits come "
        "slowly: give a tolerance or intervals, accept less with tol, or raise max_iter."
    )


# -- contingency tables ----------------------------------------------------------------------------
def of_table(
    margins: Margins,
    base_measure: Any,
    tolerance: Any,
    method: str,
    options: dict[str, Any],
) -> MaximumEntropyResult:
    """Over the cells of a contingency table."""
    shape = tuple(margins.table.shape)
    n = int(np.prod(shape))
    log_base = _log_base_of_points(base_measure, PointSet(None, n))
    matrix = margins.indicators()
    names, targets = margins.names, margins.targets
    spread = None if tolerance is None else np.broadcast_to(tolerance, len(names)) / margins.total
    moments = read_moments(targets, names, spread)
    fitted = None
    if method == "ipf" or (method == "auto" and len(names) > 1000 and tolerance is None):
        fitted = _proportional(margins, matrix, log_base, moments)
    if fitted is None:
        other = "auto" if method == "ipf" else method
        rows = matrix if n * len(names) > SMALL else matrix.toarray()
        fitted = solve_points(rows, log_base, moments, method=other, **options)
    cells = np.indices(shape).reshape(len(shape), -1).T.astype(float)
    features = Features(names, None, matrix)
    return result_of_points(
        cells, features, matrix, log_base, moments, fitted, shape=shape, total=margins.total
    )


def _proportional(
    margins: Margins, matrix: Any, log_base: Array, moments: Moments
) -> Solution | None:
    base = np.exp(log_base).reshape(margins.table.shape)
    p, multipliers, sweeps, done = proportional_fit(margins, base)
    if not done:
        return None  # Newton and the linear program say why
    natural = np.concatenate([values.ravel() for values in multipliers])
    live = p.ravel() > 0
    scores = np.where(live, matrix @ natural + log_base, -np.inf)
    log_partition = float(logsumexp(scores))
    log_density = scores - log_partition
    mean = np.asarray(matrix.T @ np.exp(log_density), float)
    gap = float(natural @ (mean - moments.lower))
    boundary = live.sum() < np.isfinite(log_base).sum()
    return Solution(
        natural,
        log_partition,
        log_density,
        mean,
        abs(gap),
        log_partition - float(natural @ mean),
        "boundary" if boundary else "solved",
        np.zeros(0, np.intp),
        np.arange(len(natural)),
        sweeps,
    )


# -- boxes -----------------------------------------------------------------------------------------
def of_box(
    where: Interval | Box,
    features: Features,
    moments: Moments,
    base_measure: Any,
    options: dict[str, Any],
) -> MaximumEntropyResult:
    """Over an interval or a box."""
    if base_measure is not None and not callable(base_measure):
        raise parameter_error("base_measure", "a function of points here", base_measure)
    base = LogBase(base_measure)
    found = solve_box(where, features, base, moments, **options)
    kept = np.delete(np.arange(len(moments)), found.redundant)
    domain = BoxDomain(where, features, base)
    part = domain if len(kept) == len(moments) else BoxDomain(where, Some(features, kept), base)
    there = domain.integrals(found.natural) if np.isfinite(found.relative_entropy) else None
    log_base = np.nan if there is None else there.log_base
    total = _log_total(domain, len(moments), base_measure)
    objective = found.relative_entropy
    return MaximumEntropyResult(
        names=moments.names,
        natural=found.natural,
        log_partition=found.log_partition,
        entropy=objective if base_measure is None else objective - log_base,
        kl_to_base=total - objective,
        mean=found.mean,
        residuals=moments.distance(found.mean),
        gap=found.gap,
        error=found.error,
        status=found.status,
        reason=found.reason,
        redundant=tuple(moments.names[j] for j in found.redundant),
        zero_points=np.zeros(0, np.intp),
        n_iter=found.n_iter,
        family=MaximumEntropyDensity(part, tuple(moments.names[j] for j in kept)),
        domain=domain,
        moments=moments,
    )


@dataclass(frozen=True, slots=True)
class LogBase:
    """log b of points of a box; 0 without a base measure."""

    base_measure: Callable[[Array], Any] | None

    def __call__(self, x: Array) -> Array:
        """log b(x): shape (n,)."""
        if self.base_measure is None:
            return np.zeros(len(x))
        values = np.asarray(self.base_measure(x[:, 0] if x.shape[1] == 1 else x), float)
        with np.errstate(divide="ignore"):
            return np.asarray(np.broadcast_to(np.log(values), len(x)), float)


def _log_total(domain: BoxDomain, m: int, base_measure: Any) -> float:
    """log ∫ b where it is finite, else 0: the divergence is then to b itself."""
    if base_measure is None:
        volume = float(np.prod(domain.ends[:, 1] - domain.ends[:, 0]))
        return float(np.log(volume)) if np.isfinite(volume) else 0.0
    total = domain.integrals(np.zeros(m)).log_partition
    return total if np.isfinite(total) else 0.0
