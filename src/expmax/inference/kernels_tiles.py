"""What the kernels share: tiles of rows held in cache, the softmax, the two tiled products.

A kernel takes BLOCK data rows at a time.  Work arrays have one row per column, monomial or
component and STRIDE numbers in it, the first BLOCK of which belong to the data rows: all inner
loops run over data rows and vectorise.  The unused end of the last tile carries finite numbers
whose responsibility is zero.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numba import njit

from expmax.inference.fastexp import LOWEST, exp_nonpositive, log_normal

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 256
# Work rows whose addresses nearly agree modulo 4 kB make loads wait for unrelated stores: up to
# twice the time, depending on which physical pages the buffer got.  This pad spreads them out.
STRIDE = BLOCK + 72
GROUP = 6  # columns per tile of the products: their number is padded to a multiple of this
LOG_2PI = math.log(2.0 * math.pi)

# nnan and ninf would buy nothing and hide a NaN from the log-likelihood.
_flags: dict[str, Any] = {
    "fastmath": {"contract", "reassoc"},
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
}
kernel = njit(**_flags)  # called from Python
inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_flags)  # from kernels only

_thread = threading.local()


def scratch(n_work_rows: int) -> Array:
    """Work rows of unknown content, shape (at least n_work_rows, STRIDE), aligned to 64 bytes.

    Each thread owns one buffer, which grows to the largest request and is then reused; NumPy's
    own alignment of 16 bytes would cost up to a third of the speed.
    """
    buffer: Array | None = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) < n_work_rows:
        numbers = np.zeros(n_work_rows * STRIDE + 8)
        skip = -numbers.ctypes.data % 64 // 8
        buffer = numbers[skip : skip + n_work_rows * STRIDE].reshape(-1, STRIDE)
        _thread.buffer = buffer
    return buffer


def padded(n: int, multiple: int) -> int:
    """The least multiple that holds n."""
    return -(-n // multiple) * multiple


@inner
def load(x, start, n, shift, z):
    """z[j] = column j of x[start:start + n] - shift[j]; zeros past the end."""
    d = x.shape[1]
    for b in range(n):
        for j in range(d):
            z[j, b] = x[start + b, j] - shift[j]
    for j in range(d):
        for b in range(n, BLOCK):
            z[j, b] = 0.0


@inner
def keep_labels(label, start, n, L, K):
    """L[k, b] = -inf for every component but the one that row b is known to come from."""
    for b in range(n):
        known = label[start + b]
        if known >= 0:
            for k in range(K):
                if k != known:
                    L[k, b] = -np.inf


@inner
def exponentiate(L, K, top, total, slope):
    """top = max_k L[k]; L[k] = exp(L[k] - top); total = Σ_k L[k]; slope = Σ_k L[k] log L[k].

    Exactly zero below exp(LOWEST), so that a component without weight gets no count.
    """
    for b in range(BLOCK):
        top[b] = L[0, b]
        total[b] = 0.0
        slope[b] = 0.0
    for k in range(1, K):
        row = L[k]
        for b in range(BLOCK):
            top[b] = row[b] if row[b] > top[b] else top[b]
    for k in range(K):
        row = L[k]
        for b in range(BLOCK):
            difference = row[b] - top[b]
            a = LOWEST if difference < LOWEST else difference
            e = 0.0 if difference < LOWEST else exp_nonpositive(a)
            row[b] = e
            total[b] += e
            slope[b] += e * a


@inner
def evidence(top, total, slope, n):
    """Log-likelihood and entropy of n rows; total becomes its reciprocal."""
    for b in range(n, BLOCK):
        top[b] = 0.0
        total[b] = 1.0
        slope[b] = 0.0
    log_total, log_top, cross = 0.0, 0.0, 0.0
    for c in range(0, BLOCK, 64):  # Σ log = log Π; 1 <= total <= K cannot overflow
        product = 1.0
        for b in range(c, c + 64):
            product *= total[b]
            log_top += top[b]
            total[b] = 1.0 / total[b]
            cross += slope[b] * total[b]
        log_total += math.log(product)
    return log_total + log_top, log_total - cross


@inner
def weighted_evidence(top, total, slope, n, weight, start):
    """Weighted log-likelihood and entropy of n rows; total becomes weight / total."""
    log_likelihood, entropy = 0.0, 0.0
    for b in range(n):
        w = weight[start + b]
        log_total = log_normal(total[b])
        total[b] = 1.0 / total[b]
        log_likelihood += w * (top[b] + log_total)
        entropy += w * (log_total - slope[b] * total[b])
        total[b] *= w
    return log_likelihood, entropy


@inner
def softmax(L, K, n, label, weight, start, top, total, slope):
    """L[k] * total = weighted responsibilities of component k; (log-likelihood, entropy)."""
    if label.size > 0:
        keep_labels(label, start, n, L, K)
    exponentiate(L, K, top, total, slope)
    if weight.size > 0:
        result = weighted_evidence(top, total, slope, n, weight, start)
    else:
        result = evidence(top, total, slope, n)
    for b in range(n, BLOCK):
        total[b] = 0.0
    return result


@inner
def normalise(L, K, total):
    """Multiply out: L[k] = weighted responsibilities of component k."""
    for k in range(K):
        row = L[k]
        for b in range(BLOCK):
            row[b] *= total[b]


@inner
def add_product(W, first, n, T, L):
    """L += W[:, first:first + n] T[:n], numbers reused in registers: 2 rows by 6 columns."""
    for p in range(0, n, GROUP):
        t0, t1, t2, t3, t4, t5 = T[p], T[p + 1], T[p + 2], T[p + 3], T[p + 4], T[p + 5]
        for k in range(0, W.shape[0], 2):
            row, m, q = L[k], L[k + 1], first + p
            u, v = W[k, q : q + 6], W[k + 1, q : q + 6]
            u0, u1, u2, u3, u4, u5 = u[0], u[1], u[2], u[3], u[4], u[5]
            v0, v1, v2, v3, v4, v5 = v[0], v[1], v[2], v[3], v[4], v[5]
            for b in range(BLOCK):
                a0, a1, a2, a3, a4, a5 = t0[b], t1[b], t2[b], t3[b], t4[b], t5[b]
                row[b] += u0 * a0 + u1 * a1 + u2 * a2 + u3 * a3 + u4 * a4 + u5 * a5
                m[b] += v0 * a0 + v1 * a1 + v2 * a2 + v3 * a3 + v4 * a4 + v5 * a5


@inner
def add_sums(R, T, S, first, n):
    """S[:, first:first + n] += R T[:n]', in the same tiles."""
    for p in range(0, n, GROUP):
        t0, t1, t2, t3, t4, t5 = T[p], T[p + 1], T[p + 2], T[p + 3], T[p + 4], T[p + 5]
        for k in range(0, S.shape[0], 2):
            r, s = R[k], R[k + 1]
            u0 = u1 = u2 = u3 = u4 = u5 = v0 = v1 = v2 = v3 = v4 = v5 = 0.0
            for b in range(BLOCK):
                a0, a1, a2, a3, a4, a5 = t0[b], t1[b], t2[b], t3[b], t4[b], t5[b]
                x, y = r[b], s[b]
                u0 += x * a0
                u1 += x * a1
                u2 += x * a2
                u3 += x * a3
                u4 += x * a4
                u5 += x * a5
                v0 += y * a0
                v1 += y * a1
                v2 += y * a2
                v3 += y * a3
                v4 += y * a4
                v5 += y * a5
            q = first + p
            u, v = S[k, q : q + 6], S[k + 1, q : q + 6]
            for i, value in enumerate((u0, u1, u2, u3, u4, u5)):
                u[i] += value
            for i, value in enumerate((v0, v1, v2, v3, v4, v5)):
                v[i] += value
