"""Whitened local coordinates of q(θ): the natural parameters of every distribution in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.models.mixture import MixtureStatistics
from expmax.models.variational import VariationalMixture, VariationalParameters
from expmax.statistics import Array

__all__ = ["VariationalChart"]

STEP = 1e-4  # of central differences, in units of a coordinate's own size
RIDGE = 1e-10  # keeps the whitening regular where two coordinates all but coincide


class VariationalChart:
    """v = Lᵀ(λ − λ₀) with LLᵀ the Fisher information of q(θ) in its natural coordinates λ.

    At the reference the score of the bound is Lᵀ(λ* − λ₀), λ* the conjugate update: the first step along
    it is the EM step (a natural gradient: Hoffman, Blei, Wang & Paisley 2013, JMLR 14). Elsewhere the
    score is L⁻¹F(λ)(λ* − λ), the product F(λ)·δ by a difference of E[s].
    """

    def __init__(
        self,
        model: VariationalMixture,
        params: VariationalParameters,
        statistics: MixtureStatistics,
    ) -> None:
        self.model, self.params = model, params
        self.held = [params.weights.distribution] if model.n_components == 1 else []
        self.about = [leaf.reference() for leaf in self._leaves(params)]
        self.start = self._natural(params)
        self.roots = [
            _information_root(leaf, about)
            for leaf, about in zip(self._leaves(params), self.about, strict=True)
        ]
        self.cuts = np.cumsum([part.size for part in self.start])[:-1]
        total = float(statistics.counts.sum())
        scales = [] if self.held else [np.full(self.start[0].size, np.sqrt(total))]
        for g, group in enumerate(model.groups):
            own = statistics.counts[group.index] + 1.0
            for leaf in params.posteriors[g].leaves():
                rows, size = leaf.natural().shape
                count = own if rows == len(own) else own.sum(keepdims=True)
                scales.append(np.repeat(np.sqrt(count), size))
        self.scale = np.concatenate(scales)

    def _leaves(self, params: VariationalParameters) -> list[Any]:
        """What moves: of one component the weight does not."""
        return params.leaves()[len(self.held) :]

    def _natural(self, params: VariationalParameters) -> list[Array]:
        pairs = zip(self._leaves(params), self.about, strict=True)
        return [leaf.natural(about) for leaf, about in pairs]

    def to_vector(self, params: VariationalParameters) -> Array:
        """v of q(θ)."""
        triples = zip(self._natural(params), self.start, self.roots, strict=True)
        return np.concatenate(
            [np.einsum("bij,bi->bj", root, new - old).ravel() for new, old, root in triples]
        )

    def from_vector(self, vector: Array) -> VariationalParameters:
        """q(θ) at v; marked where v leaves the distributions."""
        leaves = []
        pieces = np.split(vector, self.cuts)
        parts = zip(
            self._leaves(self.params), self.about, self.start, self.roots, pieces, strict=True
        )
        for leaf, about, start, root, piece in parts:
            step = np.linalg.solve(root.swapaxes(1, 2), piece.reshape(start.shape)[:, :, None])
            with np.errstate(all="ignore"):
                leaves.append(leaf.with_natural(start + step[:, :, 0], about))
        return self.params.with_leaves([*self.held, *leaves])

    def score(self, params: VariationalParameters, statistics: MixtureStatistics) -> Array:
        """∂(bound)/∂v."""
        if not params.is_inside or len(statistics.components) != len(self.model.groups):
            return np.full(len(self.scale), np.nan)
        update = self.model.maximize(statistics, params)
        out = []
        parts = zip(
            self._leaves(params),
            self._natural(params),
            self._natural(update),
            self.about,
            self.roots,
            strict=True,
        )
        for leaf, here, there, about, root in parts:
            slope = _times_information(leaf, there - here, about)
            out.append(np.linalg.solve(root, slope[:, :, None]).ravel())
        return np.concatenate(out)

    row_score = score


def _information_root(leaf: Any, about: Any) -> Array:
    """L with LLᵀ = ∂E[s]/∂λ, block by block: shape (B, m, m)."""
    natural, sizes = leaf.natural(about), leaf.sizes(about)
    columns = []
    for j in range(natural.shape[1]):
        step = np.zeros_like(natural)
        step[:, j] = STEP * sizes[:, j]
        up, down = (
            leaf.with_natural(natural + sign * step, about).expected_statistics(about)
            for sign in (1.0, -1.0)
        )
        columns.append((up - down) / (2.0 * step[:, j : j + 1]))
    if not columns:
        return np.zeros((len(natural), 0, 0))
    matrix = np.stack(columns, axis=2)
    matrix = 0.5 * (matrix + matrix.swapaxes(1, 2))
    deviation = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
    outer = deviation[:, :, None] * deviation[:, None, :]
    correlation = matrix / outer + RIDGE * np.eye(matrix.shape[1])
    values, vectors = np.linalg.eigh(correlation)
    floor = np.maximum(values, RIDGE)
    regular = (vectors * floor[:, None, :]) @ vectors.swapaxes(1, 2)
    return np.asarray(deviation[:, :, None] * np.linalg.cholesky(regular))


def _times_information(leaf: Any, change: Array, about: Any) -> Array:
    """F(λ)·δ by a central difference of E[s] along δ: shape (B, m)."""
    natural, sizes = leaf.natural(about), leaf.sizes(about)
    if not natural.size:
        return change
    largest = np.max(np.abs(change) / sizes, axis=1, keepdims=True)
    length = np.where(largest > 0, STEP / np.where(largest > 0, largest, 1.0), 0.0)
    up, down = (
        leaf.with_natural(natural + sign * length * change, about).expected_statistics(about)
        for sign in (1.0, -1.0)
    )
    return np.asarray((up - down) / np.where(length > 0, 2.0 * length, 1.0))
