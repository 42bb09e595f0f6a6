"""Expected moments of a Gaussian mixture as one vector, and SQUAREM's extrapolation of them.

The vector holds log counts (K,), means (K, d) and covariances within components (K, d, d), one after the other.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import math

from expmax.inference.kernels_tiles import algebra


@algebra
def extrapolate(x0, x1, x2, counts, means, unit, longest, out):
    """Fill `out` with x0 + 2 α r + α² v, where r = x1 - x0 and v = x2 - 2 x1 + x0.

    Returns α = |r| / |v|, at least 1 and at most `longest`; lengths are in units of the columns, 1 / unit
    (Varadhan & Roland 2008, step length S3). `counts` and `means` are how many numbers of x are such.
    """
    d = len(unit)
    size, bend = 0.0, 0.0
    for p in range(len(x0)):
        r = x1[p] - x0[p]
        v = x2[p] - x1[p] - r
        if p >= counts:
            q = p - counts
            if q < means:
                scale = unit[q % d]
            else:
                q -= means
                scale = unit[q % d] * unit[q // d % d]
            r, v = r * scale, v * scale
        size += r * r
        bend += v * v
    length = math.sqrt(size / bend) if bend > 0.0 else longest
    if not length < longest:
        length = longest
    if length < 1.0:
        length = 1.0
    for p in range(len(x0)):
        r = x1[p] - x0[p]
        v = x2[p] - x1[p] - r
        out[p] = x0[p] + length * (2.0 * r + length * v)
    return length


@algebra
def centre(counts, reference, first, second, out):
    """Put log counts, means and covariances within components into `out`; whether every count is positive."""
    K, d = first.shape
    for k in range(K):
        if not counts[k] > 0.0:
            return False
        inverse = 1.0 / counts[k]
        out[k] = math.log(counts[k])
        for i in range(d):
            e = first[k, i] * inverse
            out[K + k * d + i] = reference[k, i] + e
            for j in range(i + 1):
                c = (second[k, i, j] - e * first[k, j]) * inverse
                out[K + K * d + (k * d + i) * d + j] = c
                out[K + K * d + (k * d + j) * d + i] = c
    return True
