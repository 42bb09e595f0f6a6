"""The arguments of a fit: each is refused by name, with its rule, its value and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from numbers import Integral
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from expmax.contract import Block, Compute, Start
from expmax.errors import ParameterError, parameter_error

__all__ = [
    "LEAST_BOOTSTRAP",
    "OneAfterAnother",
    "bootstrap_size",
    "check_checkpoint",
    "check_compute",
    "check_flag",
    "check_model_contract",
    "check_progress",
    "n_workers",
    "positive_integer",
    "read_blocks",
    "read_starts",
    "refuse_tolerance",
    "seed_sequence",
]

CONTRACT = {
    "expect": "(params, block)",
    "maximize": "(statistics, params)",
    "expected_log_joint": "(params, statistics)",
}
LEAST_BOOTSTRAP = 10  # refits: the spread of B has a relative error of 1/√(2(B − 1)), here 24 %
MEMO_LIMIT = 1 << 18  # numbers in a block that may keep what depends on its rows alone


class OneAfterAnother:
    """The plain sum of blocks, for callers that bring no executor."""

    def total(self, function: Callable[[Block], Any], blocks: Sequence[Block]) -> Any:
        """Σ function(block)."""
        return reduce(add, map(function, blocks))


# -- numbers ---------------------------------------------------------------------------------------
def refuse_tolerance(value: Any, name: str = "tol") -> None:
    """A finite number of at least 0."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and 0 <= value < np.inf):
        raise parameter_error(name, "a finite number of at least 0", value)


def positive_integer(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise parameter_error(name, f"an integer of at least {least}", value)
    return int(value)


def bootstrap_size(value: Any) -> int:
    """A number of refits whose spread says something."""
    number: Any = value if isinstance(value, Integral) and not isinstance(value, bool) else -1
    if number < LEAST_BOOTSTRAP:
        raise parameter_error(
            "n_bootstrap",
            f"an integer of at least {LEAST_BOOTSTRAP}",
            value,
            "The standard errors of B refits are themselves uncertain by a share of 1/√(2(B − 1)): 24 % at "
            "10, 5 % at 200",
        )
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise parameter_error(name, "True or False", value)
    return bool(value)


def n_workers(n_jobs: Any) -> int:
    """Threads for `n_jobs`; negative ones count from the processors available."""
    if n_jobs is None:
        return 1
    if not isinstance(n_jobs, int | np.integer) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise parameter_error("n_jobs", "a non-zero integer or None", n_jobs)
    if n_jobs > 0:
        return int(n_jobs)
    have = getattr(os, "sched_getaffinity", None)  # not every system tells
    processors = len(have(0)) if have is not None else os.cpu_count() or 1
    return max(1, processors + 1 + int(n_jobs))


def seed_sequence(random_state: Any) -> np.random.SeedSequence:
    """The seeds of a fit; of a generator, one number is drawn.

    Raises
    ------
    ParameterError
        Not None, an integer of at least 0, a SeedSequence, a RandomState or a Generator.
    """
    most = np.iinfo(np.int32).max
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(int(random_state.randint(most)))
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(int(random_state.integers(most)))
    whole = isinstance(random_state, Integral) and not isinstance(random_state, bool)
    if random_state is None or (whole and random_state >= 0):
        return np.random.SeedSequence(None if random_state is None else int(random_state))
    raise parameter_error(
        "random_state",
        "None, an integer of at least 0, a SeedSequence, a RandomState or a Generator",
        random_state,
    )


# -- objects ---------------------------------------------------------------------------------------
def check_model_contract(model: Any) -> None:
    """An object with the three methods of the contract."""
    if isinstance(model, type):
        raise parameter_error("model", "an instance, not a class", model.__name__, "Call the class")
    missing = [name for name in CONTRACT if not callable(getattr(model, name, None))]
    if missing:
        names = ", ".join(name + CONTRACT[name] for name in missing)
        raise ParameterError(
            f"model must have the methods of LatentModel; a {type(model).__name__} has no {names}. Write "
            "them, or describe the model by log p(x, z | θ) in a JointModel."
        )


def check_progress(progress: Any) -> None:
    """None, True, False or a callable."""
    if not (progress is None or isinstance(progress, bool | np.bool_) or callable(progress)):
        raise parameter_error("progress", "True, False or a callable", progress)


def check_compute(compute: Any) -> Compute:
    """Who sums the blocks: the object given, or the plain sum."""
    if compute is None:
        return OneAfterAnother()
    if not callable(getattr(compute, "total", None)):
        raise parameter_error(
            "compute", "None or an object with a method total(function, blocks)", compute
        )
    summing: Compute = compute
    return summing


def check_checkpoint(checkpoint: Any) -> None:
    """None, or the path of a file in a folder that exists."""
    if checkpoint is None:
        return
    rule = "the path of a file in a folder that exists"
    if not isinstance(checkpoint, str | os.PathLike) or not str(checkpoint):
        raise parameter_error("checkpoint", rule, checkpoint)
    path = Path(checkpoint)
    if path.is_dir():
        raise parameter_error("checkpoint", rule, str(path), "It is a folder: name a file in it")
    if not path.parent.is_dir():
        raise parameter_error("checkpoint", rule, str(path), f"Create {str(path.parent)!r} first")


# -- data ------------------------------------------------------------------------------------------
def read_blocks(data: Any) -> list[Block]:
    """Data as blocks; small ones may keep what depends on their rows alone."""
    if isinstance(data, Block):
        _check_block(data, "data")
        small = data.memo is None and np.size(data.x) <= MEMO_LIMIT
        return _with_rows([replace(data, memo={}) if small else data])
    if isinstance(data, Sequence | Iterator) and not isinstance(data, str | bytes):
        data = list(data)
        if any(isinstance(block, Block) for block in data):
            for i, block in enumerate(data):
                _check_block(block, f"data[{i}]")
            return _with_rows(data)
    rule = "an array with at least one row, or blocks"
    try:
        x = np.asarray(data)
    except ValueError:  # rows of different lengths
        raise parameter_error("data", rule, "rows of different lengths") from None
    if x.ndim == 0 or len(x) == 0:
        value = f"shape {x.shape}" if x.ndim else data
        raise parameter_error("data", rule, value)
    return [Block(x, memo={})]


def _check_block(block: Any, name: str) -> None:
    """A block whose weights and labels belong to its rows."""
    if not isinstance(block, Block):
        raise parameter_error(name, "a Block, as the others are", type(block).__name__)
    n = len(block.x)
    for part, values in (("weight", block.weight), ("label", block.label)):
        if values is not None and np.shape(values) != (n,):
            raise parameter_error(f"{name}.{part}", f"of shape ({n},)", np.shape(values))
    if block.weight is None:
        return
    weight = np.asarray(block.weight)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise parameter_error(
            f"{name}.weight", "finite and at least 0", f"{weight[bad[0]]} (row {bad[0]})"
        )


def _with_rows(blocks: list[Block]) -> list[Block]:
    if not any(len(block.x) for block in blocks):
        raise parameter_error("data", "blocks with at least one row", "none")
    if not any(block.weight is None or np.any(block.weight) for block in blocks if len(block.x)):
        raise parameter_error("data", "blocks of positive weight somewhere", "all zeros")
    return blocks


# -- starts ----------------------------------------------------------------------------------------
def read_starts(
    model: Any, blocks: Sequence[Block], start: Any, rng: np.random.Generator
) -> list[tuple[Any, str]]:
    """Parameters to start from, each with its kind: those given, or the model's own.

    A list or an iterator holds several starts; anything else is the parameters of one.
    """
    if start is None:
        own = getattr(model, "starts", None)
        if own is None:
            raise parameter_error(
                "start", "given for a model without its own starts", None, "Give parameters"
            )
        found = _unwrapped(own(blocks, rng), "model")
        if not found:
            raise ParameterError("model.starts(blocks, rng) gave no start; give start=.")
        return found
    several = isinstance(start, list | Iterator)
    found = _unwrapped(start if several else [start], "given")
    if not found:
        raise parameter_error(
            "start",
            "parameters, or a list of at least one",
            "none",
            "Leave it out for the model's own",
        )
    if any(params is None for params, _ in found):
        raise parameter_error("start", "a list of parameters", "None among them")
    check = getattr(getattr(model, "space", None), "check", lambda params: params)
    return [(check(params), kind) for params, kind in found]


def _unwrapped(starts: Iterable[Any], kind: str) -> list[tuple[Any, str]]:
    return [(one.params, one.kind) if isinstance(one, Start) else (one, kind) for one in starts]
