"""Where mixture fits begin: partitions of the rows by several recipes, and moves from a solution.

No single recipe finds the best optimum often; what finds it is variety (McLachlan & Peel 2000, §2.12;
Biernacki, Celeux & Govaert 2003). Recipes rotate, and swaps rearrange the best solution found so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Start
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.models.scouting import GaussianScout
from expmax.statistics import Array

__all__ = ["MixtureStarts"]

TINY = 1e-15
BLENDS = (
    0.0,
    0.02,
    0.1,
    0.3,
    0.6,
)  # share of uniform responsibilities mixed in until a start is regular
CANDIDATES = 64  # rows tried as a new component
NEW_WEIGHT = 0.05
SPLITS = 0.5  # share of swaps that split a component; the others seed one anywhere
Rng = np.random.Generator


@dataclass
class MixtureStarts:
    """Starts and moves for a mixture on a block of rows (all of them, or a subsample)."""

    model: MixtureModel
    block: Block
    scout: GaussianScout | None = None  # whose M-step is quick
    _views: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        points = self._points()
        standardised = (points - points.mean(axis=0)) / _spread(points)
        self._views = [standardised, _sphere(standardised)]
        if points.shape[1] == 1 and points.min() >= 0 and np.ptp(points) > 0:
            for bent in (np.log(points + 0.01 * _spread(points)), np.sqrt(points)):
                self._views.append((bent - bent.mean(axis=0)) / _spread(bent))

    @property
    def points(self) -> Array:
        """Rows as standardised points, shape (n, q)."""
        return self._views[0]

    def _points(self) -> Array:
        """Rows as points, column means in place of missing cells, constant columns left out."""
        x = np.asarray(self.block.x, float)
        points = self.model.groups[0].family.embed(x)
        missing = np.isnan(points)
        if missing.any():
            present = np.maximum((~missing).sum(axis=0), 1)
            mean = np.where(missing, 0.0, points).sum(axis=0) / present
            points = np.where(missing, mean, points)
        varies = np.ptp(points, axis=0) > 0
        return points[:, varies] if varies.any() else points[:, :1]

    # -- starts ------------------------------------------------------------------------------------
    def starts(self, rngs: Iterator[Rng]) -> Iterator[Start[MixtureParameters]]:
        """Recipes in rotation; each takes its own random generator."""
        recipes = [
            ("k-means++ seeds", self._seeds),
            ("k-means, random axes, sphered", self._axes_sphered),
            ("random partition", self._random_partition),
            ("k-means, random axes", self._axes),
            ("random centres, sphered", self._centres),
            ("k-means, random projection", self._projection),
        ]
        for i, rng in enumerate(rngs):
            name, recipe = recipes[i % len(recipes)]
            start = self.from_partition(recipe(rng), rng)
            if start is not None:
                yield Start(start, name)

    def _view(self, rng: Rng) -> Array:
        """A one-column positive data set is seen on one of several scales."""
        others = self._views[2:]
        pick = int(rng.integers(len(others) + 1))
        return self._views[0] if pick == 0 else others[pick - 1]

    def _seeds(self, rng: Rng) -> NDArray[np.intp]:
        return _nearest(self._view(rng), _plus_plus(self._view(rng), self._k, rng))

    def _axes_sphered(self, rng: Rng) -> NDArray[np.intp]:
        return self._kmeans(_some_columns(self._views[1], rng), rng)

    def _axes(self, rng: Rng) -> NDArray[np.intp]:
        return self._kmeans(_some_columns(self._view(rng), rng), rng)

    def _projection(self, rng: Rng) -> NDArray[np.intp]:
        points = self._views[0]
        return self._kmeans(points @ rng.standard_normal((points.shape[1], 1)), rng)

    def _centres(self, rng: Rng) -> NDArray[np.intp]:
        points = self._views[1]
        return _nearest(points, points[rng.choice(len(points), self._k, replace=True)])

    def _random_partition(self, rng: Rng) -> NDArray[np.intp]:
        return rng.integers(self._k, size=len(self.block.x))

    def _kmeans(self, points: Array, rng: Rng) -> NDArray[np.intp]:
        return kmeans(points, self._k, rng)

    @property
    def _k(self) -> int:
        return len(self._estimated)

    @property
    def _estimated(self) -> NDArray[np.intp]:
        """Components that have parameters to start; the others (atoms, noise) are given."""
        return np.concatenate([g.index for g in self.model.groups if g.family.is_estimated])

    @property
    def _may_spike(self) -> bool:
        return any(group.family.smallest_count(1) > 0 for group in self.model.groups)

    # -- from a partition to parameters ------------------------------------------------------------
    def from_partition(self, part: NDArray[np.intp], rng: Rng) -> MixtureParameters | None:
        """Hard assignment of rows among the estimated components, then the M-step."""
        hard = np.zeros((len(part), self.model.n_components))
        estimated = self._estimated
        if len(self.model.groups) > 1:  # components differ in kind: any may take any cluster
            estimated = rng.permutation(estimated)
        hard[np.arange(len(part)), estimated[part]] = 1.0
        given = np.setdiff1d(np.arange(self.model.n_components), estimated)
        hard[:, given] = 0.5 / self.model.n_components
        return self.from_responsibilities(hard / hard.sum(axis=1, keepdims=True))

    def from_responsibilities(self, responsibilities: Array) -> MixtureParameters | None:
        """M-step from soft assignments, blended with uniform ones until no component is singular."""
        if self.block.label is not None:
            known = np.flatnonzero(self.block.label >= 0)
            responsibilities[known] = 0.0
            responsibilities[known, self.block.label[known]] = 1.0
        for share in BLENDS:
            r = (1 - share) * responsibilities + share / self.model.n_components
            if self.block.weight is not None:
                r = r * self.block.weight[:, None]
            params = self._estimate(r)
            if params is not None:
                return params
        return None

    def _estimate(self, r: Array) -> MixtureParameters | None:
        """Parameters from weighted responsibilities; None if a component is singular or empty."""
        if self.scout is None:
            return initial_parameters(self.model, self.block, r)
        params = self.scout.maximize(r)
        return params if params is not None and self.model.is_regular(params) else None

    # -- moves -------------------------------------------------------------------------------------
    def moves(
        self, params: MixtureParameters, rngs: Iterator[Rng]
    ) -> Iterator[Start[MixtureParameters]]:
        """Swaps: drop one component, and split or seed another in its place."""
        drop = self._chances_to_drop(params)
        for i, rng in enumerate(rngs):
            start = self._steepest(params) if i == 0 else None
            start = start or self._swap(params, drop, rng)
            if start is not None:
                yield start

    def _chances_to_drop(self, params: MixtureParameters) -> Array:
        """More to components that are missed least: e^(−rank/2) by the loss of leaving them out.

        Without component k the log-likelihood is Σ w_i log (1 − r_ik) − n log (1 − π_k) lower.
        """
        estimated = self._estimated
        r, _, _ = self.model.assign(params, self.block)
        with np.errstate(divide="ignore"):
            kept = np.log(np.maximum(1.0 - r[:, estimated], TINY))
            share = np.log1p(-np.minimum(np.exp(params.log_weights[estimated]), 1.0 - TINY))
        weight = np.ones(len(r)) if self.block.weight is None else self.block.weight
        loss = weight.sum() * share - weight @ kept
        chances = np.exp(-0.5 * loss.argsort(kind="stable").argsort(kind="stable"))
        return np.asarray(chances / chances.sum())

    def _steepest(self, params: MixtureParameters) -> Start[MixtureParameters] | None:
        """Merge the two most alike components and add the one that raises the likelihood fastest.

        Candidates are fitted to single rows. Adding component θ at weight 0 has slope
        Σ w_i p(x_i|θ)/p(x_i) − Σ w_i (Lindsay 1983, Ann. Statist. 11(1)): positive means not yet a maximum.
        """
        model, k = self.model, self.model.n_components
        if self._may_spike or len(model.groups) > 1 or k < 2 or model.fixed:
            return None
        rows = np.unique(np.linspace(0, len(self.block.x) - 1, CANDIDATES).astype(int))
        x = np.asarray(self.block.x, float)
        family = model.groups[0].family
        candidates = family.initialize(x[rows], np.eye(len(rows)))
        r, log_evidence, _ = model.assign(params, self.block)
        weight = np.ones(len(x)) if self.block.weight is None else self.block.weight
        with np.errstate(all="ignore"):  # a single row may have no density of its own
            log_ratio = family.log_density(candidates, x) - log_evidence[:, None]
            slopes = weight @ np.exp(log_ratio) - weight.sum()
        slopes[~np.isfinite(slopes)] = -np.inf
        best = int(np.argmax(slopes))
        if not slopes[best] > 1e-9 * weight.sum():
            return None
        j, twin = _most_alike(r / np.exp(params.log_weights), weight)
        r[:, j] += r[:, twin]
        share = NEW_WEIGHT * np.exp(np.minimum(log_ratio[:, best], 50.0))
        share = share / (1.0 + share)
        r *= 1.0 - share[:, None]
        r[:, twin] = share
        new = self.from_responsibilities(r)
        return None if new is None else Start(new, "steepest direction")

    def _swap(
        self, params: MixtureParameters, drop: Array, rng: Rng
    ) -> Start[MixtureParameters] | None:
        estimated = self._estimated
        dropped = int(rng.choice(estimated, p=drop))
        log_weights = params.log_weights.copy()
        log_weights[dropped] = -np.inf
        if not np.isfinite(log_weights).any():
            return None
        without = MixtureParameters(log_weights, params.components)
        r, log_evidence, _ = self.model.assign(without, self.block)
        lost = ~np.isfinite(log_evidence)
        r[lost] = 0.0
        r[lost, dropped] = 1.0
        others = estimated[estimated != dropped]
        size = np.exp(log_weights[others])
        if len(others) and size.sum() > 0 and rng.random() < SPLITS:
            parent = int(rng.choice(others, p=size / size.sum()))
            kind = self._split(r, parent, dropped, rng)
        else:
            kind = self._seed_neighbours(r, dropped, rng)
        new = self.from_responsibilities(r)
        return None if new is None else Start(new, kind)

    def _split(self, r: Array, parent: int, child: int, rng: Rng) -> str:
        """Part the parent's rows: by a plane across its longest axis or one column, or around a row."""
        points, share = self._views[0], r[:, parent]
        total = max(share.sum(), 1e-300)
        centred = points - (share @ points) / total
        variances, axes = np.linalg.eigh((centred * share[:, None]).T @ centred / total)
        way = int(rng.integers(3))
        if way == 0:
            score, kind = centred @ axes[:, -1], "split, principal axis"
        elif way == 1:
            score, kind = centred[:, rng.integers(points.shape[1])], "split, one column"
        else:
            row = rng.choice(len(points), p=share / share.sum()) if share.sum() > 0 else 0
            apart = (points - points[row]) @ axes
            score = (apart**2 / np.maximum(variances, TINY)).sum(axis=1)
            kind = "split, around a row"
        order = np.argsort(score, kind="stable")
        reached = np.cumsum(share[order])
        cut = int(np.searchsorted(reached, rng.uniform(0.15, 0.85) * reached[-1]))
        moved = order[: cut + 1]
        r[moved, child] += r[moved, parent]
        r[moved, parent] = 0.0
        return kind

    def _seed_neighbours(self, r: Array, child: int, rng: Rng) -> str:
        """Give the neighbours of a random row, in all columns or some, to the new component."""
        points = _some_columns(self._views[int(rng.integers(2))], rng, 0.5)
        distance = ((points - points[rng.integers(len(points))]) ** 2).sum(axis=1)
        n, k = len(points), self.model.n_components
        # where no component can collapse, any size: a small one may sit in a tail or on the boundary
        least = min(2 * (points.shape[1] + 2), n // k) if self._may_spike else 1
        size = int(max(least, 1) * (max(n / k, 2.0) / max(least, 1)) ** rng.random())
        near = np.argpartition(distance, min(size, n - 1))[:size]
        r[near] = 0.0
        r[near, child] = 1.0
        return "seeded neighbours"


def initial_parameters(
    model: MixtureModel, block: Block, responsibilities: Array
) -> MixtureParameters | None:
    """Weights and each family's own first estimate; None if a component is singular or empty."""
    counts = responsibilities.sum(axis=0)
    if not counts.min() > 0:
        return None
    components = []
    for group in model.groups:
        x = np.asarray(block.x, float)
        with np.errstate(all="ignore"):  # what is not regular is left out below
            components.append(group.family.initialize(x, responsibilities[:, group.index]))
    params = MixtureParameters(np.log(counts / counts.sum()), tuple(components))
    return model.hold(params) if model.is_regular(params) else None


def kmeans(points: Array, k: int, rng: Rng, n_iter: int = 6) -> NDArray[np.intp]:
    """A few Lloyd iterations from k-means++ seeds (Arthur & Vassilvitskii 2007)."""
    centres = _plus_plus(points, k, rng)
    part = _nearest(points, centres)
    for _ in range(n_iter):
        counts = np.bincount(part, minlength=k)
        sums = np.stack([np.bincount(part, column, minlength=k) for column in points.T], axis=1)
        filled = counts > 0
        centres[filled] = sums[filled] / counts[filled, None]
        new = _nearest(points, centres)
        if np.array_equal(new, part):
            break
        part = new
    return part


def _plus_plus(points: Array, k: int, rng: Rng) -> Array:
    """Seeds drawn with probability proportional to the squared distance to the nearest seed."""
    seeds = np.empty((k, points.shape[1]))
    seeds[0] = points[rng.integers(len(points))]
    nearest = ((points - seeds[0]) ** 2).sum(axis=1)
    for j in range(1, k):
        cumulative = np.cumsum(nearest)
        if cumulative[-1] > 0:
            pick = int(np.searchsorted(cumulative, rng.random() * cumulative[-1]))
        else:
            pick = int(rng.integers(len(points)))
        seeds[j] = points[min(pick, len(points) - 1)]
        nearest = np.minimum(nearest, ((points - seeds[j]) ** 2).sum(axis=1))
    return seeds


def _nearest(points: Array, centres: Array) -> NDArray[np.intp]:
    squares = (centres**2).sum(axis=1) - 2.0 * (points @ centres.T)
    return np.argmin(squares, axis=1)


def _some_columns(points: Array, rng: Rng, all_of_them: float = 0.0) -> Array:
    if rng.random() < all_of_them:
        return points
    n_columns = points.shape[1]
    size = int(rng.integers(1, n_columns + 1))
    return np.ascontiguousarray(points[:, rng.choice(n_columns, size, replace=False)])


def _most_alike(relative: Array, weight: Array) -> tuple[int, int]:
    """The two components whose densities p_k/p are nearest, in mean square over the rows."""
    norms = weight @ relative**2
    distance = norms[:, None] + norms - 2.0 * (relative.T * weight) @ relative
    np.fill_diagonal(distance, np.inf)
    j, twin = np.unravel_index(np.argmin(distance), distance.shape)
    return int(j), int(twin)


def _spread(points: Array) -> Array:
    spread = points.std(axis=0)
    return np.where(spread > 0, spread, 1.0)


def _sphere(standardised: Array) -> Array:
    """Principal axes scaled to unit variance; directions without variance are left out."""
    _, singular, axes = np.linalg.svd(standardised, full_matrices=False)
    used = singular > 1e-8 * max(singular[0], 1e-300)
    if not used.any():
        return standardised
    return (standardised @ axes[used].T) / singular[used] * np.sqrt(len(standardised))
