"""Rows in chunks of a few fixed sizes, so that each compiled function meets few shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block
from expmax.errors import parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.latent import Latent
from expmax.general.rules import Posterior
from expmax.statistics import Array

__all__ = ["Chunk", "Prepared", "prepare", "reseeded"]

SIZES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # rows of a chunk
NUMBERS = 1 << 18  # that the rows of a chunk may take, states and steps included
WORTH = 0.7  # rows are merged where fewer than this share differ


@dataclass(frozen=True)
class Chunk:
    """Some units, padded by copies of the first with weight 0."""

    x: Any  # pytree of arrays, rows first
    weight: Any  # (c,)
    seed: Any  # (c,) unsigned: from the values of the row alone
    n_rows: int  # without the padding


@dataclass(frozen=True)
class Prepared:
    """The units of a block that count, equal ones merged."""

    chunks: tuple[Chunk, ...]
    first: NDArray[np.intp]  # a row of the block for each unit
    unit: NDArray[np.intp]  # the unit of each row; −1 where its weight is 0
    weight: float  # Σ w
    source: tuple[Any, ...]  # which rows these are: where their values lie


def prepare(block: Block, latent: Latent, posterior: Posterior) -> Prepared:
    """The chunks of a block, kept in its memo."""
    if block.label is not None and (block.label >= 0).any():
        raise parameter_error(
            "label",
            "absent for a JointModel",
            "labels",
            "Put what is known of z into the data and into log_joint",
        )
    key = ("general", latent, type(posterior), getattr(posterior, "n_draws", 0))
    memo = block.memo
    if memo is not None and key in memo:
        return memo[key]
    made = _prepare(block, latent, posterior)
    if memo is not None:
        memo[key] = made
    return made


def reseeded(prepared: Prepared, seed: int, turn: int) -> Prepared:
    """The same rows with other draws; as they were prepared where both numbers are 0."""
    if seed == turn == 0:
        return prepared
    mixer = np.random.SeedSequence([seed, turn]).generate_state(2).astype(np.uint32)
    chunks = []
    for chunk in prepared.chunks:
        seed = (np.asarray(chunk.seed) ^ mixer[0]) * (mixer[1] | np.uint32(1))
        chunks.append(replace(chunk, seed=jnp.asarray(seed ^ (seed >> np.uint32(15)))))
    return replace(prepared, chunks=tuple(chunks))


def _prepare(block: Block, latent: Latent, posterior: Posterior) -> Prepared:
    x = np.ascontiguousarray(block.x, float)
    weight = np.ones(len(x)) if block.weight is None else np.asarray(block.weight, float)
    rows = np.flatnonzero(weight > 0)
    unit = np.full(len(x), -1)
    first, inverse = rows, np.arange(len(rows))
    if block.memo is not None and len(rows) > 1:
        first, inverse = _merge(x, rows)
    unit[rows] = inverse
    total = np.bincount(inverse, weight[rows], minlength=len(first))
    ready = latent.prepare(x[first]) if len(first) else None
    seeds = _seeds(x[first]) if posterior.random else np.zeros(len(first), np.uint32)
    chunks = _cut(ready, total, seeds, posterior) if len(first) else ()
    source = block.x.__array_interface__["data"], block.x.shape, block.x.strides
    return Prepared(chunks, first, unit, float(weight.sum()), source)


def _merge(x: Array, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One row for each distinct one in order of appearance, and which one each row is."""
    flat = x[rows].reshape(len(rows), -1) + 0.0  # −0 is 0
    flat[np.isnan(flat)] = np.nan  # one NaN for all
    keys = np.ascontiguousarray(flat).view(np.dtype((np.void, flat.shape[1] * 8))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) > WORTH * len(rows):
        return rows, np.arange(len(rows))
    order = np.argsort(first)
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return rows[first[order]], place[inverse]


def _seeds(x: Array) -> NDArray[np.uint32]:
    """A number from the bytes of each row (FNV-1a over 64-bit words)."""
    flat = x.reshape(len(x), -1) + 0.0
    flat[np.isnan(flat)] = np.nan
    words = np.ascontiguousarray(flat).view(np.uint64)
    value = np.full(len(x), 0xCBF29CE484222325, np.uint64)
    for column in words.T:
        value = (value ^ column) * np.uint64(0x100000001B3)
        value ^= value >> np.uint64(29)
    return (value ^ (value >> np.uint64(32))).astype(np.uint32)


def _cut(ready: Any, weight: NDArray[Any], seeds: Any, posterior: Posterior) -> tuple[Chunk, ...]:
    each = max(posterior.size(ready), 1)
    limit = max(size for size in SIZES if size == 1 or size * each <= NUMBERS)
    chunks = []
    for start in range(0, len(weight), limit):
        n_rows = min(limit, len(weight) - start)
        size = next(size for size in SIZES if size >= n_rows)
        index = np.full(size, start)
        index[:n_rows] = np.arange(start, start + n_rows)
        w = np.zeros(size)
        w[:n_rows] = weight[start : start + n_rows]
        x = jax.tree.map(lambda a, index=index: jnp.asarray(a[index]), ready)
        chunks.append(Chunk(x, jnp.asarray(w), jnp.asarray(seeds[index]), n_rows))
    return tuple(chunks)
