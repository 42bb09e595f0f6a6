"""Mixtures by variational Bayes: what `Mixture(inference="variational")` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import Serial
from expmax.contract import Block, Parameters, iterate_rows
from expmax.engine.loop import Run
from expmax.engine.problem import Problem
from expmax.engine.starts import SAME, Budget, Search, climber, search
from expmax.errors import DataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.building import bound_groups
from expmax.estimators.search import EFFORT, carry_over, seed_of, single
from expmax.estimators.shared import Progress
from expmax.estimators.training import LARGE, SUBSAMPLE, Training, log_hard
from expmax.families.base import Family
from expmax.models.mixture import Group
from expmax.models.variational import VariationalMixture, VariationalParameters
from expmax.models.variational_starts import VariationalStarts
from expmax.models.variational_weights import WeightDistribution, WeightType
from expmax.priors import Conjugate, as_prior, conjugate_of
from expmax.statistics import Array

__all__ = [
    "fit_variational",
    "from_responsibilities",
    "group_prior",
    "publish_variational",
    "variational_model",
]

EMPTY = 0.5  # expected rows below which a component counts as emptied out


def fit_variational(
    estimator: Any, X: Any, sample_weight: ArrayLike | None, labels: ArrayLike | None
) -> Any:
    """Fit q(z) q(θ) by coordinate ascent of the bound, and publish the result on the estimator."""
    x, weight, label = estimator._read_training(X, sample_weight, labels)
    model = variational_model(estimator, x, weight)
    training: Training = estimator._training_data(model, x, weight, label)
    with single_threaded_blas():
        with Progress(estimator.progress, estimator.tol) as progress:
            result = _search(estimator, training, progress)
        estimator._keep(training, result)
        _measure(estimator, training.problem)
    return estimator


def variational_model(estimator: Any, x: NDArray[Any], weight: Array | None) -> VariationalMixture:
    """Families bound to the data, each group with its prior."""
    if estimator.fixed is not None:
        raise parameter_error(
            "fixed", 'None with inference="variational"', estimator.fixed, "Use a strong prior"
        )
    families: list[Family] = estimator._families()
    groups = bound_groups(families, x, estimator._encoder)
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


def _search(estimator: Any, training: Training, progress: Progress) -> Search:
    """Search, then try sticks broken in order of size: the bound depends on their order."""
    options: dict[str, Any] = {
        "tol": estimator.tol,
        "max_iter": int(estimator.max_iter),
        "accelerator": estimator._accelerator(),
        "watch": progress.watch,
    }
    result = _search_starts(estimator, training, options)
    run, problem = result.best, training.problem
    model: VariationalMixture = problem.model
    one_family = len(model.groups) == 1
    if run is None or model.weight_prior.kind == "dirichlet_distribution" or not one_family:
        return result
    if estimator._keeps_order or run.status == "interrupted":
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
            certifier=np.random.default_rng(0) if estimator.certify else None,
            **options,
        )
        result.best = climb(point)
        result.settle()
    return result


def _search_starts(estimator: Any, training: Training, options: dict[str, Any]) -> Search:
    problem, rows = training.problem, training.rows
    model: VariationalMixture = problem.model
    seed = seed_of(estimator.random_state)
    certifier = np.random.default_rng(seed.spawn(1)[0])
    finish = climber(problem, certifier=certifier if estimator.certify else None, **options)
    starts = estimator._variational_starts(training)
    if not starts and model.n_components == 1:
        starts = [(from_responsibilities(training, np.ones((len(rows.x), 1))), "closed form")]
    if starts:
        return _best_of_given(finish, problem, starts)
    sub = _subsample(problem, rows, seed)
    source = VariationalStarts(model, sub.blocks[0])  # type: ignore[arg-type]
    k = model.n_components
    # less than what likelihood spends: components empty out by themselves, so fewer optima differ
    budget = Budget(int(0.7 * EFFORT[estimator.effort] * max(1.0, k / 3) ** 1.5))
    if estimator.n_init != "auto":
        n = int(estimator.n_init)
        budget = Budget(0, round_size=n, short=0, continued=n)
    result = search(sub, source, seed, budget, climber(sub, **options), _never)
    if sub is not problem:
        problem.n_expect += sub.n_expect * len(sub.blocks[0].x) // max(len(rows.x), 1)
        return carry_over(problem, finish, result)
    if estimator.certify and result.best is not None and result.best.status == "uncertified":
        result.best = finish(result.best.point, result.best.history.reopen())
        result.settle()
    return result


def _best_of_given(
    finish: Callable[..., Run], problem: Problem, starts: Sequence[tuple[Any, str]]
) -> Search:
    """Every start to its end; an interrupt ends them with the best so far."""
    found: list[Search] = []
    for params, kind in starts:
        run = finish(problem.at(params))
        found.append(single(run, kind))
        if run.status == "interrupted":
            break
    best = max(found, key=lambda one: one.best.point.objective if one.best else -np.inf)
    assert best.best is not None
    top = best.best.point.objective
    best.records = [
        replace(one.records[0], agrees=abs(one.records[0].objective - top) < SAME) for one in found
    ]
    if run.status == "interrupted":
        best.best.status = "interrupted"
    return best


def _never(point: Any) -> bool:
    """Whether a point is a spike: a prior leaves none."""
    return False


def from_responsibilities(training: Training, responsibilities: Array) -> VariationalParameters:
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
    estimator._log_hard = log_hard(model, q, problem.blocks)
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
