"""Mixtures of any families, as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.compute.blas import single_threaded_blas
from expmax.data.reading import read_table
from expmax.engine.acceleration import accelerators
from expmax.engine.arguments import check_flag
from expmax.engine.loop import Run
from expmax.engine.starts import Search
from expmax.errors import ConvergenceWarning, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.building import build_mixture
from expmax.estimators.given import check_partition, given_start, is_partition
from expmax.estimators.outcome import accepted, name_components, not_converged, tell
from expmax.estimators.search import EFFORT, budget_of, search_mixture
from expmax.estimators.shared import Progress, check_run
from expmax.estimators.training import KEPT_BYTES, Training, make_training
from expmax.estimators.use import FittedMixture
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.models.mixture import Group, MixtureModel
from expmax.priors import Conjugate, ConjugatePrior, WeakPrior
from expmax.statistics import Array

__all__ = ["Mixture"]

INFERENCES = ("likelihood", "variational")


class Mixture(FittedMixture):
    """A finite mixture p(x) = Σ_k w_k p_k(x | θ_k) of any families, fitted by EM.

    Parameters
    ----------
    family : Family or list of Family
        What a component is: one family for all, or one a component (`[PointMass(0), Poisson()]` is the
        zero-inflated Poisson). Default: `Gaussian()`.
    n_components : int
        K; left out for a list.
    prior : ConjugatePrior, float, "weak" or Conjugate, optional
        Imaginary rows added to every component; a number is their count, distributed as the data;
        "weak" is `expmax.priors.WeakPrior`, free of scale. A distribution made by
        `expmax.priors.conjugate` is for variational inference, whose default is "weak".
    inference : {"likelihood", "variational"}
        Maximum likelihood (with a prior: MAP), or variational Bayes: q(z) q(θ) with conjugate q(θ), which
        empties components that the data do not need.
    concentration : float, optional
        α of the symmetric Dirichlet prior of the weights; default: that of the prior, 1 (flat); with
        variational inference 1/K.
    fixed : mapping, optional
        What is held: `{"weights": [...]}` and `{k: {"rate": ...}}` for component k.
    init : mapping or array of int, optional
        Where to start instead of searching: parameters (`{"weights": ..., "rate": ...}`) or a component
        for every row.
    n_init : "auto" or int
        "auto" searches (see `effort`); a number is that many starts, each run to the end.
    effort : {"quick", "default", "thorough"}
        How many E-steps the search may spend.
    tol : float
        Nats of the total log-likelihood that may be left to gain; 0 makes all `max_iter` updates.
    max_iter : int
        Parameter updates of the final run.
    accelerate : {"auto", "lbfgs", "squarem", "anderson", None}
        How EM's steps are made longer, never lowering the objective: "auto" chooses (in a search over many
        starts quasi-Newton steps, from a start of yours steps along EM's own path); None is plain EM.
    certify : bool
        Whether to verify, by the curvature of the log-likelihood, that hardly anything is left to gain.
        Without, `status_` is "uncertified" and `converged_` False.
    random_state : int, RandomState or None
    n_jobs : int, optional
        Threads; the result does not depend on their number.
    progress : bool or callable
        Called as progress(iteration, objective, seconds) after each step of each run; with a fourth argument,
        the estimated seconds left of the present run (NaN while unknown), where the callable takes four. Of a
        search that climbs in compiled code it hears at the end of each climb, with its number of E-steps.
        True keeps a live line on standard error. A KeyboardInterrupt raised in it ends the fit like Ctrl-C:
        with the best so far and status "interrupted".

    Attributes
    ----------
    weights_ : ndarray, shape (K,)
    params_ : dict
        "weights" and, for one family, its parameters by name (first axis K); for a list, "components".
    components_ : list of dict
        The parameters of each component.
    log_likelihood_ : float
        Σ w_i log p(x_i), nats, at these parameters.
    status_, converged_, n_iter_, n_expect_, history_, starts_, n_parameters_
    kind_, lower_bound_, posterior_, weight_concentration_, counts_, n_effective_
        With variational inference: "bound"; the bound on log p(X), nats, which `history_.objective` shows
        rising; q(θ) (a `Conjugate`, one a family of a list); the Dirichlet distribution of the weights;
        expected rows of each component, and how many have at least half a row. Then `weights_` and
        `params_` are posterior means, and `log_likelihood_` and `score_samples` those of the predictive
        distribution under q(θ).

    Raises
    ------
    ParameterError, DataError
        A bad argument, or data outside a family's support.
    DegenerateComponentError
        Every start collapsed: the likelihood is unbounded.

    References
    ----------
    McLachlan & Peel (2000), Finite Mixture Models, Wiley.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Mixture, Poisson
    >>> counts = np.repeat([[0.0], [1.0], [2.0], [9.0], [10.0], [12.0]], 20, axis=0)
    >>> model = Mixture(Poisson(), 2, random_state=0).fit(counts)
    >>> model.params_["rate"].round(3)
    array([ 0.997, 10.303])
    """

    inference: str = "likelihood"  # of subclasses that do not offer the choice
    concentration: float | None = None
    certify: bool = True
    _weight_type: Any = "dirichlet_distribution"

    def __init__(
        self,
        family: Family | Sequence[Family] | None = None,
        n_components: int | None = 1,
        *,
        prior: ConjugatePrior | WeakPrior | Conjugate | float | str | None = None,
        inference: str = "likelihood",
        concentration: float | None = None,
        fixed: Mapping[Any, Any] | None = None,
        init: Any = None,
        n_init: int | str = "auto",
        effort: str = "default",
        tol: float = 1e-4,
        max_iter: int = 1000,
        accelerate: str | None = "auto",
        certify: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        progress: Any = False,
    ) -> None:
        self.family = family
        self.n_components = n_components
        self.prior = prior
        self.inference = inference
        self.concentration = concentration
        self.fixed = fixed
        self.init = init
        self.n_init = n_init
        self.effort = effort
        self.tol = tol
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.certify = certify
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.progress = progress

    # -- fitting -----------------------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
    ) -> Self:
        """Fit by EM.

        Parameters
        ----------
        X : array or data frame, shape (n, d)
        y : ignored
        sample_weight : array, shape (n,), optional
            Weight k is k copies of a row; 0 leaves it out.
        labels : array of int, shape (n,), optional
            Known components, −1 where unknown.
        """
        self._check_parameters()
        if self.inference == "variational":
            from expmax.estimators.variational import fit_variational

            return fit_variational(self, X, sample_weight, labels)
        x, weight, label = self._read_training(X, sample_weight, labels)
        model = self._build(x, weight)
        training = self._training_data(model, x, weight, label)
        with single_threaded_blas(), Progress(self.progress, self.tol) as progress:
            result = self._search(training, progress)
        self._conclude(training, result)
        return self

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[np.int64]:
        """`fit`, then `predict` on the same rows."""
        return self.fit(X, y, **fit_params).predict(X)

    def _conclude(self, training: Training, result: Search) -> None:
        """Keep what a search found, and the data where they are small."""
        self._keep(training, result)
        self._training = training
        if training.rows.x.nbytes > KEPT_BYTES:
            self._hardness()
            self._training = None

    def _training_data(
        self,
        model: MixtureModel,
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
    ) -> Training:
        """Distinct rows, cut into blocks; all of them where each has its own label to start from."""
        compressed = not self._starts_from_labels
        return make_training(model, x, weight, label, compressed=compressed, n_jobs=self.n_jobs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            tags.input_tags.allow_nan = all(one.accepts_missing for one in self._families())
        except ParameterError:  # named when fit is called
            tags.input_tags.allow_nan = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Pickles hold no data, but what the criteria need of them."""
        if getattr(self, "_training", None) is not None:
            self._hardness()
        return super().__getstate__() | {"_training": None}

    def _check_parameters(self) -> None:
        check_run(
            tol=self.tol,
            max_iter=self.max_iter,
            n_init=self.n_init,
            random_state=self.random_state,
            progress=self.progress,
        )
        check_flag("certify", self.certify)
        if self.effort not in EFFORT:
            raise parameter_error("effort", f"one of {sorted(EFFORT)}", self.effort)
        if self.inference not in INFERENCES:
            raise parameter_error("inference", f"one of {sorted(INFERENCES)}", self.inference)
        likelihood = self.inference == "likelihood"
        if likelihood and self.concentration is not None and not self.concentration >= 1:
            raise parameter_error(
                "concentration", 'at least 1 with inference="likelihood"', self.concentration
            )

    @property
    def _starts_from_labels(self) -> bool:
        return is_partition(self.init)

    def _families(self) -> list[Family]:
        return prepare.resolve_families(self.family, self.n_components, Gaussian())

    def _read_training(
        self, X: Any, sample_weight: ArrayLike | None, labels: ArrayLike | None
    ) -> tuple[NDArray[Any], Array | None, NDArray[np.int64] | None]:
        families = self._families()
        table = read_table(X)
        prepare.validate_features(self, X, reset=True)
        prepare.refuse_empty(table)
        self._encoder = prepare.fit_encoder(table, families)
        x, _ = self._encoder(table)
        weight = prepare.check_weights(sample_weight, len(x))
        label = prepare.check_labels(labels, len(x), len(families))
        if weight is not None and not weight.all() and not self._starts_from_labels:
            used = weight > 0
            x, weight = x[used], weight[used]
            label = None if label is None else label[used]
        return x, weight, label

    def _build(self, x: NDArray[Any], weight: Array | None) -> MixtureModel:
        return build_mixture(
            self._families(),
            x,
            weight,
            self._encoder,
            prior=self.prior,
            concentration=self.concentration,
            fixed=self.fixed,
        )

    def _search(self, training: Training, progress: Progress) -> Search:
        """The best solution and what became of every start."""
        model, rows = training.problem.model, training.rows
        return search_mixture(
            training,
            given_start(self.init, model, rows.x, rows.weight),
            budget_of(self.effort, self.n_init, model.n_components),
            self.random_state,
            explorer=accelerators(self.accelerate, search=True),
            progress=progress,
            certify=bool(self.certify),
            tol=self.tol,
            max_iter=self.max_iter,
            accelerator=self._accelerator(),
        )

    def _accelerator(self) -> Any:
        """From a start of the caller's choice the optimum of plain EM, in a search over many any one."""
        return accelerators(self.accelerate, search=self.n_init == "auto" and self.init is None)

    # -- variational inference (estimators/variational.py) -----------------------------------------
    def _group_prior(self, group: Group, x: NDArray[Any], weight: Array | None) -> Conjugate:
        from expmax.estimators.variational import group_prior

        return group_prior(self.prior, group, x, weight)

    def _variational_starts(self, training: Training) -> Sequence[tuple[Any, str]]:
        """A given partition, or none: then a search."""
        if self.init is None:
            return []
        from expmax.estimators.variational import from_responsibilities

        k = training.problem.model.n_components
        if not self._starts_from_labels or np.ndim(self.init) != 1:
            raise parameter_error(
                "init", 'labels or None with inference="variational"', type(self.init).__name__
            )
        part = check_partition(self.init, len(training.rows.x), k)
        return [(from_responsibilities(training, np.eye(k)[part]), "given")]

    # -- results -----------------------------------------------------------------------------------
    def _keep(self, training: Training, result: Search) -> None:
        run, problem = self._accept(result), training.problem
        model, params = problem.model, run.point.params
        order = np.arange(model.n_components)
        if not self._keeps_order and not training.labelled:
            order = model.canonical_order(params)
            params = model.permute(params, order)
        params = model.copy_parameters(params)
        self._model, self._parameters = model, params
        self._log_hard = None
        self.n_parameters_ = model.n_parameters(params)
        tell(self, problem, run, result)
        name_components(self, problem, run, params, order)
        self._publish()
        if not self.converged_ and (self.certify or run.cause != "skipped"):
            self._warn_not_converged(run)

    @property
    def _keeps_order(self) -> bool:
        """Whether components stay in the order in which they were given."""
        return self.init is not None or self.fixed is not None

    def _warn_not_converged(self, run: Run) -> None:
        warnings.warn(not_converged(self, run), ConvergenceWarning, stacklevel=5)

    def _accept(self, result: Search) -> Run:
        """The best run, or the error that says why there is none."""
        return accepted(result)

    def _publish(self) -> None:
        """Fitted attributes in the field's words."""
        model, params = self._model, self._parameters
        self.weights_ = np.exp(params.log_weights)
        self.components_ = [self._component(k) for k in range(model.n_components)]
        if len(model.groups) == 1:
            named = model.groups[0].family.named_parameters(params.components[0])
            self.params_: dict[str, Any] = {"weights": self.weights_, **named}
        else:
            self.params_ = {"weights": self.weights_, "components": self.components_}
        self._n_features_out = model.n_components
        if self.inference == "variational":
            from expmax.estimators.variational import publish_variational

            publish_variational(self)

    def _component(self, k: int) -> dict[str, Any]:
        for g, group in enumerate(self._model.groups):
            for i in np.flatnonzero(group.index == k):
                named = group.family.named_parameters(self._parameters.components[g])
                return {name: value[i] for name, value in named.items()}
        raise IndexError(k)

    # -- reports -----------------------------------------------------------------------------------
    def summary(self) -> Any:
        """The fit on a page: components, criteria, how it ended; print it."""
        from expmax.reports.summary import summary

        return summary(self)
