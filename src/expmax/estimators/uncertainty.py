"""Standard errors of a fitted mixture, in the user's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri

from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.acceleration import accelerators
from expmax.engine.information import (
    delta_method,
    inverse_information,
    observed_information,
    score_covariance,
)
from expmax.engine.loop import ascend
from expmax.engine.problem import Point, Problem
from expmax.errors import InformationError, parameter_error
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.statistics import Array

__all__ = ["Method", "StandardErrors", "standard_errors"]

Method = Literal["observed", "sandwich", "bootstrap"]


@dataclass(frozen=True, eq=False)
class StandardErrors:
    """Estimates with their covariance, parameter by parameter.

    `estimates` and `errors` are mappings by parameter name, shaped like `params_`. Weights sum to one, so their
    covariance is singular by one direction, as it should be.
    """

    method: str
    names: tuple[str, ...]  # "rate[0]", …, in the order of `covariance`
    estimates: dict[str, Array]
    errors: dict[str, Array]
    covariance: Array  # shape (m, m)
    information: Array | None = None  # observed, in whitened coordinates

    def interval(self, level: float = 0.95) -> dict[str, tuple[Array, Array]]:
        """Normal-theory confidence limits, estimate ± z · error, by parameter name."""
        if not 0 < level < 1:
            raise parameter_error("level", "between 0 and 1", level)
        z = float(ndtri(0.5 + 0.5 * level))
        return {
            name: (value - z * self.errors[name], value + z * self.errors[name])
            for name, value in self.estimates.items()
        }

    def __str__(self) -> str:
        flat = np.concatenate([value.ravel() for value in self.estimates.values()])
        spread = np.concatenate([value.ravel() for value in self.errors.values()])
        width = max(map(len, self.names))
        head = f"{'parameter':{width}}  {'estimate':>12}  {'std. error':>12}   ({self.method})"
        rows = [
            f"{name:{width}}  {a:12.6g}  {b:12.6g}"
            for name, a, b in zip(self.names, flat, spread, strict=True)
        ]
        return "\n".join([head, *rows])


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
    estimates = described(model, params)
    names = tuple(
        f"{name}[{', '.join(map(str, index))}]" if index else name
        for name, value in estimates.items()
        for index in np.ndindex(value.shape)
    )
    information = None
    if method == "bootstrap":
        draws = _bootstrap(problem, params, counts, n_bootstrap, rng, n_jobs)
        covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    elif method in ("observed", "sandwich"):
        point = problem.at(params)
        information, chart = observed_information(problem, point)
        inner = inverse_information(information, problem.boundary(params))
        if method == "sandwich":
            inner = inner @ score_covariance(problem, point, chart, list(squares)) @ inner
        covariance = delta_method(chart, lambda p: _flat(described(model, p)), inner)
    else:
        raise parameter_error("method", "'observed', 'sandwich' or 'bootstrap'", method)
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    return StandardErrors(
        method, names, estimates, _like(spread, estimates), covariance, information
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
    run = ascend(
        again, again.at(params), tol=1e-3, max_iter=500, accelerator=accelerators("auto")
    )
    if run.status in ("degenerate", "not_finite", "decreased"):
        return None
    return _flat(described(model, _align(model, run.point, params)))


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


def _flat(values: dict[str, Array]) -> Array:
    return np.concatenate([value.ravel() for value in values.values()])


def _like(flat: Array, values: dict[str, Array]) -> dict[str, Array]:
    out, start = {}, 0
    for name, value in values.items():
        out[name] = flat[start : start + value.size].reshape(value.shape)
        start += value.size
    return out


