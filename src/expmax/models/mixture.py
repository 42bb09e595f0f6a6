"""Finite mixtures of any families: p(x) = Σ_k w_k p_k(x | θ_k)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Degeneracy, Expectation, Parameters
from expmax.families.base import Family
from expmax.families.parameters import (
    flatten,
    map_arrays,
    put,
    take,
    unflatten,
)
from expmax.families.point_mass import PointMass
from expmax.inference.responsibilities import clamp_labels, soft_assign
from expmax.models import fused
from expmax.statistics import Additive, Array

__all__ = ["Group", "MixtureModel", "MixtureParameters", "MixtureStatistics"]

CLOSE = 0.02  # standard deviations of one observation within which two components are the same
VANISHING = 1e-2  # expected rows below which a component is tried without weight
NO_WEIGHT = -27.6  # log of 1e-12: a weight below it supports nothing


@dataclass(frozen=True, slots=True)
class MixtureParameters:
    """θ: log mixing weights, and the parameters of each group of like components."""

    log_weights: Array  # log w_k, shape (K,)
    components: tuple[Parameters, ...]


@dataclass(frozen=True, slots=True)
class MixtureStatistics(Additive):
    """Expected sufficient statistics: class counts, and each group's own sums."""

    counts: Array  # Σ_i w_i r_ik, shape (K,)
    components: tuple[Additive, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Components of one family: they share an M-step (a tied covariance needs them together)."""

    family: Family
    index: NDArray[np.intp]  # which components of the mixture


@dataclass(frozen=True)
class MixtureModel:
    """The mixture as the engine sees it: `expect`, `maximize`, `expected_log_joint`.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Statist. Soc. B 39, §4.3. McLachlan & Peel (2000), ch. 2.
    """

    groups: tuple[Group, ...]
    n_components: int
    concentration: float = 1.0  # Dirichlet prior of the weights
    prior: tuple[Additive, ...] | None = None  # pseudo-statistics a group
    fixed_weights: Array | None = None  # log weights held, shape (K,)
    fixed: Mapping[int, Parameters] = field(default_factory=dict)  # parameters held, by group
    fixed_mask: NDArray[np.bool_] | None = None  # which components are held, shape (K,)
    marginal: tuple[Parameters, ...] | None = None  # each group's one-component fit of all rows
    compiled: bool = False  # large enough for compiled kernels
    large: bool = False  # so large that an M-step is not worth compiling

    # -- E-step ------------------------------------------------------------------------------------
    def log_joint(self, params: MixtureParameters, block: Block) -> Array:
        """log w_k + log p_k(x_i | θ_k), nats: shape (n, K)."""
        if len(self.groups) == 1:
            own = self._memo(block, 0)
            density = self.groups[0].family.log_density(params.components[0], block.x, own)
            return density + params.log_weights
        out = np.empty((len(block.x), self.n_components))
        for g, group in enumerate(self.groups):
            own = self._memo(block, g)
            out[:, group.index] = group.family.log_density(params.components[g], block.x, own)
        self._give_atoms_their_rows(out)
        return out + params.log_weights

    def _give_atoms_their_rows(self, log_density: Array) -> None:
        """A row on a point mass has density zero under the continuous components beside it."""
        if not self._atoms.any() or not self._continuous.any():
            return
        hit = (log_density[:, self._atoms] > -np.inf).any(axis=1)
        log_density[np.ix_(hit, self._continuous)] = -np.inf

    @property
    def _atoms(self) -> NDArray[np.bool_]:
        return self._mask([isinstance(group.family, PointMass) for group in self.groups])

    @property
    def _continuous(self) -> NDArray[np.bool_]:
        return self._mask([not group.family.discrete for group in self.groups])

    def _mask(self, flags: Sequence[bool]) -> NDArray[np.bool_]:
        out = np.zeros(self.n_components, bool)
        for flag, group in zip(flags, self.groups, strict=True):
            out[group.index] = flag
        return out

    def expect(self, params: MixtureParameters, block: Block) -> Expectation[MixtureStatistics]:
        """E-step on one block: responsibilities, then weighted sums of T(x)."""
        if self.compiled and len(self.groups) == 1:
            fast = fused.expect(
                self.groups[0].family, params.components[0], params.log_weights, block
            )
            if fast is not None:
                counts, sums, log_likelihood, entropy = fast
                statistics = MixtureStatistics(counts, (sums,))
                return Expectation(statistics, log_likelihood, entropy, block.total_weight)
        responsibilities, log_evidence, entropies = self.assign(params, block)
        if block.weight is None:
            log_likelihood, entropy = float(log_evidence.sum()), float(entropies.sum())
        else:
            responsibilities = responsibilities * block.weight[:, None]
            used = block.weight > 0  # a row of weight zero is absent, whatever its density
            log_likelihood = float(block.weight[used] @ log_evidence[used])
            entropy = float(block.weight[used] @ entropies[used])
            responsibilities[~used] = 0.0
        components = []
        for g, group in enumerate(self.groups):
            own = responsibilities if len(self.groups) == 1 else responsibilities[:, group.index]
            memo = self._memo(block, g)
            sums = group.family.statistics(params.components[g], block.x, own, memo)
            entropy += group.family.latent_entropy(sums)
            components.append(sums)
        statistics = MixtureStatistics(responsibilities.sum(axis=0), tuple(components))
        return Expectation(statistics, log_likelihood, entropy, block.total_weight)

    def assign(self, params: MixtureParameters, block: Block) -> tuple[Array, Array, Array]:
        """Responsibilities (n, K), log p(x_i) (n,) and entropy (n,) of each row, nats."""
        log_joint = self.log_joint(params, block)
        if block.label is not None:
            clamp_labels(log_joint, block.label)
        return soft_assign(log_joint)

    def _memo(self, block: Block, g: int) -> dict[Any, Any] | None:
        return None if block.memo is None else block.memo.setdefault(g, {})

    # -- M-step ------------------------------------------------------------------------------------
    def maximize(
        self, statistics: MixtureStatistics, params: MixtureParameters | None
    ) -> MixtureParameters:
        """M-step: class counts give the weights, each family matches its moments."""
        components = []
        populated = bool(statistics.counts.min() > 0)
        for g, group in enumerate(self.groups):
            sums: Additive = statistics.components[g]
            if self.prior is not None:
                sums = sums + self.prior[g]
            old = None if params is None else params.components[g]
            new = fused.maximize(group.family, sums) if self.compiled and not self.large else None
            if new is None:
                new = group.family.maximize(sums, old)
            if old is not None and self.prior is None and not populated:
                empty = statistics.counts[group.index] <= 0
                new = put(new, old, empty)  # nobody's parameters: Q does not depend on them
            if g in self.fixed and self.fixed_mask is not None:
                new = put(new, self.fixed[g], self.fixed_mask[group.index])
            components.append(new)
        log_weights = self._log_weights(statistics.counts, populated)
        return MixtureParameters(log_weights, tuple(components))

    def _log_weights(self, counts: Array, populated: bool) -> Array:
        if self.fixed_weights is not None:
            return self.fixed_weights
        pseudo = counts if self.concentration == 1.0 else counts + (self.concentration - 1.0)
        share = pseudo / pseudo.sum()
        if populated:
            return np.log(share)
        with np.errstate(divide="ignore"):
            return np.log(share)

    def expected_log_joint(self, params: MixtureParameters, statistics: MixtureStatistics) -> float:
        """Q(θ; S) = Σ_k n_k log w_k + Σ_k E[log p_k(x | θ_k)], nats."""
        if self.compiled and not self.large and len(self.groups) == 1:
            family, part = self.groups[0].family, params.components[0]
            sums = statistics.components[0]
            value = fused.expected_log_joint(family, params.log_weights, part, sums)
            if value is not None:
                return value
        counts, log_weights = statistics.counts, params.log_weights
        if not counts.min() > 0:  # 0 · −∞ is 0
            log_weights = np.where(counts > 0, log_weights, 0.0)
        value = float(counts @ log_weights)
        for g, group in enumerate(self.groups):
            value += group.family.expected_log_density(
                params.components[g], statistics.components[g]
            )
        return value

    def magnitude(self, params: MixtureParameters, statistics: MixtureStatistics) -> float:
        """Size of the terms that Q sums, nats."""
        size = sum(
            group.family.magnitude(params.components[g], statistics.components[g])
            for g, group in enumerate(self.groups)
        )
        if self.compiled and len(self.groups) == 1:
            size *= fused.cancellation(
                self.groups[0].family, params.components[0], params.log_weights
            )
        return size

    def log_prior(self, params: MixtureParameters) -> float:
        """Log prior density up to a constant, nats: 0 without a prior."""
        value = 0.0
        if self.concentration != 1.0 and self.fixed_weights is None:
            value += (self.concentration - 1.0) * float(params.log_weights.sum())
        if self.prior is not None:
            value += sum(
                group.family.expected_log_density(params.components[g], self.prior[g])
                for g, group in enumerate(self.groups)
            )
        return value

    def chart(self, params: MixtureParameters, statistics: MixtureStatistics) -> Any:
        """Whitened coordinates at these parameters; None where a family has none."""
        from expmax.models.mixture_chart import MixtureChart

        chart = MixtureChart(self, params, statistics)
        return chart if chart.complete and len(chart.scale) else None

    def to_array(self, params: MixtureParameters) -> Array:
        """Weights and parameters as one vector, for extrapolation."""
        parts = [np.exp(params.log_weights)]
        parts += [flatten(part) for part in params.components]
        return np.concatenate(parts)

    def from_array(self, vector: Array, like: MixtureParameters) -> MixtureParameters | None:
        """Parameters of a vector; None where weights leave the simplex or a family's own their space."""
        k = self.n_components
        if not (vector[:k] > 0).all():
            return None
        components: list[Parameters] = []
        start = k
        for part in like.components:
            size = len(flatten(part))
            components.append(unflatten(vector[start : start + size], part))
            start += size
        components = [
            group.family.retract(part, vector[group.index])
            for group, part in zip(self.groups, components, strict=True)
        ]
        inside = (
            g.family.in_space(part).all() for g, part in zip(self.groups, components, strict=True)
        )
        if not all(inside):
            return None
        weights = np.log(vector[:k] / vector[:k].sum())
        return self.hold(MixtureParameters(weights, tuple(components)))

    # -- what the engine may ask further -----------------------------------------------------------
    @property
    def inner_latent(self) -> bool:
        """Whether a family has latent variables that `assign` does not report."""
        return any(group.family.inner_latent for group in self.groups)

    @property
    def exact_m_step(self) -> bool:
        """Whether `maximize` takes the greatest Q: under a prior a Student t only ascends its own."""
        return self.prior is None or not self.inner_latent

    @property
    def local_statistics(self) -> bool:
        """Whether a family's sums depend on the current parameters even of complete data."""
        return any(group.family.local_statistics for group in self.groups)

    def degeneracies(
        self, params: MixtureParameters, statistics: MixtureStatistics
    ) -> list[Degeneracy]:
        """Collapsed components, numbered within the mixture."""
        found = []
        for g, group in enumerate(self.groups):
            marginal = None if self.marginal is None else self.marginal[g]
            own = group.family.degeneracies(
                params.components[g], statistics.components[g], marginal
            )
            for one in own:
                component = int(group.index[one.component])
                held = self.fixed_mask is not None and self.fixed_mask[component]
                if not held and not statistics.counts[component] <= 0:  # NaN: it collapsed
                    found.append(Degeneracy(component, one.reason))
        return found

    def hold(self, params: MixtureParameters) -> MixtureParameters:
        """The same parameters with everything fixed put to its value."""
        components = [
            put(part, self.fixed[g], self.fixed_mask[group.index])
            if g in self.fixed and self.fixed_mask is not None
            else part
            for g, (group, part) in enumerate(zip(self.groups, params.components, strict=True))
        ]
        weights = params.log_weights if self.fixed_weights is None else self.fixed_weights
        return MixtureParameters(weights, tuple(components))

    def is_regular(self, params: MixtureParameters) -> bool:
        """Whether a start is fit to be run: finite parameters, no component collapsed."""
        for g, group in enumerate(self.groups):
            part = params.components[g]
            marginal = None if self.marginal is None else self.marginal[g]
            if not group.family.in_space(part).all() or group.family.degeneracies(
                part, None, marginal
            ):
                return False
        return True

    def snap(
        self, params: MixtureParameters, statistics: MixtureStatistics
    ) -> MixtureParameters | None:
        """The parameters with every vanishing weight, rate and probability at 0; None if none is."""
        if self.prior is not None or self.concentration != 1.0:
            return None
        changed = False
        components = []
        for g, group in enumerate(self.groups):
            new = group.family.snap(params.components[g], statistics.components[g])
            changed |= new is not None
            components.append(params.components[g] if new is None else new)
        log_weights = params.log_weights
        vanishing = (statistics.counts < VANISHING) & np.isfinite(log_weights)
        if self.fixed_weights is None and vanishing.any() and not vanishing.all():
            changed = True
            log_weights = np.where(vanishing, -np.inf, log_weights)
            log_weights = log_weights - np.log(np.exp(log_weights).sum())
        return self.hold(MixtureParameters(log_weights, tuple(components))) if changed else None

    def boundary(self, params: MixtureParameters) -> list[str]:
        """Names of the parameters on the edge of their space: weights of 0, probabilities of 0."""
        found = []
        if self.fixed_weights is None:
            empty = np.flatnonzero(params.log_weights < NO_WEIGHT)
            found += [f"weight of component {k}" for k in empty]
        for g, group in enumerate(self.groups):
            edges = group.family.boundary(params.components[g])
            found += [f"{name} of component {group.index[i]}" for i, name in edges]
        return found

    def n_parameters(self, params: MixtureParameters) -> int:
        """Free parameters: K − 1 weights and the families' own, less what is held."""
        total = 0 if self.fixed_weights is not None else self.n_components - 1
        for g, group in enumerate(self.groups):
            free = (
                np.ones(len(group.index), bool)
                if self.fixed_mask is None
                else ~self.fixed_mask[group.index]
            )
            if free.any():
                total += group.family.n_parameters(take(params.components[g], free))
        return total

    def permute(self, params: MixtureParameters, order: NDArray[np.intp]) -> MixtureParameters:
        """Relabel components; `order` may only exchange components of the same group."""
        components = []
        for g, group in enumerate(self.groups):
            position = {int(k): i for i, k in enumerate(group.index)}
            components.append(
                take(params.components[g], [position[int(k)] for k in order[group.index]])
            )
        return MixtureParameters(params.log_weights[order], tuple(components))

    def exchangeable(self) -> list[NDArray[np.intp]]:
        """Sets of components that may swap labels: of one group, and held alike."""
        held = np.zeros(self.n_components, bool) if self.fixed_mask is None else self.fixed_mask
        free = [group.index[~held[group.index]] for group in self.groups]
        if self.fixed_weights is None:
            return free
        weights = self.fixed_weights
        return [index[weights[index] == w] for index in free for w in np.unique(weights[index])]

    def coincident(
        self, params: MixtureParameters, statistics: MixtureStatistics
    ) -> list[tuple[int, int]]:
        """Pairs of components that are one: exchanging their parameters moves no coordinate.

        None under a prior, which may hold components together at a proper maximum.
        """
        if self.prior is not None:
            return []
        from expmax.models.mixture_chart import MixtureChart

        chart = MixtureChart(self, params, statistics)
        used = params.log_weights > NO_WEIGHT
        for g, group in enumerate(self.groups):  # what is on its edge has no coordinate
            used[[group.index[i] for i, _ in group.family.boundary(params.components[g])]] = False
        found = []
        for index in self.exchangeable():
            for a, b in combinations(index[used[index]].tolist(), 2):
                order = np.arange(self.n_components)
                order[[a, b]] = b, a
                swapped = replace(self.permute(params, order), log_weights=params.log_weights)
                with np.errstate(invalid="ignore"):  # −∞ less −∞ at an edge
                    moved = np.abs(chart.to_vector(swapped)) / np.maximum(chart.scale, 1e-300)
                if moved.max(initial=0.0) < CLOSE:
                    found.append((a, b))
        return found

    def rescale(
        self, params: MixtureParameters, shift: Array, scale: float
    ) -> MixtureParameters | None:
        """Parameters of shift + scale · x; None where a family is no location-scale family."""
        components = []
        for group, part in zip(self.groups, params.components, strict=True):
            change = getattr(group.family, "rescale", None)
            new = None if change is None or self.fixed else change(part, shift, scale)
            if new is None:
                return None
            components.append(new)
        return MixtureParameters(params.log_weights, tuple(components))

    def canonical_order(self, params: MixtureParameters) -> NDArray[np.intp]:
        """Components by their location, column after column, within each group."""
        order = np.arange(self.n_components)
        for g, group in enumerate(self.groups):
            location = group.family.location(params.components[g])
            order[group.index] = group.index[np.lexsort(location.T[::-1])]
        return order

    def sample(
        self, params: MixtureParameters, n: int, rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.int64]]:
        """n draws and the component that each came from."""
        weights = np.exp(params.log_weights)
        counts = rng.multinomial(n, weights / weights.sum())
        rows: list[Array] = []
        for k in range(self.n_components):
            for g, group in enumerate(self.groups):
                for i in np.flatnonzero(group.index == k):
                    rows.append(group.family.sample(params.components[g], int(i), counts[k], rng))
        return np.vstack(rows), np.repeat(np.arange(self.n_components), counts)

    def copy_parameters(self, params: MixtureParameters) -> MixtureParameters:
        """Parameters that share no memory with anything."""
        return MixtureParameters(
            params.log_weights.copy(),
            tuple(map_arrays(np.array, part) for part in params.components),
        )
