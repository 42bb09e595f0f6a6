"""`maximum_entropy`: from what a user asks to the distribution, whatever the support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.special import logsumexp

from expmax.errors import DataError, ParameterError, parameter_error
from expmax.maxent.continuous import solve_box
from expmax.maxent.domains import BoxDomain, PointDomain
from expmax.maxent.dual import Reducer
from expmax.maxent.family import MaximumEntropyDensity, MaximumEntropyPoints
from expmax.maxent.features import Features, read_features
from expmax.maxent.finite import Solution, solve_points
from expmax.maxent.margins import Margins, proportional_fit, read_margins
from expmax.maxent.moments import Moments, read_moments
from expmax.maxent.result import MaximumEntropyResult
from expmax.maxent.supports import Box, ContingencyTable, Interval, PointSet, read_support
from expmax.statistics import Array

__all__ = ["maximum_entropy"]

METHODS = ("auto", "newton", "lbfgs", "ipf")


def maximum_entropy(
    features: Any = None,
    moments: Any = None,
    *,
    support: Any = None,
    base_measure: Any = None,
    tolerance: Any = None,
    names: Sequence[str] | None = None,
    data: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    method: str = "auto",
    max_iter: int = 200,
    compute: Reducer | None = None,
) -> MaximumEntropyResult:
    """The distribution of maximum entropy with given moments of given features.

    Maximises −Σ p log(p/b) over distributions on the support with E_p[f] = Δ; the answer is
    p = b exp(λ·f − A(λ)).

    Parameters
    ----------
    features : callable, column, array, sparse matrix, sequence or mapping of these, optional
        Functions take points, shape (n,) in one dimension and (n, d) in more, and return shape (n,) or
        (n, k). A number or name is a column of the points. A matrix, dense or CSR, has one row a point.
        For a `ContingencyTable`: the margins, each an axis or a tuple of axes.
    moments : number, sequence or mapping by name
        Δ for each feature: a number, or a pair (low, high) that E[f] must lie between, either of them
        infinite or None. For margins: an array of sums each.
    support : array, Interval, Box, ContingencyTable, "line" or "half-line"
        Points of shape (n,) or (n, d); may be left out where features are a matrix.
    base_measure : array or callable, optional
        b ≥ 0 of each point, or as a function of points; default 1.
    tolerance : number, sequence or mapping, optional
        Standard deviations of the moments: adds −½ ((E[f] − Δ)/tolerance)² to the objective.
    names : sequence of str, optional
        Of the features.
    data : array, optional
        Rows to take the moments from, or a whole table; in place of `moments`.
    sample_weight : array, shape (n,), optional
        Weights of those rows.
    method : {"auto", "newton", "lbfgs", "ipf"}
        "auto" is Newton up to a thousand features, L-BFGS beyond; "ipf" is for margins.
    max_iter : int
    compute : Reducer, optional
        Who sums blocks of points, such as `expmax.compute.reduce.Threads(4)`.

    Returns
    -------
    MaximumEntropyResult

    Raises
    ------
    InfeasibleMomentsError
        No distribution on the support has these moments; the error carries the proof.
    ParameterError, DataError

    References
    ----------
    Jaynes (1957), Phys. Rev. 106(4), 620-630. Borwein & Lewis (1991), SIAM J. Control Optim. 29(2).

    Examples
    --------
    Jaynes's die: six faces, mean 4.5.

    >>> import numpy as np
    >>> found = maximum_entropy(lambda x: x, 4.5, support=np.arange(1, 7), names=["mean"])
    >>> found.natural
    array([0.371])
    >>> found.probabilities.round(4)
    array([0.0544, 0.0788, 0.1142, 0.1654, 0.2398, 0.3475])

    Mean and variance on the line give the Gaussian.

    >>> found = maximum_entropy([lambda x: x, lambda x: x**2], [1.0, 5.0], support="line")
    >>> found.natural.round(9)
    array([ 0.25 , -0.125])
    """
    if method not in METHODS:
        raise parameter_error("method", f"one of {METHODS}", method)
    given = isinstance(features, np.ndarray) and features.ndim == 2
    matrix = features if issparse(features) or given else None
    where = read_support(support, None if matrix is None else matrix.shape[0])
    if isinstance(where, ContingencyTable):
        margins = read_margins(features or (), moments, where, data)
        return _of_table(margins, base_measure, tolerance, method, max_iter, compute)
    if method == "ipf":
        raise ParameterError("method='ipf' fits margins of a ContingencyTable; use 'newton' here.")
    read = read_features(features, where, names)
    asked = _asked(read, moments, tolerance, data, sample_weight)
    options = {"method": method, "max_iter": max_iter, "compute": compute}
    if isinstance(where, PointSet):
        return _of_points(where, read, asked, base_measure, options)
    return _of_box(where, read, asked, base_measure, options)


def _asked(
    features: Features, moments: Any, tolerance: Any, data: Any, sample_weight: Any
) -> Moments:
    if moments is not None or data is None:
        if moments is None and len(features):
            raise ParameterError("moments must be given, or data to take them from.")
        return read_moments([] if moments is None else moments, features.names, tolerance)
    rows = np.asarray(data, float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    weight = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, float)
    if weight.shape != (len(rows),) or not (weight >= 0).all() or not weight.sum() > 0:
        raise parameter_error("sample_weight", f"{len(rows)} numbers of at least 0", sample_weight)
    return read_moments(weight @ features(rows) / weight.sum(), features.names, tolerance)


# -- points ----------------------------------------------------------------------------------------
def _of_points(
    where: PointSet, features: Features, moments: Moments, base_measure: Any, options: dict[str, Any]
) -> MaximumEntropyResult:
    values = where.matrix
    matrix = features.matrix if features.functions is None else features(values)
    if matrix is None:
        matrix = np.empty((where.n, 0))
    if not issparse(matrix) and not np.isfinite(matrix).all():
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
        return np.log(base)


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
    live = np.flatnonzero(np.isfinite(found.log_density))
    p = np.exp(found.log_density[live])
    log_b = log_base[live]
    kept = found.kept
    domain = PointDomain(values[live], features, matrix[live], log_b)
    part = PointDomain(values[live], features, matrix[live][:, kept], log_b)
    family = MaximumEntropyPoints(part, tuple(moments.names[j] for j in kept))
    total = float(logsumexp(log_base[np.isfinite(log_base)]))
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
        reason="",
        redundant=tuple(moments.names[j] for j in found.redundant),
        zero_points=dead,
        n_iter=found.n_iter,
        family=family,
        domain=domain,
        moments=moments,
        log_probabilities=found.log_density,
        **table,
    )


# -- contingency tables ----------------------------------------------------------------------------
def _of_table(
    margins: Margins,
    base_measure: Any,
    tolerance: Any,
    method: str,
    max_iter: int,
    compute: Reducer | None,
) -> MaximumEntropyResult:
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
        fitted = solve_points(
            matrix, log_base, moments, method=other, max_iter=max_iter, compute=compute
        )
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
def _of_box(
    where: Interval | Box,
    features: Features,
    moments: Moments,
    base_measure: Any,
    options: dict[str, Any],
) -> MaximumEntropyResult:
    base = _log_base_of_box(base_measure)
    found = solve_box(where, features, base, moments, **options)
    kept = np.delete(np.arange(len(moments)), found.redundant)
    domain = BoxDomain(where, features, base)
    part = domain if len(kept) == len(moments) else BoxDomain(where, _some(features, kept), base)
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


def _log_base_of_box(base_measure: Any) -> Callable[[Array], Array]:
    if base_measure is None:
        return lambda x: np.zeros(len(x))
    if not callable(base_measure):
        raise parameter_error("base_measure", "a function of points here", base_measure)

    def log_base(x: Array) -> Array:
        values = np.asarray(base_measure(x[:, 0] if x.shape[1] == 1 else x), float)
        with np.errstate(divide="ignore"):
            return np.broadcast_to(np.log(values), len(x))

    return log_base


def _some(features: Features, kept: NDArray[np.intp]) -> Callable[[Array], Array]:
    return lambda x: features(x)[:, kept]


def _log_total(domain: BoxDomain, m: int, base_measure: Any) -> float:
    """log ∫ b where it is finite, else 0: the divergence is then to b itself."""
    if base_measure is None:
        volume = float(np.prod(domain.ends[:, 1] - domain.ends[:, 0]))
        return float(np.log(volume)) if np.isfinite(volume) else 0.0
    total = domain.integrals(np.zeros(m)).log_partition
    return total if np.isfinite(total) else 0.0
