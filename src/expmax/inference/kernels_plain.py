"""Gaussian E-step for few columns: whitened, centred about the current means.

The number of columns d is known to the compiler, as the length of the tuple `zeros`, so that the
loops over columns unroll: one compilation for each d.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from numba.cpython.unsafe.tuple import tuple_setitem

from expmax.inference.kernels_tiles import BLOCK, LOG_2PI, inner, kernel, softmax


@inner
def load_columns(x, start, n, z, zeros):
    """z[j] = column j of x[start:start + n]; zeros past the end."""
    d = len(zeros)
    flat = x.reshape(-1)
    for b in range(n):
        for j in range(d):
            z[j, b] = flat[(start + b) * d + j]
    for j in range(d):
        for b in range(n, BLOCK):
            z[j, b] = 0.0


@inner
def log_joint(z, offset, means, P, L, zeros):
    """L[k, b] = offset[k] - |P_k' (x_b - mean_k)|^2 / 2."""
    d = len(zeros)
    for k in range(means.shape[0]):
        row, u, m, c = L[k], P[k], means[k], offset[k]
        for b in range(BLOCK):
            q = 0.0
            for j in range(d):
                y = 0.0
                for i in range(d):
                    if i <= j:
                        y += u[i, j] * (z[i, b] - m[i])
                q += y * y
            row[b] = c - 0.5 * q


@inner
def add_moments(z, L, scale, means, counts, first, second, zeros):
    """Add Σ_b r, r e and r e e', where e = x_b - mean_k and r = L[k] scale.

    The whole square: a condition j >= i inside keeps LLVM from unrolling at five columns.
    """
    d = len(zeros)
    for k in range(means.shape[0]):
        r, m = L[k], means[k]
        for i in range(d):
            row, s, t = zeros, 0.0, 0.0
            for b in range(BLOCK):
                w = r[b] * scale[b]
                s += w
                w *= z[i, b] - m[i]
                t += w
                for j in range(d):
                    row = tuple_setitem(row, j, row[j] + w * (z[j, b] - m[j]))
            if i == 0:
                counts[k] += s
            first[k, i] += t
            for j in range(d):
                second[k, i, j] += row[j]


@kernel
def e_step(x, weight, label, log_weights, means, P, work, counts, first, second, zeros):
    """Expected moments about the means, added to zeroed counts, first and second."""
    K, d = means.shape
    z, L, offset = work[:d], work[d : d + K], work[d + K]
    top, total, slope = work[d + K + 1], work[d + K + 2], work[d + K + 3]
    for k in range(K):
        offset[k] = log_weights[k] - 0.5 * d * LOG_2PI
        for j in range(d):
            offset[k] += math.log(P[k, j, j])
    log_likelihood, entropy = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        n = min(BLOCK, len(x) - start)
        load_columns(x, start, n, z, zeros)
        log_joint(z, offset, means, P, L, zeros)
        evidence, uncertainty = softmax(L, K, n, label, weight, start, top, total, slope)
        log_likelihood += evidence
        entropy += uncertainty
        add_moments(z, L, total, means, counts, first, second, zeros)
    for k in range(K):
        for i in range(d):
            for j in range(i):
                second[k, i, j] = second[k, j, i]
    return log_likelihood, entropy
