"""The small algebra of full covariances, once per iteration.

Compiled, because NumPy's calls would take longer than the E-step of a small problem; plain loops,
because they compile faster than calls of LAPACK or array expressions.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

import numpy as np

from expmax.inference.kernels_tiles import LOG_2PI, algebra, algebra_inner


@algebra_inner
def factorise(covariance, P):
    """Fill the upper triangular P with covariance^-1 = P P'; return log|det P|.

    covariance = C C' with C lower triangular, which the lower triangle of P holds until it is
    used up, and P = C^-T.  NaN where a pivot is not positive; P is then incomplete.
    """
    d = len(covariance)
    log_det = 0.0
    for j in range(d):
        for i in range(j, d):
            s = covariance[i, j]
            for m in range(j):
                s -= P[i, m] * P[j, m]
            if i > j:
                P[i, j] = s / P[j, j]
            elif s > 0.0:
                P[j, j] = math.sqrt(s)
                log_det -= 0.5 * math.log(s)
            else:
                return math.nan
    for j in range(d):  # row j of C^-1 goes to column j of P
        pivot = 1.0 / P[j, j]
        for i in range(j):
            s = 0.0
            for m in range(i, j):
                s += P[j, m] * P[i, m]
            P[i, j] = -s * pivot
        for m in range(j):
            P[j, m] = 0.0
        P[j, j] = pivot
    return log_det


@algebra
def precision_cholesky(covariances, P, log_det, ok):
    """Fill P, log_det and ok for each covariance; P is NaN where a pivot is not positive."""
    K, d = covariances.shape[:2]
    for k in range(K):
        log_det[k] = factorise(covariances[k], P[k])
        ok[k] = not math.isnan(log_det[k])
        if not ok[k]:
            for i in range(d):
                for j in range(d):
                    P[k, i, j] = math.nan


@algebra
def maximize(counts, reference, first, second, means, covariances, P, log_det, ok):
    """Fill means, covariances and their precision factors from moments about the reference."""
    K, d = means.shape
    for k in range(K):
        inverse = 1.0 / counts[k] if counts[k] > 0.0 else math.nan
        for i in range(d):
            e = first[k, i] * inverse
            means[k, i] = reference[k, i] + e
            for j in range(i + 1):
                c = (second[k, i, j] - e * first[k, j]) * inverse
                covariances[k, i, j] = c
                covariances[k, j, i] = c
    precision_cholesky(covariances, P, log_det, ok)


@algebra
def expected(counts, reference, first, second, log_weights, means, P):
    """Σ_k counts_k (log w_k - d/2 log 2π + log|det P_k|) - Σ_ij (P P')_ij M_ij / 2.

    M = Σ_b r (x_b - mean)(x_b - mean)', moved from the reference to the mean.
    """
    K, d = means.shape
    e = np.empty(d)
    result = 0.0
    for k in range(K):
        if not counts[k] > 0.0:
            continue
        for i in range(d):
            e[i] = means[k, i] - reference[k, i]
        log_det, trace = 0.0, 0.0
        for i in range(d):
            log_det += math.log(P[k, i, i])
            for j in range(i + 1):
                a = 0.0
                for m in range(i, d):
                    a += P[k, i, m] * P[k, j, m]
                moment = second[k, i, j] - first[k, i] * e[j]
                moment += e[i] * (counts[k] * e[j] - first[k, j])
                trace += a * moment if j < i else 0.5 * a * moment
        result += counts[k] * (log_weights[k] - 0.5 * d * LOG_2PI + log_det) - trace
    return result
