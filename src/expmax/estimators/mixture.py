"""Mixtures of any families, as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import Serial, make_compute
from expmax.contract import Block, Parameters, Start, iterate_rows, make_blocks
from expmax.data.compression import Rows, compress
from expmax.data.reading import read_table
from expmax.data.tables import Table
from expmax.engine.acceleration import accelerators
from expmax.engine.loop import Run, ascend, certificate_of
from expmax.engine.problem import Point, Problem
from expmax.engine.starts import Budget, Search, StartRecord, climber, search
from expmax.errors import (
    ConvergenceWarning,
    DataError,
    DecreasedLikelihoodError,
    DegenerateComponentError,
    ImpossibleDataError,
    NotFiniteError,
    ParameterError,
    parameter_error,
)
from expmax.estimators import preparation as prepare
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.families.parameters import take
from expmax.models import fused
from expmax.models.mixture import Group, MixtureModel, MixtureParameters
from expmax.models.mixture_starts import MixtureStarts, initial_parameters
from expmax.priors import Conjugate, ConjugatePrior, WeakPrior, as_prior, spread
from expmax.statistics import Array

if TYPE_CHECKING:
    from expmax.engine.information import StandardErrors
    from expmax.estimators.uncertainty import Method

__all__ = ["Mixture"]

INFERENCES = ("likelihood", "variational")
EFFORT = {"quick": 500, "default": 1000, "thorough": 4000}
SUBSAMPLE = 400  # rows a component, on which starts compete when the data are large
KEPT_BYTES = 1 << 25  # training data up to this size stay at hand for standard errors
LARGE = 1000  # rows a component above which they do
PATIENCE = 24  # irregular starts in a row before a search gives up
CONVERGED = ("stationary", "boundary")


@dataclass(frozen=True)
class Training:
    """The problem a fit solved, and the rows behind it."""

    problem: Problem
    rows: Rows
    size: int  # rows a block

    def per_block(self, values: Array) -> list[Array]:
        """Values by row, cut like the blocks."""
        return [values[rows] for rows in iterate_rows(len(values), self.size)]


class Mixture(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
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
    random_state : int, RandomState or None
    n_jobs : int, optional
        Threads; the result does not depend on their number.

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
            from expmax.estimators.bayesian_mixture import fit_variational

            return fit_variational(self, X, sample_weight, labels)
        x, weight, label = self._read_training(X, sample_weight, labels)
        model = self._build(x, weight)
        training = self._training_data(model, x, weight, label)
        rows = training.rows
        with single_threaded_blas():
            result = self._search(training.problem, rows.x, rows.weight, rows.label)
        self._conclude(training, result)
        return self

    def _conclude(self, training: Training, result: Search) -> None:
        """Keep what a search found, and the data where they are small."""
        self._keep(training.problem, training.problem.model, result)
        self._training: Training | None = training
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
        """Distinct rows, cut into blocks."""
        if self._starts_from_labels:
            ones = np.ones(len(x))
            rows = Rows(x, weight, label, ones, ones if weight is None else weight**2)
        else:
            rows = prepare.in_one_order(compress(x, weight, label))
        size = rows_per_block(x.shape[1], model.n_components)
        blocks = make_blocks(rows.x, rows.weight, rows.label, size)
        return Training(Problem(model, blocks, make_compute(self.n_jobs)), rows, size)

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
        prepare.refuse_tolerance(self.tol)
        prepare.refuse_random_state(self.random_state)
        prepare.positive_integer("max_iter", self.max_iter)
        if self.n_init != "auto":
            prepare.positive_integer("n_init", self.n_init)
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
        return self.init is not None and not isinstance(self.init, Mapping | MixtureParameters)

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
        """Bind the families to the data and put prior and fixed parameters in place."""
        families = self._families()
        distinct: list[Family] = []
        for family in families:
            if family not in distinct:
                distinct.append(family)
        groups = tuple(
            Group(
                prepare.bind_family(family, x, self._encoder),
                np.flatnonzero([other == family for other in families]),
            )
            for family in distinct
        )
        self._refuse_too_many(families, x)
        marginal = tuple(prepare.marginal_fit(group.family, x, weight) for group in groups)
        prior = as_prior(self.prior)
        pseudo = None
        if prior is not None and prior.count > 0:
            _refuse_prior(groups)
            pseudo = tuple(
                prior.statistics(group.family, marginal[g], len(group.index))
                for g, group in enumerate(groups)
            )
        held = self._held(groups, marginal, len(families))
        if prior is None or prior.parameters is None:
            _refuse_flat_data(groups, marginal, held[2], len(x))
        return MixtureModel(
            groups,
            len(families),
            self._alpha(prior),
            pseudo,
            *held,
            marginal,
            fused.pays(len(x), x.shape[1], len(families)),
        )

    def _alpha(self, prior: Any) -> float:
        """α of the Dirichlet prior of the weights."""
        if self.concentration is not None:
            return float(self.concentration)
        return 1.0 if prior is None else float(prior.concentration)

    # -- variational inference (estimators/bayesian_mixture.py) ------------------------------------
    def _group_prior(self, group: Group, x: NDArray[Any], weight: Array | None) -> Conjugate:
        from expmax.estimators.bayesian_mixture import group_prior

        return group_prior(self.prior, group, x, weight)

    def _variational_starts(self, training: Training) -> Sequence[tuple[Any, str]]:
        """A given partition, or none: then a search."""
        if self.init is None:
            return []
        from expmax.estimators.bayesian_mixture import _from_parts

        k = training.problem.model.n_components
        if not self._starts_from_labels or np.ndim(self.init) != 1:
            raise parameter_error(
                "init", 'labels or None with inference="variational"', type(self.init).__name__
            )
        part = prepare.check_labels(self.init, len(training.rows.x), k, "init")
        assert part is not None
        if (part < 0).any():
            raise parameter_error("init", "a component for every row", "-1")
        return [(_from_parts(training, np.eye(k)[part]), "given")]

    def _refuse_too_many(self, families: list[Family], x: NDArray[Any]) -> None:
        n_free = sum(family.is_estimated for family in families)
        if n_free > len(x):
            raise DataError(
                f"n_components={len(families)} needs at least as many rows; got n_samples={len(x)}. "
                "Use fewer components."
            )

    def _held(
        self, groups: Sequence[Group], marginal: Sequence[Parameters], k: int
    ) -> tuple[Array | None, dict[int, Parameters], NDArray[np.bool_] | None]:
        """Fixed weights, fixed parameters by group, and which components they are."""
        if not isinstance(self.fixed, Mapping | None):
            raise parameter_error("fixed", "a mapping, such as {'weights': [...]}", self.fixed)
        fixed = dict(self.fixed or {})
        log_weights = None
        if "weights" in fixed:
            log_weights = _log_weights(fixed.pop("weights"), k)
        if not fixed:
            return log_weights, {}, None
        mask = np.zeros(k, bool)
        held: dict[int, Parameters] = {}
        for g, group in enumerate(groups):
            parts = []
            for component in group.index:
                given = fixed.pop(int(component), None)
                mask[component] = given is not None
                parts.append(_one_component(given, marginal[g]))
            if mask[group.index].any():
                _refuse_half_held(group, mask)
                held[g] = _stack(parts)
        if fixed:
            raise parameter_error(
                "fixed", f"a mapping with keys 'weights' and 0 … {k - 1}", list(fixed)
            )
        return log_weights, held, mask

    # -- search ------------------------------------------------------------------------------------
    def _search(
        self,
        problem: Problem,
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
    ) -> Search:
        model: MixtureModel = problem.model
        seed = np.random.SeedSequence(
            int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        )
        options: dict[str, Any] = {
            "tol": self.tol,
            "max_iter": self.max_iter,
            "accelerator": self._accelerator(),
        }
        finish = climber(problem, certifier=np.random.default_rng(seed.spawn(1)[0]), **options)
        start = self._given_start(model, x, weight, label)
        if start is not None:
            return _single(finish(problem.at(start)), "given")
        if not any(group.family.is_estimated for group in model.groups) or model.n_components == 1:
            start = self._one_start(model, x, weight, label)
            return _single(finish(problem.at(start)), "closed form")
        spike = _spike_rule(model, x.shape[1])
        sub = self._subsample(problem, x, weight, label, seed)
        source = _PatientStarts(model, sub.blocks[0])
        budget = self._budget(model.n_components)
        result = search(sub, source, seed, budget, climber(sub, **options), spike)
        if sub is not problem:
            problem.n_expect += sub.n_expect * len(sub.blocks[0].x) // max(len(x), 1)
            return _continue(problem, finish, result, spike)
        if result.best is not None and result.best.status == "uncertified":
            result.best = finish(result.best.point, result.best.history.reopen())
            result.settle()
        return result

    def _accelerator(self) -> Any:
        return accelerators(self.accelerate)

    def _budget(self, k: int) -> Budget:
        if self.n_init != "auto":
            n = int(self.n_init)
            return Budget(0, round_size=n, short=0, continued=n)
        return Budget(int(EFFORT[self.effort] * max(1.0, k / 3) ** 1.5))

    def _subsample(
        self,
        problem: Problem,
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
        seed: np.random.SeedSequence,
    ) -> Problem:
        """The problem on few rows where the data are large, else on all rows as one block."""
        rows: Any = slice(None)
        size = SUBSAMPLE * problem.model.n_components
        if len(x) > LARGE * problem.model.n_components:
            rows = np.sort(
                np.random.default_rng(seed.spawn(1)[0]).choice(len(x), size, replace=False)
            )
        elif len(problem.blocks) == 1:
            return problem
        block = Block(
            np.ascontiguousarray(x[rows]),
            None if weight is None else weight[rows],
            None if label is None else label[rows],
            {},
        )
        return Problem(problem.model, [block], Serial())

    def _one_start(
        self,
        model: MixtureModel,
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
    ) -> MixtureParameters:
        assert model.marginal is not None
        components = tuple(
            take(part, np.zeros(len(group.index), int))
            for part, group in zip(model.marginal, model.groups, strict=True)
        )
        log_weights = np.full(model.n_components, -np.log(model.n_components))
        return model.hold(MixtureParameters(log_weights, components))

    def _given_start(
        self,
        model: MixtureModel,
        x: NDArray[Any],
        weight: Array | None,
        label: NDArray[np.int64] | None,
    ) -> MixtureParameters | None:
        """Parameters or a partition given as `init`."""
        if self.init is None:
            return None
        if isinstance(self.init, MixtureParameters):
            return self.init
        if isinstance(self.init, Mapping):
            return self._start_from_parameters(model, self.init)
        if isinstance(self.init, str) or np.ndim(self.init) != 1:
            raise parameter_error("init", "parameters by name, labels, or None", self.init)
        return self._start_from_labels(model, x, weight)

    def _start_from_parameters(
        self, model: MixtureModel, init: Mapping[str, Any]
    ) -> MixtureParameters:
        assert model.marginal is not None
        given = dict(init)
        k = model.n_components
        weights = given.pop("weights", np.full(k, 1.0 / k))
        if len(model.groups) > 1:
            raise ParameterError("init by name needs one family for all components; got a list.")
        components = spread(_nested(given, model.marginal[0]), model.marginal[0], k)
        return MixtureParameters(_log_weights(weights, k), (components,))

    def _start_from_labels(
        self, model: MixtureModel, x: NDArray[Any], weight: Array | None
    ) -> MixtureParameters:
        part = prepare.check_labels(self.init, len(x), model.n_components, "init")
        assert part is not None
        if (part < 0).any():
            raise parameter_error("init", "a component for every row", "-1")
        r = np.eye(model.n_components)[part]
        if weight is not None:
            r *= weight[:, None]
        params = initial_parameters(model, Block(x), r)
        if params is None:
            raise ParameterError(
                "init leaves a component empty or with rows that do not vary; give each component "
                "at least a few distinct rows."
            )
        return params

    # -- results -----------------------------------------------------------------------------------
    def _keep(self, problem: Problem, model: MixtureModel, result: Search) -> None:
        run = self._accept(result)
        params = run.point.params
        if not self._keeps_order and not _labelled(problem):
            params = model.permute(params, model.canonical_order(params))
        params = model.copy_parameters(params)
        self._model = model
        self._parameters = params
        expectation = run.point.expectation
        self.log_likelihood_ = float(expectation.log_likelihood)
        self._entropy = float(expectation.entropy)
        self._total_weight = float(expectation.weight)
        self._log_hard: float | None = None
        self.n_parameters_ = model.n_parameters(params)
        self.status_ = run.status
        self.converged_ = run.status in CONVERGED
        self.n_iter_ = len(run.history) - 1
        self.n_expect_ = problem.n_expect
        self.history_ = run.history
        self.starts_ = result.records
        agreeing = sum(record.agrees for record in result.records)
        self.certificate_ = certificate_of(problem, run, len(result.records), agreeing)
        self._publish()
        if not self.converged_:
            self._warn_not_converged(run)

    @property
    def _keeps_order(self) -> bool:
        """Whether components stay in the order in which they were given."""
        return self.init is not None or self.fixed is not None

    def _warn_not_converged(self, run: Run) -> None:
        warnings.warn(_not_converged(self, run), ConvergenceWarning, stacklevel=4)

    def _fitted(self) -> tuple[MixtureModel, MixtureParameters]:
        """What predictions use."""
        return self._model, self._parameters

    def _accept(self, result: Search) -> Run:
        """The best run, or the error that says why there is none."""
        run = result.best
        if run is None or run.status == "degenerate":
            reason = result.reasons[0] if result.reasons else "no start was regular"
            if run is not None and run.degeneracies:
                found = run.degeneracies[0]
                reason = f"component {found.component} collapsed: {found.reason}"
            raise DegenerateComponentError(
                f"every start collapsed (n_samples seen by the fit, first start): {reason}; the "
                "likelihood is unbounded there. Use a prior, fewer components, or parameters shared "
                'between components such as covariance="tied".'
            )
        if run.status == "decreased" and run.breach is not None:
            raise DecreasedLikelihoodError(
                run.breach.part,
                iteration=run.breach.iteration,
                amount=run.breach.amount,
                tolerance=run.breach.tolerance,
            )
        if run.status == "not_finite":
            raise NotFiniteError(
                f"the log-likelihood became {run.point.objective} at iteration "
                f"{len(run.history) - 1}; rescale columns of extreme size or use a prior."
            )
        return run

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
            from expmax.estimators.bayesian_mixture import publish_variational

            publish_variational(self)

    def _component(self, k: int) -> dict[str, Any]:
        for g, group in enumerate(self._model.groups):
            for i in np.flatnonzero(group.index == k):
                named = group.family.named_parameters(self._parameters.components[g])
                return {name: value[i] for name, value in named.items()}
        raise IndexError(k)

    # -- use ---------------------------------------------------------------------------------------
    def _read(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        table = read_table(X)
        prepare.validate_features(self, X, reset=False)
        prepare.refuse_empty(table)
        x, unseen = self._encode(table)
        for column, values in unseen.items():
            warnings.warn(
                f"{table.label(column)} holds categories never seen in training: {values[:5]}; their "
                "rows have probability zero.",
                UserWarning,
                stacklevel=3,
            )
        if not unseen:
            for rows in iterate_rows(len(x), prepare.CHUNK):
                for group in self._fitted()[0].groups:
                    group.family.check(x[rows])
        return x

    def _encode(self, table: Table) -> tuple[NDArray[Any], dict[int, list[Any]]]:
        """Numbers for the cells of a table, and by column the categories never seen."""
        return self._encoder(table)

    def _assign(self, X: Any) -> tuple[Array, Array]:
        """Responsibilities and log-density of every row."""
        x = self._read(X)
        model, parameters = self._fitted()
        r = np.empty((len(x), model.n_components))
        log_density = np.empty(len(x))
        for rows in iterate_rows(len(x), _use_rows(model.n_components, x.shape[1])):
            r[rows], log_density[rows], _ = model.assign(parameters, Block(x[rows]))
        encoder = getattr(self, "_encoder", None)
        for column in () if encoder is None else encoder.categories:
            unseen = x[:, column] == -1  # a category never seen in training
            r[unseen], log_density[unseen] = np.nan, -np.inf
        return r, log_density

    def predict_proba(self, X: Any) -> Array:
        """Responsibilities P(component k | x_i): shape (n, K)."""
        r, log_density = self._assign(X)
        impossible = np.flatnonzero(np.isneginf(log_density))
        if len(impossible):
            raise ImpossibleDataError(
                f"row {impossible[0]} has probability zero under every component; drop it."
            )
        return r

    def predict(self, X: Any) -> NDArray[np.int64]:
        """The most probable component of each row: shape (n,)."""
        return np.argmax(self.predict_proba(X), axis=1)

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[np.int64]:
        """`fit`, then `predict` on the same rows."""
        return self.fit(X, y, **fit_params).predict(X)

    def transform(self, X: Any) -> Array:
        """Responsibilities, as columns for a pipeline: shape (n, K)."""
        return self.predict_proba(X)

    def score_samples(self, X: Any) -> Array:
        """log p(x_i), nats: shape (n,); −∞ where a row is impossible."""
        return self._assign(X)[1]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood a row, nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw rows and the components that they came from."""
        check_is_fitted(self)
        prepare.positive_integer("n_samples", n_samples)
        random_state = check_random_state(self.random_state)
        rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
        return self._model.sample(self._parameters, n_samples, rng)

    def _total(self, X: Any) -> tuple[float, float, float]:
        """Log-likelihood, Σ w and the hard-assignment penalty of data (default: training data)."""
        check_is_fitted(self)
        if X is None:
            return self.log_likelihood_, self._total_weight, self._hardness()
        r, log_density = self._assign(X)
        return float(log_density.sum()), float(len(r)), float(np.log(r.max(axis=1)).sum())

    def standard_errors(
        self,
        X: Any = None,
        *,
        method: Method = "observed",
        sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        n_bootstrap: int = 200,
        random_state: Any = None,
    ) -> StandardErrors:
        """Standard errors of weights and parameters, with their covariance.

        Parameters
        ----------
        X, sample_weight, labels : optional
            The training data; needed only after loading a model, or where they were larger than 32 MiB.
        method : {"observed", "sandwich", "bootstrap"}
            Inverse observed information (weights are frequencies), its robust form H⁻¹(Σ w² s sᵀ)H⁻¹, or
            the spread of refits to resampled rows.
        n_bootstrap : int
        random_state : int, RandomState or None

        Raises
        ------
        InformationError
            A parameter is on its boundary, or the information is not positive definite.

        References
        ----------
        Louis (1982), J. R. Statist. Soc. B 44(2). White (1982), Econometrica 50(1).
        McLachlan & Peel (2000), §2.15.
        """
        from expmax.estimators.uncertainty import standard_errors

        check_is_fitted(self)
        if self.inference == "variational":
            raise ParameterError(
                'standard_errors needs inference="likelihood"; here posterior_ is the distribution of '
                "the parameters: posterior_.sample(component, n, rng)."
            )
        model, params = self._fitted()
        training = self._training
        if X is not None:
            training = self._training_data(model, *self._read_again(X, sample_weight, labels))
        if training is None:
            raise parameter_error("X", "the training data, which are not kept", None)
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        return standard_errors(
            replace(training.problem, model=model),
            params,
            method,
            squares=training.per_block(training.rows.square),
            counts=training.per_block(training.rows.count),
            n_bootstrap=prepare.positive_integer("n_bootstrap", n_bootstrap, 2),
            rng=np.random.default_rng(seed),
            n_jobs=self.n_jobs,
        )

    def _read_again(
        self, X: Any, sample_weight: ArrayLike | None, labels: ArrayLike | None
    ) -> tuple[NDArray[Any], Array | None, NDArray[np.int64] | None]:
        x = self._read(X)
        weight = prepare.check_weights(sample_weight, len(x))
        return x, weight, prepare.check_labels(labels, len(x), self._model.n_components)

    def _hardness(self) -> float:
        """Σ w_i log max_k r_ik of the training data, nats; taken when first asked for."""
        if self._log_hard is None:
            assert self._training is not None
            self._log_hard = _log_hard(*self._fitted(), self._training.problem.blocks)
        return self._log_hard

    def aic(self, X: Any = None) -> float:
        """Akaike's criterion −2ℓ + 2p; smaller is better."""
        return -2.0 * self._total(X)[0] + 2.0 * self.n_parameters_

    def bic(self, X: Any = None) -> float:
        """Schwarz's criterion −2ℓ + p log n, n = Σ w; smaller is better."""
        log_likelihood, n, _ = self._total(X)
        return -2.0 * log_likelihood + self.n_parameters_ * float(np.log(n))

    def icl(self, X: Any = None) -> float:
        """BIC − 2 Σ log max_k r_ik (integrated completed likelihood); smaller is better."""
        log_likelihood, n, hard = self._total(X)
        return -2.0 * log_likelihood + self.n_parameters_ * float(np.log(n)) - 2.0 * hard

    # -- reports -----------------------------------------------------------------------------------
    def summary(self) -> Any:
        """The fit on a page: components, criteria, how it ended; print it."""
        from expmax.reports.summary import summary

        return summary(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a model file (JSON) that `expmax.load` reads."""
        from expmax.persistence import save

        save(self, path)


# --------------------------------------------------------------------------------------------------
class _PatientStarts(MixtureStarts):
    """Starts and moves that end once none has been regular for a while: the data may have none."""

    def starts(self, rngs: Iterator[np.random.Generator]) -> Iterator[Start[MixtureParameters]]:
        return _patiently(super().starts, rngs)

    def moves(
        self, params: MixtureParameters, rngs: Iterator[np.random.Generator]
    ) -> Iterator[Start[MixtureParameters]]:
        return _patiently(partial(super().moves, params), rngs)


def _patiently(
    make: Callable[[Iterator[Any]], Iterator[Start[MixtureParameters]]], rngs: Iterator[Any]
) -> Iterator[Start[MixtureParameters]]:
    misses = 0

    def rationed() -> Iterator[Any]:
        nonlocal misses
        while misses < PATIENCE:
            misses += 1
            yield next(rngs)

    for start in make(rationed()):
        misses = 0
        yield start


def _labelled(problem: Problem) -> bool:
    """Whether some row's component is known, so that components have their numbers from the user."""
    return any(block.label is not None and block.label.max() >= 0 for block in problem.blocks)


def _refuse_flat_data(
    groups: Sequence[Group],
    marginal: Sequence[Parameters],
    held: NDArray[np.bool_] | None,
    n_rows: int,
) -> None:
    """Where even one component for all rows collapses, no number of them has a maximum."""
    for group, own in zip(groups, marginal, strict=True):
        found = group.family.degeneracies(own, None, own)
        if not found or (held is not None and held[group.index].all()):
            continue
        name = type(group.family).__name__
        if n_rows == 1:
            raise DataError(
                f"{name} needs at least two rows; got n_samples=1. Add rows, or give a prior with "
                "parameters."
            )
        raise DegenerateComponentError(
            f"{name} has no maximum on these data: {found[0].reason}. Leave out constant and "
            "dependent columns, or give a prior with parameters."
        )


def rows_per_block(n_columns: int, n_components: int) -> int:
    """Rows a block, from the shape of the work alone: 4096 … 65536."""
    monomials = (n_columns + 1) * (n_columns + 2) // 2
    return int(np.clip((1 << 24) // (monomials * n_components), 4096, 65536))


def _log_hard(model: MixtureModel, params: MixtureParameters, blocks: Sequence[Block]) -> float:
    """Σ w_i log max_k r_ik, nats: what ICL subtracts for assigning rows to one component each."""
    total = 0.0
    for block in blocks:
        for rows in iterate_rows(len(block.x), _use_rows(model.n_components, block.x.shape[1])):
            label = None if block.label is None else block.label[rows]
            r, _, _ = model.assign(params, Block(block.x[rows], None, label))
            log_largest = np.log(r.max(axis=1))
            weight = np.ones(len(r)) if block.weight is None else block.weight[rows]
            total += float(weight @ log_largest)
    return total


def _use_rows(n_components: int, n_columns: int) -> int:
    return max(1024, (1 << 20) // (n_components * max(n_columns, 1)))


def _one_component(given: Any, marginal: Parameters) -> Parameters:
    """The fixed parameters of a component, or any where it has none."""
    if given is None:
        return take(marginal, [0])
    if not isinstance(given, Mapping):
        raise parameter_error("fixed", "parameters by name for a component", given)
    try:
        return spread(given, marginal, 1)
    except (TypeError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise parameter_error("fixed", "parameters of a component's shapes", given) from None


def _nested(given: Mapping[str, Any], like: Parameters) -> dict[str, Any]:
    """Dotted names, as `params_` has them, put under their factor."""
    out: dict[str, Any] = {}
    for name, value in given.items():
        label, dot, inner = name.rpartition(".")
        if dot and isinstance(like.get(label), Mapping):
            out.setdefault(label, {})[inner] = value
        else:
            out[name] = value
    return out


def _refuse_prior(groups: Sequence[Group]) -> None:
    for group in groups:
        if not group.family.accepts_prior:
            raise ParameterError(
                f"prior cannot be used with {group.family!r}, whose statistics belong to its current "
                "parameters; leave the prior out, or fix the shape or size."
            )


def _refuse_half_held(group: Group, mask: NDArray[np.bool_]) -> None:
    if group.family.shares_parameters and not mask[group.index].all():
        raise ParameterError(
            f"fixed holds some components of {group.family!r}, which share parameters with the others; "
            "hold all of them, or use a family without shared parameters."
        )


def _log_weights(weights: ArrayLike, k: int) -> Array:
    try:
        values = np.asarray(weights, float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (k,) or (values < 0).any() or not np.isclose(values.sum(), 1.0):
        raise parameter_error("weights", f"{k} numbers of at least 0 that sum to 1", weights)
    with np.errstate(divide="ignore"):
        return np.log(values)


def _stack(parts: Sequence[Parameters]) -> Parameters:
    from expmax.families.parameters import stack

    return stack(parts)


def _spike_rule(model: MixtureModel, n_columns: int) -> Any:
    """Whether a component that could collapse rests on very few rows."""
    least = np.zeros(model.n_components)
    for group in model.groups if model.prior is None else ():  # a prior leaves nothing unbounded
        least[group.index] = group.family.smallest_count(n_columns)

    def is_spike(point: Point) -> bool:
        return bool((point.expectation.statistics.counts < least).any())

    return is_spike


def _single(run: Run, kind: str) -> Search:
    record = StartRecord(kind, 0, run.point.objective, run.status, True)
    found = run.degeneracies
    reasons = [f"component {found[0].component} collapsed: {found[0].reason}"] if found else []
    return Search(run, [record], reasons, 0, [run])


def _continue(problem: Problem, climb: Any, result: Search, spike: Any) -> Search:
    """Carry the distinct best solutions of a subsample over to all rows."""
    if result.best is not None and result.best.status == "interrupted":
        result.best = ascend(problem, problem.at(result.best.point.params), tol=0.0, max_iter=0)
        result.best.status = "interrupted"
        return result
    runs: list[Run] = []
    best = -np.inf
    distinct: list[Any] = []
    for run in result.tops:
        if all(abs(run.point.objective - other) > 1e-3 for other in distinct):
            distinct.append(run.point.objective)
            point = problem.at(run.point.params)
            for _ in range(3):
                if point.finite:
                    point = problem.at(problem.maximize(point))
            runs.append(Run(point, "max_iter", run.history))
            best = max(best, point.objective)
        if len(runs) == 5:
            break
    runs = [run for run in runs if run.point.finite]
    runs.sort(key=lambda run: -run.point.objective)
    finished = [climb(run.point) for run in runs[:2]]
    finished.sort(key=lambda run: (run.status == "degenerate", -run.point.objective))
    result.best = finished[0] if finished else None
    return result


def _not_converged(estimator: Mixture, run: Run) -> str:
    """Why a fit is not called converged."""
    return (
        f"{type(estimator).__name__} stopped with status {run.status!r} after {estimator.n_iter_} "
        f"iterations, with an estimated {run.remaining:.2g} nats still to gain (tol={estimator.tol:g}); "
        "raise max_iter or tol."
    )
