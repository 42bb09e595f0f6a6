"""What the kernels share: rows held in cache by columns, the softmax, the two products.

A kernel takes BLOCK data rows at a time, as STRIPS strips of ROWS.  Within a strip each column,
monomial or component has its ROWS numbers side by side, and strips follow one another: number b of
row r in strip s of an array with `height` rows lies at ((s height) + r) ROWS + b.  The unused end
of the last block carries finite numbers whose weight is zero.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
import threading
from itertools import pairwise
from typing import Any

import numpy as np

from expmax.inference.compiler import njit, types
from expmax.inference.fastexp import LOWEST, exp_lanes, log_lanes
from expmax.inference.lanes import LANES, ROWS, WIDE, staged, sums_of, transposed

Array = np.ndarray[Any, np.dtype[Any]]

STRIPS = 8
BLOCK = STRIPS * ROWS
LOG_2PI = math.log(2.0 * math.pi)
SIDE = 2  # registers of rows treated side by side where each number has to wait for the last
_AT = range(0, ROWS, LANES)  # where the registers of a strip begin
_PAIR = types.UniTuple(types.float64, 2)

# nnan and ninf would buy nothing and hide a NaN from the log-likelihood.  A wrapper for C that
# nobody calls would take as long to compile as a small kernel.
_flags: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
    "no_cfunc_wrapper": True,
}
_fast = {"contract", "reassoc"}
kernel = njit(fastmath=_fast, **_flags)  # called from Python
inner = njit(fastmath=_fast, no_cpython_wrapper=True, **_flags)  # from kernels only
# Once an iteration: sums in the order written do not vectorise, which halves the compilation.
algebra = njit(**_flags)
algebra_inner = njit(no_cpython_wrapper=True, **_flags)

_thread = threading.local()


def scratch(n_numbers: int) -> Array:
    """Numbers of any finite value, aligned to 64 bytes.

    Each thread owns one buffer, which grows to the largest request and is then reused; NumPy's
    own alignment of 16 bytes would cost up to a third of the speed.
    """
    buffer: Array | None = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) < n_numbers:
        numbers = np.zeros(n_numbers + 8)
        skip = -numbers.ctypes.data % 64 // 8
        buffer = numbers[skip : skip + n_numbers]
        _thread.buffer = buffer
    return buffer


def padded(n: int, multiple: int) -> int:
    """The least multiple that holds n."""
    return -(-n // multiple) * multiple


# ------------------------------------------------------------------------------------- rows


@staged()
def move(emit, source, first, n, target, at):
    """target[at + i] = source[first + i], i < n."""
    with emit.loop(n) as i:
        target.put(source.number(first + i), at + i)


@staged()
def fill(emit, target, first, end, number):
    """target[first:end] = number."""
    with emit.loop(end, first) as i:
        target.put(number, i)


@staged()
def load_columns(emit, x, first, n_columns, shift, z, height):
    """BLOCK rows of x from `first` on, less the shift, by columns, in squares of LANES x LANES.

    Reads up to LANES - 1 numbers beyond the last row, and fills the rows of z up to a multiple of
    LANES with what it finds there.
    """
    with emit.loop(STRIPS) as s, emit.loop((n_columns + (LANES - 1)) // LANES) as group:
        source, column = x + (first + s * ROWS) * n_columns, group * LANES
        target = z + (s * height + column) * ROWS
        for c in _AT:
            rows = [source.load(column + n_columns * (c + i)) for i in range(LANES)]
            for i, values in enumerate(transposed(rows)):
                target.store(values - shift.splat(column + i), i * ROWS + c)


@staged()
def fetch(emit, x, first, n_columns):
    """Bring a strip of x nearer that will be wanted soon: the processor foresees no jump."""
    with emit.loop(n_columns * ROWS // 8 + 1) as line:
        (x + first * n_columns).fetch(line * 8)


@inner
def load(x, start, n, shift, z, height, spare):
    """Columns of the n rows from `start` on; shift holds padded(d, LANES) numbers.

    `spare` takes (BLOCK + LANES) d numbers: rows too near the end of x pass through it.
    """
    d = x.shape[1]
    if start + BLOCK + LANES <= len(x):
        load_columns(x, start, d, shift, z, height)
    else:
        move(x, start * d, n * d, spare, 0)
        fill(spare, n * d, (BLOCK + LANES) * d, 0.0)
        load_columns(spare, 0, d, shift, z, height)


# ---------------------------------------------------------------------------------- softmax


@staged()
def keep_label(emit, label, start, n, L, K):
    """L[k, b] = -inf for every component but the one that row b is known to come from."""
    with emit.loop(n) as b:
        known = label.number(start + b)
        with emit.when(known >= 0), emit.loop(K) as k, emit.when(k != known):
            strip = b // ROWS
            L.put(emit.number(-math.inf), (strip * K + k) * ROWS + (b - strip * ROWS))


def _exponentiate(emit, L, K):
    """exp(L - top) in place of L for SIDE registers of rows; their top, Σ exp, Σ exp (L - top).

    Exactly zero below exp(LOWEST), so that a component without weight gets no count.
    """
    at = range(0, SIDE * LANES, LANES)
    top = [emit.variable(L.load(c)) for c in at]
    with emit.loop(K, 1) as k:
        for c, highest in zip(at, top, strict=True):
            value, old = L.load(k * ROWS + c), highest.value
            highest.value = old.choose(old < value, value)
    total, slope = ([emit.variable(emit.splat(0.0)) for _ in at] for _ in range(2))
    with emit.loop(K) as k:
        for i, c in enumerate(at):
            difference = L.load(k * ROWS + c) - top[i].value
            small = difference < LOWEST
            a = difference.choose(small, LOWEST)
            e = exp_lanes(a).choose(small, 0.0)
            L.store(e, k * ROWS + c)
            total[i].value += e
            slope[i].value += e * a
    return zip(*([one.value for one in several] for several in (top, total, slope)), strict=True)


def _scale(emit, L, K, factors):
    with emit.loop(K) as k:
        for i, factor in enumerate(factors):
            L.store(L.load(k * ROWS + i * LANES) * factor, k * ROWS + i * LANES)


@staged(_PAIR)
def softmax_plain(emit, L, K):
    """Responsibilities in place of the log joints of a block; log-likelihood and entropy."""
    evidence, cross = emit.variable(emit.splat(0.0)), emit.variable(emit.splat(0.0))
    factor = emit.variable(emit.splat(1.0))  # Σ log = log Π, at most K^32
    with emit.loop(STRIPS) as s, emit.loop(ROWS // (SIDE * LANES)) as part:
        here, inverses = L + (s * K * ROWS + part * (SIDE * LANES)), []
        for top, total, slope in _exponentiate(emit, here, K):
            inverses.append(1.0 / total)
            factor.value *= total
            evidence.value += top
            cross.value += slope * inverses[-1]
        _scale(emit, here, K, inverses)
    log_total = log_lanes(factor.value)
    return (evidence.value + log_total).sum(), (log_total - cross.value).sum()


@staged(_PAIR)
def softmax_weighted(emit, L, K, weight):
    """The same, everything times the weights of the rows."""
    evidence, entropy = emit.variable(emit.splat(0.0)), emit.variable(emit.splat(0.0))
    with emit.loop(STRIPS) as s, emit.loop(ROWS // (SIDE * LANES)) as part:
        here, factors = L + (s * K * ROWS + part * (SIDE * LANES)), []
        for i, (top, total, slope) in enumerate(_exponentiate(emit, here, K)):
            w = weight.load(s * ROWS + part * (SIDE * LANES) + i * LANES)
            log_total, inverse = log_lanes(total), 1.0 / total
            evidence.value += w * (top + log_total)
            entropy.value += w * (log_total - slope * inverse)
            factors.append(w * inverse)
        _scale(emit, here, K, factors)
    return evidence.value.sum(), entropy.value.sum()


@inner
def softmax(L, K, n, label, weight, start, w):
    """Weighted responsibilities in place of L; log-likelihood and entropy of n rows.

    `w` takes BLOCK numbers.
    """
    if label.size > 0:
        keep_label(label, start, n, L, K)
    if n == BLOCK and weight.size == 0:
        return softmax_plain(L, K)
    if weight.size == 0:
        fill(w, 0, n, 1.0)
    else:
        move(weight, start, n, w, 0)
    fill(w, n, BLOCK, 0.0)
    return softmax_weighted(L, K, w)


@staged()
def add_counts(emit, R, K, counts):
    """counts[k] += Σ_b R[k, b]."""
    with emit.loop(K) as k:
        total = emit.variable(emit.splat(0.0))
        with emit.loop(STRIPS) as s:
            for c in _AT:
                total.value += R.load((s * K + k) * ROWS + c)
        counts.add(total.value.sum(), k)


# --------------------------------------------------------------------------------- products


def column_of(T, p):
    """Column p of a strip, in registers."""
    return [(T + p * ROWS).load(c) for c in _AT]


def accumulate(emit, sums, first, end, weight, column):
    """sums[i] += weight(i, p) column(p), p from first to end; one register for each of _AT."""
    with emit.loop(end, first) as p:
        numbers = column(p)
        for i, registers in enumerate(sums):
            w = weight(i, p)
            for one, number in zip(registers, numbers, strict=True):
                one.value += w * number


def by_tiles(emit, first, end, tile):
    """tile(k, n) for k from first to end, n rows of a product at a time: 4, 2, then 1."""
    sizes = [4, 2, 1] if WIDE else [2, 1]
    k, left = first, end - first
    with emit.loop(left // sizes[0]) as group:
        tile(first + group * sizes[0], sizes[0])
    for before, n in pairwise(sizes):
        k, left = k + (left // before) * before, left - (left // before) * before
        with emit.when(left >= n):
            tile(k, n)


@staged()
def add_sums(emit, R, r_height, K, T, t_height, first, end, S, width):
    """S[k, first:end] += R[k] T[first:end]' over the strips; end - first is m LANES."""

    def tile(k, p, n):
        sums = [[emit.variable(emit.splat(0.0)) for _ in range(LANES)] for _ in range(n)]
        with emit.loop(STRIPS) as s:
            t, r = T + (s * t_height + p) * ROWS, R + (s * r_height + k) * ROWS
            for c in _AT:
                weights = [r.load(i * ROWS + c) for i in range(n)]
                for j in range(LANES):
                    number = t.load(j * ROWS + c)
                    for i in range(n):
                        sums[i][j].value += weights[i] * number
        for i in range(n):
            out = S + ((k + i) * width + p)
            out.store(out.load() + sums_of([one.value for one in sums[i]]))

    with emit.loop((end - first) // LANES) as group:
        p = first + group * LANES
        with emit.loop(K // 2) as pair:
            tile(pair * 2, p, 2)
        with emit.when((K & 1) >= 1):
            tile(K - 1, p, 1)
