"""E-step of any exponential family whose sufficient statistics T are columns and products of two.

    log joint   L[k, b] = offset[k] + Σ_p W[k, p] T[p, b]      (b: data rows)
    softmax     R[k, b] = exp L[k, b] / Σ_k exp L[k, b]
    sums        S[k, p] += Σ_b R[k, b] T[p, b]

The columns of T are those of z = x - shift and, from number `first` on, the products
z[left[q]] z[right[q]].  Full and diagonal covariances and plain sufficient statistics differ only
in that list, so one compilation serves them all.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from expmax.inference.kernels_tiles import (
    BLOCK,
    LOG_2PI,
    STRIPS,
    Array,
    accumulate,
    add_counts,
    add_sums,
    algebra,
    algebra_inner,
    by_tiles,
    column_of,
    fetch,
    kernel,
    load,
    padded,
    scratch,
    softmax,
)
from expmax.inference.lanes import LANES, ROWS, staged

HELD = 256  # columns of T up to which all are held at once: 512 kB, within the second cache
PANEL = 128  # products held at once where there are more, a multiple of LANES


@staged()
def log_joint(emit, T, d, first, left, right, q, n, offset, W, width, K, L):
    """Products q to q + n, made in T from `first` on, and what T then adds to L: one strip.

    Makes the products in the registers that use them first.
    """

    def made(p):
        a, b = (column_of(T, side.number(q + p - first)) for side in (left, right))
        columns = [one * other for one, other in zip(a, b, strict=True)]
        for i, numbers in enumerate(columns):
            (T + p * ROWS).store(numbers, i * LANES)
        return columns

    def held(p):
        return column_of(T, p)

    def tile(k, n_rows, products=held):
        def weight(i, p):
            return W.splat((k + i) * width + q + p)

        out, sums = L + k * ROWS, []
        for i in range(n_rows):
            start = [old.choose(q < 1, offset.splat(k + i)) for old in column_of(out, i)]
            sums.append([emit.variable(one) for one in start])
        accumulate(emit, sums, 0, d, weight, held)
        accumulate(emit, sums, first, first + n, weight, products)
        for i, registers in enumerate(sums):
            for c, one in enumerate(registers):
                out.store(one.value, i * ROWS + c * LANES)

    with emit.when(K >= 2):
        tile(emit.index(0), 2, made)
        by_tiles(emit, emit.index(2), K, tile)
    with emit.when(K < 2):
        tile(emit.index(0), 1, made)


@staged()
def multiply(emit, T, height, first, left, right, q, n):
    """T[first + i] = T[left[q + i]] T[right[q + i]], i < n, in all strips."""
    with emit.loop(STRIPS) as s, emit.loop(n) as i:
        strip = T + s * height * ROWS
        a, b = (strip + side.number(q + i) * ROWS for side in (left, right))
        for c in range(0, ROWS, LANES):
            strip.store(a.load(c) * b.load(c), (first + i) * ROWS + c)


@kernel
def e_step(x, weight, label, shift, left, right, first, panel, offset, W, counts, S, work):
    """Add the expected sums of x to counts and S; return log-likelihood and entropy.

    `panel` products are held at once.  W and S have a multiple of LANES columns; so is `first`
    where not all products are held.
    """
    d, K, width, n_products = x.shape[1], len(offset), W.shape[1], len(left)
    height = min(width, first + panel)
    T, L = work, work[STRIPS * height * ROWS :]
    w, spare = L[K * BLOCK :], L[(K + 1) * BLOCK :]
    log_likelihood, entropy = 0.0, 0.0
    for start in range(0, len(x), BLOCK):
        n = min(BLOCK, len(x) - start)
        load(x, start, n, shift, T, height, spare)
        for s in range(STRIPS):
            fetch(x, start + BLOCK + s * ROWS, d)
            t = T[s * height * ROWS :]
            for q in range(0, max(n_products, 1), panel):
                m, c = min(panel, n_products - q), d if q == 0 else 0
                log_joint(t, c, first, left, right, q, m, offset, W, width, K, L[s * K * ROWS :])
        evidence, uncertainty = softmax(L, K, n, label, weight, start, w)
        log_likelihood += evidence
        entropy += uncertainty
        add_counts(L, K, counts)
        for q in range(0, max(n_products, 1), panel):
            if n_products > panel:
                multiply(T, height, first, left, right, q, min(panel, n_products - q))
            begin, end = first if q > 0 else 0, min(height, width - q)
            add_sums(L, K, K, T, height, begin, end, S[0, q:], width)
    return log_likelihood, entropy


@algebra_inner
def put_reference(log_weights, means, reference):
    """Mean of the mixture; NaN, as every density then is, where all weights are zero."""
    K, d = means.shape
    total = 0.0
    for j in range(d):
        reference[j] = 0.0
    for k in range(K):
        w = math.exp(log_weights[k])
        total += w
        for j in range(d):
            reference[j] += w * means[k, j]
    for j in range(d):
        reference[j] /= total


@algebra_inner
def precision_matrix(P, k, A):
    """Upper triangle of A = P_k P_k' for an upper triangular P_k; log|det P_k|."""
    d = P.shape[1]
    log_det = 0.0
    for i in range(d):
        log_det += math.log(P[k, i, i])
        for j in range(i, d):
            s = 0.0
            for m in range(j, d):
                s += P[k, i, m] * P[k, j, m]
            A[i, j] = s
    return log_det


@algebra_inner
def standard_deviations(P, k, inverse, sd):
    """sd[i]² = Σ_j (P_k^-1)[j, i]², the covariance being P^-T P^-1."""
    d = P.shape[1]
    for i in range(d):
        sd[i] = 0.0
    for i in range(d - 1, -1, -1):  # row i of the inverse, from the rows below it
        for j in range(d):
            inverse[i, j] = 0.0
        inverse[i, i] = 1.0
        for m in range(i + 1, d):
            p = P[k, i, m]
            for j in range(m, d):
                inverse[i, j] -= p * inverse[m, j]
        for j in range(i, d):
            inverse[i, j] /= P[k, i, i]
            sd[j] += inverse[i, j] * inverse[i, j]
    for i in range(d):
        sd[i] = math.sqrt(sd[i])


@algebra
def full_coefficients(
    log_weights, means, P, first, reference, offset, W, left, right, A, inverse, sd, e
):
    """Fill reference, offset, W, left, right for full covariances; return the worst cancellation.

    log w + log N(x; m, (P P')^-1) = c + Σ_j (A e)_j z_j - Σ_ij A_ij z_i z_j / 2, with A = P P',
    z = x - reference and e = m - reference.  The terms are as large as Σ_ij |A_ij| s_i s_j with
    s_i² = Σ_ii + e_i², and cancel down to about d: this sum, largest over components with a
    positive weight, is the loss of accuracy in units of rounding.  The last four are work space.
    """
    K, d = means.shape
    put_reference(log_weights, means, reference)
    cancellation = 0.0
    for k in range(K):
        log_det = precision_matrix(P, k, A)
        standard_deviations(P, k, inverse, sd)
        for j in range(d):
            e[j] = means[k, j] - reference[j]
            sd[j] = math.sqrt(sd[j] * sd[j] + e[j] * e[j])
        q, terms, distance = 0, 0.0, 0.0
        for i in range(d):
            for j in range(i, d):
                a = A[i, j] if j > i else 0.5 * A[i, i]
                left[q], right[q], W[k, first + q] = i, j, -a
                W[k, i] += a * e[j]
                W[k, j] += a * e[i]
                distance += a * e[i] * e[j]
                terms += 2.0 * abs(a) * sd[i] * sd[j]
                q += 1
        offset[k] = log_weights[k] - 0.5 * d * LOG_2PI + log_det - distance
        if log_weights[k] > -math.inf:
            cancellation = max(cancellation, terms)
    return cancellation


@algebra
def diagonal_coefficients(log_weights, means, scale, first, reference, offset, W, left, right):
    """Fill them for diagonal covariances, scale being 1 / sd; as full_coefficients."""
    K, d = means.shape
    put_reference(log_weights, means, reference)
    cancellation = 0.0
    for k in range(K):
        c, terms = log_weights[k] - 0.5 * d * LOG_2PI, 0.0
        for j in range(d):
            a = scale[k, j] ** 2
            e = means[k, j] - reference[j]
            left[j], right[j], W[k, j], W[k, first + j] = j, j, a * e, -0.5 * a
            c += math.log(scale[k, j]) - 0.5 * a * e * e
            terms += 1.0 + a * e * e
        offset[k] = c
        if log_weights[k] > -math.inf:
            cancellation = max(cancellation, terms)
    return cancellation


@algebra
def unpack_full(S, start, first, second):
    """Split the sums of z_j and, from column `start` on, z_i z_j (i <= j) by component."""
    K, d = first.shape
    for k in range(K):
        q = start
        for i in range(d):
            first[k, i] = S[k, i]
            for j in range(i, d):
                second[k, i, j] = second[k, j, i] = S[k, q]
                q += 1


class Polynomial(NamedTuple):
    """Log joints as polynomials in the columns, one a component."""

    params: tuple[Array, ...]  # copies of what it was made from
    reference: Array  # the point the monomials are about,       shape (d,), padded
    offset: Array  # terms without a column,                     shape (K,)
    weights: Array  # coefficients of columns and products,      shape (K, …), padded
    first: int  # where the products begin
    left: Array  # factors of the products, as column numbers
    right: Array
    cancellation: float  # by how much rounding grows


def blank(params: tuple[Array, ...], K: int, d: int, n_products: int) -> Polynomial:
    """All zero; products begin at a multiple of LANES where not all are held at once."""
    first = d if d + n_products <= HELD else padded(d, LANES)
    left, right = np.zeros((2, n_products), np.int64)
    weights = np.zeros((K, padded(first + n_products, LANES)))
    reference = np.zeros(padded(d, LANES))
    return Polynomial(params, reference, np.zeros(K), weights, first, left, right, 1.0)


_last: Polynomial | None = None  # replaced as a whole, hence safe with threads


def polynomial(log_weights: Array, means: Array, precision: Array) -> Polynomial:
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
    new = blank(tuple(a.copy() for a in params), K, d, d * (d + 1) // 2 if full else d)
    fill = full_coefficients if full else diagonal_coefficients
    work = (np.empty((d, d)), np.empty((d, d)), np.empty(d), np.empty(d)) if full else ()
    cancellation = fill(
        *params, new.first, new.reference, new.offset, new.weights, new.left, new.right, *work
    )
    _last = last = new._replace(cancellation=cancellation)
    return last


def expect(
    x: Array, weight: Array, label: Array, polynomial: Polynomial
) -> tuple[Array, Array, float, float]:
    """Counts, expected sums of columns and products, log-likelihood and entropy."""
    (K, width), d, first = polynomial.weights.shape, x.shape[1], polynomial.first
    panel = HELD if first + len(polynomial.left) <= HELD else PANEL
    height = min(width, first + panel)
    counts, S = np.zeros(K), np.zeros((K, width))
    log_likelihood, entropy = e_step(
        x,
        weight,
        label,
        polynomial.reference,
        polynomial.left,
        polynomial.right,
        first,
        panel,
        polynomial.offset,
        polynomial.weights,
        counts,
        S,
        scratch((height + K + 1) * BLOCK + (BLOCK + LANES) * d),
    )
    return counts, S, log_likelihood, entropy
