"""E-step of any exponential family whose sufficient statistics T are products of two columns.

    log joint   L[k, b] = Σ_p W[k, p] T[p, b]      (b: data rows)
    softmax     R[k, b] = exp L[k, b] / Σ_k exp L[k, b]
    sums        S[k, p] += Σ_b R[k, b] T[p, b]

Monomial p is z[left[p]] z[right[p]] with z = (1, x - shift).  Full and diagonal covariances and
plain sufficient statistics differ only in that list, so one compilation serves them all.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from expmax.inference.kernels_tiles import (
    BLOCK,
    GROUP,
    LOG_2PI,
    Array,
    add_product,
    add_sums,
    inner,
    kernel,
    load,
    normalise,
    padded,
    scratch,
    softmax,
)

PANEL = 156  # monomials held at once, a multiple of GROUP: 400 kB, within the second cache


@inner
def multiply(z, left, right, first, n, T):
    """T[p] = monomial first + p of the tile, p < n."""
    for p in range(n):
        u, v, t = z[left[first + p]], z[right[first + p]], T[p]
        for b in range(BLOCK):
            t[b] = u[b] * v[b]


@kernel
def e_step(x, weight, label, shift, left, right, W, K, S, work):
    """Add the expected sums of x to S; return log-likelihood and entropy.

    W and S have an even number of rows, of which K count, and a multiple of GROUP columns.
    """
    d, P, rows = x.shape[1], W.shape[1], W.shape[0]
    z, T = work[: d + 1], work[d + 1 : d + 1 + min(P, PANEL)]
    L = work[d + 1 + len(T) : d + 1 + len(T) + rows]
    end = d + 1 + len(T) + rows
    top, total, slope = work[end], work[end + 1], work[end + 2]
    z[0] = 1.0
    log_likelihood, entropy = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        n = min(BLOCK, len(x) - start)
        load(x, start, n, shift, z[1:])
        L[:] = 0.0
        for p in range(0, P, PANEL):
            width = min(PANEL, P - p)
            multiply(z, left, right, p, width, T)
            add_product(W, p, width, T, L)
        evidence, uncertainty = softmax(L, K, n, label, weight, start, top, total, slope)
        log_likelihood += evidence
        entropy += uncertainty
        normalise(L, K, total)
        for p in range(0, P, PANEL):
            width = min(PANEL, P - p)
            if P > PANEL:
                multiply(z, left, right, p, width, T)
            add_sums(L, T, S, p, width)
    return log_likelihood, entropy


@inner
def global_reference(log_weights, means):
    """Mean of the mixture; NaN, as every density then is, where all weights are zero."""
    K, d = means.shape
    reference, total = np.zeros(d), 0.0
    for k in range(K):
        w = math.exp(log_weights[k])
        total += w
        for j in range(d):
            reference[j] += w * means[k, j]
    for j in range(d):
        reference[j] /= total
    return reference


@inner
def precision_matrix(P, A):
    """Upper triangle of A = P P' for an upper triangular P; log|det P|."""
    d = len(P)
    log_det = 0.0
    for i in range(d):
        log_det += math.log(P[i, i])
        for j in range(i, d):
            s = 0.0
            for m in range(j, d):
                s += P[i, m] * P[j, m]
            A[i, j] = s
    return log_det


@inner
def standard_deviations(P, inverse, sd):
    """sd[i]² = Σ_j (P^-1)[j, i]², the covariance being P^-T P^-1."""
    d = len(P)
    for i in range(d):
        sd[i] = 0.0
    for i in range(d - 1, -1, -1):  # row i of the inverse, from the rows below it
        row = inverse[i]
        for j in range(d):
            row[j] = 0.0
        row[i] = 1.0
        for m in range(i + 1, d):
            p, below = P[i, m], inverse[m]
            for j in range(m, d):
                row[j] -= p * below[j]
        for j in range(i, d):
            row[j] /= P[i, i]
            sd[j] += row[j] * row[j]
    for i in range(d):
        sd[i] = math.sqrt(sd[i])


@kernel
def full_coefficients(log_weights, means, P, W, left, right):
    """Fill W, left, right for full covariances; return the reference and the worst cancellation.

    log w + log N(x; m, (P P')^-1) = c + Σ_j (A e)_j z_j - Σ_ij A_ij z_i z_j / 2, with A = P P',
    z = x - reference and e = m - reference.  The terms are as large as Σ_ij |A_ij| s_i s_j with
    s_i² = Σ_ii + e_i², and cancel down to about d: this sum, largest over components with a
    positive weight, is the loss of accuracy in units of rounding.
    """
    K, d = means.shape
    reference = global_reference(log_weights, means)
    A, inverse, sd, e = np.zeros((d, d)), np.zeros((d, d)), np.zeros(d), np.zeros(d)
    cancellation = 0.0
    for j in range(d):
        left[1 + j] = 1 + j
    for k in range(K):
        log_det = precision_matrix(P[k], A)
        standard_deviations(P[k], inverse, sd)
        for j in range(d):
            e[j] = means[k, j] - reference[j]
            sd[j] = math.sqrt(sd[j] * sd[j] + e[j] * e[j])
        p, terms, distance = 1 + d, 0.0, 0.0
        for i in range(d):
            for j in range(i, d):
                a = A[i, j] if j > i else 0.5 * A[i, i]
                left[p], right[p], W[k, p] = 1 + i, 1 + j, -a
                W[k, 1 + i] += a * e[j]
                W[k, 1 + j] += a * e[i]
                distance += a * e[i] * e[j]
                terms += 2.0 * abs(a) * sd[i] * sd[j]
                p += 1
        W[k, 0] = log_weights[k] - 0.5 * d * LOG_2PI + log_det - distance
        if log_weights[k] > -np.inf:
            cancellation = max(cancellation, terms)
    return reference, cancellation


@kernel
def diagonal_coefficients(log_weights, means, precision_scale, W, left, right):
    """Fill W, left, right for diagonal covariances; as full_coefficients."""
    K, d = means.shape
    reference = global_reference(log_weights, means)
    cancellation = 0.0
    for j in range(d):
        left[1 + j] = 1 + j
        left[1 + d + j] = right[1 + d + j] = 1 + j
    for k in range(K):
        c, terms = log_weights[k] - 0.5 * d * LOG_2PI, 0.0
        for j in range(d):
            a = precision_scale[k, j] ** 2
            e = means[k, j] - reference[j]
            W[k, 1 + j] = a * e
            W[k, 1 + d + j] = -0.5 * a
            c += math.log(precision_scale[k, j]) - 0.5 * a * e * e
            terms += 1.0 + a * e * e
        W[k, 0] = c
        if log_weights[k] > -np.inf:
            cancellation = max(cancellation, terms)
    return reference, cancellation


@kernel
def unpack_full(S, counts, first, second):
    """Split the sums of the monomials 1, z_j, z_i z_j (i <= j) by component."""
    K, d = first.shape
    for k in range(K):
        counts[k] = S[k, 0]
        p = 1 + d
        for i in range(d):
            first[k, i] = S[k, 1 + i]
            for j in range(i, d):
                second[k, i, j] = second[k, j, i] = S[k, p]
                p += 1


class Coefficients(NamedTuple):
    """A Gaussian log joint as a polynomial, for all components."""

    params: tuple[Array, ...]  # copies of what it was made from
    left: Array  # factors of the monomials,                  shape (P,)
    right: Array
    weights: Array  # coefficients of the monomials,          shape (K, P), both padded
    reference: Array  # the point the monomials are about,    shape (d,)
    cancellation: float  # by how much rounding grows


_last: Coefficients | None = None  # replaced as a whole, hence safe with threads


def coefficients(log_weights: Array, means: Array, precision: Array) -> Coefficients:
    """The polynomial of these parameters, remembered: every chunk of an E-step asks for it.

    Costs as much as tens to hundreds of rows; comparing the parameters costs about one.
    """
    global _last
    params = (log_weights, means, precision)
    last = _last
    if last is not None and all(map(np.array_equal, last.params, params)):
        return last
    K, d = means.shape
    full = precision.ndim == 3
    width = padded(1 + d + (d * (d + 1) // 2 if full else d), GROUP)
    left, right = np.zeros((2, width), np.int64)
    weights = np.zeros((padded(K, 2), width))
    fill = full_coefficients if full else diagonal_coefficients
    reference, cancellation = fill(log_weights, means, precision, weights, left, right)
    copies = tuple(a.copy() for a in params)
    last = Coefficients(copies, left, right, weights, reference, cancellation)
    _last = last
    return last


def expect(
    x: Array, weight: Array, label: Array, K: int, polynomial: Coefficients
) -> tuple[Array, float, float]:
    """Expected sums of the monomials, log-likelihood and entropy."""
    W = polynomial.weights
    S = np.zeros(W.shape)
    held = min(W.shape[1], PANEL)
    log_likelihood, entropy = e_step(
        x,
        weight,
        label,
        polynomial.reference,
        polynomial.left,
        polynomial.right,
        W,
        K,
        S,
        scratch(1 + x.shape[1] + held + len(W) + 3),
    )
    return S, log_likelihood, entropy
