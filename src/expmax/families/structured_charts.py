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

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert

from expmax.contract import Parameters
from expmax.families.frames import (
    FRAMES,
    FramePoint,
    apply_each,
    diagonal_each,
    transpose_each,
    with_factor,
)
from expmax.families.precision import precision_cholesky
from expmax.statistics import Array

__all__ = ["StructuredChart"]

Indices = NDArray[np.intp]

_SINGULAR = 1e-10  # share of its diagonal that a Cholesky pivot of the information must keep
_REMEMBERED = 3


class StructuredChart:
    """VEI EVI VEE EVE VVE EEV VEV EVV: whitened means, log volumes, log shapes and frames.

    `statistics` have counts, a reference and the first and second moments about it, as
    `GaussianStatistics`. Parameters from `from_vector` are recognised by their covariance array;
    the coordinates of others are found by eigenvectors or Cholesky factors.
    """

    def __init__(self, family: Any, parameters: Parameters, statistics: Any) -> None:
        self.family, self.parameters = family, with_factor(parameters)
        volume, shape, orientation = family.structure
        live = _regular(self.parameters, statistics.counts)
        self.live: Indices = np.flatnonzero(live)
        self._all = bool(live.all())
        self.mean = self._of(parameters["mean"])
        self.frame = FRAMES[family.structure](self._live(self.parameters), orientation)
        self.start = self.frame.start
        self._known: tuple[tuple[Array, FramePoint], ...]
        self._known = ((parameters["covariance"], self.start),)
        counts, _, scatter = self._moments(parameters["mean"], statistics)
        cells = np.broadcast_to(counts, self.mean.shape)
        sizes = cells.mean(axis=1)

        self.cells: NDArray[np.bool_] = cells > 0
        self.mean_root = np.sqrt(cells[self.cells])
        self.spread, self.whiten = self.frame.spread, self.frame.whiten
        moments = (
            self.frame.moments(scatter),
            diagonal_each(cells * np.exp(self.start.log_variance)),
        )
        self.own_root = self._own_root(*moments)
        shares = self._whiten_shared(*moments, volume == "V", shape == "V", sizes)
        own = np.repeat(np.sqrt(sizes), self.own_root.shape[1])
        self.scale = np.concatenate([self.mean_root, np.sqrt(shares), own])
        self._cuts = len(self.mean_root), len(self.mean_root) + len(shares)

    def to_vector(self, parameters: Parameters) -> Array:
        with np.errstate(all="ignore"):
            point = self._locate(parameters)
            shift = self._of(parameters["mean"]) - self.mean
            means = apply_each(self.whiten, shift)[self.cells] * self.mean_root
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
            point = FramePoint(log_variance, coordinates, self.frame.at(coordinates))
            new = self.frame.assemble(point)
            new["mean"] = self.mean + apply_each(self.spread, means)
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
            means = apply_each(transpose_each(self.spread), pull)[self.cells] / self.mean_root
            slopes = (0.5 * (weighted - counts)).ravel()
            if self.own_root.size:
                own = (turn / self.own_root).ravel()
                return np.concatenate([means, slopes @ self.forward, own])
            slopes = np.concatenate([slopes, turn.ravel()])
            return np.concatenate([means, slopes @ self.forward])

    def _locate(self, parameters: Parameters) -> FramePoint:
        """The coordinates that lie behind parameters; the latest ones are remembered."""
        for covariance, point in self._known:
            if parameters["covariance"] is covariance:
                return point
        point = self.frame.locate(self._live(parameters))
        self._remember(parameters["covariance"], point)
        return point

    def _remember(self, covariance: Array, point: FramePoint) -> None:
        self._known = ((covariance, point), *self._known[: _REMEMBERED - 1])

    def _moments(self, mean: Array, statistics: Any) -> tuple[Array, Array, Array]:
        """Counts, shape (K, 1 or d), first moments and scatter about the mean."""
        at = statistics if statistics.reference is mean else statistics.about(mean)
        counts, first, second = self._of(at.counts), self._of(at.first), self._of(at.second)
        if counts.ndim == 1:
            counts = counts[:, None]
        if self.family.penalty:
            ridge = self.family.penalty * counts
            second = second + (ridge if second.ndim == 2 else diagonal_each(ridge + 0.0 * first))
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


def _regular(parameters: Parameters, counts: Array) -> NDArray[np.bool_]:
    """Components with data and a proper covariance: (K,)."""
    covariance = parameters["covariance"]
    if covariance.ndim == 2:
        proper = np.isfinite(covariance) & (covariance > 0)
        return np.asarray(proper.all(axis=1) & (counts > 0).any(axis=1))
    factor = precision_cholesky(parameters)
    return np.asarray(np.isfinite(factor).all(axis=(1, 2)) & (counts > 0))


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
