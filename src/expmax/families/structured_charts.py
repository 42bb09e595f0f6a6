"""Charts of the Gaussian structures that share a part of volume, shape or orientation.

Every structure is Σ_k⁻¹ = F_k diag(exp −t_k) F_kᵀ with a frame F_k and log variances t_k along it,

    Q = −½ Σ_kj [ n_k t_kj + exp(−t_kj) w_kj ],   w_kj = (F_kᵀ W_k F_k)_jj.

t − t₀ is a sum of log volumes (one or K) and of log shapes (one or K) on an orthonormal basis of
Σ_j t_j = 0. The frame is

- VEI, EVI: the identity;
- EVE, VVE (one) and EEV, VEV (K): axes D₀ Cayley(Ω), (I − Ω/2)⁻¹(I + Ω/2), Ω skew-symmetric; two
  axes with the same variance in every component have no angle between them;
- VEE (one) and EVV (K): P₀U with U unit upper triangular, as volume and shape go with orientation
  there: these coordinates do not fail at equal axes.

v are these coordinates times a square root of −∂²Q/∂(coordinates)² at the reference, which at a
maximum of Q couples volume, shape and a shared frame, but not a frame of one's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert
from scipy.optimize import linear_sum_assignment

from expmax.contract import Parameters
from expmax.families.covariance_orientation import _axes_of
from expmax.statistics import Array

__all__ = ["StructuredChart"]

Indices = NDArray[np.intp]

_EQUAL = 1e-8  # (a_i − a_j)²/(a_i a_j) below which two axes have no angle between them
_SINGULAR = 1e-10  # share of its diagonal that a Cholesky pivot of the information must keep
_MAX_TURNS = 30
_REMEMBERED = 3
_TURNED = 1e-14  # radians


@dataclass(frozen=True, slots=True)
class _Point:
    """Covariances of the components with coordinates, as the chart sees them."""

    log_variance: Array  # t, shape (K, d)
    coordinates: Array  # of the frame, shape (1 or K, p)
    frame: Array  # F, shape (1 or K, d, d)


class StructuredChart:
    """VEI EVI VEE EVE VVE EEV VEV EVV: whitened means, log volumes, log shapes and frames.

    `statistics` have counts, a reference and the first and second moments about it, as
    `GaussianStatistics`. Parameters from `from_vector` are recognised by their covariance array;
    the coordinates of others are found by eigenvectors or Cholesky factors.
    """

    def __init__(self, family: Any, parameters: Parameters, statistics: Any) -> None:
        self.family, self.parameters = family, _with_factor(parameters)
        volume, shape, orientation = family.structure
        live = _regular(self.parameters, statistics.counts)
        self.live: Indices = np.flatnonzero(live)
        self._all = bool(live.all())
        self.mean = self._of(parameters["mean"])
        self.frame = _FRAMES[family.structure](self._live(self.parameters), orientation)
        self.start = self.frame.start
        self._known: tuple[tuple[Array, _Point], ...]
        self._known = ((parameters["covariance"], self.start),)
        counts, _, scatter = self._moments(parameters["mean"], statistics)
        cells = np.broadcast_to(counts, self.mean.shape)
        sizes = cells.mean(axis=1)

        self.cells: NDArray[np.bool_] = cells > 0
        self.mean_root = np.sqrt(cells[self.cells])
        self.spread, self.whiten = self.frame.spread, self.frame.whiten
        moments = self.frame.moments(scatter), _diagonal(cells * np.exp(self.start.log_variance))
        self.own_root = self._own_root(*moments)
        shares = self._whiten_shared(*moments, volume == "V", shape == "V", sizes)
        own = np.repeat(np.sqrt(sizes), self.own_root.shape[1])
        self.scale = np.concatenate([self.mean_root, np.sqrt(shares), own])
        self._cuts = len(self.mean_root), len(self.mean_root) + len(shares)

    def to_vector(self, parameters: Parameters) -> Array:
        with np.errstate(all="ignore"):
            point = self._locate(parameters)
            shift = self._of(parameters["mean"]) - self.mean
            means = _apply(self.whiten, shift)[self.cells] * self.mean_root
            change = (point.log_variance - self.start.log_variance).ravel()
            if self.own_root.size:
                own = (point.coordinates * self.own_root).ravel()
                return np.concatenate([means, self.backward @ change, own])
            change = np.concatenate([change, point.coordinates.ravel()])
            return np.concatenate([means, self.backward @ change])

    def from_vector(self, vector: Array) -> Parameters:
        first, second = self._cuts
        means = np.zeros(self.mean.shape)
        t0 = self.start.log_variance
        with np.errstate(all="ignore"):
            means[self.cells] = vector[:first] / self.mean_root
            change = self.forward @ vector[first:second]
            if self.own_root.size:
                coordinates = vector[second:].reshape(self.own_root.shape) / self.own_root
            else:
                coordinates = change[t0.size :].reshape(self.start.coordinates.shape)
            log_variance = t0 + change[: t0.size].reshape(t0.shape)
            point = _Point(log_variance, coordinates, self.frame.at(coordinates))
            new = self.frame.assemble(point)
            new["mean"] = self.mean + _apply(self.spread, means)
        if not self._all:
            new = {name: self._among(self.parameters[name], new[name]) for name in new}
        self._remember(new["covariance"], point)
        return {"mean": new.pop("mean"), **new}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        with np.errstate(all="ignore"):
            counts, first, scatter = self._moments(parameters["mean"], statistics)
            point = self._locate(parameters)
            precision = np.exp(-point.log_variance)
            pull, weighted, turn = self.frame.gradients(point, precision, first, scatter)
            means = _apply(_transpose(self.spread), pull)[self.cells] / self.mean_root
            slopes = (0.5 * (weighted - counts)).ravel()
            if self.own_root.size:
                own = (turn / self.own_root).ravel()
                return np.concatenate([means, slopes @ self.forward, own])
            slopes = np.concatenate([slopes, turn.ravel()])
            return np.concatenate([means, slopes @ self.forward])

    def _locate(self, parameters: Parameters) -> _Point:
        """The coordinates that lie behind parameters; the latest ones are remembered."""
        for covariance, point in self._known:
            if parameters["covariance"] is covariance:
                return point
        point = self.frame.locate(self._live(parameters))
        self._remember(parameters["covariance"], point)
        return point

    def _remember(self, covariance: Array, point: _Point) -> None:
        self._known = ((covariance, point), *self._known[: _REMEMBERED - 1])

    def _moments(self, mean: Array, statistics: Any) -> tuple[Array, Array, Array]:
        """Counts, shape (K, 1 or d), first moments and scatter about the mean."""
        at = statistics if statistics.reference is mean else statistics.about(mean)
        counts, first, second = self._of(at.counts), self._of(at.first), self._of(at.second)
        if counts.ndim == 1:
            counts = counts[:, None]
        if self.family.penalty:
            ridge = self.family.penalty * counts
            second = second + (ridge if second.ndim == 2 else _diagonal(ridge + 0.0 * first))
        return counts, first, second

    def _own_root(self, moment: Array, expected: Array) -> Array:
        """√(−∂²Q) of the coordinates of own frames."""
        with np.errstate(all="ignore"):
            seen, usual = (self.frame.own_information(m) for m in (moment, expected))
            return np.asarray(np.sqrt(np.where(seen > _SINGULAR * usual, seen, usual)))

    def _whiten_shared(
        self, moment: Array, expected: Array, own_volume: bool, own_shape: bool, sizes: Array
    ) -> Array:
        """The matrices between v and (t − t₀, shared frame); the counts behind these v."""
        design, rows, back = _design(own_volume, own_shape, *self.mean.shape)
        counts = rows @ sizes
        with np.errstate(all="ignore"):
            information = self.frame.information(moment, design)
            root = _cholesky_root(information) or _expected_root(
                self.frame.information(expected, design)
            )
        n_turns = len(information) - len(counts)
        if n_turns:
            counts = np.concatenate([counts, np.full(n_turns, sizes.sum())])
            design, back = _beside(design, n_turns), _beside(back, n_turns)
        forward, backward, shares = root
        self.forward, self.backward = np.ascontiguousarray(design @ forward), backward @ back
        return np.asarray(counts if shares is None else shares @ counts)

    def _of(self, array: Array) -> Array:
        return array if self._all else array[self.live]

    def _live(self, parameters: Parameters) -> Parameters:
        return parameters if self._all else {k: a[self.live] for k, a in parameters.items()}

    def _among(self, old: Array, new: Array) -> Array:
        """The arrays of all components: those without coordinates stay."""
        out = np.array(old, float)
        out[self.live] = new
        return out


# -- frames ----------------------------------------------------------------------------------------
class _Identity:
    """Axis-parallel: no coordinates."""

    def __init__(self, parameters: Parameters, orientation: str) -> None:
        self.axes = np.eye(parameters["mean"].shape[1])[None]
        self.none = np.zeros((1, 0))
        self.start = self.locate(parameters)
        self.spread = np.sqrt(parameters["covariance"])
        self.whiten = 1.0 / self.spread

    def locate(self, parameters: Parameters) -> _Point:
        return _Point(np.log(parameters["covariance"]), self.none, self.axes)

    def at(self, coordinates: Array) -> Array:
        return self.axes

    def assemble(self, point: _Point) -> dict[str, Array]:
        return {"covariance": np.exp(point.log_variance)}

    def gradients(
        self, point: _Point, precision: Array, first: Array, scatter: Array
    ) -> tuple[Array, Array, Array]:
        return first * precision, scatter * precision, self.none

    def moments(self, scatter: Array) -> Array:
        return _diagonal(scatter)

    def information(self, moment: Array, design: Array) -> Array:
        return _log_variance_information(self.start.log_variance, moment, design)

    def own_information(self, moment: Array) -> Array:
        return np.zeros((len(moment), 0))


class _Frames:
    """What rotations and triangles have in common: one coordinate for each pair i < j kept."""

    base: Array  # F₀, shape (1 or K, d, d)
    start: _Point
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
        self, point: _Point, precision: Array, first: Array, scatter: Array
    ) -> tuple[Array, Array, Array]:
        """Σ⁻¹ Σ r(x − μ), e^{−t} w and ∂Q/∂(coordinates)."""
        frame = point.frame
        pull = _apply(frame, precision * _apply(_transpose(frame), first))
        product = (scatter @ frame) * precision[:, None, :]
        weighted = (frame * product).sum(axis=1)
        return pull, weighted, self.turn(point, product)

    def turn(self, point: _Point, product: Array) -> Array:
        """∂Q/∂(coordinates) from W F diag(e^{−t})."""
        raise NotImplementedError

    def moments(self, scatter: Array) -> Array:
        """F₀ᵀW F₀, what the information at the reference depends on."""
        return _transpose(self.base) @ scatter @ self.base

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
        self.start = _Point(t, np.zeros((len(self.base), len(self.row))), self.base)
        self.spread = self.base * np.exp(0.5 * t)[:, None, :]
        self.whiten = np.exp(-0.5 * t)[:, :, None] * _transpose(self.base)

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

    def locate(self, parameters: Parameters) -> _Point:
        covariance = parameters["covariance"]
        if not np.isfinite(covariance).all():
            return self._nowhere(len(covariance))
        t, axes = self._eigen(covariance)
        t, turn = self._match(t, axes)
        try:
            turn, angles = self._angles(turn)
        except np.linalg.LinAlgError:  # half a turn away, or not a covariance
            return self._nowhere(len(covariance))
        return _Point(t, angles[:, self.row, self.column], self.base @ turn)

    def _nowhere(self, n: int) -> _Point:
        nan = np.full((n, *self.base.shape[1:]), np.nan)
        coordinates = np.full((len(self.base), len(self.row)), np.nan)
        return _Point(nan[:, 0], coordinates, nan[: len(self.base)])

    def _match(self, t: Array, axes: Array) -> tuple[Array, Array]:
        """D₀ᵀD in the reference's order and signs of axes; the order is common to components."""
        turn = _transpose(self.base) @ axes
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
            omega: Array = np.asarray(half - _transpose(np.asarray(half)))
            loose = omega * self.loose
            if not np.abs(loose).max(initial=0.0) > _TURNED:
                break
            turn = turn @ self._cayley(-loose)
        return turn, omega

    def _cayley(self, omega: Array) -> Array:
        return np.asarray(2.0 * np.linalg.inv(self.identity - 0.5 * omega) - self.identity)

    def at(self, coordinates: Array) -> Array:
        return self.base @ self._cayley(self.fill(coordinates))

    def assemble(self, point: _Point) -> dict[str, Array]:
        scaled = point.frame * np.exp(0.5 * point.log_variance)[:, None, :]
        covariance = scaled @ _transpose(scaled)
        covariance = 0.5 * (covariance + _transpose(covariance))
        # P Pᵀ = F e^{−t} Fᵀ with P upper triangular, by QR: no Cholesky that could fail
        half = point.frame * np.exp(-0.5 * point.log_variance)[:, None, :]
        upper: Array = np.asarray(np.linalg.qr(_transpose(half[:, ::-1]), mode="r"))
        factor = _transpose(upper)[:, ::-1, ::-1]
        factor = factor * np.sign(np.diagonal(factor, axis1=1, axis2=2))[:, None, :]
        return {"covariance": covariance, "precision_cholesky": factor}

    def turn(self, point: _Point, product: Array) -> Array:
        """DᵀdD = Rᵀ dΩ R with R = (I − Ω/2)⁻¹ = (I + C)/2."""
        slope = _transpose(point.frame) @ product
        if self.shared:
            slope = slope.sum(axis=0, keepdims=True)
        resolvent = 0.5 * (self.identity + _transpose(self.base) @ point.frame)
        slope = resolvent @ slope @ _transpose(resolvent)
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
        self.spread, self.whiten = _transpose(self.inverse), _transpose(self.base)
        copies = 1 if self.shared else len(mean)
        self.start = _Point(np.zeros(mean.shape), np.zeros((copies, len(self.row))), self.base)

    def locate(self, parameters: Parameters) -> _Point:
        ratio = self.inverse @ _with_factor(parameters)["precision_cholesky"]
        lengths = np.diagonal(ratio, axis1=1, axis2=2)
        t = -2.0 * np.log(lengths)
        triangle = (ratio / lengths[:, None, :])[: 1 if self.shared else None]
        return _Point(t, triangle[:, self.row, self.column], self.base @ triangle)

    def at(self, coordinates: Array) -> Array:
        return self.base @ (self.identity + self.fill(coordinates))

    def assemble(self, point: _Point) -> dict[str, Array]:
        half = np.exp(0.5 * point.log_variance)
        triangle = np.linalg.inv(self.identity + self.fill(point.coordinates))
        inverse = half[:, :, None] * (triangle @ self.inverse)
        covariance = np.asarray(inverse.swapaxes(1, 2) @ inverse)
        return {"covariance": covariance, "precision_cholesky": point.frame / half[:, None, :]}

    def turn(self, point: _Point, product: Array) -> Array:
        slope: Array = _transpose(self.base) @ product
        if self.shared:
            slope = slope.sum(axis=0, keepdims=True)
        return np.asarray(-slope[:, self.row, self.column])


_FRAMES: Final[dict[str, type[_Identity] | type[_Rotations] | type[_Triangles]]] = {
    **dict.fromkeys(("VEI", "EVI"), _Identity),
    **dict.fromkeys(("VEE", "EVV"), _Triangles),
    **dict.fromkeys(("EVE", "VVE", "EEV", "VEV"), _Rotations),
}


# -- linear algebra --------------------------------------------------------------------------------
def _regular(parameters: Parameters, counts: Array) -> NDArray[np.bool_]:
    """Components with data and a proper covariance: (K,)."""
    covariance = parameters["covariance"]
    if covariance.ndim == 2:
        proper = np.isfinite(covariance) & (covariance > 0)
        return np.asarray(proper.all(axis=1) & (counts > 0).any(axis=1))
    factor = parameters["precision_cholesky"]
    return np.asarray(np.isfinite(factor).all(axis=(1, 2)) & (counts > 0))


def _with_factor(parameters: Parameters) -> Parameters:
    """Full covariances together with their precision's Cholesky factor."""
    if parameters["covariance"].ndim == 2 or "precision_cholesky" in parameters:
        return parameters
    from expmax.families.gaussian import with_precision

    return with_precision(parameters["mean"], parameters["covariance"])


@lru_cache
def _pairs(d: int) -> tuple[Indices, Indices]:
    """The pairs i < j."""
    row, column = np.triu_indices(d, 1)
    return row.astype(np.intp), column.astype(np.intp)


@lru_cache(maxsize=16)
def _design(
    own_volume: bool, own_shape: bool, n_components: int, d: int
) -> tuple[Array, Array, Array]:
    """t − t₀ as a linear map of log volumes and shapes, the components of each, and its inverse."""
    each, all_of = np.eye(n_components), np.ones((n_components, 1))
    volumes = each if own_volume else all_of
    shapes = each if own_shape else all_of
    design = np.hstack([np.kron(volumes, np.ones((d, 1))), np.kron(shapes, helmert(d).T)])
    rows = np.concatenate([volumes.T, np.repeat(shapes.T, d - 1, axis=0)])
    back = (design / np.maximum((design**2).sum(axis=0), 1.0)).T  # its columns are orthogonal
    return design, rows, back


def _beside(matrix: Array, n: int) -> Array:
    """The matrix and an identity as diagonal blocks."""
    rows, columns = matrix.shape
    out = np.zeros((rows + n, columns + n))
    out[:rows, :columns] = matrix
    out[rows:, columns:] = np.eye(n)
    return out


def _log_variance_information(t: Array, moment: Array, design: Array) -> Array:
    weights = 0.5 * np.exp(-t) * np.diagonal(moment, axis1=1, axis2=2)
    return np.asarray(design.T @ (weights.ravel()[:, None] * design))


def _cholesky_root(information: Array) -> tuple[Array, Array, None] | None:
    """R⁻¹ and R with RᵀR = information, or None where it is not safely positive definite."""
    try:
        factor = np.linalg.cholesky(information)
    except np.linalg.LinAlgError:
        return None
    if not (np.diagonal(factor) ** 2 > _SINGULAR * np.diagonal(information)).all():
        return None
    return np.asarray(np.linalg.inv(factor).T), np.asarray(factor.T), None


def _expected_root(information: Array) -> tuple[Array, Array, Array]:
    """As `_cholesky_root`, without what is not informed; shares of the coordinates in each v."""
    if not np.isfinite(information).all():
        nothing = np.zeros((0, len(information)))
        return nothing.T, nothing, nothing
    size = np.sqrt(np.diagonal(information))
    size = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    informed = values > _SINGULAR
    root, vectors = np.sqrt(values[informed]), vectors[:, informed]
    return vectors / root / size[:, None], (root * vectors).T * size, vectors.T**2


def _apply(matrix: Array, vectors: Array) -> Array:
    """A_k x_k, or a_kj x_kj for matrices given by their diagonals."""
    if matrix.ndim == 2:
        return matrix * vectors
    return np.asarray((matrix @ vectors[:, :, None])[:, :, 0])


def _transpose(matrix: Array) -> Array:
    return matrix.swapaxes(1, 2) if matrix.ndim == 3 else matrix


def _diagonal(values: Array) -> Array:
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))
