"""Compiled document step of topic models: mean-field posteriors of many short documents.

A document of n distinct words is a small dense problem: the K × n table of its words' weights is gathered once
into work rows, words along the vector axis, and each round of the coordinate ascent is two products with it.
Digamma, its exponential and log-gamma are shifted up by eight and taken from their asymptotic series, which
LLVM vectorises.  A call releases the GIL and keeps its work in a buffer of the calling thread.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
import threading

import numpy as np

from expmax.inference.compiler import njit
from expmax.inference.documents import Documents, DocumentSums
from expmax.inference.fastexp import LOWEST, exp_nonpositive, log_normal
from expmax.inference.kernels_inputs import FLOAT, ready
from expmax.inference.kernels_tiles import Array, inner, kernel, padded

TILE = 4  # topics at a time in the two products
ALL_AT_FIRST = 5  # rounds of all topics before any may rest
RESTING = 1e-3  # a topic may rest when γ changes by less than this times tol
LEAST = 1e-280  # a word whose weight sums to less has underflowed: its document is left to the plain path
WORK_ROWS = 9
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_inlined = njit(fastmath={"contract"}, error_model="numpy", forceinline=True, cache=True)


# -- special functions -----------------------------------------------------------------------------
@_inlined
def _rising(x):
    """ψ(x + 8) − ψ(x) = Σ_{i<8} 1/(x + i), as a ratio of polynomials in x² + 7x."""
    c = 1e30 if x > 1e30 else x  # the powers stay finite; beyond, the sum is below rounding
    t = c * (c + 7.0)
    a, b = t * (t + 6.0), (t + 10.0) * (t + 12.0)
    return (2.0 * c + 7.0) * ((2.0 * t + 6.0) * b + a * (2.0 * t + 22.0)) / (a * b)


@_inlined
def _exp_digamma_shifted(x):
    """exp ψ(x + 8): the series in y = x + 15/2, relative error below 5e-16.

    Exponential of ψ(y + 1/2) ~ log y + Σ_k (1 − 2^(1−2k)) B_2k / (2k y^2k).
    """
    y = x + 7.5
    u = 1.0 / (y * y)
    p = -0.43960443686008127 * u + 0.082381852238787765
    p = (p * u - 0.020734675824368138) * u + 0.0073650332693086690
    p = (p * u - 0.0039535574489730306) * u + 0.0035524829144620811
    p = (p * u - 0.0064236111111111111) * u + 0.041666666666666667
    return y * (p * u + 1.0)


@_inlined
def exp_digamma(x):
    """exp ψ(x) for x > 0; where it is below 1e-300, some such number."""
    e = -_rising(x)
    return _exp_digamma_shifted(x) * exp_nonpositive(LOWEST if e < LOWEST else e)


@_inlined
def digamma(x):
    """ψ(x) for x > 0."""
    return log_normal(_exp_digamma_shifted(x)) - _rising(x)


@_inlined
def log_gamma(x):
    """log Γ(x) for 0 < x < 1e37, by Stirling's series at x + 8."""
    t = x * (x + 7.0)
    z = x + 8.0
    u = 1.0 / (z * z)
    p = (1.0 / 156.0 * u - 691.0 / 360360.0) * u + 1.0 / 1188.0
    p = ((p * u - 1.0 / 1680.0) * u + 1.0 / 1260.0) * u - 1.0 / 360.0
    stirling = (z - 0.5) * log_normal(z) - z + HALF_LOG_2PI + (p * u + 1.0 / 12.0) / z
    return stirling - log_normal(t * (t + 6.0) * ((t + 10.0) * (t + 12.0)))


# -- one document ----------------------------------------------------------------------------------
@inner
def _gather(topics, words, table, K, n, width):
    """table[k, w] = topics[words[w], k]; words past the end weigh 1, topic K is empty."""
    for w in range(n):
        row = topics[words[w]]
        for k in range(K):
            table[k, w] = row[k]
    for k in range(K):
        row = table[k]
        for w in range(n, width):
            row[w] = 1.0
    row = table[K]
    for w in range(width):
        row[w] = 0.0


@inner
def _add_mixture(table, shares, order, n_active, total, width):
    """total[w] += Σ_k shares[k] table[k, w] over the topics order[:n_active]; order ends in empty topics."""
    for j in range(0, n_active, TILE):
        i0, i1, i2, i3 = order[j], order[j + 1], order[j + 2], order[j + 3]
        a0, a1, a2, a3 = shares[i0], shares[i1], shares[i2], shares[i3]
        b0, b1, b2, b3 = table[i0], table[i1], table[i2], table[i3]
        for w in range(width):
            total[w] += a0 * b0[w] + a1 * b1[w] + a2 * b2[w] + a3 * b3[w]


@inner
def _collect(table, ratio, order, n_active, out, width):
    """out[k] = Σ_w ratio[w] table[k, w] for the topics order[:n_active]."""
    for j in range(0, n_active, TILE):
        i0, i1, i2, i3 = order[j], order[j + 1], order[j + 2], order[j + 3]
        b0, b1, b2, b3 = table[i0], table[i1], table[i2], table[i3]
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        for w in range(width):
            r = ratio[w]
            s0 += r * b0[w]
            s1 += r * b1[w]
            s2 += r * b2[w]
            s3 += r * b3[w]
        out[i0], out[i1], out[i2], out[i3] = s0, s1, s2, s3


@inner
def _fill(order, K):
    """All topics, then empty ones."""
    for k in range(K):
        order[k] = k
    _end(order, K, K)
    return K


@inner
def _end(order, n_active, K):
    """Empty topics after the last: K, which has no share and no words."""
    for j in range(n_active, n_active + TILE):
        order[j] = K


@inner
def _share_out(counts, total, ratio, n, width):
    """ratio[w] = counts[w] / total[w], 0 past the end; the least total."""
    least = np.inf
    for w in range(n):
        least = min(least, total[w])
        ratio[w] = counts[w] / total[w]
    for w in range(n, width):
        ratio[w] = 0.0
    return least


@inner
def _step(prior, gamma, shares, found, change, order, n_active, work):
    """γ_k = α_k + N_k and shares[k] = exp ψ(γ_k) of the active topics; the sum of the absolute changes.

    The shares are exp E log θ but for a factor common to all topics.
    """
    total = 0.0
    for j in range(n_active):
        k = order[j]
        work[j] = prior[k] + shares[k] * found[k]
        change[k] = abs(work[j] - gamma[k])
        gamma[k] = work[j]
        total += change[k]
    for j in range(n_active):
        work[j] = exp_digamma(work[j])
    for j in range(n_active):
        shares[order[j]] = work[j]
    return total


@inner
def _rest(table, shares, change, least, order, n_active, resting, base, K, width):
    """Let topics rest that change less than `least`: base[w] += what they give. How many stay active."""
    n_resting = 0
    for j in range(n_active):
        if change[order[j]] < least:
            resting[n_resting] = order[j]
            n_resting += 1
    if 4 * n_resting < n_active:  # too few to be worth the trouble
        return n_active
    _end(resting, n_resting, K)
    _add_mixture(table, shares, resting, n_resting, base, width)
    n = 0
    for j in range(n_active):
        if not change[order[j]] < least:
            order[n] = order[j]
            n += 1
    _end(order, n, K)
    return n


@inner
def _ascend(
    table, counts, prior, gamma, shares, found, total, ratio, base, change, work, order, resting,
    K, n, width, max_rounds, tol,
):  # fmt: skip
    """Coordinate ascent in γ and q(z): rounds, −1 if underflown.

    Ends with a round of all topics whose mean absolute change of γ is below tol. Between such rounds,
    topics that hardly change rest: an ascent in the coordinates of the others. Leaves exp ψ(γ), and
    total and ratio that belong to it; order holds all topics.
    """
    n_active = _fill(order, K)
    for k in range(K):
        shares[k] = exp_digamma(gamma[k])
    shares[K] = 0.0
    for w in range(width):
        base[w] = 0.0
        total[w] = 0.0
    _add_mixture(table, shares, order, n_active, total, width)
    least = _share_out(counts, total, ratio, n, width)
    made = 0
    while made < max_rounds and least > LEAST:
        made += 1
        _collect(table, ratio, order, n_active, found, width)
        moved = _step(prior, gamma, shares, found, change, order, n_active, work)
        full = n_active == K
        done = moved < tol * K
        if not done and made >= ALL_AT_FIRST:
            n_active = _rest(
                table, shares, change, RESTING * tol, order, n_active, resting, base, K, width
            )
        for w in range(width):
            total[w] = base[w]
        _add_mixture(table, shares, order, n_active, total, width)
        least = min(least, _share_out(counts, total, ratio, n, width))
        if done and full:
            break
        if done or n_active == 0:
            n_active = _fill(order, K)
            for w in range(width):
                base[w] = 0.0
    _fill(order, K)
    return made if least > LEAST else -1


@inner
def _evidence(counts, total, n):
    """Σ_w counts[w] log total[w]."""
    s = 0.0
    for w in range(n):
        s += counts[w] * log_normal(total[w])
    return s


@inner
def _finish(prior, gamma, shares, found, log_shares, K):
    """E log θ, and of the document: Σ_k (α − γ) E log θ, log B(γ), Σ (γ − 1) E log θ, Σ N E log θ, ψ(Σγ)."""
    size = 0.0
    for k in range(K):
        size += gamma[k]
    top = digamma(size)
    norm, pull, tilt, joint = 0.0, 0.0, 0.0, 0.0
    for k in range(K):
        g = gamma[k]
        e = digamma(g) - top
        log_shares[k] = e
        norm += log_gamma(g)
        pull += (prior[k] - g) * e
        tilt += (g - 1.0) * e
        joint += shares[k] * found[k] * e
    return pull, norm - log_gamma(size), tilt, joint, top


# -- a block of documents --------------------------------------------------------------------------
@kernel
def _documents(
    offsets, words, counts, weight, topics, prior, start, table, work, max_rounds, tol,
    gammas, bound, entropy, rounds, assigned, log_proportions,
):  # fmt: skip
    """See `infer`; assigned is still to be multiplied by B. `work` has WORK_ROWS rows of numbers."""
    K = topics.shape[1]
    gamma, shares, found, log_shares = work[0], work[1], work[2], work[3]
    total, ratio, base, change, spare = work[4], work[5], work[6], work[7], work[8]
    order, resting = np.empty(K + TILE, np.int64), np.empty(K + TILE, np.int64)
    alpha, log_norm = 0.0, 0.0
    for k in range(K):
        alpha += prior[k]
        log_norm -= log_gamma(prior[k])
    log_norm += log_gamma(alpha)
    all_joint = 0.0
    for d in range(len(offsets) - 1):
        own, c = words[offsets[d] : offsets[d + 1]], counts[offsets[d] : offsets[d + 1]]
        n = len(own)
        width = (n + 7) // 8 * 8
        size = 0.0
        for w in range(n):
            size += c[w]
        scale = size / alpha
        for k in range(K):
            gamma[k] = start[d, k] if len(start) > 0 else prior[k] * (1.0 + scale)
        if n == 0:
            for k in range(K):
                gamma[k] = prior[k]
        _gather(topics, own, table, K, n, width)
        made = _ascend(
            table, c, prior, gamma, shares, found, total, ratio, base, change, spare, order, resting,
            K, n, width, max_rounds if n > 0 else 0, tol,
        )  # fmt: skip
        rounds[d] = made
        if made < 0:
            continue
        _collect(table, ratio, order, K, found, width)
        pull, norm, tilt, joint, top = _finish(prior, gamma, shares, found, log_shares, K)
        evidence = _evidence(c, total, n) - size * top
        bound[d] = evidence + log_norm + pull + norm
        entropy[d] = evidence + norm - tilt - joint
        all_joint += weight[d] * joint
        for k in range(K):
            gammas[d, k] = gamma[k]
            log_proportions[k] += weight[d] * log_shares[k]
        if len(assigned) > 0:
            for w in range(n):
                row, r = assigned[own[w]], weight[d] * ratio[w]
                for k in range(K):
                    row[k] += r * shares[k]
    return all_joint


@kernel
def _dirichlet_rows(pseudo, prior, top, logs, weights, total, norm):
    """See `dirichlet`."""
    V, K = pseudo.shape
    for w in range(V):
        row, out, e, p = pseudo[w], logs[w], weights[w], prior[w]
        for k in range(K):
            x = row[k]
            value = digamma(x) - top[k]
            out[k] = value
            low = LOWEST if value < LOWEST else value
            e[k] = exp_nonpositive(0.0 if low > 0.0 else low)
            total[k] += (p - x) * value
            norm[k] += log_gamma(x)


# -- the calls -------------------------------------------------------------------------------------
_thread = threading.local()
_NO_START = np.empty((0, 0))


def _workspace(n_rows: int, width: int) -> Array:
    """Work rows of unknown content, aligned to 64 bytes, that the calling thread keeps."""
    need = n_rows * width
    buffer: Array | None = getattr(_thread, "buffer", None)
    if buffer is None or len(buffer) < need:
        numbers = np.zeros(need + 8)
        skip = -numbers.ctypes.data % 64 // 8
        _thread.buffer = buffer = numbers[skip : skip + need]
    return buffer[:need].reshape(n_rows, width)


def infer(
    documents: Documents,
    weight: Array,
    topics: Array,
    prior: Array,
    start: Array | None,
    max_rounds: int,
    tol: float,
    *,
    assign: bool = True,
) -> DocumentSums:
    """What `inference.documents.infer` computes, from B itself: where B underflows, `rounds` is −1.

    Parameters
    ----------
    topics : ndarray, shape (V, K)
        B_wk = exp E log β_kw.

    The others, and the result, are those of the plain path.
    """
    n, (V, K) = len(documents), topics.shape
    width = padded(max(documents.longest, K + TILE), 8) + 8
    space = _workspace(K + 1 + WORK_ROWS, width)
    gammas, log_proportions = np.empty((n, K)), np.zeros(K)
    bound, entropy, rounds = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    assigned = np.zeros((V, K) if assign else (0, K))
    topics = ready(topics, FLOAT)
    joint = _documents(
        ready(documents.offsets, np.dtype(np.int64)),
        ready(documents.words, np.dtype(np.int32)),
        ready(documents.counts, FLOAT),
        ready(weight, FLOAT),
        topics,
        ready(prior, FLOAT),
        _NO_START if start is None else ready(start, FLOAT),
        space[WORK_ROWS:],
        space[:WORK_ROWS],
        max_rounds,
        tol,
        gammas,
        bound,
        entropy,
        rounds,
        assigned,
        log_proportions,
    )
    if assign:
        assigned *= topics
    return DocumentSums(gammas, bound, entropy, rounds, assigned, log_proportions, joint)


def dirichlet(pseudo: Array, prior: Array) -> tuple[Array, Array, Array, Array]:
    """Of Dirichlet distributions with parameters in the columns of `pseudo`, and the prior's `prior`.

    E log β and its exponential, shape (V, K); Σ_w (prior − pseudo) E log β and Σ_w log Γ(pseudo), shape (K,).
    """
    from scipy.special import psi

    pseudo, prior = ready(pseudo, FLOAT), ready(prior, FLOAT)
    logs, weights = np.empty_like(pseudo), np.empty_like(pseudo)
    total, norm = np.zeros(pseudo.shape[1]), np.zeros(pseudo.shape[1])
    _dirichlet_rows(pseudo, prior, psi(pseudo.sum(axis=0)), logs, weights, total, norm)
    return logs, weights, total, norm
