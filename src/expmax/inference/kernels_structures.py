"""An ascending M-step of all fourteen Gaussian structures, for searches: once per iteration of a small problem.

As `kernels_mstep`, compiled because NumPy's calls would take longer than the E-step.  Where the maximum has
no closed form (VEI VEE VEV EVE VVE) a few alternations from the current values raise Q, as far as a search
over many starts needs it; `families.covariance` finds the maximum itself.

Σ_k = λ_k D_k A_k D_kᵀ: a kernel for each kind of axes D, compiled when it is first called, and two codes, of
volume λ and shape A, each EQUAL, VARIABLE or IDENTITY.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from expmax.inference.kernels_axes import assemble, common_axes, diagonalise, orient, rotate
from expmax.inference.kernels_mstep import factorise
from expmax.inference.kernels_tiles import algebra, algebra_inner

EQUAL, VARIABLE, IDENTITY = 0, 1, 2
CODES = {"E": EQUAL, "V": VARIABLE, "I": IDENTITY}
ALTERNATIONS = 3  # of volumes and shape


@algebra_inner
def spread_along(volume, shape, counts, w, volumes, out):
    """Variances (K, d) along the axes from the sums of squares w; volumes are where VE. begins."""
    K, d = w.shape
    n = 0.0
    for k in range(K):
        n += counts[k]
    if shape == IDENTITY or (shape == EQUAL and volume == EQUAL):
        for j in range(d):
            for k in range(K):
                out[k, j] = w[k, j] / counts[k] if volume == VARIABLE else w[k, j] / n
        if volume == EQUAL:
            for j in range(d):
                total = 0.0
                for k in range(K):
                    total += out[k, j]
                for k in range(K):
                    out[k, j] = total
        if shape == IDENTITY:
            for k in range(K):
                total = 0.0
                for j in range(d):
                    total += out[k, j]
                for j in range(d):
                    out[k, j] = total / d
    elif shape == EQUAL:
        share_shape(counts, n, w, volumes, out)
    elif volume == VARIABLE:
        for k in range(K):
            for j in range(d):
                out[k, j] = w[k, j] / counts[k]
    else:
        total = 0.0
        for k in range(K):
            log_volume = 0.0
            for j in range(d):
                log_volume += math.log(w[k, j])
            volumes[k] = math.exp(log_volume / d)
            total += volumes[k]
        for k in range(K):
            for j in range(d):
                out[k, j] = total / n * w[k, j] / volumes[k]


@algebra_inner
def share_shape(counts, n, w, volumes, out):
    """VEI: shape given volumes, volumes given shape (Celeux & Govaert 1995, §2.2)."""
    K, d = w.shape
    for _ in range(ALTERNATIONS):
        for j in range(d):
            total = 0.0
            for k in range(K):
                total += w[k, j] / volumes[k]
            out[0, j] = total / n
        for k in range(K):
            total = 0.0
            for j in range(d):
                total += w[k, j] / out[0, j]
            volumes[k] = total / (counts[k] * d)
    for k in range(K - 1, -1, -1):
        for j in range(d):
            out[k, j] = volumes[k] * out[0, j]


@algebra_inner
def volume_of(covariance, P):
    """|Σ|^(1/d)."""
    return math.exp(-2.0 * factorise(covariance, P) / len(covariance))


@algebra_inner
def scatter_of(counts, within, W):
    """W = counts · within."""
    for k in range(len(counts)):
        for i in range(within.shape[1]):
            for j in range(within.shape[1]):
                W[k, i, j] = counts[k] * within[k, i, j]


@algebra_inner
def factorise_all(covariances, P):
    """Fill the precision factors; whether every covariance is positive definite."""
    ok = True
    for k in range(len(covariances)):
        ok = not math.isnan(factorise(covariances[k], P[k])) and ok
    return ok


@algebra
def along_columns(volume, shape, counts, within, old, covariances, P):
    """EII VII EEI VEI EVI VVI."""
    K, d = within.shape[:2]
    w, variances, volumes = np.empty((K, d)), np.empty((K, d)), np.empty(K)
    for k in range(K):
        log_volume = 0.0
        for j in range(d):
            w[k, j] = counts[k] * within[k, j, j]
            log_volume += math.log(old[k, j, j])
        volumes[k] = math.exp(log_volume / d)
    spread_along(volume, shape, counts, w, volumes, variances)
    for k in range(K):
        for i in range(d):
            for j in range(d):
                covariances[k, i, j] = variances[k, i] if i == j else 0.0
    return factorise_all(covariances, P)


@algebra
def along_own_axes(volume, shape, counts, within, old, covariances, P):
    """EEV VEV."""
    K, d = within.shape[:2]
    W, axes, volumes = np.empty((K, d, d)), np.empty((K, d, d)), np.empty(K)
    w, variances = np.empty((K, d)), np.empty((K, d))
    scatter_of(counts, within, W)
    for k in range(K):
        volumes[k] = volume_of(old[k], axes[k])
        diagonalise(W[k], axes[k])
        for j in range(d):
            w[k, j] = W[k, j, j]
    spread_along(volume, shape, counts, w, volumes, variances)
    for k in range(K):
        assemble(axes[k], variances[k], covariances[k])
    return factorise_all(covariances, P)


@algebra
def along_common_axes(volume, shape, counts, within, old, covariances, P):
    """EVE VVE."""
    K, d = within.shape[:2]
    W, axes, work = np.empty((K, d, d)), np.empty((d, d)), np.empty((d, d))
    w, variances, rest = np.empty((K, d)), np.empty((K, d)), np.empty(K)
    scatter_of(counts, within, W)
    common_axes(old, work, axes)
    for k in range(K):
        rotate(W[k], axes, work)
    orient(W, counts, axes, rest, volume == EQUAL)
    for k in range(K):
        for j in range(d):
            w[k, j] = W[k, j, j]
    spread_along(volume, shape, counts, w, rest, variances)
    for k in range(K):
        assemble(axes, variances[k], covariances[k])
    return factorise_all(covariances, P)


@algebra
def of_one_form(volume, shape, counts, within, old, covariances, P):
    """VEE: Σ_k = λ_k C, with C given λ and λ given C; NaN where C is singular."""
    K, d = within.shape[:2]
    W, form, root = np.empty((K, d, d)), np.empty((d, d)), np.empty((d, d))
    volumes, n = np.empty(K), 0.0
    scatter_of(counts, within, W)
    for k in range(K):
        volumes[k] = volume_of(old[k], root)
        n += counts[k]
    for _ in range(ALTERNATIONS):
        for i in range(d):
            for j in range(d):
                total = 0.0
                for k in range(K):
                    total += W[k, i, j] / volumes[k]
                form[i, j] = total / n
        regular = not math.isnan(factorise(form, root))
        for k in range(K):
            total = 0.0 if regular else math.nan
            for j in range(d):  # tr(C⁻¹ W) = Σ_j (Pᵀ W P)_jj
                for a in range(j + 1):
                    for b in range(j + 1):
                        total += root[a, j] * W[k, a, b] * root[b, j]
            volumes[k] = total / (counts[k] * d)
    for k in range(K):
        for i in range(d):
            for j in range(d):
                covariances[k, i, j] = volumes[k] * form[i, j]
    return factorise_all(covariances, P)


@algebra
def whole(volume, shape, counts, within, old, covariances, P):
    """EEE EVV VVV: nothing but sums and determinants."""
    K, d = within.shape[:2]
    n, total = 0.0, 0.0
    for k in range(K):
        n += counts[k]
    for k in range(K):
        divisor = 1.0
        if volume == EQUAL and shape == VARIABLE:
            divisor = volume_of(within[k], P[k])
            total += counts[k] * divisor
        for i in range(d):
            for j in range(d):
                covariances[k, i, j] = within[k, i, j] / divisor
    if volume == EQUAL and shape == VARIABLE:
        for k in range(K):
            for i in range(d):
                for j in range(d):
                    covariances[k, i, j] *= total / n
    elif volume == EQUAL:
        for i in range(d):
            for j in range(d):
                s = 0.0
                for k in range(K):
                    s += counts[k] * within[k, i, j]
                for k in range(K):
                    covariances[k, i, j] = s / n
    return factorise_all(covariances, P)


_KERNELS = {
    **dict.fromkeys(("EII", "VII", "EEI", "VEI", "EVI", "VVI"), along_columns),
    **dict.fromkeys(("EEV", "VEV"), along_own_axes),
    **dict.fromkeys(("EVE", "VVE"), along_common_axes),
    **dict.fromkeys(("EEE", "EVV", "VVV"), whole),
    "VEE": of_one_form,
}


def maximizer(structure: str) -> Callable[..., bool]:
    """The M-step of a structure; each kind is compiled when it is first called.

    A function of counts, shape (K,), and of four arrays of shape (K, d, d): covariances within components
    (scatter / count), the current covariances, of this structure, where alternations begin, and the new
    covariances and their precision factors, to be filled.  It returns whether every new covariance is
    positive definite.
    """
    return partial(_KERNELS[structure], CODES[structure[0]], CODES[structure[1]])
