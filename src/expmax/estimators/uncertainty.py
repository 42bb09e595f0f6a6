"""Standard errors of a fitted mixture, in the user's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.acceleration import accelerators
from expmax.engine.information import StandardErrors, flatten_values, information_errors
from expmax.engine.loop import ascend
from expmax.engine.problem import Point, Problem
from expmax.errors import InformationError
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.statistics import Array

__all__ = ["Method", "standard_errors"]

Method = Literal["observed", "sandwich", "bootstrap"]


def standard_errors(
    problem: Problem,
    params: MixtureParameters,
    method: Method,
    *,
    squares: Sequence[Array],
    counts: Sequence[Array],
    n_bootstrap: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> StandardErrors:
    """See `Mixture.standard_errors`. `squares` and `counts`: Σ w² and number of rows behind each row."""
    model: MixtureModel = problem.model
    if method == "bootstrap":
        draws = _bootstrap(problem, params, counts, n_bootstrap, rng, n_jobs)
        covariance = np.atleast_2d(np.cov(draws, rowvar=False))
        return StandardErrors.of(method, described(model, params), covariance)
    return information_errors(
        problem, problem.at(params), method, lambda p: described(model, p), squares
    )


def described(model: MixtureModel, params: MixtureParameters) -> dict[str, Array]:
    """Weights and the families' usual parameters by name; a list of families numbers its groups."""
    out = {"weights": np.exp(params.log_weights)}
    for g, group in enumerate(model.groups):
        prefix = "" if len(model.groups) == 1 else f"{type(group.family).__name__}."
        named = group.family.named_parameters(params.components[g])
        out |= {prefix + name: np.asarray(value, float) for name, value in named.items()}
    return out


def _bootstrap(
    problem: Problem,
    params: MixtureParameters,
    counts: Sequence[Array],
    n_bootstrap: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> Array:
    """Refits from the estimate on rows drawn with replacement, labels matched to it."""
    seeds = rng.spawn(n_bootstrap)
    with ThreadPoolExecutor(max(1, n_jobs or 1)) as pool:
        fits = list(pool.map(lambda seed: _refit(problem, params, counts, seed), seeds))
    kept = [fit for fit in fits if fit is not None]
    if len(kept) < max(2, n_bootstrap // 2):
        raise InformationError(
            f"{n_bootstrap - len(kept)} of {n_bootstrap} bootstrap fits collapsed; the components rest "
            "on too few rows. Use fewer components or a prior."
        )
    return np.array(kept)


def _refit(
    problem: Problem, params: MixtureParameters, counts: Sequence[Array], rng: np.random.Generator
) -> Array | None:
    model: MixtureModel = problem.model
    whole = np.concatenate(list(counts))
    drawn = rng.multinomial(int(whole.sum()), whole / whole.sum())
    blocks, start = [], 0
    for block, count in zip(problem.blocks, counts, strict=True):
        share = drawn[start : start + len(count)] / count
        start += len(count)
        weight = share * (1.0 if block.weight is None else block.weight)
        if block.weight is None:
            weight = share * count
        used = weight > 0
        blocks.append(
            Block(
                np.ascontiguousarray(block.x[used]),
                weight[used],
                None if block.label is None else block.label[used],
                {} if block.memo is not None else None,
            )
        )
    again = Problem(model, blocks, Serial())
    run = ascend(again, again.at(params), tol=1e-3, max_iter=500, accelerator=accelerators("auto"))
    if run.status in ("degenerate", "not_finite", "decreased"):
        return None
    return flatten_values(described(model, _align(model, run.point, params)))


def _align(model: MixtureModel, point: Point, reference: MixtureParameters) -> MixtureParameters:
    """Relabel components to match the reference, group by group, by their locations."""
    params: MixtureParameters = point.params
    order: NDArray[np.intp] = np.arange(model.n_components)
    for g, group in enumerate(model.groups):
        here = group.family.location(params.components[g])
        there = group.family.location(reference.components[g])
        scale = np.where(np.ptp(there, axis=0) > 0, np.ptp(there, axis=0), 1.0)
        cost = (((there[:, None] - here[None]) / scale) ** 2).sum(axis=2)
        _, match = linear_sum_assignment(cost)
        order[group.index] = group.index[match]
    return model.permute(params, order)
