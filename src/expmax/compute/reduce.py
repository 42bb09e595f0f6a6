"""Sums over blocks in a fixed pairwise tree, so that the number of workers changes no bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any, Protocol, TypeVar

from expmax.contract import Block
from expmax.errors import parameter_error

__all__ = ["Serial", "Threads", "make_compute", "tree_sum"]


class Addable(Protocol):
    """Anything with +."""

    def __add__(self, other: Any) -> Any: ...


A = TypeVar("A", bound=Addable)


def tree_sum(terms: Iterable[A]) -> A:
    """Sum neighbours, then neighbours of those, …: rounding grows with log₂ of the number of terms.

    Terms are added as they come: no more than log₂ of their number are held at a time.
    """
    sums: list[A] = []  # of complete subtrees, the widest first
    for i, term in enumerate(terms):
        total = term
        while i & 1:
            total = sums.pop() + total
            i >>= 1
        sums.append(total)
    total = sums.pop()
    while sums:
        total = sums.pop() + total
    return total


class Serial:
    """One block after another in the calling thread."""

    def total(self, function: Callable[[Block], A], blocks: Sequence[Block]) -> A:
        """The sum of function(block) in the fixed tree."""
        if len(blocks) == 1:
            return function(blocks[0])
        return tree_sum(function(block) for block in blocks)


class Threads:
    """Blocks are shared out among threads; the kernels release the interpreter lock."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="expmax")

    def total(self, function: Callable[[Block], A], blocks: Sequence[Block]) -> A:
        """The sum of function(block) in the fixed tree, terms computed side by side."""
        if len(blocks) == 1:
            return function(blocks[0])
        return tree_sum(self._pool.map(function, blocks))


def make_compute(n_jobs: int | None) -> Serial | Threads:
    """Serial for None or 1; otherwise threads, counted from the processors available if negative."""
    if n_jobs is None:
        return Serial()
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise parameter_error("n_jobs", "a non-zero integer or None", n_jobs)
    workers = n_jobs if n_jobs > 0 else max(1, _processors() + 1 + n_jobs)
    return Serial() if workers == 1 else Threads(workers)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system tells
        return os.cpu_count() or 1
