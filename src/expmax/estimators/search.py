"""How the starts of a mixture are tried, continued and, where the data are large, carried to all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.utils.validation import check_random_state

from expmax.contract import Start
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Point, Problem
from expmax.engine.starts import SAME, Budget, Search, StartRecord, climber, outcome_of, search
from expmax.estimators.shared import Progress
from expmax.estimators.spikes import spiked
from expmax.estimators.training import Training, few_rows
from expmax.families.covariance import ITERATIVE
from expmax.families.parameters import take
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.models.mixture_starts import MixtureStarts
from expmax.models.scouting import GaussianScout

__all__ = [
    "EFFORT",
    "budget_of",
    "carry_over",
    "marginal_start",
    "replay",
    "search_mixture",
    "seed_of",
    "single",
]

# E-steps that a search may spend at K = 3; of more components by K^2.5, as optima multiply
EFFORT = {"quick": 350, "default": 700, "thorough": 2800}
# E-steps × rows × components × monomials of a search from which on compiled climbs pay; where the M-step has
# no closed form either, the engine's E-steps count more
WORTH, LABOUR = 3.45e6, 3.0
# what surrounds an E-step takes as long as so many rows × components × monomials in it: of the engine's
# steps, and of compiled ones, of which as many more may be spent
ENGINE, COMPILED = 3e5, 3e4
PATIENCE = 24  # irregular starts in a row before a search gives up
CARRIED, FINISHED = 5, 2  # solutions of a sample tried on all rows; and those climbed from there
DISTINCT = 1e-3  # nats by which two solutions of a sample differ


def search_mixture(
    training: Training,
    start: MixtureParameters | None,
    budget: Budget,
    random_state: Any,
    explorer: Any,
    progress: Progress,
    certify: bool = True,
    **options: Any,
) -> Search:
    """The search of a fit by maximum likelihood; a given start is the only one.

    Parameters
    ----------
    explorer : callable or None
        Makes the accelerator of a search, where one optimum is as welcome as another.
    progress : Progress
        Hears of every step of every run, and of the end of every compiled climb.
    certify : bool
        Whether the best is certified.
    options
        tol, max_iter and accelerator of every other run.
    """
    problem, model = training.problem, training.problem.model
    seed = seed_of(random_state)
    options["watch"] = progress.watch
    certifier = np.random.default_rng(seed.spawn(1)[0])
    finish = climber(problem, certifier=certifier if certify else None, **options)
    if start is not None:
        return single(finish(problem.at(start)), "given")
    if model.n_components == 1 or not any(one.family.is_estimated for one in model.groups):
        return single(finish(problem.at(marginal_start(model))), "closed form")
    spike = spiked(model, training.rows.x)
    sub = few_rows(training, seed)
    guide = _guide(sub, budget)
    source = PatientStarts(model, sub.blocks[0], guide)
    exploring = options | {"accelerator": explorer} if budget.expectations else options
    scout = None
    if guide is not None:
        scout = partial(_scout, sub, guide, progress)
        work = _work(sub)
        more = (ENGINE + work) / (COMPILED + work)
        budget = replace(budget, expectations=int(more * budget.expectations))
    result = search(sub, source, seed, budget, climber(sub, **exploring), spike, scout)
    if sub is not problem:
        problem.n_expect += sub.n_expect * len(sub.blocks[0].x) // max(len(training.rows.x), 1)
        return carry_over(problem, finish, result)
    replayed = certify and replay(problem, finish, result)
    if certify and not replayed and result.best is not None and result.best.status == "uncertified":
        _certify(finish, result, spike)
    return result


def replay(problem: Problem, finish: Callable[..., Run], result: Search) -> bool:
    """Climb with proofs from the start whose way a scout found; whether nothing is left to be done.

    Where that leads to the same optimum this run, and with it the whole way, takes the place of the best.
    """
    best = result.best
    if best is None or best.status == "interrupted" or result.origin is None:
        return False
    run = finish(problem.at(result.origin))
    if run.status == "interrupted":
        best.status = "interrupted"
        return True
    certified = run.status in ("stationary", "boundary")
    if not certified or not abs(run.point.objective - best.point.objective) < SAME:
        return False
    result.best = run
    result.settle()
    return True


def _certify(finish: Callable[..., Run], result: Search, is_spike: Callable[[Point], bool]) -> None:
    """Finish the best run; where it goes on to a spike, the next best instead, and so on.

    A run that collapses is no fit; one that ends on very few rows is kept only if no other does better.
    """
    ends: list[tuple[bool, bool, Run, int]] = []
    for run in _distinct(result.tops):
        if is_spike(run.point) and not all(collapsed for collapsed, *_ in ends):
            break  # all that follow rest on few rows too
        result.best_record = _record_of(run, result)
        result.best = done = finish(run.point, run.history.reopen())
        result.settle()
        collapsed = done.status == "degenerate"
        ends.append((collapsed, collapsed or is_spike(done.point), done, result.best_record))
        if not ends[-1][1] or done.status == "interrupted":
            break
        if collapsed:
            result.reasons.append(str(done.degeneracies[0]))
    _, _, result.best, result.best_record = min(ends, key=lambda end: end[:2])
    if len(ends) > 1:
        best = result.best.point.objective
        result.records = [
            replace(record, agrees=abs(record.objective - best) < SAME) for record in result.records
        ]


def _record_of(run: Run, result: Search) -> int:
    """The number of the start that a run belongs to."""
    objectives = [record.objective for record in result.records]
    return objectives.index(run.point.objective) if run.point.objective in objectives else -1


def _distinct(runs: Sequence[Run]) -> list[Run]:
    """The first of those that ended at the same objective."""
    distinct: list[Run] = []
    for run in runs:
        objective = run.point.objective
        if all(abs(objective - other.point.objective) > DISTINCT for other in distinct):
            distinct.append(run)
    return distinct


def _guide(problem: Problem, budget: Budget) -> GaussianScout | None:
    """Compiled climbs, where they apply and a search without them would take longer than to load them."""
    model, block = problem.model, problem.blocks[0]
    if not GaussianScout.serves(model, block) or find_spec("numba") is None:
        return None
    iterative = model.groups[0].family.structure in ITERATIVE
    worth = budget.expectations * _work(problem) * (LABOUR if iterative else 1.0)
    return GaussianScout(model, block) if worth >= WORTH else None


def _work(problem: Problem) -> float:
    """Rows × components × monomials of an E-step."""
    n, d = problem.blocks[0].x.shape
    return float(n * problem.model.n_components * (d + 1) * (d + 2) / 2)


def _scout(
    problem: Problem, guide: GaussianScout, progress: Progress, point: Point, floor: float
) -> Point | None:
    """The point from which to climb in earnest; its E-steps count as the problem's."""
    before = guide.n_expect
    found = guide.approach(point.params, floor)
    steps = guide.n_expect - before
    problem.n_expect += steps
    if found is None:
        return None
    end = problem.at(found)
    if np.isfinite(floor):  # before there is a best, an interrupt would leave nothing
        progress.tell(steps, end.objective)
    return end


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


def single(run: Run, kind: str) -> Search:
    """A search of one start."""
    record = StartRecord(kind, 0, run.point.objective, outcome_of(run), True)
    found = run.degeneracies
    reasons = [str(found[0])] if found else []
    return Search(run, [record], reasons, 0, [run])


def carry_over(problem: Problem, climb: Callable[..., Run], result: Search) -> Search:
    """Climb on all rows from the distinct best solutions of a sample."""
    if result.best is not None and result.best.status == "interrupted":
        result.best = ascend(problem, problem.at(result.best.point.params), tol=0.0, max_iter=0)
        result.best.status = "interrupted"
        return result
    finished: list[Run] = []
    tried: list[Point] = []
    try:
        for run in _distinct(result.tops)[:CARRIED]:
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
