"""Mixtures by variational Bayes: what `Mixture(inference="variational")` does, and scikit-learn's drop-in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_random_state

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import Serial
from expmax.contract import Block, Parameters, iterate_rows
from expmax.engine.problem import Problem
from expmax.engine.starts import Budget, Search, climber, search
from expmax.errors import ConvergenceWarning, DataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.gaussian_mixture import RECIPES, _one_of, _shaped, _Starts
from expmax.estimators.mixture import (
    EFFORT,
    LARGE,
    SUBSAMPLE,
    Mixture,
    Training,
    _continue,
    _log_hard,
    _not_converged,
    _single,
)
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian, with_precision
from expmax.models.mixture import Group
from expmax.models.variational import (
    VariationalMixture,
    VariationalParameters,
    VariationalStarts,
    WeightDistribution,
    WeightType,
)
from expmax.priors import Conjugate, as_prior, conjugate, conjugate_of
from expmax.statistics import Array

__all__ = ["BayesianGaussianMixture", "fit_variational", "publish_variational"]

EMPTY = 0.5  # expected rows below which a component counts as emptied out
TYPES = ("full", "tied", "diag", "spherical")


# -- fitting ---------------------------------------------------------------------------------------
def fit_variational(
    estimator: Any, X: Any, sample_weight: ArrayLike | None, labels: ArrayLike | None
) -> Any:
    """Fit q(z) q(θ) by coordinate ascent of the bound, and publish the result on the estimator."""
    x, weight, label = estimator._read_training(X, sample_weight, labels)
    model = variational_model(estimator, x, weight)
    training: Training = estimator._training_data(model, x, weight, label)
    with single_threaded_blas():
        result = _search(estimator, training)
        estimator._keep(training.problem, model, result)
        _measure(estimator, training.problem)
    return estimator


def variational_model(estimator: Any, x: NDArray[Any], weight: Array | None) -> VariationalMixture:
    """Families bound to the data, each group with its prior."""
    if estimator.fixed is not None:
        raise parameter_error(
            "fixed", 'None with inference="variational"', estimator.fixed, "Use a strong prior"
        )
    families: list[Family] = estimator._families()
    distinct: list[Family] = []
    for family in families:
        if family not in distinct:
            distinct.append(family)
    groups = tuple(
        Group(
            prepare.bind_family(family, x, estimator._encoder),
            np.flatnonzero([other == family for other in families]),
        )
        for family in distinct
    )
    k = len(families)
    needs_spread = not all(group.family.discrete for group in groups)
    if len(x) == 1 and needs_spread and not isinstance(estimator.prior, Conjugate):
        raise DataError(
            "a prior on the scale of the data needs at least two rows; got n_samples=1. Add rows, or "
            "give a prior made by expmax.priors.conjugate."
        )
    concentration = 1.0 / k if estimator.concentration is None else estimator.concentration
    kind: WeightType = estimator._weight_type
    weights = WeightDistribution.prior(kind, k, concentration)
    priors = tuple(estimator._group_prior(group, x, weight) for group in groups)
    return VariationalMixture(groups, k, weights, priors)


def group_prior(given: Any, group: Group, x: NDArray[Any], weight: Array | None) -> Conjugate:
    """The conjugate prior of one group: given, from imaginary rows, or the one called "weak"."""
    k = len(group.index)
    if isinstance(given, Conjugate):
        if type(given.family) is not type(group.family):
            raise parameter_error("prior", f"a distribution for {group.family!r}", given.family)
        if given.n_components == k:
            return given
        if given.n_components == 1 and not group.family.shares_parameters:
            return given.take(np.zeros(k, int))
        raise parameter_error("prior", f"of 1 or {k} components", given.n_components)
    rows = as_prior("weak" if given is None else given)
    if not rows.count > 0:
        raise parameter_error("prior count", 'positive with inference="variational"', rows.count)
    marginal: Parameters = prepare.marginal_fit(group.family, x, weight)
    try:
        return conjugate_of(group.family, rows.statistics(group.family, marginal, k))
    except ParameterError as error:
        raise ParameterError(
            f"the imaginary rows of the prior make no distribution for {group.family!r}: {error} "
            "Leave out constant columns and categories never seen, or give a prior made by "
            "expmax.priors.conjugate."
        ) from None


def _search(estimator: Any, training: Training) -> Search:
    """Search, then try sticks broken in order of size: the bound depends on their order."""
    options = {"tol": estimator.tol, "max_iter": int(estimator.max_iter)}
    result = _search_starts(estimator, training)
    run, problem = result.best, training.problem
    model: VariationalMixture = problem.model
    one_family = len(model.groups) == 1
    if run is None or model.weight_prior.kind == "dirichlet_distribution" or not one_family:
        return result
    if estimator._keeps_order:
        return result
    counts = model.counts(run.point.params)
    order = np.argsort(-counts, kind="stable")
    sorted_ = VariationalParameters(
        model.weight_prior.update(counts[order]),
        tuple(q.take(order) for q in run.point.params.posteriors),
    )
    point = problem.at(sorted_)
    if point.objective > run.point.objective + problem.rounding(run.point):
        climb = climber(
            problem,
            accelerator=estimator._accelerator(),
            certifier=np.random.default_rng(0),
            **options,
        )
        result.best = climb(point)
        result.settle()
    return result


def _search_starts(estimator: Any, training: Training) -> Search:
    problem, rows = training.problem, training.rows
    model: VariationalMixture = problem.model
    seed = np.random.SeedSequence(
        int(check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max))
    )
    options: dict[str, Any] = {
        "tol": estimator.tol,
        "max_iter": int(estimator.max_iter),
        "accelerator": estimator._accelerator(),
    }
    finish = climber(problem, certifier=np.random.default_rng(seed.spawn(1)[0]), **options)
    starts = estimator._variational_starts(training)
    if not starts and model.n_components == 1:
        starts = [(_from_parts(training, np.ones((len(rows.x), 1))), "closed form")]
    if starts:
        runs = [finish(problem.at(params)) for params, _ in starts]
        found = [_single(run, kind) for run, (_, kind) in zip(runs, starts, strict=True)]
        best = max(found, key=lambda one: one.best.point.objective if one.best else -np.inf)
        best.records = [one.records[0] for one in found]
        return best
    sub = _subsample(problem, rows, seed)
    source = VariationalStarts(model, sub.blocks[0])  # type: ignore[arg-type]
    k = model.n_components
    # half of what likelihood spends: components empty out by themselves, so fewer optima differ
    budget = Budget(int(0.5 * EFFORT[estimator.effort] * max(1.0, k / 3) ** 1.5))
    if estimator.n_init != "auto":
        n = int(estimator.n_init)
        budget = Budget(0, round_size=n, short=0, continued=n)
    result = search(sub, source, seed, budget, climber(sub, **options), _never)
    if sub is not problem:
        problem.n_expect += sub.n_expect * len(sub.blocks[0].x) // max(len(rows.x), 1)
        return _continue(problem, finish, result, _never)
    if result.best is not None and result.best.status == "uncertified":
        result.best = finish(result.best.point, result.best.history.reopen())
        result.settle()
    return result


def _never(point: Any) -> bool:
    """Whether a point is a spike: a prior leaves none."""
    return False


def _from_parts(training: Training, responsibilities: Array) -> VariationalParameters:
    """The first M-step, from responsibilities row by row."""
    r = responsibilities
    if training.rows.weight is not None:
        r = r * training.rows.weight[:, None]
    cuts = [r[part] for part in iterate_rows(len(r), training.size)]
    pairs = list(zip(training.problem.blocks, cuts, strict=True))
    return training.problem.model.from_responsibilities(pairs)


def _subsample(problem: Problem, rows: Any, seed: np.random.SeedSequence) -> Problem:
    """The problem on few rows where the data are large, weighted up: a prior knows how many there are."""
    k, n = problem.model.n_components, len(rows.x)
    if n <= LARGE * k:
        if len(problem.blocks) == 1:
            return problem
        block = Block(rows.x, rows.weight, rows.label, {})
        return Problem(problem.model, [block], Serial())
    size = SUBSAMPLE * k
    drawn = np.random.default_rng(seed.spawn(1)[0]).choice(n, size, replace=False)
    drawn = np.sort(drawn)
    weight = np.ones(size) if rows.weight is None else rows.weight[drawn]
    total = n if rows.weight is None else rows.weight.sum()
    label = None if rows.label is None else rows.label[drawn]
    x = np.ascontiguousarray(rows.x[drawn])
    block = Block(x, weight * (total / weight.sum()), label, {})
    return Problem(problem.model, [block], Serial())


def _measure(estimator: Any, problem: Problem) -> None:
    """Quantities of the fitted distribution beside the bound."""
    model, q = estimator._model, estimator._parameters
    total = 0.0
    for block in problem.blocks:
        _, log_density, _ = model.assign(q, block)
        weight = np.ones(len(log_density)) if block.weight is None else block.weight
        used = weight > 0
        total += float(weight[used] @ log_density[used])
    estimator.log_likelihood_ = total
    estimator.lower_bound_ = float(estimator.history_.objective[-1])
    estimator._log_hard = _log_hard(model, q, problem.blocks)
    estimator._training = None


def publish_variational(estimator: Any) -> None:
    """q(θ) in words: the posteriors, the weights' distribution, how many components are in use."""
    model, q = estimator._model, estimator._parameters
    estimator.kind_ = "bound"
    estimator.posterior_ = q.posteriors[0] if len(q.posteriors) == 1 else q.posteriors
    distribution = q.weights.distribution
    if q.weights.kind == "dirichlet_distribution":
        estimator.weight_concentration_ = distribution.concentration[0]
    else:  # the last stick takes all that is left
        hits, misses = np.append(distribution.a[0], 1.0), np.append(distribution.b[0], 0.0)
        estimator.weight_concentration_ = (hits, misses)
    estimator.counts_ = model.counts(q)
    estimator.n_effective_ = int((estimator.counts_ >= EMPTY).sum())


# -- the drop-in -----------------------------------------------------------------------------------
class BayesianGaussianMixture(Mixture):
    """Variational Bayes of a Gaussian mixture under scikit-learn's names.

    Parameters
    ----------
    n_components : int
        K at most: components that the data do not need are emptied out.
    covariance_type : {"full", "tied", "diag", "spherical"}
    tol : float
        Nats of the bound that may be left to gain.
    reg_covar : float
        Accepted and not used: the prior keeps every covariance away from 0.
    max_iter : int
        Updates of the final run.
    n_init : "auto" or int
        "auto" searches over starts; a number is that many starts made by `init_params`.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}
    weight_concentration_prior_type : {"dirichlet_process", "dirichlet_distribution"}
        Stick-breaking cut at K, or a symmetric Dirichlet distribution.
    weight_concentration_prior : float, optional
        α; default 1/K.
    mean_precision_prior : float, optional
        κ₀; default 1.
    mean_prior : array, shape (d,), optional
        Default: the mean of the data.
    degrees_of_freedom_prior : float, optional
        ν₀ > d − 1; default d.
    covariance_prior : float or array, optional
        S₀, shaped as `covariances_` of one component; default: the covariance of the data (their variances;
        the mean of these).
    random_state : int, RandomState or None
    warm_start : bool
        Whether `fit` goes on from the last q(θ).
    verbose, verbose_interval : int
        Accepted; `progress` and `history_` tell more.
    effort, accelerate, n_jobs, progress
        As in `Mixture`.

    Attributes
    ----------
    weights_, means_ : ndarray
        E[w] and E[μ].
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Of E[Σ⁻¹] = ν S⁻¹ and its inverse, shaped as in `GaussianMixture`.
    weight_concentration_ : ndarray, shape (K,), or a tuple of two
        α of the Dirichlet distribution, or (a, b) of the sticks; the last stick is 1.
    mean_precision_ : ndarray, shape (K,)
        κ.
    degrees_of_freedom_ : ndarray, shape (K,); a number for "tied"
        ν ("spherical": a column, as in scikit-learn).
    lower_bound_ : float
        The bound on log p(X), all constants and KL(q(θ) ‖ p(θ)) included, nats.
    n_effective_ : int
        Components with at least half a row.
    counts_, posterior_, status_, converged_, n_iter_, history_, certificate_, …
        As in `Mixture(inference="variational")`.

    See Also
    --------
    Mixture : with inference="variational", for other families.

    Notes
    -----
    "full" is scikit-learn's model exactly. Its "tied", "diag" and "spherical" use the Wishart formulas of
    full matrices where other ones hold, so that its bound is not one there; here each is exact. Its
    stick-breaking lets the last stick be less than 1.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, §10.2. Blei & Jordan (2006), Bayesian Anal. 1(1).

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import BayesianGaussianMixture
    >>> grid = np.array([[i, j] for i in range(5) for j in range(5)])
    >>> X = np.vstack([grid, grid + [20, 3]])
    >>> model = BayesianGaussianMixture(n_components=5, random_state=0, effort="quick").fit(X)
    >>> model.n_effective_, model.counts_.round(1)[:2]
    (2, array([25., 25.]))
    >>> sorted(model.means_[:2].round(1).tolist())  # drawn a little towards the mean of all rows
    [[2.4, 2.1], [21.6, 4.9]]
    """

    family: Any = None
    init: Any = None
    prior: Any = None
    fixed: Any = None
    inference = "variational"

    def __init__(
        self,
        *,
        n_components: int = 1,
        covariance_type: str = "full",
        tol: float = 1e-4,
        reg_covar: float = 1e-6,
        max_iter: int = 1000,
        n_init: int | str = "auto",
        init_params: str = "kmeans",
        weight_concentration_prior_type: WeightType = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
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
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.effort = effort
        self.accelerate = accelerate
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
    ) -> Self:
        """Fit by variational Bayes; arguments as in `Mixture.fit`."""
        self._check_parameters()
        return fit_variational(self, X, sample_weight, labels)

    def _check_parameters(self) -> None:
        prepare.positive_integer("n_components", self.n_components)
        prepare.refuse_tolerance(self.reg_covar, "reg_covar")
        super()._check_parameters()
        _one_of("covariance_type", self.covariance_type, TYPES)
        _one_of("init_params", self.init_params, RECIPES)
        _one_of(
            "weight_concentration_prior_type",
            self.weight_concentration_prior_type,
            ("dirichlet_process", "dirichlet_distribution"),
        )

    def _families(self) -> list[Family]:
        n = prepare.positive_integer("n_components", self.n_components)
        return [Gaussian(self.covariance_type)] * n

    # -- prior -------------------------------------------------------------------------------------
    @property
    def concentration(self) -> float | None:  # type: ignore[override]
        """α of the weights."""
        return self.weight_concentration_prior

    @property
    def _weight_type(self) -> WeightType:
        return self.weight_concentration_prior_type

    def _group_prior(self, group: Group, x: NDArray[Any], weight: Array | None) -> Conjugate:
        k, d = len(group.index), x.shape[1]
        w = np.ones(len(x)) if weight is None else weight
        matrices = self.covariance_type in ("full", "tied")
        mean, scale = _moments(np.asarray(x, float), w, matrices)
        if self.mean_prior is not None:
            mean = _shaped("means", self.mean_prior, (d,))
        kappa = 1.0 if self.mean_precision_prior is None else self.mean_precision_prior
        nu = float(d) if self.degrees_of_freedom_prior is None else self.degrees_of_freedom_prior
        if not nu > d - 1:
            raise ParameterError(
                "The parameter 'degrees_of_freedom_prior' should be greater than "
                f"{d - 1}, but got {nu:.3f}."
            )
        if self.covariance_type == "spherical":
            scale = np.array(scale.mean())
        if self.covariance_prior is not None:
            shape = {"full": (d, d), "tied": (d, d), "diag": (d,), "spherical": ()}
            name = f"{self.covariance_type} covariance_prior"
            scale = _shaped(name, self.covariance_prior, shape[self.covariance_type])
        columns = d if self.covariance_type == "spherical" else 1  # they share one variance
        if matrices and isinstance(group.family, Gaussian) and group.family.diagonal:
            scale = np.reshape(scale, ())  # one column: a matrix of one entry
        return conjugate(
            group.family,
            k,
            location=mean,
            mean_precision=kappa,
            degrees_of_freedom=columns * nu,
            scale=columns * scale,
        )

    # -- starts ------------------------------------------------------------------------------------
    def _variational_starts(self, training: Training) -> Sequence[tuple[Any, str]]:
        if self.warm_start and hasattr(self, "converged_"):
            return [(self._parameters, "warm start")]
        if isinstance(self.n_init, str):
            return []
        rows = training.rows
        recipe = _Starts(self, training.problem, {}, rows.x, rows.weight, rows.label)
        out = []
        for _ in range(int(self.n_init)):
            r, _ = recipe._responsibilities()
            if rows.label is not None:
                known = np.flatnonzero(rows.label >= 0)
                r[known] = np.eye(r.shape[1])[rows.label[known]]
            out.append((_from_parts(training, r), self.init_params))
        return out

    @property
    def _keeps_order(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "converged_")

    # -- results -----------------------------------------------------------------------------------
    def _publish(self) -> None:
        super()._publish()
        q: Any = self.posterior_
        spherical = self.covariance_type == "spherical"
        d = q.location.shape[1]
        self.means_ = q.location
        kappa = q.mean_precision
        self.mean_precision_ = kappa[:, 0] if kappa.ndim == 2 and _equal(kappa) else kappa
        nu, scale = q.degrees_of_freedom, q.scale
        if nu.ndim == 1:  # matrices
            covariance = scale / nu[:, None, None]
            factor = with_precision(q.location[: len(nu)], covariance)["precision_cholesky"]
            arrays = covariance, factor @ factor.swapaxes(1, 2), factor
            if self.covariance_type == "tied":
                arrays = arrays[0][0], arrays[1][0], arrays[2][0]
                nu = nu[0]
        else:
            covariance = scale / nu
            if self.covariance_type in ("full", "tied"):  # one column
                covariance = covariance[:, :, None]
                covariance = covariance[0] if self.covariance_type == "tied" else covariance
            elif spherical:
                covariance, nu = covariance[:, 0], nu / d
            arrays = covariance, 1.0 / covariance, 1.0 / np.sqrt(covariance)
            nu = nu[:, 0] if _equal(nu) else nu
            nu = nu[0] if self.covariance_type == "tied" else nu
        self.degrees_of_freedom_ = nu
        self.covariances_, self.precisions_, self.precisions_cholesky_ = arrays

    def _warn_not_converged(self, run: Any) -> None:
        if self.max_iter:
            warnings.warn(_not_converged(self, run), ConvergenceWarning, stacklevel=4)


def _moments(x: Array, weight: Array, matrices: bool) -> tuple[Array, Array]:
    """Mean and covariance (divisor Σw − 1), or the variances of the cells present."""
    if matrices:
        mean = weight @ x / weight.sum()
        centred = x - mean
        total = max(float(weight.sum()) - 1.0, 1.0)
        return np.asarray(mean), np.asarray((centred * weight[:, None]).T @ centred / total)
    present = ~np.isnan(x)
    w = weight[:, None] * present
    total = w.sum(axis=0)
    values = np.where(present, x, 0.0)
    mean = (w * values).sum(axis=0) / total
    square = (w * np.where(present, x - mean, 0.0) ** 2).sum(axis=0)
    return mean, square / np.maximum(total - 1.0, 1.0)


def _equal(values: Array) -> bool:
    return bool((values == values[:, :1]).all())
