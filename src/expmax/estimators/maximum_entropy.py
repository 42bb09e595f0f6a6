"""Maximum entropy as a scikit-learn estimator, and calibration of the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.reduce import make_compute
from expmax.data.reading import read_table
from expmax.errors import ConvergenceWarning, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.maxent.calibration import CalibrationResult, calibrate_rows
from expmax.maxent.features import forget_functions
from expmax.maxent.result import Summary
from expmax.maxent.solve import maximum_entropy
from expmax.maxent.supports import PointSet, read_support
from expmax.maxent.targets import Total, read_targets
from expmax.statistics import Array

__all__ = ["MaximumEntropy", "Total", "calibrate"]


class MaximumEntropy(DensityMixin, BaseEstimator):
    """The distribution of maximum entropy under moment constraints, as an estimator.

    With a `support` given and no `moments`, the moments are those of the rows passed to `fit`, and the fit
    is maximum likelihood in the exponential family of the features. Without a support the rows themselves
    are the points, and `moments` reweights them.

    Parameters
    ----------
    features : callable, column, or sequence or mapping of these, optional
        See `maximum_entropy`; default: every column, by itself.
    moments : number, sequence or mapping, optional
        Default: the weighted means of the features over the rows.
    support : array, Interval, Box, "line" or "half-line", optional
        Default: the rows.
    base_measure : array or callable, optional
        Without a support, `sample_weight` multiplies it.
    tolerance : number, sequence or mapping, optional
    names : sequence of str, optional
        Of the features.
    method : {"auto", "newton", "lbfgs"}
    max_iter : int
    tol : float
        How closely a moment is to be met where rounding is out of reach, in standard deviations of its
        feature.
    random_state : int, RandomState or None
        For `sample`.
    n_jobs : int, optional
        Threads; the result does not depend on their number.

    Attributes
    ----------
    result_ : MaximumEntropyResult
    family_ : MaximumEntropyFamily
        A component for `Mixture`.
    natural_ : ndarray, shape (m,)
        λ, the multipliers.
    entropy_, log_partition_, gap_ : float
        Nats.
    residuals_ : ndarray, shape (m,)
    status_ : str
    converged_ : bool
    log_likelihood_ : float
        Σ w_i log p(x_i) of the rows, nats.
    n_parameters_, n_iter_ : int

    References
    ----------
    Jaynes (1957), Phys. Rev. 106(4), 620-630.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import MaximumEntropy
    >>> rows = np.array([[0.5], [1.0], [4.5]])
    >>> model = MaximumEntropy(support="half-line").fit(rows)
    >>> model.natural_.round(9)  # an exponential of mean 2
    array([-0.5])
    """

    def __init__(
        self,
        features: Any = None,
        moments: Any = None,
        *,
        support: Any = None,
        base_measure: Any = None,
        tolerance: Any = None,
        names: Any = None,
        method: str = "auto",
        max_iter: int = 200,
        tol: float = 1e-9,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.features = features
        self.moments = moments
        self.support = support
        self.base_measure = base_measure
        self.tolerance = tolerance
        self.names = names
        self.method = method
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, sample_weight: ArrayLike | None = None) -> Self:
        """Solve the moment problem.

        Parameters
        ----------
        X : array or data frame, shape (n, d)
        y : ignored
        sample_weight : array, shape (n,), optional
            Weight k is k copies of a row.
        """
        prepare.positive_integer("max_iter", self.max_iter)
        table = read_table(X)
        prepare.validate_features(self, X, reset=True)
        prepare.refuse_empty(table)
        table.require_complete()
        rows = np.asarray(table.values, float)
        weight = prepare.check_weights(sample_weight, len(rows))
        names = None if table.names is None else tuple(table.names)
        self.result_ = maximum_entropy(
            self._features(rows, names),
            self.moments,
            support=PointSet(rows, len(rows), names) if self.support is None else self.support,
            base_measure=self._base(rows, weight),
            tolerance=self.tolerance,
            names=self._names(names),
            data=rows if self.moments is None else None,
            sample_weight=weight if self.moments is None else None,
            method=self.method,
            max_iter=self.max_iter,
            tol=self.tol,
            compute=make_compute(self.n_jobs),
        )
        self._keep(rows, weight)
        return self

    def _features(self, rows: Array, names: tuple[str, ...] | None) -> Any:
        if self.features is None:
            if self.support is not None:
                self._check_columns(rows.shape[1])
            return list(range(rows.shape[1]))
        given = self.features
        if names is None or self.support is None or isinstance(given, Mapping):
            return given
        if isinstance(given, str):
            given = [given]
        if isinstance(given, list | tuple):  # a support other than the rows knows no names
            return [names.index(f) if isinstance(f, str) and f in names else f for f in given]
        return given

    def _check_columns(self, n_columns: int) -> None:
        where = read_support(self.support)
        sides = getattr(where, "sides", getattr(where, "shape", (where,)))
        n_sides = where.matrix.shape[1] if isinstance(where, PointSet) else len(sides)
        if n_sides != n_columns:
            raise ParameterError(
                f"X has {n_columns} columns, but the support has {n_sides}; give a support for every column."
            )

    def _names(self, names: tuple[str, ...] | None) -> Any:
        if self.names is not None:
            return self.names
        if self.features is None:
            return names
        given = [self.features] if isinstance(self.features, str) else self.features
        named = isinstance(given, list | tuple) and all(isinstance(f, str) for f in given)
        return given if named else None

    def _base(self, rows: Array, weight: Array | None) -> Any:
        if self.support is not None or weight is None:
            return self.base_measure
        if self.base_measure is None:
            return weight
        base = self.base_measure
        if callable(base):
            base = base(rows[:, 0] if rows.shape[1] == 1 else rows)
        return weight * np.asarray(base, float)

    def _keep(self, rows: Array, weight: Array | None) -> None:
        result = self.result_
        self.family_ = result.family
        self.natural_, self.entropy_ = result.natural, result.entropy
        self.log_partition_, self.gap_ = result.log_partition, result.gap
        self.residuals_, self.status_ = result.residuals, result.status
        self.converged_ = result.status in ("solved", "boundary")
        self.n_iter_ = max(result.n_iter, 1)
        self.n_parameters_ = len(result.family.names)
        ones = np.ones(len(rows)) if weight is None else weight
        self._total_weight = float(ones.sum())
        used = ones > 0
        self.log_likelihood_ = float("nan")
        if np.isfinite(result.log_partition):
            self.log_likelihood_ = float(ones[used] @ result.log_density(rows[used]))
        if result.status == "max_iter":
            import warnings

            warnings.warn(
                f"MaximumEntropy stopped short: {result.reason or 'raise max_iter.'}",
                ConvergenceWarning,
                stacklevel=3,
            )

    def score_samples(self, X: Any) -> Array:
        """log p(x_i), nats: shape (n,); −∞ off the support."""
        check_is_fitted(self)
        table = read_table(X)
        prepare.validate_features(self, X, reset=False)
        prepare.refuse_empty(table)
        table.require_complete()
        return self.result_.log_density(np.asarray(table.values, float))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood a row, nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> Array:
        """Draw rows: shape (n_samples, d)."""
        check_is_fitted(self)
        prepare.positive_integer("n_samples", n_samples)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return np.asarray(self.result_.sample(n_samples, seed)).reshape(n_samples, -1)

    def aic(self, X: Any = None) -> float:
        """Akaike's criterion −2ℓ + 2p; smaller is better."""
        return -2.0 * self._total(X)[0] + 2.0 * self.n_parameters_

    def bic(self, X: Any = None) -> float:
        """Schwarz's criterion −2ℓ + p log n, n = Σ w; smaller is better."""
        log_likelihood, n = self._total(X)
        return -2.0 * log_likelihood + self.n_parameters_ * float(np.log(n))

    def _total(self, X: Any) -> tuple[float, float]:
        check_is_fitted(self)
        if X is None:
            return self.log_likelihood_, self._total_weight
        scores = self.score_samples(X)
        return float(scores.sum()), float(len(scores))

    def summary(self) -> Summary:
        """Constraints, multipliers and how it ended, as text."""
        check_is_fitted(self)
        return self.result_.summary()

    def save(self, path: str | PathLike[str]) -> None:
        """Write a model file (JSON) that `expmax.load` reads.

        On finitely many points the features are kept as numbers. On an interval or box their functions
        must be found again by name: columns, NumPy's functions, or those at the top of a module.

        Raises
        ------
        ParameterError
            A feature on an interval or box is a lambda or a local function.
        """
        from expmax.persistence import save

        save(self, path)

    def _portable(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor parameters fit for a model file: of functions, the names."""
        return {name: forget_functions(value) for name, value in parameters.items()}

    def plot(self, ax: Any = None) -> Any:
        """Draw the probabilities or the density; return the axes."""
        check_is_fitted(self)
        return self.result_.plot(ax)


def _is_pair(bounds: Any) -> bool:
    try:
        low, high = map(float, bounds)
    except (TypeError, ValueError):
        return False
    return low < high


def _columns_asked(table: Any, targets: Any, base_weights: Any) -> Any:
    """A data frame without the columns that nothing is asked of: they need be no numbers or text."""
    frame = nw.from_native(table, pass_through=True)
    if not (isinstance(frame, nw.DataFrame) and isinstance(targets, Mapping) and targets):
        return table
    keys = [part for key in targets for part in (key if isinstance(key, tuple) else (key,))]
    wanted = {*keys, base_weights} if isinstance(base_weights, str) else set(keys)
    names = frame.columns
    if not all(isinstance(key, str) and key in names for key in wanted):
        return table  # an error, or numbers of columns: the table as it stands says which
    return nw.to_native(frame.select([name for name in names if name in wanted]))


def _base_weights(read: Any, given: Any) -> Array:
    """d of each row."""
    if given is None:
        return np.ones(read.n_rows)
    try:
        weights = np.asarray(read.column(given).cells if isinstance(given, str) else given, float)
    except (TypeError, ValueError):
        raise parameter_error(
            "base_weights", "numbers, or the name of a column of them", given
        ) from None
    good = weights.shape == (read.n_rows,) and (np.isfinite(weights) & (weights >= 0)).all()
    if not good or not weights.any():
        rule = f"{read.n_rows} finite numbers of at least 0, not all of them 0"
        raise parameter_error("base_weights", rule, given)
    return weights


def calibrate(
    table: Any,
    targets: Mapping[Any, Any],
    *,
    base_weights: ArrayLike | str | None = None,
    total: float | None = None,
    bounds: tuple[float, float] | None = None,
    tolerance: Any = None,
    max_iter: int = 200,
    n_jobs: int | None = None,
) -> CalibrationResult:
    """Weights of the rows that meet named targets, as close to the base weights as can be.

    Minimises Σ w log(w/d) subject to the targets: survey raking and entropy balancing.

    Parameters
    ----------
    table : array or data frame
        pandas, polars, pyarrow or NumPy.
    targets : mapping
        By column, or by a tuple of columns for their crossing. A number, or a pair (low, high): the
        weighted mean of a column of numbers. A mapping from category to share: of a column of
        categories. `Total(…)` of a number or a mapping: weighted totals instead.
    base_weights : array or column, optional
        d; default 1.
    total : float, optional
        Σ w; by default what full sets of category totals sum to, or else Σ d.
    bounds : (low, high), optional
        On w/d.
    tolerance : number or mapping by target, optional
        Standard deviations of the targets, in their units, where they need not hold exactly.
    max_iter : int
    n_jobs : int, optional

    Returns
    -------
    CalibrationResult

    Raises
    ------
    InfeasibleMomentsError
        No weights meet the targets; the error names those in conflict and carries the proof.

    References
    ----------
    Deville & Särndal (1992), J. Amer. Statist. Assoc. 87(418), 376-382.
    Hainmueller (2012), Political Analysis 20(1), 25-46.

    Examples
    --------
    >>> import pandas as pd
    >>> from expmax import calibrate
    >>> sample = pd.DataFrame({"sex": ["f", "f", "f", "m"], "age": [30, 40, 50, 44]})
    >>> found = calibrate(sample, {"sex": {"f": 0.5, "m": 0.5}, "age": 43})
    >>> found.weights.round(4)
    array([0.4767, 0.6465, 0.8767, 2.    ])
    >>> round(found.effective_size, 2)
    2.96
    """
    prepare.positive_integer("max_iter", max_iter)
    if bounds is not None and not _is_pair(bounds):
        raise parameter_error("bounds", "a pair (low, high) with low < high", bounds)
    if total is not None and not (isinstance(total, int | float | np.number) and total > 0):
        raise parameter_error("total", "positive", total)
    read = read_table(_columns_asked(table, targets, base_weights), name="table")
    prepare.refuse_empty(read)
    d = _base_weights(read, base_weights)
    asked = read_targets(read, targets, d, total, tolerance)
    return calibrate_rows(asked, d, bounds=bounds, max_iter=max_iter, compute=make_compute(n_jobs))
