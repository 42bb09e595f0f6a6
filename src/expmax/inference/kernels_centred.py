"""Gaussian E-steps centred about the current means, for any number of columns.

The accurate paths: nothing cancels, however far the components lie apart and however nearly the
columns are collinear.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from expmax.inference.kernels_tiles import (
    BLOCK,
    LOG_2PI,
    STRIPS,
    accumulate,
    add_counts,
    add_sums,
    by_tiles,
    column_of,
    fill,
    kernel,
    load,
    padded,
    softmax,
)
from expmax.inference.lanes import LANES, ROWS, staged, total

_AT = range(0, ROWS, LANES)


@staged()
def residuals(emit, z, height, means, k, d, E):
    """E[j] = z[j] - means[k, j], j < d; both have `height` rows."""
    with emit.loop(STRIPS) as s, emit.loop(d) as j:
        at, mean = (s * height + j) * ROWS, means.splat(k * d + j)
        for c in _AT:
            E.store((z + at).load(c) - mean, at + c)


@staged()
def log_joint(emit, E, height, P, offset, k, d, K, L):
    """L[k, b] = offset[k] - |P_k' e_b|² / 2, P_k being upper triangular."""
    with emit.loop(STRIPS) as s:
        strip, factor = E + s * height * ROWS, P + k * d * d
        distance = [emit.variable(emit.splat(0.0)) for _ in _AT]

        def tile(j, n):
            """Elements j to j + n of P' e: columns up to j of P enter all of them."""

            def weight(i, p):
                return factor.splat(p * d + j + i)

            def column(p):
                return column_of(strip, p)

            y = [[emit.variable(emit.splat(0.0)) for _ in _AT] for _ in range(n)]
            accumulate(emit, y, 0, j + 1, weight, column)
            for p in range(1, n):
                for i in range(p, n):
                    for one, number in zip(y[i], column(j + p), strict=True):
                        one.value += weight(i, j + p) * number
            for registers in y:
                for one, sum_of_squares in zip(registers, distance, strict=True):
                    sum_of_squares.value += one.value * one.value

        by_tiles(emit, emit.index(0), d, tile)
        for c, sum_of_squares in zip(_AT, distance, strict=True):
            L.store(offset.splat(k) - 0.5 * sum_of_squares.value, (s * K + k) * ROWS + c)


@staged()
def weigh(emit, E, height, R, k, K, d, Y, first):
    """Y = r e, and its sums added to first[k]."""
    with emit.loop(d) as j:
        total = emit.variable(emit.splat(0.0))
        with emit.loop(STRIPS) as s:
            at = (s * height + j) * ROWS
            for c, r in zip(_AT, column_of(R, s * K + k), strict=True):
                y = r * (E + at).load(c)
                Y.store(y, at + c)
                total.value += y
        first.add(total.value.sum(), k * d + j)


def work_size(d: int, K: int) -> int:
    """Numbers that either kernel needs to work on."""
    height = padded(d, LANES)
    return (3 * height + K + 1) * BLOCK + (BLOCK + LANES) * d + height + K


@kernel
def e_step_full(x, weight, label, log_weights, means, P, work, counts, first, second):
    """Expected moments about the means, added to counts, first and second.

    second is (K, height, height), height being d padded to a multiple of LANES.
    """
    K, d = means.shape
    height = second.shape[1]
    z, E, Y = work, work[height * BLOCK :], work[2 * height * BLOCK :]
    L = Y[height * BLOCK :]
    w, shift, offset = L[K * BLOCK :], L[(K + 1) * BLOCK :], L[(K + 1) * BLOCK + height :]
    spare = offset[K:]
    fill(E, 0, height * BLOCK, 0.0)
    fill(Y, 0, height * BLOCK, 0.0)
    fill(shift, 0, height, 0.0)
    for k in range(K):
        offset[k] = log_weights[k] - 0.5 * d * LOG_2PI
        for j in range(d):
            offset[k] += math.log(P[k, j, j])
    log_likelihood, entropy = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        n = min(BLOCK, len(x) - start)
        load(x, start, n, shift, z, height, spare)
        for k in range(K):
            residuals(z, height, means, k, d, E)
            log_joint(E, height, P, offset, k, d, K, L)
        evidence, uncertainty = softmax(L, K, n, label, weight, start, w)
        log_likelihood += evidence
        entropy += uncertainty
        add_counts(L, K, counts)
        for k in range(K):
            residuals(z, height, means, k, d, E)
            weigh(E, height, L, k, K, d, Y, first)
            for g in range(0, height, LANES):  # what lies on and above the diagonal
                add_sums(Y, height, g + LANES, E, height, g, g + LANES, second[k], height)
    for k in range(K):
        for i in range(d):
            for j in range(i):
                second[k, i, j] = second[k, j, i]
    return log_likelihood, entropy


@staged()
def diagonal_log_joint(emit, z, height, offset, means, scale, d, K, L):
    """L[k, b] = offset[k] - Σ_j (scale_kj (x_bj - mean_kj))² / 2."""
    with emit.loop(STRIPS) as s, emit.loop(K) as k:
        distance = [emit.variable(emit.splat(0.0)) for _ in _AT]
        with emit.loop(d) as j:
            mean, factor = means.splat(k * d + j), scale.splat(k * d + j)
            for x, one in zip(column_of(z, s * height + j), distance, strict=True):
                y = (x - mean) * factor
                one.value += y * y
        for c, one in zip(_AT, distance, strict=True):
            L.store(offset.splat(k) - 0.5 * one.value, (s * K + k) * ROWS + c)


@staged()
def add_diagonal_moments(emit, z, height, R, means, d, K, first, second):
    """Add Σ_b r e and r e² with e = x_bj - mean_kj."""
    with emit.loop(K) as k, emit.loop(d) as j:
        mean = means.splat(k * d + j)
        sums = [[emit.variable(emit.splat(0.0)) for _ in _AT] for _ in range(2)]
        with emit.loop(STRIPS) as s:
            x, r = column_of(z, s * height + j), column_of(R, s * K + k)
            for i in range(len(_AT)):
                e = x[i] - mean
                y = r[i] * e
                sums[0][i].value += y
                sums[1][i].value += y * e
        for out, parts in zip((first, second), sums, strict=True):
            out.add(total(one.value for one in parts).sum(), k * d + j)


@kernel
def e_step_diagonal(x, weight, label, log_weights, means, scale, work, counts, first, second):
    """Expected moments about the means, added to counts, first and second (K, d)."""
    K, d = means.shape
    height = (d + LANES - 1) // LANES * LANES
    z, L = work, work[height * BLOCK :]
    w, shift, offset = L[K * BLOCK :], L[(K + 1) * BLOCK :], L[(K + 1) * BLOCK + height :]
    spare = offset[K:]
    fill(shift, 0, height, 0.0)
    for k in range(K):
        offset[k] = log_weights[k] - 0.5 * d * LOG_2PI
        for j in range(d):
            offset[k] += math.log(scale[k, j])
    log_likelihood, entropy = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        n = min(BLOCK, len(x) - start)
        load(x, start, n, shift, z, height, spare)
        diagonal_log_joint(z, height, offset, means, scale, d, K, L)
        evidence, uncertainty = softmax(L, K, n, label, weight, start, w)
        log_likelihood += evidence
        entropy += uncertainty
        add_counts(L, K, counts)
        add_diagonal_moments(z, height, L, means, d, K, first, second)
    return log_likelihood, entropy
