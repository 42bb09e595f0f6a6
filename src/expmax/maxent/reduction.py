"""From the features as given to well-scaled, independent ones, with the redundant constraints named.

A constraint is redundant where its feature is, on the support, a constant plus a combination of the
others and Δ agrees; where Δ disagrees no distribution fits, and the combination is the proof.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.sparse import csr_array

from expmax.maxent.arrays import is_sparse
from expmax.maxent.moments import Moments
from expmax.maxent.newton import Penalty
from expmax.statistics import Array

__all__ = ["Contradiction", "Reduced", "reduce_features"]

DENSE = 1 << 22  # numbers a sparse matrix may hold to be worked on as a dense one
SAME = 1e-11  # of a feature's spread: below it, a combination of others


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Constraints on dependent features that disagree: v·(f(x) − Δ) is the same ≠ 0 at every x."""

    direction: Array  # v in units of the features, shape (m,)


@dataclass(frozen=True, slots=True)
class Reduced:
    """A moment problem in the solver's coordinates."""

    features: Any  # dense (n, k); CSR keeps its `centre` apart
    centre: Array | None  # (k,)
    penalty: Penalty
    kept: NDArray[np.intp]  # which features are used, (k,)
    scale: Array  # their spread, (k,)
    rotation: Array | None  # upper triangle U: g = U⁻ᵀ ((f − Δ)/scale), (k, k)
    redundant: NDArray[np.intp]

    def natural(self, solver: Array, m: int) -> Array:
        """λ of the features as given; 0 where redundant."""
        rotated = solver
        if self.rotation is not None:
            rotated = solve_triangular(self.rotation, solver)
        out = np.zeros(m)
        out[self.kept] = rotated / self.scale
        return out

    def solver(self, natural: Array) -> Array:
        """The inverse of `natural`, for the features kept."""
        scaled = natural[self.kept] * self.scale
        return scaled if self.rotation is None else np.asarray(self.rotation @ scaled)


def reduce_features(
    features: Any, moments: Moments, weight: Array | None = None
) -> Reduced | Contradiction:
    """Centre, scale, drop what is redundant, and rotate where features are nearly dependent.

    Parameters
    ----------
    features : ndarray or CSR matrix, shape (n, m)
        On the points that may have positive probability.
    moments : Moments
        Finite bounds.
    weight : ndarray, shape (n,), optional
        Makes the spread of a feature a weighted one; needed where points differ vastly in weight, as
        those of a quadrature do. Sums to 1.
    """
    middle = 0.5 * (moments.lower + moments.upper)
    if is_sparse(features) and features.shape[0] * features.shape[1] > DENSE:
        return _sparse(csr_array(features), moments, middle)
    dense = np.asarray(features.todense() if is_sparse(features) else features, float)
    centred = dense - middle
    scale = np.maximum(centred.max(axis=0, initial=0.0), -centred.min(axis=0, initial=0.0))
    if weight is not None:
        scale = np.minimum(np.sqrt(weight @ centred**2) + 1e-290, scale)
    constant = scale <= 4 * np.finfo(float).eps * np.abs(middle)
    scale = np.where(constant, 1.0, scale)
    centred /= scale
    reduced = _plain(centred, moments, scale, constant)
    exact = np.flatnonzero(moments.exact & ~constant)
    rows = centred if weight is None else centred * np.sqrt(weight * len(weight))[:, None]
    ones = np.ones(len(rows)) if weight is None else np.sqrt(weight * len(weight))
    if not len(exact) or _well_conditioned(rows[:, exact], ones):
        return reduced
    return _examine(centred, rows, ones, moments, reduced, exact)


def _plain(centred: Array, moments: Moments, scale: Array, dropped: NDArray[np.bool_]) -> Reduced:
    """Scaled, not rotated."""
    kept = np.flatnonzero(~dropped)
    features = centred if len(kept) == centred.shape[1] else centred[:, kept]
    penalty = _penalty(moments, kept, scale)
    return Reduced(features, None, penalty, kept, scale[kept], None, np.flatnonzero(dropped))


def _penalty(moments: Moments, kept: NDArray[np.intp], scale: Array) -> Penalty:
    half = 0.5 * (moments.upper - moments.lower)[kept] / scale[kept]
    spread = (moments.tolerance[kept] / scale[kept]) ** 2
    return Penalty(half, spread if spread.any() else None)


def _well_conditioned(centred: Array, ones: Array) -> bool:
    """Whether features and the constant are independent beyond doubt."""
    mean = (ones @ centred / len(centred))[:, None]
    full = np.block([[centred.T @ centred / len(centred), mean], [mean.T, np.ones((1, 1))]])
    size = np.sqrt(full.diagonal())
    if not size.all() or full.shape[0] > len(centred):
        return False
    return bool(np.linalg.eigvalsh(full / np.outer(size, size))[0] > 1e-6)


def _examine(
    centred: Array,
    rows: Array,
    ones: Array,
    moments: Moments,
    plain: Reduced,
    exact: NDArray[np.intp],
) -> Reduced | Contradiction:
    """Rank by orthogonalisation, features in the order given, then the constant against them."""
    whole = np.column_stack([rows[:, exact], ones])
    triangle = np.asarray(np.linalg.qr(whole, mode="r"), np.float64)
    independent, basis = _independent(triangle[:, :-1])
    last = triangle[:, -1]
    left = last - basis @ (basis.T @ last)
    if np.linalg.norm(left) <= 1e-7 * np.linalg.norm(last):  # the constant is a combination
        coefficients = np.linalg.lstsq(triangle[:, independent], last, rcond=1e-13)[0]
        chosen = exact[independent]
        along = centred[:, chosen] @ coefficients  # 1 at every point
        if along.min() > 0.5 and along.max() < 2.0:
            direction = np.zeros(centred.shape[1])
            direction[chosen] = -coefficients / plain_scale(plain, chosen)
            return Contradiction(direction)
    dropped = np.zeros(centred.shape[1], bool)
    dropped[plain.redundant] = True
    dropped[np.delete(exact, independent)] = True
    scale = np.ones(centred.shape[1])
    scale[plain.kept] = plain.scale
    reduced = _plain(centred, moments, scale, dropped)
    if reduced.penalty.halfwidth.any():
        return reduced  # intervals belong to single features: no rotation
    return _rotate(reduced, rows[:, reduced.kept])


def plain_scale(reduced: Reduced, index: NDArray[np.intp]) -> Array:
    """The scales of some kept features."""
    position = {int(j): i for i, j in enumerate(reduced.kept)}
    return reduced.scale[[position[int(j)] for j in index]]


def _independent(triangle: Array) -> tuple[list[int], Array]:
    """Columns that are no combination of earlier ones, and an orthonormal basis of their span."""
    basis = np.zeros((len(triangle), 0))
    independent: list[int] = []
    for j in range(triangle.shape[1]):
        column = triangle[:, j]
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)
        size = np.linalg.norm(rest)
        if size > SAME * np.linalg.norm(column) and len(independent) < len(triangle):
            independent.append(j)
            basis = np.column_stack([basis, rest / size])
    return independent, basis


def _rotate(reduced: Reduced, rows: Array) -> Reduced:
    """Uncorrelated coordinates of spread about 1, which keep Newton's equations well conditioned."""
    n, k = reduced.features.shape
    if n < k or k == 0:
        return reduced
    upper: Array = np.linalg.qr(rows, mode="r") / np.sqrt(n)
    if np.abs(upper.diagonal()).min() < 1e-13:
        return reduced
    rotated = solve_triangular(upper, reduced.features.T, trans="T").T
    rotated = np.ascontiguousarray(rotated)
    variance = reduced.penalty.variance
    if variance is not None:
        half = solve_triangular(upper, np.diag(np.sqrt(variance)), trans="T")
        variance = half @ half.T
    penalty = replace(reduced.penalty, variance=variance)
    return replace(reduced, features=rotated, penalty=penalty, rotation=upper)


def _sparse(features: csr_array, moments: Moments, middle: Array) -> Reduced:
    """Scaled only: the matrix stays sparse and its rank is not examined."""
    low = np.asarray(features.min(axis=0).todense(), float).ravel()
    high = np.asarray(features.max(axis=0).todense(), float).ravel()
    largest = np.maximum(np.abs(low - middle), np.abs(high - middle))
    constant = largest <= 4 * np.finfo(float).eps * np.abs(middle)
    kept = np.flatnonzero(~constant)
    first = np.asarray(features.mean(axis=0), float).ravel()
    second = np.asarray(features.multiply(features).mean(axis=0), float).ravel()
    scale = np.sqrt(np.maximum(second - first**2, 0.0) + (first - middle) ** 2)
    scale = np.maximum(scale, 1e-8 * largest)
    scaled = features if len(kept) == features.shape[1] else features[:, kept]
    scaled = csr_array(
        (scaled.data / scale[kept][scaled.indices], scaled.indices, scaled.indptr), scaled.shape
    )
    penalty = _penalty(moments, kept, np.where(constant, 1.0, scale))
    centre = middle[kept] / scale[kept]
    return Reduced(scaled, centre, penalty, kept, scale[kept], None, np.flatnonzero(constant))
