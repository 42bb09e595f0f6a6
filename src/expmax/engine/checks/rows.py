"""Identities of the sum over rows: blocks, order, weights, workers, repetition."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from functools import partial, reduce
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np

from expmax.contract import Block, Expectation
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting, rows_of

__all__ = [
    "additivity",
    "memo",
    "repeatability",
    "row_order",
    "weight_zero",
    "weights_as_copies",
    "workers",
]

PARTS = 8  # blocks that workers share
WORKERS = 4
REPEATS = 3


def repeatability(setting: Setting) -> Gap:
    """The same call returns the same bits, whatever was called in between."""
    gap = Gap()
    start, problem = setting.start, setting.problem
    first, step = _bits(_total(setting, setting.blocks)), _bits(problem.maximize(start))
    q = problem.q(start.params, start)
    for point in [*setting.near, *setting.path]:
        problem.maximize(problem.at(point.params))
    gap.same(first, _bits(_total(setting, setting.blocks)), "in the E-step")
    gap.same(step, _bits(problem.maximize(start)), "in the M-step")
    gap.same(q, problem.q(start.params, start), "in Q")
    return gap


def additivity(setting: Setting) -> Gap:
    """The expectation of the whole is the sum over its parts, two or three."""
    setting.need_rows()
    gap = Gap()
    whole = _total(setting, setting.blocks)
    if max(len(block.x) for block in setting.blocks) < 2:
        raise NotApplicableError("needs a block of at least two rows")
    for n in (2, 3):
        parts = [part for block in setting.blocks for part in _split(block, n)]
        setting.same_sums(gap, _total(setting, parts), whole, f"in {n} parts")
    return gap


def row_order(setting: Setting) -> Gap:
    """The order of the rows does not matter."""
    setting.need_rows()
    if max(len(block.x) for block in setting.blocks) < 2:
        raise NotApplicableError("needs a block of at least two rows")
    rng, gap = setting.rng("row order"), Gap()
    mixed = [rows_of(block, rng.permutation(len(block.x))) for block in setting.blocks]
    setting.same_sums(gap, _total(setting, mixed), _total(setting, setting.blocks))
    return gap


def weights_as_copies(setting: Setting) -> Gap:
    """A row of weight k counts as k rows, k = 1, 2, 3."""
    _need_weights(setting)
    rng, gap = setting.rng("weights"), Gap()
    weighted, copies = [], []
    for block in setting.blocks:
        times = rng.permutation(1 + (1 + np.arange(len(block.x))) % 3)
        weighted.append(_reweighted(block, times.astype(float)))
        copies += [rows_of(block, np.flatnonzero(times >= k)) for k in (1, 2, 3)]
    copies = [block for block in copies if len(block.x)]
    setting.same_sums(gap, _total(setting, weighted), _total(setting, copies))
    return gap


def weight_zero(setting: Setting) -> Gap:
    """A row of weight 0 is as if absent."""
    _need_weights(setting)
    rng, gap = setting.rng("weights"), Gap()
    weighted, kept = [], []
    for block in setting.blocks:
        present = rng.permutation(np.arange(len(block.x)) % 3 > 0)
        weighted.append(_reweighted(block, present.astype(float)))
        kept += [rows_of(block, np.flatnonzero(present))] if present.any() else []
    total = _total(setting, weighted)
    if kept:
        setting.same_sums(gap, total, _total(setting, kept))
        return gap
    slack = setting.rounding(setting.start)
    gap.equal(total.log_likelihood, 0.0, slack, "in ℓ")
    gap.equal(total.entropy, 0.0, slack, "in H")
    return gap


def workers(setting: Setting) -> Gap:
    """A pool of threads returns the bits of one."""
    if setting.declared("independent_rows", True):
        parts = [part for block in setting.blocks for part in _split(block, PARTS)]
    else:
        parts = setting.blocks
    if len(parts) < 2:
        raise NotApplicableError("needs at least two blocks or rows")
    gap = Gap()
    for i in range(REPEATS):
        serial = [replace(part, memo={} if i else None) for part in parts]
        shared = [replace(part, memo={} if i else None) for part in parts]
        with ThreadPoolExecutor(WORKERS) as pool:
            terms = list(pool.map(partial(_expect, setting), shared))
        gap.same(_bits(reduce(add, terms)), _bits(_total(setting, serial)))
    return gap


def memo(setting: Setting) -> Gap:
    """What a model keeps in Block.memo changes nothing when the parameters change."""
    gap = Gap()
    blocks = [replace(block, memo={}) for block in setting.blocks]
    for point in [*setting.near, setting.start, *setting.near]:
        total = reduce(add, (_expect(setting, block, point.params) for block in blocks))
        setting.same_sums(gap, total, point.expectation)
    if not any(block.memo for block in blocks):
        raise NotApplicableError("the model keeps nothing in Block.memo")
    return gap


def _need_weights(setting: Setting) -> None:
    setting.need_rows()
    if not setting.declared("supports_weights", True):
        raise NotApplicableError("the model declares supports_weights = False")


def _expect(setting: Setting, block: Block, params: Any = None) -> Expectation[Any]:
    """One E-step, at the parameters given unless others are named."""
    with np.errstate(all="ignore"):  # set inside: every thread has its own
        expectation = setting.model.expect(
            setting.start.params if params is None else params, block
        )
    return expectation


def _total(setting: Setting, blocks: Iterable[Block]) -> Expectation[Any]:
    return reduce(add, (_expect(setting, block) for block in blocks))


def _split(block: Block, n_parts: int) -> list[Block]:
    """Up to n_parts blocks of neighbouring rows, of unequal lengths."""
    n = len(block.x)
    cuts = np.unique((n * np.linspace(0, 1, n_parts + 1) ** 1.3).astype(int))
    return [rows_of(block, np.arange(a, b)) for a, b in pairwise(cuts)]


def _reweighted(block: Block, times: np.ndarray[Any, Any]) -> Block:
    return replace(block, weight=times if block.weight is None else block.weight * times)


def _bits(value: Any) -> Any:
    """A value down to its last bit, to be compared by ==."""
    if is_dataclass(value):
        return tuple(_bits(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return tuple((key, _bits(part)) for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(_bits, value))
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    return float(value).hex() if isinstance(value, (float, np.floating)) else repr(value)
