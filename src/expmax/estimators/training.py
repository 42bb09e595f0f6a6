"""The data of a fit: distinct rows, cut into blocks, and few of them where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.compute.reduce import Serial, make_compute
from expmax.contract import Block, iterate_rows, make_blocks
from expmax.data.compression import Rows, compress
from expmax.engine.problem import Problem
from expmax.estimators.preparation import in_one_order
from expmax.statistics import Array

__all__ = [
    "KEPT_BYTES",
    "LARGE",
    "SUBSAMPLE",
    "Training",
    "few_rows",
    "log_hard",
    "make_training",
    "rows_at_a_time",
    "rows_per_block",
]

KEPT_BYTES = 1 << 25  # training data up to this size stay at hand for standard errors
LARGE = 1000  # rows a component above which starts compete on a sample
SUBSAMPLE = 400  # rows a component of that sample


@dataclass(frozen=True)
class Training:
    """The problem a fit solved, and the rows behind it."""

    problem: Problem
    rows: Rows
    size: int  # rows a block

    @property
    def labelled(self) -> bool:
        """Whether some row's component is known, so that components have their numbers from the user."""
        return self.rows.label is not None and bool((self.rows.label >= 0).any())

    def per_block(self, values: Array) -> list[Array]:
        """Values by row, cut like the blocks."""
        return [values[rows] for rows in iterate_rows(len(values), self.size)]


def make_training(
    model: Any,
    x: NDArray[Any],
    weight: Array | None,
    label: NDArray[np.int64] | None,
    *,
    compressed: bool,
    n_jobs: int | None,
) -> Training:
    """The rows, equal ones made one if `compressed`, in blocks."""
    if compressed:
        rows = in_one_order(compress(x, weight, label))
    else:
        ones = np.ones(len(x))
        rows = Rows(x, weight, label, ones, ones if weight is None else weight**2)
    axes = all(getattr(group.family, "diagonal", False) for group in model.groups)
    size = rows_per_block(x.shape[1], model.n_components, axes)
    blocks = make_blocks(rows.x, rows.weight, rows.label, size)
    return Training(Problem(model, blocks, make_compute(n_jobs)), rows, size)


def few_rows(training: Training, seed: np.random.SeedSequence) -> Problem:
    """The problem on a sample where the data are large, else on all rows as one block."""
    problem, rows = training.problem, training.rows
    k, n = problem.model.n_components, len(rows.x)
    pick: Any = slice(None)
    if n > LARGE * k:
        rng = np.random.default_rng(seed.spawn(1)[0])
        pick = np.sort(rng.choice(n, SUBSAMPLE * k, replace=False))
    elif len(problem.blocks) == 1:
        return problem
    block = Block(
        np.ascontiguousarray(rows.x[pick]),
        None if rows.weight is None else rows.weight[pick],
        None if rows.label is None else rows.label[pick],
        {},
    )
    return Problem(problem.model, [block], Serial())


def rows_per_block(n_columns: int, n_components: int, axis_parallel: bool = False) -> int:
    """Rows a block, from the shape of the work alone: 4096 … 65536."""
    pairs = n_columns if axis_parallel else n_columns * (n_columns + 1) // 2
    monomials = 1 + n_columns + pairs
    return int(np.clip((1 << 24) // (monomials * n_components), 4096, 65536))


def rows_at_a_time(n_components: int, n_columns: int) -> int:
    """Rows whose responsibilities are held together outside of a fit."""
    return max(1024, (1 << 20) // (n_components * max(n_columns, 1)))


def log_hard(model: Any, params: Any, blocks: Sequence[Block]) -> float:
    """Σ w_i log max_k r_ik, nats: what ICL subtracts for assigning rows to one component each."""
    total = 0.0
    for block in blocks:
        step = rows_at_a_time(model.n_components, block.x.shape[1])
        for rows in iterate_rows(len(block.x), step):
            label = None if block.label is None else block.label[rows]
            r, _, _ = model.assign(params, Block(block.x[rows], None, label))
            log_largest = np.log(r.max(axis=1))
            weight = np.ones(len(r)) if block.weight is None else block.weight[rows]
            total += float(weight @ log_largest)
    return total
