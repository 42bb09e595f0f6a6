"""How the starts of a mixture are tried, continued and, where the data are large, carried to all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_random_state

from expmax.contract import Start
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Point, Problem
from expmax.engine.starts import Budget, Search, StartRecord, climber, search
from expmax.estimators.training import Training, few_rows
from expmax.families.gaussian import Gaussian
from expmax.families.parameters import take
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.models.mixture_starts import MixtureStarts
from expmax.models.scouting import GaussianScout
from expmax.statistics import Array

__all__ = [
    "EFFORT",
    "budget_of",
    "carry_over",
    "marginal_start",
    "search_mixture",
    "seed_of",
    "single",
    "spike_rule",
    "spiked",
]

# E-steps that a search may spend at K = 3; of more components by K^2.5, as optima multiply
EFFORT = {"quick": 350, "default": 700, "thorough": 2800}
WORTH = 7e6  # E-steps × rows × components × monomials of a search from which on compiled climbs pay
SCOUTED = 8  # times as many of their E-steps may be spent, each taking a tenth of the time
PATIENCE = 24  # irregular starts in a row before a search gives up
CARRIED, FINISHED = 5, 2  # solutions of a sample tried on all rows; and those climbed from there
FEW = 3  # times the rows that a component needs at least: a small one
FLAT = 1e-7  # smallest over largest variance of a component: a small one that is flatter is a spike
DISTINCT = 1e-3  # nats by which two solutions of a sample differ


def search_mixture(
    training: Training,
    start: MixtureParameters | None,
    budget: Budget,
    random_state: Any,
    explorer: Any,
    **options: Any,
) -> Search:
    """The search of a fit by maximum likelihood; a given start is the only one.

    Parameters
    ----------
    explorer : callable or None
        Makes the accelerator of a search, where one optimum is as welcome as another.
    options
        tol, max_iter and accelerator of every other run.
    """
    problem, model = training.problem, training.problem.model
    seed = seed_of(random_state)
    finish = climber(problem, certifier=np.random.default_rng(seed.spawn(1)[0]), **options)
    if start is not None:
        return single(finish(problem.at(start)), "given")
    if model.n_components == 1 or not any(one.family.is_estimated for one in model.groups):
        return single(finish(problem.at(marginal_start(model))), "closed form")
    spike = spiked(model, training.rows.x.shape[1])
    sub = few_rows(training, seed)
    guide = _guide(sub, budget)
    source = PatientStarts(model, sub.blocks[0], guide)
    exploring = options | {"accelerator": explorer} if budget.expectations else options
    scout = None
    if guide is not None:
        scout = partial(_scout, sub, guide)
        budget = replace(budget, expectations=SCOUTED * budget.expectations)
    result = search(sub, source, seed, budget, climber(sub, **exploring), spike, scout)
    if sub is not problem:
        problem.n_expect += sub.n_expect * len(sub.blocks[0].x) // max(len(training.rows.x), 1)
        return carry_over(problem, finish, result)
    if result.best is not None and result.best.status == "uncertified":
        result.best = finish(result.best.point, result.best.history.reopen())
        result.settle()
    return result


def _guide(problem: Problem, budget: Budget) -> GaussianScout | None:
    """Compiled climbs, where they apply and a search without them would take longer than to load them."""
    model, block = problem.model, problem.blocks[0]
    d = block.x.shape[1]
    work = budget.expectations * len(block.x) * model.n_components * (d + 1) * (d + 2) / 2
    if work < WORTH or not GaussianScout.serves(model, block) or find_spec("numba") is None:
        return None
    return GaussianScout(model, block)


def _scout(problem: Problem, guide: GaussianScout, point: Point, floor: float) -> Point | None:
    """The point from which to climb in earnest; its E-steps count as the problem's."""
    before = guide.n_expect
    found = guide.approach(point.params, floor)
    problem.n_expect += guide.n_expect - before
    return None if found is None else problem.at(found)


def seed_of(random_state: Any) -> np.random.SeedSequence:
    """The seed of a fit, drawn from `random_state` as scikit-learn takes it."""
    drawn = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return np.random.SeedSequence(int(drawn))


def budget_of(effort: str, n_init: int | str, k: int) -> Budget:
    """What a search for K components may spend: E-steps, or a number of starts run to the end."""
    if n_init != "auto":
        n = int(n_init)
        return Budget(0, round_size=n, short=0, continued=n)
    share = EFFORT[effort] / EFFORT["default"]
    return Budget(
        int(EFFORT[effort] * max(1.0, k / 3) ** 2.5),
        returns=int(np.ceil(share * (3 + k * k))),
    )


def marginal_start(model: MixtureModel) -> MixtureParameters:
    """Every component as the one-component fit of all rows, with equal weights."""
    assert model.marginal is not None
    components = tuple(
        take(part, np.zeros(len(group.index), int))
        for part, group in zip(model.marginal, model.groups, strict=True)
    )
    log_weights = np.full(model.n_components, -np.log(model.n_components))
    return model.hold(MixtureParameters(log_weights, components))


def spike_rule(
    model: MixtureModel, n_columns: int
) -> Callable[[Array, Callable[[], MixtureParameters]], bool]:
    """Whether a component that could collapse rests on very few rows, or on few and is nearly flat.

    The rule takes the expected rows of each component, and how to get the parameters.
    """
    least = np.zeros(model.n_components)
    for group in model.groups if model.prior is None else ():  # a prior leaves nothing unbounded
        least[group.index] = group.family.smallest_count(n_columns)

    def is_spike(counts: Array, params: Callable[[], MixtureParameters]) -> bool:
        if (counts < least).any():
            return True
        few = counts < FEW * least
        return bool(few.any() and (few & _flat(model, params())).any())

    return is_spike


def spiked(model: MixtureModel, n_columns: int) -> Callable[[Point], bool]:
    """The same rule for a point."""
    rule = spike_rule(model, n_columns)
    return lambda point: rule(point.expectation.statistics.counts, lambda: point.params)


def _flat(model: MixtureModel, params: MixtureParameters) -> NDArray[np.bool_]:
    """Gaussian components on a hyperplane, nearly: in units of the columns, shape (K,)."""
    flat = np.zeros(model.n_components, bool)
    for g, group in enumerate(model.groups):
        if not isinstance(group.family, Gaussian) or model.marginal is None:
            continue
        covariance, whole = params.components[g]["covariance"], model.marginal[g]["covariance"][0]
        if covariance.ndim == 2:
            variances = np.sort(covariance / whole, axis=1)
        else:
            unit = np.sqrt(np.diagonal(whole))
            scaled = covariance / np.outer(unit, unit)
            usable = np.isfinite(scaled).all(axis=(1, 2))
            variances = np.zeros(scaled.shape[:2])
            variances[usable] = np.linalg.eigvalsh(scaled[usable])
        flat[group.index] = variances[:, 0] < FLAT * variances[:, -1]
    return flat


def single(run: Run, kind: str) -> Search:
    """A search of one start."""
    record = StartRecord(kind, 0, run.point.objective, run.status, True)
    found = run.degeneracies
    reasons = [str(found[0])] if found else []
    return Search(run, [record], reasons, 0, [run])


def carry_over(problem: Problem, climb: Callable[..., Run], result: Search) -> Search:
    """Climb on all rows from the distinct best solutions of a sample."""
    if result.best is not None and result.best.status == "interrupted":
        result.best = ascend(problem, problem.at(result.best.point.params), tol=0.0, max_iter=0)
        result.best.status = "interrupted"
        return result
    distinct: list[Run] = []
    for run in result.tops:
        objective = run.point.objective
        if all(abs(objective - other.point.objective) > DISTINCT for other in distinct):
            distinct.append(run)
    finished: list[Run] = []
    tried: list[Point] = []
    try:
        for run in distinct[:CARRIED]:
            tried.append(_few_steps(problem, run.point.params))
        tried = sorted((point for point in tried if point.finite), key=lambda one: -one.objective)
        for point in tried[:FINISHED]:
            finished.append(climb(point))
            if finished[-1].status == "interrupted":
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        if not tried:
            raise
        finished = finished or [ascend(problem, tried[0], tol=0.0, max_iter=0)]
        for run in finished:
            run.status = "degenerate" if run.degeneracies else "interrupted"
    finished.sort(key=lambda run: (run.status == "degenerate", -run.point.objective))
    result.best = finished[0] if finished else None
    return result


def _few_steps(problem: Problem, params: Any) -> Point:
    point = problem.at(params)
    for _ in range(3):
        if point.finite:
            point = problem.at(problem.maximize(point))
    return point


class PatientStarts(MixtureStarts):
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
