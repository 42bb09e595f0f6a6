"""Gaussian E-step for few columns: whitened, centred about the current means.

The number of columns d is known to the compiler, as the length of the tuple `zeros`, so that the
loops over columns unroll: one compilation for each d.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from expmax.inference.kernels_tiles import (
    BLOCK,
    LOG_2PI,
    STRIPS,
    fill,
    kernel,
    move,
    softmax,
)
from expmax.inference.lanes import LANES, ROWS, staged, total


def n_sums(d: int) -> int:
    """1, x_i, x_i x_j with i <= j."""
    return 1 + d + d * (d + 1) // 2


@staged()
def load_columns(emit, x, first, z, d):
    """z[j] = column j of the BLOCK rows of x from `first` on."""
    with emit.loop(STRIPS) as s, emit.loop(ROWS // LANES) as c:
        source = x + (first + s * ROWS + c * LANES) * d
        rows = [source.load(i * LANES) for i in range(d)]
        for j in range(d):
            z.store(_column(rows, j), (s * d + j) * ROWS + c * LANES)


def _column(registers, j):
    """Column j of LANES rows that fill the registers one after another."""
    d = len(registers)
    places = [j + d * i for i in range(LANES)]
    out = registers[0]
    for r, register in enumerate(registers):
        order = [
            LANES + place % LANES if place // LANES == r else i for i, place in enumerate(places)
        ]
        out = out.shuffled(register, order)
    return out


@staged()
def log_joint(emit, z, offset, means, P, K, L, d):
    """L[k, b] = offset[k] - |P_k' (x_b - mean_k)|² / 2."""
    side = 2 * LANES  # two registers of rows share the loading of parameters
    with emit.loop(STRIPS) as s, emit.loop(ROWS // side) as half:
        x = z + (s * d * ROWS + half * side)
        columns = [[x.load(j * ROWS + c) for j in range(d)] for c in (0, LANES)]
        out = L + (s * K * ROWS + half * side)
        with emit.loop(K) as k:
            mean = [(means + k * d).splat(i) for i in range(d)]
            u = [[(P + k * d * d).splat(i * d + j) for j in range(d)] for i in range(d)]
            for c, column in zip((0, LANES), columns, strict=True):
                e = [a - m for a, m in zip(column, mean, strict=True)]
                y = [total(u[i][j] * e[i] for i in range(j + 1)) for j in range(d)]
                distance = total(one * one for one in y)
                out.store(offset.splat(k) - 0.5 * distance, k * ROWS + c)


@staged()
def add_moments(emit, z, R, means, K, S, d):
    """Add Σ_b r, r e and r e_i e_j, lane by lane, to S; e = x_b - mean_k and i <= j."""
    n = n_sums(d)
    with emit.loop(K) as k:
        mean = [(means + k * d).splat(i) for i in range(d)]
        out = S + k * (n * LANES)
        sums = [emit.variable(out.load(i * LANES)) for i in range(n)]
        with emit.loop(STRIPS) as s:
            x, row = z + s * d * ROWS, R + (s * K + k) * ROWS
            for c in range(0, ROWS, LANES):
                r = row.load(c)
                e = [x.load(j * ROWS + c) - mean[j] for j in range(d)]
                first = [r * one for one in e]
                second = [first[i] * e[j] for i in range(d) for j in range(i, d)]
                for one, term in zip(sums, [r, *first, *second], strict=True):
                    one.value += term
        for i in range(n):
            out.store(sums[i].value, i * LANES)


@staged()
def unpack(emit, S, K, counts, first, second, d):
    """Sums over lanes, in their places."""
    with emit.loop(K) as k:
        n = n_sums(d)
        totals = iter([(S + k * (n * LANES)).load(i * LANES).sum() for i in range(n)])
        counts.put(next(totals), k)
        for i in range(d):
            first.put(next(totals), k * d + i)
        for i in range(d):
            for j in range(i, d):
                sum_of_products = next(totals)
                second.put(sum_of_products, (k * d + i) * d + j)
                second.put(sum_of_products, (k * d + j) * d + i)


def work_size(d: int, K: int) -> int:
    """Numbers that `e_step` needs to work on."""
    return (2 * d + K + 1) * BLOCK + K * (1 + n_sums(d) * LANES)


@kernel
def e_step(x, weight, label, log_weights, means, P, work, counts, first, second, zeros):
    """Expected moments about the means, put into counts, first and second."""
    K, d = means.shape
    z, spare, L, w = work, work[d * BLOCK :], work[2 * d * BLOCK :], work[(2 * d + K) * BLOCK :]
    n = K * (1 + d + d * (d + 1) // 2) * LANES
    S, offset = w[BLOCK:], w[BLOCK + n :]
    fill(S, 0, n, 0.0)
    for k in range(K):
        offset[k] = log_weights[k] - 0.5 * d * LOG_2PI
        for j in range(d):
            offset[k] += math.log(P[k, j, j])
    log_likelihood, entropy = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        n = min(BLOCK, len(x) - start)
        if n == BLOCK:
            load_columns(x, start, z, zeros)
        else:
            move(x, start * d, n * d, spare, 0)
            fill(spare, n * d, BLOCK * d, 0.0)
            load_columns(spare, 0, z, zeros)
        log_joint(z, offset, means, P, K, L, zeros)
        evidence, uncertainty = softmax(L, K, n, label, weight, start, w)
        log_likelihood += evidence
        entropy += uncertainty
        add_moments(z, L, means, K, S, zeros)
    unpack(S, K, counts, first, second, zeros)
    return log_likelihood, entropy
