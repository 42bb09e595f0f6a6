"""Compiled E-steps and the M-step of full covariances: arrays in, arrays out.

Each call takes one chunk of rows (about 4096 to 65536 of them), releases the GIL and keeps its
work in a buffer of the calling thread, so that threads can run chunks side by side; the same
chunk gives the same bits on any thread.  Sums of chunks add, field by field, given the same
parameters: the path and the reference depend on the parameters alone.

A NaN or an infinity among the data makes the log-likelihood non-finite; then discard the sums.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expmax.inference import (
    kernels_centred,
    kernels_monomials,
    kernels_mstep,
    kernels_plain,
)
from expmax.inference.kernels_inputs import FLOAT, ready, rows
from expmax.inference.kernels_monomials import blank, polynomial
from expmax.inference.kernels_tiles import Array, padded, scratch
from expmax.inference.lanes import LANES

PLAIN_COLUMNS = 5  # up to here the kernel that knows d at compile time is the fastest
# Monomials about one reference let rounding grow by at most this factor (`cancellation`), then the
# centred kernels take over.  Measured on clusters apart, collinear columns and rare far components,
# d from 6 to 40: error <= 2.3 eps cancellation in covariances, 0.1 of that in log-likelihood and Q.
MAX_CANCELLATION = 1e4


class GaussianSums(NamedTuple):
    """Expected moments of a Gaussian mixture on some rows, about a reference point."""

    counts: Array  # Σ_i w_i r_ik,                                 shape (K,)
    reference: Array  # the points the moments are about,          shape (K, d)
    first: Array  # Σ_i w_i r_ik (x_i - reference_k),              shape (K, d)
    second: Array  # Σ_i w_i r_ik (x_i - reference_k)(...)',       shape (K, d, d); diagonal: (K, d)
    log_likelihood: float  # Σ_i w_i log p(x_i), nats
    entropy: float  # -Σ_i w_i Σ_k r_ik log r_ik, nats


class LinearSums(NamedTuple):
    """Expected sufficient statistics of a mixture on some rows."""

    counts: Array  # Σ_i w_i r_ik,          shape (K,)
    sums: Array  # Σ_i w_i r_ik t_i,        shape (K, P)
    log_likelihood: float  # Σ_i w_i log p(x_i), nats
    entropy: float  # -Σ_i w_i Σ_k r_ik log r_ik, nats


class FullCovariances(NamedTuple):
    """Maximum-likelihood Gaussians, with what the next E-step needs of them."""

    means: Array  # shape (K, d)
    covariances: Array  # shape (K, d, d)
    precision_cholesky: Array  # upper triangular P, Σ^-1 = P P'; shape (K, d, d)
    log_det: Array  # log|det P|, shape (K,)
    ok: Array  # bool, shape (K,): every pivot of the Cholesky factor was positive


def expect_gaussian(
    x: Array,
    weight: Array | None,
    label: Array | None,
    log_weights: Array,
    means: Array,
    precision_cholesky: Array,
) -> GaussianSums:
    """E-step of a Gaussian mixture with full covariances on one chunk of rows.

    log joint of row i and component k, in nats, with P = precision_cholesky[k]:
    log_weights[k] - d/2 log 2π + log|det P| - |P'(x_i - means[k])|² / 2.

    Parameters
    ----------
    x : ndarray, shape (n, d)
        C-contiguous float64 or float32 (sums are float64); may be read-only.
    weight : ndarray, shape (n,), or None
        Weight of each row; weight k is the same as k copies.
    label : ndarray of int64, shape (n,), or None
        Component the row is known to come from, -1 where unknown.  A known row adds its log joint
        to the log-likelihood; a label outside 0..K-1, or of a component with log weight -inf,
        makes the log-likelihood non-finite.
    log_weights : ndarray, shape (K,)
        Nats; -inf removes a component.
    means : ndarray, shape (K, d)
    precision_cholesky : ndarray, shape (K, d, d)
        Upper triangular with a positive diagonal; what lies below it is not read.

    Returns
    -------
    GaussianSums
        About the means, or about the mean of the mixture where monomials serve.
    """
    x, weight, label = rows(x, weight, label)
    log_weights = ready(log_weights, FLOAT)
    means = ready(means, FLOAT)
    precision_cholesky = ready(precision_cholesky, FLOAT)
    K, d = means.shape
    if d > PLAIN_COLUMNS:
        form = polynomial(log_weights, means, precision_cholesky)
        if not form.cancellation <= MAX_CANCELLATION:
            return _expect_centred(x, weight, label, log_weights, means, precision_cholesky)
        counts, S, log_likelihood, entropy = kernels_monomials.expect(x, weight, label, form)
        first, second = np.empty((K, d)), np.empty((K, d, d))
        kernels_monomials.unpack_full(S, form.first, first, second)
        references = np.repeat(form.reference[None, :d], K, axis=0)
        return GaussianSums(counts, references, first, second, log_likelihood, entropy)
    counts, first, second = np.empty(K), np.empty((K, d)), np.empty((K, d, d))
    log_likelihood, entropy = kernels_plain.e_step(
        x,
        weight,
        label,
        log_weights,
        means,
        precision_cholesky,
        scratch(kernels_plain.work_size(d, K)),
        counts,
        first,
        second,
        (0.0,) * d,
    )
    return GaussianSums(counts, means, first, second, log_likelihood, entropy)


def expect_diagonal(
    x: Array,
    weight: Array | None,
    label: Array | None,
    log_weights: Array,
    means: Array,
    precision_scale: Array,
) -> GaussianSums:
    """E-step of a Gaussian mixture with diagonal covariances on one chunk of rows.

    log joint of row i and component k, in nats, with s = precision_scale[k]:
    log_weights[k] - d/2 log 2π + Σ_j log s_j - Σ_j (s_j (x_ij - means[k, j]))² / 2.

    Parameters
    ----------
    precision_scale : ndarray, shape (K, d)
        1 / standard deviation, positive.

    The others, and the result, are those of `expect_gaussian`; `second` is (K, d).
    """
    x, weight, label = rows(x, weight, label)
    log_weights = ready(log_weights, FLOAT)
    means = ready(means, FLOAT)
    scale = ready(precision_scale, FLOAT)
    K, d = means.shape
    form = polynomial(log_weights, means, scale)
    if form.cancellation <= MAX_CANCELLATION:
        counts, S, log_likelihood, entropy = kernels_monomials.expect(x, weight, label, form)
        first, second = S[:, :d].copy(), S[:, form.first : form.first + d].copy()
        references = np.repeat(form.reference[None, :d], K, axis=0)
        return GaussianSums(counts, references, first, second, log_likelihood, entropy)
    counts, first, second = np.zeros(K), np.zeros((K, d)), np.zeros((K, d))
    work = scratch(kernels_centred.work_size(d, K))
    log_likelihood, entropy = kernels_centred.e_step_diagonal(
        x, weight, label, log_weights, means, scale, work, counts, first, second
    )
    return GaussianSums(counts, means, first, second, log_likelihood, entropy)


def cancellation(log_weights: Array, means: Array, precision: Array) -> float:
    """Factor by which rounding grows in `expect_gaussian` or `expect_diagonal`; 1 where centred.

    The log-likelihood, and its gap to Q + entropy, are accurate to about eps times a tenth of
    this; covariances from the sums to 2.3 eps times this.  `precision` is the precision factor
    (K, d, d) or scale (K, d).
    """
    if precision.ndim == 3 and means.shape[1] <= PLAIN_COLUMNS:
        return 1.0
    growth = polynomial(*(ready(a, FLOAT) for a in (log_weights, means, precision)))
    return growth.cancellation if growth.cancellation <= MAX_CANCELLATION else 1.0


def expect_linear(
    t: Array,
    log_base: Array | None,
    weight: Array | None,
    label: Array | None,
    offset: Array,
    natural: Array,
) -> LinearSums:
    """E-step of a mixture of any exponential family on one chunk of rows.

    log joint of row i and component k, in nats: log_base[i] + offset[k] + natural[k] · t[i].

    Parameters
    ----------
    t : ndarray, shape (n, P)
        Sufficient statistics T(x), finite; C-contiguous float64 or float32; may be read-only.
    log_base : ndarray, shape (n,), or None
        log h(x), nats.
    weight, label : ndarray, shape (n,), or None
        As for `expect_gaussian`.
    offset : ndarray, shape (K,)
        Log weight minus the log partition A(η), nats; -inf removes a component.
    natural : ndarray, shape (K, P)
        Natural parameters η, finite.
    """
    t, weight, label = rows(t, weight, label)
    K, P = natural.shape
    form = blank((), K, P, 0)
    form.offset[:], form.weights[:, :P] = offset, natural
    counts, S, log_likelihood, entropy = kernels_monomials.expect(t, weight, label, form)
    if log_base is not None:
        log_likelihood += float(log_base.sum() if len(weight) == 0 else weight @ log_base)
    return LinearSums(counts, S[:, :P].copy(), log_likelihood, entropy)


def maximize_full(counts: Array, reference: Array, first: Array, second: Array) -> FullCovariances:
    """M-step of full covariances from moments about a reference: the first four of GaussianSums.

    covariance_k = second_k / counts_k - e e' with e = first_k / counts_k, mean_k = reference_k + e.

    Returns
    -------
    FullCovariances
        `ok` is false, and the precision factor NaN, where a covariance is not positive definite;
        means and covariances too are NaN where the count is not positive.  Nothing is raised.
    """
    K, d = first.shape
    means, covariances, P = np.empty((K, d)), np.empty((K, d, d)), np.empty((K, d, d))
    log_det, ok = np.empty(K), np.empty(K, np.bool_)
    kernels_mstep.maximize(
        ready(counts, FLOAT),
        ready(reference, FLOAT),
        ready(first, FLOAT),
        ready(second, FLOAT),
        means,
        covariances,
        P,
        log_det,
        ok,
    )
    return FullCovariances(means, covariances, P, log_det, ok)


def precision_cholesky(covariances: Array) -> tuple[Array, Array, Array]:
    """Precision factors P (K, d, d), log|det P| (K,) and success (K,) of covariances (K, d, d)."""
    covariances = ready(covariances, FLOAT)
    K = len(covariances)
    P, log_det, ok = np.empty_like(covariances), np.empty(K), np.empty(K, np.bool_)
    kernels_mstep.precision_cholesky(covariances, P, log_det, ok)
    return P, log_det, ok


def expected_full(
    counts: Array,
    reference: Array,
    first: Array,
    second: Array,
    log_weights: Array,
    means: Array,
    precision_cholesky: Array,
) -> float:
    """Q = Σ_ik w_i r_ik log joint_ik at new parameters, from the sums alone, in nats.

    Components without a count are left out, so that 0 · -inf is 0.
    """
    return kernels_mstep.expected(
        ready(counts, FLOAT),
        ready(reference, FLOAT),
        ready(first, FLOAT),
        ready(second, FLOAT),
        ready(log_weights, FLOAT),
        ready(means, FLOAT),
        ready(precision_cholesky, FLOAT),
    )


def _expect_centred(
    x: Array,
    weight: Array,
    label: Array,
    log_weights: Array,
    means: Array,
    precision_cholesky: Array,
) -> GaussianSums:
    """Sums about the means, for any number of columns."""
    K, d = means.shape
    height = padded(d, LANES)
    counts, first, second = np.zeros(K), np.zeros((K, d)), np.zeros((K, height, height))
    work = scratch(kernels_centred.work_size(d, K))
    log_likelihood, entropy = kernels_centred.e_step_full(
        x, weight, label, log_weights, means, precision_cholesky, work, counts, first, second
    )
    second = np.ascontiguousarray(second[:, :d, :d])
    return GaussianSums(counts, means, first, second, log_likelihood, entropy)
