"""The drop-in for scikit-learn's `BayesianGaussianMixture`: its names and shapes on our variational Bayes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.errors import ConvergenceWarning, ParameterError
from expmax.estimators import preparation as prepare
from expmax.estimators.gaussian_starts import RECIPES, RecipeStarts
from expmax.estimators.mixture import Mixture
from expmax.estimators.outcome import not_converged
from expmax.estimators.sklearn_arguments import one_of, shaped
from expmax.estimators.training import Training
from expmax.estimators.variational import fit_variational, from_responsibilities
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.families.precision import precision_factor
from expmax.models.mixture import Group
from expmax.models.variational_weights import WeightType
from expmax.priors import Conjugate, conjugate
from expmax.statistics import Array

__all__ = ["BayesianGaussianMixture"]

TYPES = ("full", "tied", "diag", "spherical")


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
    effort, accelerate, certify, n_jobs, progress
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
        self.certify = certify
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
        one_of("covariance_type", self.covariance_type, TYPES)
        one_of("init_params", self.init_params, RECIPES)
        one_of(
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
            mean = shaped("means", self.mean_prior, (d,))
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
            scale = shaped(name, self.covariance_prior, shape[self.covariance_type])
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
        recipe = RecipeStarts.of(self, training)
        out = []
        for _ in range(int(self.n_init)):
            r, _ = recipe.responsibilities()
            if rows.label is not None:
                known = np.flatnonzero(rows.label >= 0)
                r[known] = np.eye(r.shape[1])[rows.label[known]]
            out.append((from_responsibilities(training, r), self.init_params))
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
            factor = precision_factor(covariance)
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
            warnings.warn(not_converged(self, run), ConvergenceWarning, stacklevel=5)


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
