"""`maximum_entropy`: from what a user asks to the distribution, whatever the support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expmax.errors import DataError, ParameterError, parameter_error
from expmax.maxent.answers import of_box, of_points, of_table
from expmax.maxent.arrays import is_sparse
from expmax.maxent.dual import Reducer
from expmax.maxent.features import Features, read_features
from expmax.maxent.finite import MET
from expmax.maxent.margins import read_margins
from expmax.maxent.moments import Moments, read_moments
from expmax.maxent.result import MaximumEntropyResult
from expmax.maxent.supports import ContingencyTable, PointSet, read_support

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
    tol: float = MET,
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
    support : array, Interval or pair (low, high), Box, ContingencyTable, "line" or "half-line"
        Points of shape (n,) or (n, d), as an array or a list; may be left out where features are a matrix.
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
    tol : float
        A moment is met where E[f] is this near, in units of the feature's standard deviation. The default
        of 1e-9 is what is asked where rounding is out of reach; more makes large problems end sooner.
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
    if not (isinstance(max_iter, int | np.integer) and max_iter >= 1):
        raise parameter_error("max_iter", "an integer of at least 1", max_iter)
    if not 0 < tol < 1:
        raise parameter_error("tol", "between 0 and 1", tol)
    given = isinstance(features, np.ndarray) and features.ndim == 2
    matrix = features if is_sparse(features) or given else None
    options: dict[str, Any] = {"max_iter": max_iter, "tol": tol, "compute": compute}
    where = read_support(support, None if matrix is None else matrix.shape[0])
    if isinstance(where, ContingencyTable):
        margins = read_margins(features or (), moments, where, data)
        return of_table(margins, base_measure, tolerance, method, options)
    if method == "ipf":
        raise ParameterError("method='ipf' fits margins of a ContingencyTable; use 'newton' here.")
    read = read_features(features, where, names)
    asked = _asked(read, moments, tolerance, data, sample_weight)
    options["method"] = method
    if isinstance(where, PointSet):
        return of_points(where, read, asked, base_measure, options)
    return of_box(where, read, asked, base_measure, options)


def _asked(
    features: Features, moments: Any, tolerance: Any, data: Any, sample_weight: Any
) -> Moments:
    if moments is not None and data is not None:
        raise ParameterError("give moments, or data to take them from; not both.")
    if sample_weight is not None and data is None:
        raise ParameterError("sample_weight weighs the rows of data; give data.")
    if moments is not None or data is None:
        if moments is None and len(features):
            raise ParameterError("moments must be given, or data to take them from.")
        return read_moments([] if moments is None else moments, features.names, tolerance)
    rows = np.asarray(data, float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if not np.isfinite(rows).all():
        row = int(np.argwhere(~np.isfinite(rows))[0][0])
        raise DataError(
            f"data holds a missing or infinite value (row {row}); drop the row or impute it."
        )
    weight = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, float)
    if weight.shape != (len(rows),) or not (weight >= 0).all() or not weight.sum() > 0:
        raise parameter_error("sample_weight", f"{len(rows)} numbers of at least 0", sample_weight)
    return read_moments(weight @ features(rows) / weight.sum(), features.names, tolerance)
