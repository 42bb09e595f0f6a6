"""Frames of Gaussian covariances: Σ_k⁻¹ = F_k diag(exp −t_k) F_kᵀ, and the coordinates of F.

- the identity: axis-parallel structures;
- rotations: axes D₀ Cayley(Ω), (I − Ω/2)⁻¹(I + Ω/2), Ω skew-symmetric;
- triangles: P₀U with U unit upper triangular.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from expmax.contract import Parameters
from expmax.families.covariance_orientation import _axes_of
from expmax.families.precision import with_precision
from expmax.statistics import Array

__all__ = ["FRAMES", "FramePoint", "apply_each", "diagonal_each", "transpose_each", "with_factor"]

Indices = NDArray[np.intp]

_EQUAL = 1e-8  # (a_i − a_j)²/(a_i a_j) below which two axes have no angle between them
_MAX_TURNS = 30
_TURNED = 1e-14  # radians


@dataclass(frozen=True, slots=True)
class FramePoint:
    """Covariances of the components with coordinates, as the chart sees them."""

    log_variance: Array  # t, shape (K, d)
    coordinates: Array  # of the frame, shape (1 or K, p)
    frame: Array  # F, shape (1 or K, d, d)


class _Identity:
    """Axis-parallel: no coordinates."""

    def __init__(self, parameters: Parameters, orientation: str) -> None:
        self.axes = np.eye(parameters["mean"].shape[1])[None]
        self.none = np.zeros((1, 0))
        self.start = self.locate(parameters)
        self.spread = np.sqrt(parameters["covariance"])
        self.whiten = 1.0 / self.spread

    def locate(self, parameters: Parameters) -> FramePoint:
        return FramePoint(np.log(parameters["covariance"]), self.none, self.axes)

    def at(self, coordinates: Array) -> Array:
        return self.axes

    def assemble(self, point: FramePoint) -> dict[str, Array]:
        variance = np.exp(point.log_variance)
        return {"covariance": np.where(variance > 0.0, variance, np.nan)}

    def gradients(
        self, point: FramePoint, precision: Array, first: Array, scatter: Array
    ) -> tuple[Array, Array, Array]:
        return first * precision, scatter * precision, self.none

    def moments(self, scatter: Array) -> Array:
        return diagonal_each(scatter)

    def information(self, moment: Array, design: Array) -> Array:
        return _log_variance_information(self.start.log_variance, moment, design)

    def own_information(self, moment: Array) -> Array:
        return np.zeros((len(moment), 0))


class _Frames:
    """What rotations and triangles have in common: one coordinate for each pair i < j kept."""

    base: Array  # F₀, shape (1 or K, d, d)
    start: FramePoint
    spread: Array  # S_k, Σ_k = S_k S_kᵀ at the reference
    whiten: Array  # S_k⁻¹
    lower: float  # dF = F₀ Σ_a c_a (E_ij + lower E_ji) to first order

    def __init__(self, orientation: str, d: int) -> None:
        self.shared = orientation == "E"
        self.row, self.column = _pairs(d)
        self.identity = np.eye(d)

    def fill(self, coordinates: Array) -> Array:
        """Σ_a c_a (E_ij + lower E_ji)."""
        d = len(self.identity)
        out = np.zeros((len(coordinates), d, d))
        out[:, self.row, self.column] = coordinates
        if self.lower:
            out[:, self.column, self.row] = self.lower * coordinates
        return out

    def gradients(
        self, point: FramePoint, precision: Array, first: Array, scatter: Array
    ) -> tuple[Array, Array, Array]:
        """Σ⁻¹ Σ r(x − μ), e^{−t} w and ∂Q/∂(coordinates)."""
        frame = point.frame
        pull = apply_each(frame, precision * apply_each(transpose_each(frame), first))
        product = (scatter @ frame) * precision[:, None, :]
        weighted = (frame * product).sum(axis=1)
        return pull, weighted, self.turn(point, product)

    def turn(self, point: FramePoint, product: Array) -> Array:
        """∂Q/∂(coordinates) from W F diag(e^{−t})."""
        raise NotImplementedError  # abstract: rotations and triangles turn differently

    def moments(self, scatter: Array) -> Array:
        """F₀ᵀW F₀, what the information at the reference depends on."""
        return transpose_each(self.base) @ scatter @ self.base

    def information(self, moment: Array, design: Array) -> Array:
        """−∂²Q of volumes, shapes and, if it is shared, the frame."""
        t = self.start.log_variance
        block = _log_variance_information(t, moment, design)
        if not self.shared:
            return block
        d, pair = t.shape[1], np.arange(len(self.row))
        precision = np.exp(-t)
        scaled = moment * precision[:, None, :]
        cross = np.zeros((*t.shape, len(pair)))
        cross[:, self.column, pair] = -scaled[:, self.row, self.column]
        cross[:, self.row, pair] = -self.lower * scaled[:, self.column, self.row]
        cross = design.T @ cross.reshape(t.size, len(pair))
        basis = self.fill(np.eye(len(pair)))
        flat = basis.reshape(len(pair), d * d)
        form = np.tensordot(precision, moment, axes=(0, 0))  # [j, i, l]
        pushed = (form @ basis.transpose(2, 1, 0)).transpose(2, 1, 0)  # [pair, i, j]
        corner = flat @ pushed.reshape(flat.shape).T
        if self.lower:  # Cayley's second order: D₀(I + Ω + Ω²/2)
            bend = np.einsum("iil->il", form)
            bent = (bend @ basis).reshape(flat.shape) @ flat.T
            corner = corner - 0.5 * (bent + bent.T)
        return np.block([[block, cross], [cross.T, corner]])

    def own_information(self, moment: Array) -> Array:
        """−∂²Q of own frames where F₀ᵀW F₀ is diagonal, as it is at a maximum: (K, p)."""
        if self.shared:
            return np.zeros((len(moment), 0))
        w = np.diagonal(moment, axis1=1, axis2=2)
        precision = np.exp(-self.start.log_variance)
        i, j = self.row, self.column
        if not self.lower:
            return np.asarray(w[:, i] * precision[:, j])
        return np.asarray((w[:, i] - w[:, j]) * (precision[:, j] - precision[:, i]))


class _Rotations(_Frames):
    """Axes D = D₀ Cayley(Ω): orthogonal for every Ω."""

    lower = -1.0

    def __init__(self, parameters: Parameters, orientation: str) -> None:
        super().__init__(orientation, parameters["mean"].shape[1])
        t, self.base = self._eigen(parameters["covariance"])
        gap = t[:, self.row] - t[:, self.column]
        apart = (4.0 * np.sinh(0.5 * gap) ** 2).max(axis=0, initial=0.0) > _EQUAL
        self.loose = self.fill(~apart[None])[0] != 0  # pairs of equal axes, (d, d)
        self.row, self.column = self.row[apart], self.column[apart]
        self.start = FramePoint(t, np.zeros((len(self.base), len(self.row))), self.base)
        self.spread = self.base * np.exp(0.5 * t)[:, None, :]
        self.whiten = np.exp(-0.5 * t)[:, :, None] * transpose_each(self.base)

    def _eigen(self, covariance: Array) -> tuple[Array, Array]:
        """Log variances and axes; own axes are in one order, ascending."""
        if not self.shared:
            values, axes = np.linalg.eigh(covariance)
            return np.log(values), axes
        if not len(covariance):
            return np.zeros((0, len(self.identity))), self.identity[None]
        common = _axes_of(covariance)
        rotated = common.T @ covariance @ common
        return np.log(np.diagonal(rotated, axis1=1, axis2=2)), common[None]

    def locate(self, parameters: Parameters) -> FramePoint:
        covariance = parameters["covariance"]
        if not np.isfinite(covariance).all():
            return self._nowhere(len(covariance))
        t, axes = self._eigen(covariance)
        t, turn = self._match(t, axes)
        try:
            turn, angles = self._angles(turn)
        except np.linalg.LinAlgError:  # half a turn away, or not a covariance
            return self._nowhere(len(covariance))
        return FramePoint(t, angles[:, self.row, self.column], self.base @ turn)

    def _nowhere(self, n: int) -> FramePoint:
        nan = np.full((n, *self.base.shape[1:]), np.nan)
        coordinates = np.full((len(self.base), len(self.row)), np.nan)
        return FramePoint(nan[:, 0], coordinates, nan[: len(self.base)])

    def _match(self, t: Array, axes: Array) -> tuple[Array, Array]:
        """D₀ᵀD in the reference's order and signs of axes; the order is common to components."""
        turn = transpose_each(self.base) @ axes
        overlap = (turn**2).sum(axis=0)
        order = overlap.argmax(axis=1)
        if len(set(order.tolist())) < len(order):
            order = linear_sum_assignment(-overlap)[1]
        turn, t = turn[:, :, order], t[:, order]
        diagonal = np.diagonal(turn, axis1=1, axis2=2)
        sign = np.where(diagonal < 0, -1.0, 1.0)
        turn = turn * sign[:, None, :]
        mirrored = np.flatnonzero(np.linalg.det(turn) < 0)
        turn[mirrored, :, np.abs(diagonal[mirrored]).argmin(axis=1)] *= -1.0
        return t, turn

    def _angles(self, turn: Array) -> tuple[Array, Array]:
        """Ω = 2(C + I)⁻¹(C − I); equal axes are turned in their plane until they have no angle."""
        for _ in range(_MAX_TURNS):
            half = np.linalg.solve(turn + self.identity, turn - self.identity)
            omega: Array = np.asarray(half - transpose_each(np.asarray(half)))
            loose = omega * self.loose
            if not np.abs(loose).max(initial=0.0) > _TURNED:
                break
            turn = turn @ self._cayley(-loose)
        return turn, omega

    def _cayley(self, omega: Array) -> Array:
        try:
            inverse = np.linalg.inv(self.identity - 0.5 * omega)
        except np.linalg.LinAlgError:  # regular for every Ω, but I is lost beside a huge one
            inverse = np.full(omega.shape, np.nan)
        return np.asarray(2.0 * inverse - self.identity)

    def at(self, coordinates: Array) -> Array:
        return self.base @ self._cayley(self.fill(coordinates))

    def assemble(self, point: FramePoint) -> dict[str, Array]:
        scaled = point.frame * np.exp(0.5 * point.log_variance)[:, None, :]
        covariance = scaled @ transpose_each(scaled)
        covariance = 0.5 * (covariance + transpose_each(covariance))
        # P Pᵀ = F e^{−t} Fᵀ with P upper triangular, by QR: no Cholesky that could fail
        half = point.frame * np.exp(-0.5 * point.log_variance)[:, None, :]
        upper: Array = np.asarray(np.linalg.qr(transpose_each(half[:, ::-1]), mode="r"))
        factor = transpose_each(upper)[:, ::-1, ::-1]
        factor = factor * np.sign(np.diagonal(factor, axis1=1, axis2=2))[:, None, :]
        return {"covariance": covariance, "precision_cholesky": factor}

    def turn(self, point: FramePoint, product: Array) -> Array:
        """DᵀdD = Rᵀ dΩ R with R = (I − Ω/2)⁻¹ = (I + C)/2."""
        slope = transpose_each(point.frame) @ product
        if self.shared:
            slope = slope.sum(axis=0, keepdims=True)
        resolvent = 0.5 * (self.identity + transpose_each(self.base) @ point.frame)
        slope = resolvent @ slope @ transpose_each(resolvent)
        i, j = self.row, self.column
        return np.asarray(slope[:, j, i] - slope[:, i, j])


class _Triangles(_Frames):
    """F = P₀U: columns of the precision's Cholesky factor, up to their lengths."""

    lower = 0.0

    def __init__(self, parameters: Parameters, orientation: str) -> None:
        mean = parameters["mean"]
        super().__init__(orientation, mean.shape[1])
        self.base = parameters["precision_cholesky"]
        self.inverse: Array = np.asarray(np.linalg.inv(self.base))
        self.spread, self.whiten = transpose_each(self.inverse), transpose_each(self.base)
        copies = 1 if self.shared else len(mean)
        self.start = FramePoint(np.zeros(mean.shape), np.zeros((copies, len(self.row))), self.base)

    def locate(self, parameters: Parameters) -> FramePoint:
        ratio = self.inverse @ with_factor(parameters)["precision_cholesky"]
        lengths = np.diagonal(ratio, axis1=1, axis2=2)
        t = -2.0 * np.log(lengths)
        triangle = (ratio / lengths[:, None, :])[: 1 if self.shared else None]
        return FramePoint(t, triangle[:, self.row, self.column], self.base @ triangle)

    def at(self, coordinates: Array) -> Array:
        return self.base @ (self.identity + self.fill(coordinates))

    def assemble(self, point: FramePoint) -> dict[str, Array]:
        half = np.exp(0.5 * point.log_variance)
        triangle = np.linalg.inv(self.identity + self.fill(point.coordinates))
        inverse = half[:, :, None] * (triangle @ self.inverse)
        covariance = np.asarray(inverse.swapaxes(1, 2) @ inverse)
        return {"covariance": covariance, "precision_cholesky": point.frame / half[:, None, :]}

    def turn(self, point: FramePoint, product: Array) -> Array:
        slope: Array = transpose_each(self.base) @ product
        if self.shared:
            slope = slope.sum(axis=0, keepdims=True)
        return np.asarray(-slope[:, self.row, self.column])


FRAMES: Final[dict[str, type[_Identity] | type[_Rotations] | type[_Triangles]]] = {
    **dict.fromkeys(("VEI", "EVI"), _Identity),
    **dict.fromkeys(("VEE", "EVV"), _Triangles),
    **dict.fromkeys(("EVE", "VVE", "EEV", "VEV"), _Rotations),
}


# -- linear algebra --------------------------------------------------------------------------------


def with_factor(parameters: Parameters) -> Parameters:
    """Full covariances together with their precision's Cholesky factor."""
    if parameters["covariance"].ndim == 2 or "precision_cholesky" in parameters:
        return parameters
    return with_precision(parameters["mean"], parameters["covariance"])


@lru_cache
def _pairs(d: int) -> tuple[Indices, Indices]:
    """The pairs i < j."""
    row, column = np.triu_indices(d, 1)
    return row.astype(np.intp), column.astype(np.intp)


def _log_variance_information(t: Array, moment: Array, design: Array) -> Array:
    weights = 0.5 * np.exp(-t) * np.diagonal(moment, axis1=1, axis2=2)
    return np.asarray(design.T @ (weights.ravel()[:, None] * design))


def apply_each(matrix: Array, vectors: Array) -> Array:
    """Return A_k x_k, or a_kj x_kj for matrices given by their diagonals."""
    if matrix.ndim == 2:
        return matrix * vectors
    return np.asarray((matrix @ vectors[:, :, None])[:, :, 0])


def transpose_each(matrix: Array) -> Array:
    """A_kᵀ; a matrix given by its diagonal is its own."""
    return matrix.swapaxes(1, 2) if matrix.ndim == 3 else matrix


def diagonal_each(values: Array) -> Array:
    """The diagonal matrices of the rows of values."""
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))
