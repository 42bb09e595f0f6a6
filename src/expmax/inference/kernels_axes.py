"""Axes of covariance matrices: of each one's own, and common ones.

Plain loops, because they compile faster than calls of LAPACK, and are faster where columns are few.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from expmax.inference.kernels_tiles import algebra_inner

GENERIC = 0.6180339887498949  # weights whose ties with data would be an accident
LONGEST = 0.8  # radians of 2 · angle in one Newton step


@algebra_inner
def diagonalise(A, axes):
    """Cyclic Jacobi: A becomes diagonal, ascending, and axes hold its eigenvectors by columns."""
    d = len(A)
    for i in range(d):
        for j in range(d):
            axes[i, j] = 1.0 if i == j else 0.0
    for _ in range(30):
        off, on = 0.0, 0.0
        for i in range(d):
            on += A[i, i] * A[i, i]
            for j in range(i):
                off += A[i, j] * A[i, j]
        if not off > 1e-28 * on:
            break
        for i in range(d - 1):
            for j in range(i + 1, d):
                if A[i, j] != 0.0:
                    angle = 0.5 * math.atan2(2.0 * A[i, j], A[i, i] - A[j, j])
                    turn(A, i, j, math.cos(angle), math.sin(angle))
                    turn_axes(axes, i, j, math.cos(angle), math.sin(angle))
    for i in range(d - 1):
        least = i
        for j in range(i + 1, d):
            if A[j, j] < A[least, least]:
                least = j
        if least != i:
            A[i, i], A[least, least] = A[least, least], A[i, i]
            for m in range(d):
                axes[m, i], axes[m, least] = axes[m, least], axes[m, i]


@algebra_inner
def turn(A, i, j, c, s):
    """A in axes of which i and j have turned towards each other: e_i' = c e_i + s e_j."""
    d = len(A)
    for m in range(d):
        a, b = A[m, i], A[m, j]
        A[m, i], A[m, j] = c * a + s * b, c * b - s * a
    for m in range(d):
        a, b = A[i, m], A[j, m]
        A[i, m], A[j, m] = c * a + s * b, c * b - s * a


@algebra_inner
def turn_axes(axes, i, j, c, s):
    """The columns i and j turned."""
    for m in range(len(axes)):
        a, b = axes[m, i], axes[m, j]
        axes[m, i], axes[m, j] = c * a + s * b, c * b - s * a


@algebra_inner
def rotate(W, axes, work):
    """W in other axes: Dᵀ W D."""
    d = len(W)
    for i in range(d):
        for j in range(d):
            total = 0.0
            for m in range(d):
                total += W[i, m] * axes[m, j]
            work[i, j] = total
    for i in range(d):
        for j in range(d):
            total = 0.0
            for m in range(d):
                total += axes[m, i] * work[m, j]
            W[i, j] = total


@algebra_inner
def assemble(axes, variances, covariance):
    """D diag(variances) Dᵀ."""
    d = len(axes)
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for m in range(d):
                total += axes[i, m] * variances[m] * axes[j, m]
            covariance[i, j] = total
            covariance[j, i] = total


@algebra_inner
def pair_loss(W, counts, rest, i, j, angle, equal_volume):
    """Loss of a common orientation, its slope and curvature in the double angle of axes i and j.

    With m and h half the sum and half the difference of two variances, c their covariance and
    u = h cos φ + c sin φ, their product is m² − u².
    """
    K, d = len(W), W.shape[1]
    cosine, sine = math.cos(angle), math.sin(angle)
    top = -math.inf
    if equal_volume:
        for k in range(K):
            top = max(top, rest[k] / d)
    value, slope, curvature, spread, mass = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(K):
        m, h, c = 0.5 * (W[k, i, i] + W[k, j, j]), 0.5 * (W[k, i, i] - W[k, j, j]), W[k, i, j]
        u, v = h * cosine + c * sine, c * cosine - h * sine
        product = m * m - u * u
        if not product > 0.0:
            return math.inf, 0.0, 0.0
        first = -2.0 * u * v / product
        second = -2.0 * (v * v - u * u) / product - first * first
        weight = counts[k]
        if equal_volume:
            weight = math.exp((rest[k] + math.log(product)) / d - top)
        value += weight if equal_volume else weight * math.log(product)
        slope += weight * first
        curvature += weight * second
        spread += weight * first * first
        mass += weight
    if equal_volume:
        n = 0.0
        for k in range(K):
            n += counts[k]
        slope, curvature, spread = n * slope / mass, n * curvature / mass, n * spread / mass
        curvature += (spread - slope * slope / n) / d
        value = n * d * (top + math.log(value))
    return value, slope, curvature


@algebra_inner
def orient(W, counts, axes, rest, equal_volume):
    """Turn common axes, and W with them, pair by pair towards less loss (Flury & Gautschi 1986)."""
    K, d = len(W), W.shape[1]
    for i in range(d - 1):
        for j in range(i + 1, d):
            if equal_volume:
                for k in range(K):
                    rest[k] = 0.0
                    for m in range(d):
                        if m != i and m != j:
                            rest[k] += math.log(W[k, m, m])
            angle = 0.0
            value, slope, curvature = pair_loss(W, counts, rest, i, j, angle, equal_volume)
            for _ in range(3):
                size = abs(curvature)
                if not (value < math.inf and size > 0.0):
                    break
                step = -slope / size
                if abs(step) > LONGEST:
                    step = math.copysign(LONGEST, step)
                better = False
                for _ in range(6):
                    new = pair_loss(W, counts, rest, i, j, angle + step, equal_volume)
                    if new[0] < value:
                        better = True
                        break
                    step *= 0.5
                if not better:
                    break
                angle += step
                value, slope, curvature = new
                if abs(step) < 1e-4:
                    break
            if angle != 0.0:
                c, s = math.cos(0.5 * angle), math.sin(0.5 * angle)
                turn_axes(axes, i, j, c, s)
                for k in range(K):
                    turn(W[k], i, j, c, s)


@algebra_inner
def common_axes(covariances, work, axes):
    """Eigenvectors of a generic combination of covariances that share them."""
    K, d = len(covariances), len(axes)
    for i in range(d):
        for j in range(d):
            work[i, j] = 0.0
    for k in range(K):
        trace = 0.0
        for i in range(d):
            trace += covariances[k, i, i]
        weight = (1.0 + (k + 1) * GENERIC % 1.0) / trace
        for i in range(d):
            for j in range(d):
                work[i, j] += weight * covariances[k, i, j]
    diagonalise(work, axes)
