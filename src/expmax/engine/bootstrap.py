"""Bootstrap standard errors of any model: refits, from the estimate, to units drawn with replacement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block
from expmax.engine.acceleration import accelerators
from expmax.engine.arguments import OneAfterAnother
from expmax.engine.information import StandardErrors, flatten_values
from expmax.engine.loop import Run, ascend
from expmax.engine.problem import Problem
from expmax.errors import InformationError
from expmax.statistics import Array

__all__ = ["Units", "aligned", "bootstrap_errors", "drawn_units", "rows_of"]

TOL, MAX_ITER = 1e-3, 2000  # of a refit: nats of the total left to gain, parameter updates
STILL = 1e-9  # spread of the refits, in units of the numbers' own, that is none
BROKEN = ("degenerate", "not_finite", "decreased")

Describe = Callable[[Any], dict[str, Array]]
Units = Callable[[np.random.Generator], Sequence[Block]]


@dataclass(frozen=True)
class _Refit:
    """One refit: its numbers, or what became of it."""

    numbers: Array | None
    status: str = ""


def bootstrap_errors(
    problem: Problem,
    params: Any,
    describe: Describe,
    units: Units,
    *,
    n_bootstrap: int,
    rng: np.random.Generator,
    workers: int = 1,
    held: NDArray[np.bool_] | None = None,
    climb: Callable[[Problem, Any], Run] | None = None,
) -> StandardErrors:
    """The spread of refits to units drawn with replacement.

    Parameters
    ----------
    describe : callable
        Parameters to arrays by name.
    units : callable
        Draws the blocks of one refit.
    workers : int
        Threads; the result does not depend on their number.
    held : ndarray of bool, optional
        Which of the described numbers the user fixed: their error is 0. Any other that no refit moved, where
        the estimate is on the edge of its space, has no error: EM never leaves an edge.
    climb : callable, optional
        Fits a problem from parameters; default: accelerated EM to 1e-3 nats.

    Raises
    ------
    InformationError
        More than half of the refits failed.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 6. McLachlan & Peel (2000), §2.16.
    """
    climb = climb or _climb
    exchangeable = _exchangeable(problem)

    def refit(child: np.random.Generator) -> _Refit:
        blocks = units(child)
        again = Problem(problem.model, blocks, OneAfterAnother())
        run = climb(again, params)
        if run.status == "interrupted":
            raise KeyboardInterrupt
        if run.status in BROKEN or not run.point.finite:
            return _Refit(None, run.status if run.status in BROKEN else "not_finite")
        found = aligned(problem.model, run.point.params, params, describe, exchangeable)
        return _Refit(flatten_values(describe(found)), run.status)

    fits = _all(refit, rng.spawn(n_bootstrap), workers)
    draws = [fit.numbers for fit in fits if fit.numbers is not None]
    _refuse_failures(fits, len(draws))
    notes = _remarks(fits)
    estimates = describe(params)
    covariance = np.atleast_2d(np.cov(np.array(draws), rowvar=False))
    if held is not None:
        covariance[held] = covariance[:, held] = 0.0
    stuck = _stuck(problem, params, np.array(draws), estimates, held)
    if stuck.any():
        covariance[stuck] = covariance[:, stuck] = np.nan
    errors = StandardErrors.of("bootstrap", estimates, covariance)
    notes += _edge_remarks(problem.boundary(params), errors.names, stuck)
    return replace(errors, notes=tuple(notes))


def _climb(problem: Problem, params: Any) -> Run:
    return ascend(
        problem,
        problem.at(params),
        tol=TOL,
        max_iter=MAX_ITER,
        accelerator=accelerators("auto"),
    )


def _all(
    refit: Callable[[np.random.Generator], _Refit],
    rngs: Sequence[np.random.Generator],
    workers: int,
) -> list[_Refit]:
    """Every refit, in order; Ctrl-C ends them."""
    if workers == 1:
        return [refit(rng) for rng in rngs]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="expmax")
    try:
        return list(pool.map(refit, rngs))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# -- what the refits say ---------------------------------------------------------------------------
def _refuse_failures(fits: Sequence[_Refit], n_kept: int) -> None:
    lost = len(fits) - n_kept
    if n_kept >= max(2, (len(fits) + 1) // 2):
        return
    kinds = sorted({fit.status for fit in fits if fit.numbers is None})
    raise InformationError(
        f"{lost} of {len(fits)} bootstrap fits failed ({', '.join(kinds)}): the estimate rests on too few "
        "rows for a bootstrap. Use fewer components or a prior."
    )


def _remarks(fits: Sequence[_Refit]) -> list[str]:
    notes = []
    lost = [fit.status for fit in fits if fit.numbers is None]
    if lost:
        kinds = ", ".join(sorted(set(lost)))
        notes.append(f"{len(lost)} of {len(fits)} refits failed ({kinds}) and are left out")
    short = sum(fit.status == "max_iter" for fit in fits)
    if short:
        notes.append(
            f"{short} of {len(fits)} refits were still rising after {MAX_ITER} iterations: being near the "
            "estimate, they make the errors too small"
        )
    return notes


def _stuck(
    problem: Problem,
    params: Any,
    draws: Array,
    estimates: dict[str, Array],
    held: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    """Numbers on or beside an edge that no refit moved; none where nothing is on an edge."""
    with np.errstate(invalid="ignore"):  # infinite numbers
        moved = np.ptp(draws, axis=0)
    still: NDArray[np.bool_] = ~(moved > STILL * _units(estimates))
    if held is not None:
        still &= ~np.asarray(held, bool)
    return still if problem.boundary(params) else np.zeros_like(still)


def _edge_remarks(
    edges: Sequence[str], names: Sequence[str], stuck: NDArray[np.bool_]
) -> list[str]:
    if not edges:
        return []
    where = f"{_listed(edges)} {'is' if len(edges) == 1 else 'are'} on the boundary"
    if not stuck.any():
        return [
            f"{where}, where the bootstrap is not consistent (Andrews 2000, Econometrica 68(2))"
        ]
    missing = _listed([name for name, bad in zip(names, stuck, strict=True) if bad])
    return [
        f"{where}, which no refit from there can leave: no standard error of {missing}; those of the others "
        "hold it there"
    ]


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


# -- labels ----------------------------------------------------------------------------------------
def _exchangeable(problem: Problem) -> list[NDArray[np.intp]]:
    """Sets of components whose labels mean nothing; none where rows have labels, or the model tells of none."""
    model = problem.model
    labelled = any(b.label is not None and (b.label >= 0).any() for b in problem.blocks)
    n = getattr(model, "n_components", None)
    if labelled or not isinstance(n, int | np.integer) or not hasattr(model, "permute"):
        return []
    own = getattr(model, "exchangeable", None)
    return [np.arange(int(n))] if own is None else list(own())


def aligned(
    model: Any,
    params: Any,
    reference: Any,
    describe: Describe,
    exchangeable: Sequence[NDArray[np.intp]],
) -> Any:
    """Parameters with the labels that bring them nearest to a reference.

    By the model's `align(params, reference)` if it has one, else by swaps of `exchangeable` components
    (`permute`) until none brings the described numbers nearer, each in units of its spread over components.
    """
    own = getattr(model, "align", None)
    if own is not None:
        return own(params, reference)
    if not any(len(index) > 1 for index in exchangeable):
        return params
    target = flatten_values(describe(reference))
    unit = _units(describe(reference))
    order = np.arange(int(model.n_components))

    def distance(order: NDArray[np.intp]) -> float:
        numbers = flatten_values(describe(model.permute(params, order)))
        with np.errstate(invalid="ignore"):
            moved = np.where(numbers == target, 0.0, (numbers - target) / unit)
        return float(np.nansum(moved**2))

    pairs = [pair for index in exchangeable for pair in combinations(index.tolist(), 2)]
    best, improved = distance(order), True
    while improved:
        improved = False
        for i, j in pairs:
            other = order.copy()
            other[[i, j]] = other[[j, i]]
            found = distance(other)
            if found < best * (1 - 1e-12):
                order, best, improved = other, found, True
    return model.permute(params, order)


def _units(values: dict[str, Array]) -> Array:
    """A unit for each number, in order."""
    return np.concatenate([np.full(np.size(part), _size(part)) for part in values.values()])


def _size(values: Array) -> float:
    """A unit for the numbers of one name: their spread, or their size where they are equal."""
    finite = np.asarray(values, float)[np.isfinite(values)]
    spread = float(np.ptp(finite)) if finite.size else 0.0
    return spread or float(np.max(np.abs(finite), initial=0.0)) or 1.0


# -- units -----------------------------------------------------------------------------------------
def drawn_units(model: Any, blocks: Sequence[Block]) -> Units:
    """How the blocks of one refit are drawn: n units of n, with replacement.

    Units are rows; weights that are all whole numbers count copies of a row, other weights belong to their
    row and are drawn with it. Without weights a row drawn twice is there twice, so that the model need not
    support weights. Of a model with `independent_rows = False` the units are the blocks.

    Raises
    ------
    InformationError
        There are fewer than two units.
    """
    if not getattr(model, "independent_rows", True):
        return _drawn_blocks(blocks)
    weights = [
        np.ones(len(b.x)) if b.weight is None else np.asarray(b.weight, float) for b in blocks
    ]
    weighted = any(block.weight is not None for block in blocks)
    copies = all((weight == np.floor(weight)).all() for weight in weights)
    counts = weights if copies else [(weight > 0).astype(float) for weight in weights]
    whole = np.concatenate(counts)
    n = round(float(whole.sum()))
    if n < 2:
        raise InformationError(
            "the data are one row, so there is nothing to draw with replacement. Give each independent unit a "
            "row of its own (counts of equal ones as weights)."
        )

    def draw(rng: np.random.Generator) -> list[Block]:
        drawn = rng.multinomial(n, whole / whole.sum())
        out, start = [], 0
        for block, count, weight in zip(blocks, counts, weights, strict=True):
            share = drawn[start : start + len(count)]
            start += len(count)
            if not weighted:
                part = rows_of(block, np.repeat(np.arange(len(share)), share))
            else:
                used = np.flatnonzero(share)
                each = share if copies else share * weight
                part = replace(rows_of(block, used), weight=each[used].astype(float))
            if len(part.x):
                out.append(replace(part, memo=None if block.memo is None else {}))
        return out

    return draw


def _drawn_blocks(blocks: Sequence[Block]) -> Units:
    if len(blocks) < 2:
        raise InformationError(
            "rows of a block belong together in this model (independent_rows = False), and there is one block: "
            "nothing can be drawn with replacement. Give each independent unit (sequence, group) as a "
            "block of its own."
        )

    def draw(rng: np.random.Generator) -> list[Block]:
        picked = rng.integers(len(blocks), size=len(blocks))
        return [
            replace(blocks[i], memo=None if blocks[i].memo is None else {}) for i in sorted(picked)
        ]

    return draw


def rows_of(block: Block, index: NDArray[Any]) -> Block:
    """Some rows of a block, in that order, without its memo."""
    n = len(block.x)
    changes: dict[str, Any] = {"memo": None}
    for field in fields(block):
        value = getattr(block, field.name)
        if isinstance(value, np.ndarray) and value.ndim and len(value) == n:
            changes[field.name] = value[index]
    return replace(block, **changes)
