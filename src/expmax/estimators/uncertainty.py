"""Standard errors of a fitted mixture, in the user's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block
from expmax.engine.arguments import bootstrap_size, n_workers
from expmax.engine.bootstrap import Units, bootstrap_errors
from expmax.engine.information import StandardErrors, information_errors
from expmax.engine.problem import Problem
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
    """See `standard_errors` of a mixture. `squares`, `counts`: Σ w² and number of rows behind each row."""
    model: MixtureModel = problem.model
    if method == "bootstrap":
        return bootstrap_errors(
            problem,
            params,
            lambda p: described(model, p),
            _resampled(problem.blocks, counts),
            n_bootstrap=bootstrap_size(n_bootstrap),
            rng=rng,
            workers=n_workers(n_jobs),
            held=_held(model, params),
        )
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


def _resampled(blocks: Sequence[Block], counts: Sequence[Array]) -> Units:
    """Draws of the original rows, with replacement; a row keeps its weight."""
    whole = np.concatenate(list(counts))

    def draw(rng: np.random.Generator) -> list[Block]:
        drawn = rng.multinomial(int(whole.sum()), whole / whole.sum())
        out, start = [], 0
        for block, count in zip(blocks, counts, strict=True):
            share = drawn[start : start + len(count)] / count
            start += len(count)
            weight = share * (count if block.weight is None else block.weight)
            used = weight > 0
            if used.any():
                label = None if block.label is None else block.label[used]
                memo: dict[Any, Any] | None = {} if block.memo is not None else None
                x = np.ascontiguousarray(block.x[used])
                out.append(Block(x, weight[used], label, memo))
        return out

    return draw


def _held(model: MixtureModel, params: MixtureParameters) -> NDArray[np.bool_]:
    """Which of the described numbers the user fixed."""
    k = model.n_components
    mask = np.zeros(k, bool) if model.fixed_mask is None else np.asarray(model.fixed_mask, bool)
    parts = [np.full(k, model.fixed_weights is not None)]
    for group, own in zip(model.groups, params.components, strict=True):
        held = mask[group.index]
        if not group.family.is_estimated:
            held = np.ones(len(held), bool)
        for value in group.family.named_parameters(own).values():
            shape = np.shape(value)
            by_component = bool(shape) and shape[0] == len(held)
            if by_component:
                held_here = np.reshape(held, (-1,) + (1,) * (len(shape) - 1))
                parts.append(np.broadcast_to(held_here, shape).ravel())
            else:  # shared by all
                parts.append(np.full(int(np.prod(shape)), bool(held.all())))
    return np.concatenate(parts)
