"""The drop-in for scikit-learn's `GaussianMixture`: its names, shapes and methods on our engine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.reduce import tree_sum
from expmax.contract import Degeneracy, Start
from expmax.data.tables import Table
from expmax.engine.history import History
from expmax.engine.loop import WARM_UP, Run, ascend
from expmax.engine.problem import Problem
from expmax.engine.starts import Budget, Search, climber, search
from expmax.errors import (
    ConvergenceWarning,
    DataError,
    DegenerateComponentError,
    ParameterError,
    parameter_error,
)
from expmax.estimators import preparation as prepare
from expmax.estimators.mixture import (
    EFFORT,
    Mixture,
    _not_converged,
    _single,
    _spike_rule,
)
from expmax.families.base import Family
from expmax.families.covariance import STRUCTURES
from expmax.families.gaussian import ALIASES, Gaussian, with_precision
from expmax.families.parameters import all_finite
from expmax.models.mixture import Group, MixtureModel, MixtureParameters
from expmax.models.mixture_starts import BLENDS
from expmax.priors import ConjugatePrior
from expmax.statistics import Array

__all__ = ["GaussianMixture"]

RECIPES = ("kmeans", "k-means++", "random", "random_from_data")
CLOSED = ("VVV", "EEE", "VVI", "VII", "EII", "EEI")  # their M-step needs no start
TRAIL = 16  # steps of earlier fits that a warm start remembers
LENIENT_STARTS = 10  # starts when only reg_covar holds the components up and n_init is "auto"
NO_CONVERGENCE = (
    "Best performing initialization did not converge. Try different init parameters, or increase "
    "max_iter, tol, or check for degenerate data."
)
ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the number "
    "of components, increase reg_covar, or scale the input data."
)


class GaussianMixture(Mixture):
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
    prior, fixed, effort, accelerate, n_jobs, progress
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

    family: Any = None
    init: Any = None
    means_: NDArray[Any]
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
        self.n_jobs = n_jobs
        self.progress = progress

    # -- arguments ---------------------------------------------------------------------------------
    def _check_parameters(self) -> None:
        prepare.positive_integer("n_components", self.n_components)
        prepare.refuse_tolerance(self.tol)
        prepare.refuse_tolerance(self.reg_covar, "reg_covar")
        prepare.refuse_random_state(self.random_state)
        prepare.positive_integer("max_iter", self.max_iter, 0)
        if not (isinstance(self.n_init, str) and self.n_init == "auto"):
            if isinstance(self.n_init, str):
                raise parameter_error("n_init", '"auto" or an integer of at least 1', self.n_init)
            prepare.positive_integer("n_init", self.n_init)
        prepare.positive_integer("verbose_interval", self.verbose_interval)
        if not isinstance(self.verbose, bool | np.bool_):
            prepare.positive_integer("verbose", self.verbose, 0)
        _one_of("covariance_type", self.covariance_type, (*ALIASES, *STRUCTURES))
        _one_of("init_params", self.init_params, RECIPES)
        _one_of("effort", self.effort, EFFORT)
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
            given["weights"] = _check_weights(self.weights_init, k)
        if self.means_init is not None:
            given["means"] = _shaped("means", self.means_init, (k, n_columns))
        if self.precisions_init is not None:
            precisions = _check_precisions(
                self.precisions_init, self.covariance_type, self._shape(k, n_columns)
            )
            given["covariances"] = self._expand(_inverse(precisions, self._matrices), k, n_columns)
        return given

    # -- shapes ------------------------------------------------------------------------------------
    @property
    def _structure(self) -> str:
        return ALIASES.get(self.covariance_type, self.covariance_type)

    @property
    def _matrices(self) -> bool:
        """Whether covariances are published as matrices."""
        return not Gaussian(self.covariance_type).diagonal

    def _shape(self, k: int, d: int) -> tuple[int, ...]:
        """Shape of covariances_, precisions_ and precisions_cholesky_."""
        if self._structure == "EEE":
            return (d, d)
        if self._matrices:
            return (k, d, d)
        return (k,) if self._structure[1] == "I" else (k, d)

    def _expand(self, published: Array, k: int, d: int) -> Array:
        """A published array as one matrix, or one row of variances, a component."""
        if self._matrices:
            if d == 1:
                return np.broadcast_to(published.reshape(-1, 1), (k, 1))
            return np.broadcast_to(published, (k, d, d))
        return np.broadcast_to(published[:, None] if published.ndim == 1 else published, (k, d))

    # -- search ------------------------------------------------------------------------------------
    def _search(
        self,
        problem: Problem,
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
    ) -> Search:
        """Find a proper maximum; where there is none, what reg_covar alone holds up."""
        given = self._given(x.shape[1])
        n_distinct = self._too_few_rows(x)
        if n_distinct:
            reason = f"{self.n_components} components share {n_distinct} distinct rows"
            result = Search(reasons=[reason])
        else:
            result = self._attempt(problem, given, x, weight, label)
        best = result.best
        if self.reg_covar == 0 or not (best is None or best.status == "degenerate"):
            return result
        strict: MixtureModel = problem.model
        lenient = Problem(_Lenient.of(strict), problem.blocks, problem.compute, problem.n_expect)
        result = self._attempt(lenient, given, x, weight, label)
        problem.n_expect = lenient.n_expect
        run = result.best
        if run is not None:
            point = run.point
            run.degeneracies = strict.degeneracies(point.params, point.expectation.statistics)
            if run.degeneracies:
                run.status = "degenerate"
            elif run.status == "uncertified":
                result.best = self._climb(problem, run, np.random.default_rng(0))
        return result

    def _too_few_rows(self, x: NDArray[Any]) -> int:
        """The number of distinct rows where it is at most K: each component may sit on one; else 0."""
        k = int(self.n_components or 0)
        if self.prior is not None or k == 1 or len(x) > 2 * k:
            return 0
        n_distinct = len(np.unique(x, axis=0))
        return n_distinct if n_distinct <= k else 0

    def _attempt(
        self,
        problem: Problem,
        given: dict[str, Array],
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
    ) -> Search:
        model: MixtureModel = problem.model
        lenient = isinstance(model, _Lenient)
        if self._continues:
            return self._continue_fit(problem, x.shape[1])
        automatic = isinstance(self.n_init, str) and not given and self.max_iter > 0
        if model.n_components == 1 and not given and self.max_iter > 0:
            return super()._search(problem, x, weight, label)
        if automatic and not lenient:
            return super()._search(problem, x, weight, label)
        starts = _Starts(self, problem, given, x, weight, label)
        n = LENIENT_STARTS if automatic else 1 if isinstance(self.n_init, str) else int(self.n_init)
        if self.max_iter == 0 or len(given) == 3:
            n = 1
        return self._from_starts(problem, starts, n, x.shape[1])

    def _from_starts(self, problem: Problem, starts: _Starts, n: int, n_columns: int) -> Search:
        """Run n starts to their ends, then certify the best."""
        rng = None if isinstance(problem.model, _Lenient) else np.random.default_rng(0)
        if n == 1:
            start = next(starts.starts(iter([np.random.default_rng(0)])), None)
            if start is None:
                return Search(reasons=["the start is singular"])
            run = self._climb(problem, Run(problem.at(start.params), "max_iter", History()), None)
            if rng is not None and run.status == "uncertified":
                run = self._climb(problem, run, rng)
            return _single(run, start.kind)
        budget = Budget(0, round_size=n, short=0, continued=n)
        climb = climber(
            problem, tol=self.tol, max_iter=int(self.max_iter), accelerator=self._accelerator()
        )
        spike = _spike_rule(problem.model, n_columns)
        result = search(problem, starts, np.random.SeedSequence(0), budget, climb, spike)
        if rng is not None and result.best is not None and result.best.status == "uncertified":
            result.best = self._climb(problem, result.best, rng)
        return result

    def _climb(self, problem: Problem, run: Run, certifier: np.random.Generator | None) -> Run:
        """Go on with a run; to a certificate if there is a certifier."""
        return ascend(
            problem,
            run.point,
            tol=self.tol,
            max_iter=int(self.max_iter),
            accelerator=self._accelerator(),
            certifier=certifier,
            history=run.history.reopen(),
        )

    # -- warm start --------------------------------------------------------------------------------
    @property
    def _continues(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "converged_")

    def _continue_fit(self, problem: Problem, n_columns: int) -> Search:
        """Go on from the fitted parameters; on the same rows with the history of the last fits."""
        k = problem.model.n_components
        if np.shape(self.means_) != (k, n_columns):
            raise ParameterError(
                f"warm_start needs the shape of the last fit; got n_components={k} and {n_columns} "
                f"columns after means_ of shape {np.shape(self.means_)}. Set warm_start=False."
            )
        _, params = self._fitted()
        point = problem.at(params)
        trail = getattr(self, "_trail", History())
        last = trail.objective[-1] if len(trail) else np.nan
        known = abs(point.objective - last) <= 1e-6 * max(abs(last), 1.0)
        trail = trail.reopen() if known else History()
        before, few = len(trail), self.max_iter < 2 * WARM_UP  # acceleration has no time to learn
        run = ascend(
            problem,
            point,
            tol=self.tol,
            max_iter=before + int(self.max_iter),
            accelerator=None if few else self._accelerator(),
            certifier=np.random.default_rng(0),
            history=trail,
        )
        self._trail = _cut(run.history, slice(-TRAIL, None))
        run.history = _cut(run.history, slice(before, None))
        return _single(run, "warm start")

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
        with _in_their_words():
            return super()._accept(result)

    def _build(self, x: NDArray[Any], weight: Array | None) -> MixtureModel:
        with _in_their_words():
            return super()._build(x, weight)

    def _keep(self, problem: Problem, model: MixtureModel, result: Search) -> None:
        self._dtype = problem.blocks[0].x.dtype.name
        super()._keep(problem, model, result)
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
            self._trail = _cut(run.history, slice(-TRAIL, None))
        if self.reg_covar > 0 or self._dtype == "float32":
            self._measure(problem)
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
        part = self._parameters.components[0]
        k, d = part["mean"].shape
        shape = self._shape(k, d)
        if self._matrices and d > 1:
            factor = with_precision(part["mean"], part["covariance"])["precision_cholesky"]
            factor = part.get("precision_cholesky", factor)
            arrays = part["covariance"], factor @ factor.swapaxes(1, 2), factor
            if len(shape) == 2:
                arrays = arrays[0][0], arrays[1][0], arrays[2][0]
        else:
            variance = part["covariance"][:, 0] if len(shape) == 1 else part["covariance"]
            variance = variance[:1] if self._structure == "EEE" else variance
            arrays = variance, 1.0 / variance, 1.0 / np.sqrt(variance)
        dtype = self._dtype
        self.weights_ = self.weights_.astype(dtype)
        self.means_ = part["mean"].astype(dtype)
        self.covariances_, self.precisions_, self.precisions_cholesky_ = (
            np.array(a, dtype).reshape(shape) for a in arrays
        )

    def _warn_not_converged(self, run: Run) -> None:
        if self.max_iter == 0:
            return
        message = _not_converged(self, run)
        if run.status == "degenerate" and run.degeneracies:
            found = run.degeneracies[0]
            message = (
                f"component {found.component} collapses ({found.reason}): nothing but "
                f"reg_covar={self.reg_covar:g} holds it up, and without that the likelihood is "
                'unbounded there. Use fewer components, covariance_type="tied", or a prior.'
            )
        warnings.warn(f"{NO_CONVERGENCE} {message}", ConvergenceWarning, stacklevel=5)

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
        root = np.asarray(self.precisions_cholesky_, float)
        k, d = mean.shape
        family = Gaussian(self.covariance_type).bind(np.zeros((1, d)))
        roots = self._expand(root, k, d)
        if roots.ndim == 3:
            inverse = np.linalg.inv(roots)
            part = {
                "mean": mean,
                "covariance": inverse.swapaxes(1, 2) @ inverse,
                "precision_cholesky": roots,
            }
        else:
            part = {"mean": mean, "covariance": roots**-2.0}
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.asarray(self.weights_, float))
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
        if self._matrices:
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
        return self.n_parameters_


# -- starts ----------------------------------------------------------------------------------------
class _Lenient(MixtureModel):
    """The mixture where only reg_covar holds some component up: nothing is refused."""

    @classmethod
    def of(cls, model: MixtureModel) -> _Lenient:
        return cls(**{field.name: getattr(model, field.name) for field in fields(model)})

    def degeneracies(self, params: Any, statistics: Any) -> list[Degeneracy]:
        return []

    def is_regular(self, params: MixtureParameters) -> bool:
        return all(all_finite(part) for part in params.components)


@dataclass
class _Starts:
    """scikit-learn's starts: responsibilities by `init_params`, an M-step, then what was given."""

    estimator: GaussianMixture
    problem: Problem
    given: dict[str, Array]
    x: NDArray[Any]
    weight: Array | None
    label: NDArray[np.int64] | None

    def __post_init__(self) -> None:
        self.random_state = check_random_state(self.estimator.random_state)

    @cached_property
    def points(self) -> NDArray[Any]:
        """Rows as k-means takes them; not made where every parameter was given."""
        return _complete(self.x)

    def starts(self, rngs: Iterator[np.random.Generator]) -> Iterator[Start[MixtureParameters]]:
        """One start for each generator; the recipes draw from scikit-learn's own random state."""
        for _ in rngs:
            if len(self.given) == 3:
                params: MixtureParameters | None = self._merge(None)
            else:
                params = self._from_recipe()
            if params is None:
                return
            yield Start(params, "given" if self.given else self.estimator.init_params)

    def moves(
        self, params: MixtureParameters, rngs: Iterator[np.random.Generator]
    ) -> Iterator[Start[MixtureParameters]]:
        """None: a number of starts is that many starts."""
        return iter(())

    def _from_recipe(self) -> MixtureParameters | None:
        r, seeds = self._responsibilities()
        if self.label is not None:
            known = np.flatnonzero(self.label >= 0)
            r[known] = 0.0
            r[known, self.label[known]] = 1.0
        k = r.shape[1]
        for share in BLENDS:
            params = self._estimate((1 - share) * r + share / k)
            if params is not None and self.problem.model.is_regular(params):
                if seeds is not None and self.estimator.max_iter == 0:
                    params.components[0]["mean"][:] = seeds
                return self._merge(params)
        return None

    def _responsibilities(self) -> tuple[Array, Array | None]:
        """One row of responsibilities a row, and the seeds where the recipe picks rows."""
        from sklearn.cluster import KMeans, kmeans_plusplus
        from sklearn.exceptions import ConvergenceWarning as FewDistinctRows

        recipe, k, n = self.estimator.init_params, self.problem.model.n_components, len(self.x)
        if recipe == "random":
            r = self.random_state.uniform(size=(n, k))
            return r / r.sum(axis=1, keepdims=True), None
        seeds: Array | None = None
        if recipe == "kmeans" and n >= k:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FewDistinctRows)
                means = KMeans(k, n_init=1, random_state=self.random_state)
                part = means.fit(self.points, sample_weight=self.weight).labels_
        else:
            if recipe == "k-means++" and n >= k:
                seeds, _ = kmeans_plusplus(
                    self.points, k, sample_weight=self.weight, random_state=self.random_state
                )
            else:
                seeds = self.points[self.random_state.choice(n, k, replace=n < k)]
            part = _nearest(self.points, seeds)
        r = np.zeros((n, k))
        r[np.arange(n), part] = 1.0
        return r, seeds

    def _estimate(self, r: Array) -> MixtureParameters | None:
        """The M-step, block by block; None where a component has no rows."""
        model: MixtureModel = self.problem.model
        family, assert_marginal = model.groups[0].family, model.marginal
        assert assert_marginal is not None
        if self.weight is not None:
            r = r * self.weight[:, None]
        counts = r.sum(axis=0)
        if not counts.min() > 0:
            return None
        mean = np.repeat(assert_marginal[0]["mean"], len(counts), axis=0)
        total: Any = None
        for _ in range(2):  # the second time about the means themselves, so that nothing cancels
            ends = np.cumsum([len(block.x) for block in self.problem.blocks])
            total = tree_sum(
                [
                    family.statistics({"mean": mean}, np.asarray(block.x, float), rows)
                    for block, rows in zip(self.problem.blocks, np.split(r, ends[:-1]), strict=True)
                ]
            )
            present = total.counts if total.counts.ndim == 2 else total.counts[:, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = mean + total.first / present
        part = family.maximize(total, None)
        return model.hold(MixtureParameters(np.log(counts / counts.sum()), (part,)))

    def _merge(self, params: MixtureParameters | None) -> MixtureParameters:
        """Put the given weights, means and precisions in place."""
        model: MixtureModel = self.problem.model
        given, part = self.given, None if params is None else params.components[0]
        if params is None or "weights" in given:
            with np.errstate(divide="ignore"):
                log_weights = np.log(given["weights"])
        else:
            log_weights = params.log_weights
        mean = given["means"] if part is None or "means" in given else part["mean"]
        covariance = (
            given["covariances"] if part is None or "covariances" in given else part["covariance"]
        )
        if covariance.ndim == 3:
            new = with_precision(mean, covariance)
        else:
            new = {"mean": mean, "covariance": np.array(covariance)}
        start = model.hold(MixtureParameters(log_weights, (new,)))
        if "covariances" in given and self.estimator._structure not in CLOSED:
            # what was given need not have the structure: one EM step finds a member
            point = self.problem.at(start)
            start = model.maximize(point.expectation.statistics, None)
        return start


def _complete(x: NDArray[Any]) -> NDArray[Any]:
    """Rows as k-means takes them: no missing cells, no sizes whose squares overflow."""
    missing = np.isnan(x)
    if missing.any():
        mean = np.where(missing, 0.0, x).sum(axis=0) / np.maximum((~missing).sum(axis=0), 1)
        x = np.where(missing, mean, x)
    size = max(float(x.max()), -float(x.min()))  # no copy of the data
    if size > 0 and not 1e-60 < size < 1e60:
        return np.asarray(np.ldexp(x.astype(float), -int(np.frexp(size)[1])))
    return x


def _nearest(points: NDArray[Any], seeds: NDArray[Any]) -> NDArray[np.intp]:
    centre = points.mean(axis=0)
    a, b = (points - centre).astype(float), (seeds - centre).astype(float)
    return np.asarray(np.argmin((b**2).sum(axis=1) - 2.0 * (a @ b.T), axis=1))


def _cut(history: History, rows: slice) -> History:
    return History(**{one.name: getattr(history, one.name)[rows] for one in fields(history)})


# -- arguments, refused in scikit-learn's words ----------------------------------------------------
def _one_of(name: str, value: Any, known: Any) -> None:
    if not isinstance(value, str) or value not in known:
        raise parameter_error(name, f"one of {', '.join(known)}", value)


@contextmanager
def _in_their_words() -> Iterator[None]:
    try:
        yield
    except DegenerateComponentError as error:
        raise DegenerateComponentError(f"{ILL_DEFINED} Here: {error}") from None


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise parameter_error(name, f"an array of numbers of shape {shape}", value) from None
    if array.shape != shape:
        raise ParameterError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ParameterError(f"The parameter '{name}' should be finite, but holds NaN or infinity.")
    return array


def _check_weights(value: ArrayLike, k: int) -> Array:
    weights = _shaped("weights", value, (k,))
    if (weights < 0).any() or (weights > 1).any():
        raise ParameterError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(weights.sum() - 1.0) > 1e-6:
        raise ParameterError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )
    return np.asarray(weights / weights.sum())


def _check_precisions(value: ArrayLike, kind: str, shape: tuple[int, ...]) -> Array:
    precisions = _shaped(f"{kind} precision", value, shape)
    if Gaussian(kind).diagonal:
        if not (precisions > 0).all():
            raise ParameterError(f"'{kind} precision' should be positive")
        return precisions
    symmetric = np.allclose(precisions, precisions.swapaxes(-1, -2))
    if not symmetric or not (np.linalg.eigvalsh(precisions) > 0).all():
        raise ParameterError(f"'{kind} precision' should be symmetric, positive-definite")
    return precisions


def _inverse(precisions: Array, matrices: bool) -> Array:
    if not matrices:
        return np.asarray(1.0 / precisions)
    inverse = np.linalg.inv(precisions)
    return np.asarray(0.5 * (inverse + inverse.swapaxes(-1, -2)))
