"""The drop-in for scikit-learn's `GaussianMixture`: its names, shapes and methods on our engine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.data.tables import Table
from expmax.engine.arguments import check_flag
from expmax.engine.loop import Run
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.errors import ConvergenceWarning, DataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.gaussian_search import TRAIL, GaussianSearch, cut_history
from expmax.estimators.gaussian_shapes import expand, from_published, published, published_shape
from expmax.estimators.gaussian_starts import RECIPES
from expmax.estimators.outcome import not_converged
from expmax.estimators.search import EFFORT
from expmax.estimators.shared import check_run
from expmax.estimators.sklearn_arguments import (
    check_precisions,
    check_weights,
    in_their_words,
    inverse_of,
    one_of,
    shaped,
)
from expmax.estimators.training import Training
from expmax.families.base import Family
from expmax.families.covariance import STRUCTURES
from expmax.families.gaussian import ALIASES, Gaussian
from expmax.models.mixture import Group, MixtureModel, MixtureParameters
from expmax.priors import ConjugatePrior
from expmax.statistics import Array

__all__ = ["GaussianMixture"]

NO_CONVERGENCE = (
    "Best performing initialization did not converge. Try different init parameters, or increase "
    "max_iter, tol, or check for degenerate data."
)


class GaussianMixture(GaussianSearch):
    """A mixture of Gaussians under scikit-learn's names: change the import and go on.

    Parameters
    ----------
    n_components : int
        K.
    covariance_type : str
        "full", "tied", "diag", "spherical", or one of mclust's 14 names (VVV, EEV, …).
    tol : float
        Nats of the total log-likelihood that may be left to gain (scikit-learn: change of the mean
        between two iterations).
    reg_covar : float
        ε, added to the diagonal of every covariance in the M-step. What is maximised is
        Π_i Σ_k w_k N(x_i | μ_k, Σ_k) exp(−½ ε tr Σ_k⁻¹), so that the ascent stays monotone. A
        component that nothing but ε keeps from collapsing is named: status_ "degenerate" and a
        warning; with reg_covar=0 it is an error.
    max_iter : int
        Parameter updates of the final run; 0 returns the start.
    n_init : "auto" or int
        "auto" searches over starts (see `effort`); a number is that many starts made by
        `init_params`.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}
        Recipe of the starts where n_init is a number, and of what the three `*_init` leave open.
    weights_init : array, shape (K,), optional
    means_init : array, shape (K, d), optional
    precisions_init : array, optional
        Inverse covariances, shaped like `precisions_`. With any of the three, a single start is
        made unless n_init is a number.
    random_state : int, RandomState or None
    warm_start : bool
        Whether `fit` goes on from the last parameters.
    verbose : int
        1 prints the starts and every `verbose_interval`-th iteration of the final run, once it is
        done; 2 also the gains.
    verbose_interval : int
    prior, fixed, effort, accelerate, certify, n_jobs, progress
        As in `Mixture`.

    Attributes
    ----------
    weights_ : ndarray, shape (K,)
    means_ : ndarray, shape (K, d)
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Shape (K, d, d) for "full", (d, d) for "tied" and EEE, (K, d) for "diag" and its kin (EEI,
        VEI, EVI, VVI), (K,) for "spherical" and EII. Predictions read weights_, means_ and
        precisions_cholesky_, so that a model may also be put together by setting these.
    log_likelihood_ : float
        Σ w_i log p(x_i), nats, without the penalty, at these parameters.
    lower_bound_ : float
        What is maximised, a row, nats: the mean log-likelihood with the penalty of reg_covar in it,
        which makes it a lower bound (equal to the mean for reg_covar=0).
    lower_bounds_ : list of float
        The same after each iteration.
    converged_ : bool
        Whether the estimated gain still to be had is below tol (never that little changed).
    status_, n_iter_, n_expect_, history_, starts_, n_parameters_, params_

    See Also
    --------
    Mixture : the same for any family of distributions.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [3, 2], [10, 2], [10, 4], [10, 0], [8, 2]])
    >>> model = GaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
    >>> model.means_.round(3)
    array([[1.5, 2. ],
           [9.5, 2. ]])
    >>> model.predict([[0, 0], [12, 3]])
    array([0, 1])
    """

    covariances_: NDArray[Any]
    precisions_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-4,
        reg_covar: float = 1e-6,
        max_iter: int = 1000,
        n_init: int | str = "auto",
        init_params: str = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        prior: ConjugatePrior | float | None = None,
        fixed: Mapping[Any, Any] | None = None,
        effort: str = "default",
        accelerate: str | None = "auto",
        certify: bool = True,
        n_jobs: int | None = None,
        progress: Any = False,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.prior = prior
        self.fixed = fixed
        self.effort = effort
        self.accelerate = accelerate
        self.certify = certify
        self.n_jobs = n_jobs
        self.progress = progress

    # -- arguments ---------------------------------------------------------------------------------
    def _check_parameters(self) -> None:
        prepare.positive_integer("n_components", self.n_components)
        check_run(
            tol=self.tol,
            max_iter=self.max_iter,
            n_init=self.n_init,
            random_state=self.random_state,
            progress=self.progress,
            least_iter=0,
        )
        check_flag("certify", self.certify)
        prepare.refuse_tolerance(self.reg_covar, "reg_covar")
        prepare.positive_integer("verbose_interval", self.verbose_interval)
        if not isinstance(self.verbose, bool | np.bool_):
            prepare.positive_integer("verbose", self.verbose, 0)
        one_of("covariance_type", self.covariance_type, (*ALIASES, *STRUCTURES))
        one_of("init_params", self.init_params, RECIPES)
        one_of("effort", self.effort, EFFORT)
        if not isinstance(self.warm_start, bool | np.bool_):
            raise parameter_error("warm_start", "True or False", self.warm_start)

    def _families(self) -> list[Family]:
        n = prepare.positive_integer("n_components", self.n_components)
        return [Gaussian(self.covariance_type, float(self.reg_covar))] * n

    def _read_training(self, X: Any, sample_weight: Any, labels: Any) -> Any:
        x, weight, label = super()._read_training(X, sample_weight, labels)
        if len(x) < 2:
            raise DataError(
                f"Found array with {len(x)} sample(s) (shape={x.shape}) while a minimum of 2 is "
                "required by GaussianMixture."
            )
        self._warn_of_small_columns(x)
        return x, weight, label

    def _warn_of_small_columns(self, x: NDArray[Any]) -> None:
        """A column that varies less than ε is blurred by it, which scikit-learn never says."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
            half_range = 0.5 * (np.nanmax(x, axis=0) - np.nanmin(x, axis=0)).astype(float)
        small = (half_range > 0) & (half_range < np.sqrt(self.reg_covar))
        if small.any():
            column = int(np.argmax(small))
            warnings.warn(
                f"column {column} has a variance of at most {half_range[column] ** 2:.2g}, below "
                f"reg_covar={self.reg_covar:g}, which blurs it; rescale the data or lower "
                "reg_covar.",
                UserWarning,
                stacklevel=4,
            )

    def _given(self, n_columns: int) -> dict[str, Array]:
        """The checked `*_init` that were given, as float64: weights, means, covariances (K, …)."""
        k, given = int(self.n_components or 0), {}
        if self.weights_init is not None:
            given["weights"] = check_weights(self.weights_init, k)
        if self.means_init is not None:
            given["means"] = shaped("means", self.means_init, (k, n_columns))
        if self.precisions_init is not None:
            kind = self.covariance_type
            shape = published_shape(kind, k, n_columns)
            precisions = check_precisions(self.precisions_init, kind, shape)
            inverse = inverse_of(precisions, matrices=not Gaussian(kind).diagonal)
            given["covariances"] = expand(kind, inverse, k, n_columns)
        return given

    # -- results -----------------------------------------------------------------------------------
    @property
    def _keeps_order(self) -> bool:
        given = (self.weights_init, self.means_init, self.precisions_init, self.fixed)
        return self._continues or any(value is not None for value in given)

    def _accept(self, result: Search) -> Run:
        run = result.best
        if run is not None and run.status == "degenerate" and run.point.finite:
            asked = self._keeps_order and len(run.history) - 1 >= self.max_iter
            if self.reg_covar > 0 or asked:  # the user's own start, stopped where the user said
                return run
        with in_their_words():
            return super()._accept(result)

    def _build(self, x: NDArray[Any], weight: Array | None) -> MixtureModel:
        with in_their_words():
            return super()._build(x, weight)

    def _keep(self, training: Training, result: Search) -> None:
        self._dtype = training.rows.x.dtype.name
        super()._keep(training, result)
        run = result.best
        assert run is not None
        expectation = run.point.expectation
        counted = [i for i, step in enumerate(run.history.step) if step not in ("newton", "escape")]
        after = [run.history.log_likelihood[i] / expectation.weight for i in counted[1:]]
        self.lower_bound_ = float(expectation.log_likelihood / expectation.weight)
        self.n_iter_ = min(
            len(after), int(self.max_iter)
        )  # the certificate's steps are not counted
        self.lower_bounds_ = [*after[: self.n_iter_ - 1], self.lower_bound_][: self.n_iter_]
        if self.warm_start and not hasattr(self, "_trail"):
            self._trail = cut_history(run.history, slice(-TRAIL, None))
        if self.reg_covar > 0 or self._dtype == "float32":
            self._measure(training.problem)
        if self.verbose:
            self._print(run, result)

    def _measure(self, problem: Problem) -> None:
        """The plain log-likelihood at the parameters as they were rounded and published."""
        plain, params = self._fitted()
        point = Problem(plain, problem.blocks, problem.compute).at(params)
        self.log_likelihood_ = float(point.expectation.log_likelihood)
        self._entropy = float(point.expectation.entropy)
        self.n_expect_ += 1

    def _publish(self) -> None:
        super()._publish()
        part, dtype = self._parameters.components[0], self._dtype
        self.weights_ = self.weights_.astype(dtype)
        self.means_ = part["mean"].astype(dtype)
        self.covariances_, self.precisions_, self.precisions_cholesky_ = (
            np.array(array, dtype) for array in published(self.covariance_type, part)
        )

    def _warn_not_converged(self, run: Run) -> None:
        if self.max_iter == 0:
            return
        message = not_converged(self, run)
        if run.status == "degenerate" and run.degeneracies:
            found = run.degeneracies[0]
            message = (
                f"component {found.component} collapses ({found.reason}): nothing but "
                f"reg_covar={self.reg_covar:g} holds it up, and without that the likelihood is "
                'unbounded there. Use fewer components, covariance_type="tied", or a prior.'
            )
        warnings.warn(f"{NO_CONVERGENCE} {message}", ConvergenceWarning, stacklevel=6)

    def _print(self, run: Run, result: Search) -> None:
        if isinstance(self.n_init, str):
            print(f"Search over {len(result.records)} start(s)")
        else:
            for i, record in enumerate(result.records):
                print(f"Initialization {i}")
                if self.verbose > 1:
                    print(f"  {record.kind}: {record.status} at {record.objective:.5f}")
        bounds = [run.history.log_likelihood[0] / run.point.expectation.weight, *self.lower_bounds_]
        for i in range(self.verbose_interval, len(bounds), int(self.verbose_interval)):
            gain = f"\t ll change {bounds[i] - bounds[i - 1]:.5f}" if self.verbose > 1 else ""
            print(f"  Iteration {i}{gain}")
        end = "converged" if self.converged_ else f"did not converge ({self.status_})"
        print(f"Initialization {end}.\t lower bound {self.lower_bound_:.5f}.")

    # -- use ---------------------------------------------------------------------------------------
    def _fitted(self) -> tuple[MixtureModel, MixtureParameters]:
        """Model and parameters as the public attributes have them, whoever set those."""
        mean = np.asarray(self.means_, float)
        k, d = mean.shape
        part = from_published(
            self.covariance_type, mean, np.asarray(self.precisions_cholesky_, float)
        )
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.asarray(self.weights_, float))
        family = Gaussian(self.covariance_type).bind(np.zeros((1, d)))
        groups, model = (Group(family, np.arange(k)),), getattr(self, "_model", None)
        if model is None or model.n_components != k:
            model = MixtureModel(groups, k)
        return replace(model, groups=groups), MixtureParameters(log_weights, (part,))

    def _encode(self, table: Table) -> tuple[NDArray[Any], dict[int, list[Any]]]:
        return table.values, {}

    def _assign(self, X: Any) -> tuple[Array, Array]:
        r, log_density = super()._assign(X)
        if np.asarray(self.means_).dtype == np.float32 == getattr(X, "dtype", None):
            return r.astype(np.float32), log_density.astype(np.float32)
        return r, log_density

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw rows and the components that they came from, bit for bit as scikit-learn does."""
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ParameterError(
                f"Invalid value for 'n_samples': {n_samples!r}. It must be an integer of at least "
                "1."
            )
        rng = check_random_state(self.random_state)
        weights = np.asarray(self.weights_, float)
        counts = rng.multinomial(n_samples, weights / weights.sum())
        means, covariances = np.asarray(self.means_), np.asarray(self.covariances_)
        if not Gaussian(self.covariance_type).diagonal:
            matrices = np.broadcast_to(covariances, (len(means), *covariances.shape[-2:]))
            rows = [
                rng.multivariate_normal(mean, matrix, int(count))
                for mean, matrix, count in zip(means, matrices, counts, strict=True)
            ]
        else:
            rows = [
                mean + rng.standard_normal((count, len(mean))) * np.sqrt(variance)
                for mean, variance, count in zip(means, covariances, counts, strict=True)
            ]
        return np.vstack(rows).astype(float), np.repeat(np.arange(len(counts)), counts)

    def _n_parameters(self) -> int:
        """scikit-learn's own name for `n_parameters_`, which its users call."""
        return self.n_parameters_
