"""Variational Bayes of finite mixtures: q(z) q(θ), with q(θ) conjugate, as coordinate ascent of a bound.

The bound on log p(x) is E_q log p(x, z | θ) + H[q(z)] − KL(q(θ) ‖ p(θ)). To the engine it is EM: θ is q(θ), the
E-step has E_q log w and E_q log p(x | θ) in place of log w and log p, Q(q(θ); S) is linear in the same expected
sufficient statistics S, and −KL(q(θ) ‖ p(θ)) is the log prior. The M-step is the conjugate update, prior + S.
So the engine's proof of ascent holds term by term; what is proved to rise is a bound, and is called one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Expectation, Parameters, Start
from expmax.errors import parameter_error
from expmax.families.bernoulli import Bernoulli
from expmax.families.categorical import Categorical
from expmax.inference.responsibilities import clamp_labels, soft_assign
from expmax.models.mixture import Group, MixtureStatistics
from expmax.models.mixture_starts import BLENDS, MixtureStarts
from expmax.priors.conjugate import Conjugate
from expmax.priors.probabilities import BetaProbability, DirichletProbability
from expmax.statistics import Array

__all__ = [
    "VariationalMixture",
    "VariationalParameters",
    "VariationalStarts",
    "WeightDistribution",
    "WeightType",
]

WeightType = Literal["dirichlet_distribution", "dirichlet_process"]
STEP = 1e-4  # of central differences, in units of a coordinate's own size
RIDGE = 1e-10  # keeps the whitening regular where two coordinates all but coincide
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class WeightDistribution:
    """The distribution of K mixing weights: Dirichlet, or stick-breaking cut at K (a Dirichlet process).

    Sticks: w_k = v_k Π_{j<k} (1 − v_j) with v_k ~ Beta(1, α) and v_K = 1; they favour early components.

    References
    ----------
    Ishwaran & James (2001), J. Am. Statist. Assoc. 96, 161-173. Blei & Jordan (2006), Bayesian Anal. 1(1).
    """

    kind: WeightType
    distribution: Any  # DirichletProbability, or BetaProbability of K − 1 sticks, of one component

    @classmethod
    def prior(cls, kind: WeightType, n_components: int, concentration: Any) -> WeightDistribution:
        """Symmetric Dirichlet of parameter α, or sticks Beta(1, α)."""
        alpha = np.asarray(concentration, float)
        if not (np.isfinite(alpha).all() and (alpha > 0).all()):
            raise parameter_error("concentration", "positive and finite", concentration)
        if kind == "dirichlet_distribution":
            values = np.broadcast_to(alpha, (1, n_components))
            return cls(kind, DirichletProbability(Categorical(n_components), np.array(values)))
        ones = np.ones((1, n_components - 1))
        return cls(kind, BetaProbability(Bernoulli(), ones, alpha * ones))

    def update(self, counts: Array) -> WeightDistribution:
        """The posterior after expected counts."""
        if self.kind == "dirichlet_process":
            later = np.cumsum(counts[::-1])[::-1][1:]
            counts = np.concatenate([counts[:-1], later])
        made = self.distribution.with_natural(self.distribution.natural() + counts)
        return replace(self, distribution=made)

    def expected_log(self) -> Array:
        """E[log w_k], nats: shape (K,)."""
        logs = self.distribution.expected_statistics()[0]
        if self.kind == "dirichlet_distribution":
            return np.asarray(logs)
        hit, miss = np.split(logs, 2)
        return np.append(hit, 0.0) + np.concatenate([[0.0], np.cumsum(miss)])

    def mean(self) -> Array:
        """E[w_k]: shape (K,)."""
        share = self.distribution.mean()["probability"][0]
        if self.kind == "dirichlet_distribution":
            return np.asarray(share)
        return np.append(share, 1.0) * np.concatenate([[1.0], np.cumprod(1.0 - share)])

    def kl_divergence(self, other: WeightDistribution) -> float:
        """KL(self ‖ other), nats."""
        return float(self.distribution.kl_divergence(other.distribution).sum())

    def take(self, order: NDArray[np.intp]) -> WeightDistribution:
        """Components relabelled; sticks keep their order."""
        if self.kind == "dirichlet_process":
            return self
        values = self.distribution.concentration[:, order]
        return replace(self, distribution=replace(self.distribution, concentration=values))


@dataclass(frozen=True, eq=False)
class VariationalParameters:
    """q(θ): of the weights, and of each group of like components."""

    weights: WeightDistribution
    posteriors: tuple[Conjugate, ...]
    is_inside: bool = True  # False where a proposed step left the space of distributions

    @property
    def log_weights(self) -> Array:
        """log E[w_k]: shape (K,)."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights.mean())

    @cached_property
    def components(self) -> tuple[Parameters, ...]:
        """E[θ], the usual parameters of each group."""
        return tuple(q.mean() for q in self.posteriors)

    def leaves(self) -> list[Any]:
        """Every distribution that q(θ) is the product of."""
        parts = [leaf for q in self.posteriors for leaf in q.leaves()]
        return [self.weights.distribution, *parts]

    def with_leaves(self, leaves: list[Any]) -> VariationalParameters:
        """The same product of others."""
        rest = iter(leaves[1:])
        return VariationalParameters(
            replace(self.weights, distribution=leaves[0]),
            tuple(q.with_leaves(rest) for q in self.posteriors),
            all(leaf.is_proper() for leaf in leaves),
        )


@dataclass(frozen=True)
class VariationalMixture:
    """The mixture under q(z) q(θ) as the engine sees it.

    References
    ----------
    Attias (1999), UAI 15, 21-30. Beal (2003), Variational Algorithms for Approximate Bayesian Inference,
    ch. 2 and 4. Bishop (2006), Pattern Recognition and Machine Learning, §10.2.
    """

    groups: tuple[Group, ...]
    n_components: int
    weight_prior: WeightDistribution
    priors: tuple[Conjugate, ...]
    fixed: dict[str, Any] = field(default_factory=dict)  # nothing can be held

    # -- E-step ------------------------------------------------------------------------------------
    def log_joint(self, params: VariationalParameters, block: Block) -> Array:
        """E[log w_k] + E[log p_k(x_i | θ_k)], nats: shape (n, K)."""
        out = np.empty((len(block.x), self.n_components))
        x = np.asarray(block.x, float)
        for g, group in enumerate(self.groups):
            out[:, group.index] = params.posteriors[g].expected_log_density(x, _memo(block, g))
        return out + params.weights.expected_log()

    def expect(self, params: VariationalParameters, block: Block) -> Expectation[MixtureStatistics]:
        """E-step on one block; `log_likelihood` is its share of the bound."""
        if not params.is_inside:
            nan = float("nan")
            empty = MixtureStatistics(np.full(self.n_components, nan), ())
            return Expectation(empty, nan, nan, block.total_weight, "bound")
        r, log_evidence, entropies = self._assign(params, block)
        if block.weight is not None:
            used = block.weight > 0
            r = np.where(used[:, None], r * block.weight[:, None], 0.0)
            bound = float(block.weight[used] @ log_evidence[used])
            entropy = float(block.weight[used] @ entropies[used])
        else:
            bound, entropy = float(log_evidence.sum()), float(entropies.sum())
        statistics = self.statistics(block, r, params.components)
        return Expectation(statistics, bound, entropy, block.total_weight, "bound")

    def statistics(
        self, block: Block, responsibilities: Array, components: tuple[Parameters, ...]
    ) -> MixtureStatistics:
        """Class counts and each group's sums; `components` tell what moments are about."""
        x = np.asarray(block.x, float)
        sums = tuple(
            group.family.statistics(
                components[g], x, responsibilities[:, group.index], _memo(block, g)
            )
            for g, group in enumerate(self.groups)
        )
        return MixtureStatistics(responsibilities.sum(axis=0), sums)

    def _assign(self, params: VariationalParameters, block: Block) -> tuple[Array, Array, Array]:
        log_joint = self.log_joint(params, block)
        if block.label is not None:
            clamp_labels(log_joint, block.label)
        return soft_assign(log_joint)

    def assign(self, params: VariationalParameters, block: Block) -> tuple[Array, Array, Array]:
        """q(z_i): shape (n, K); the log predictive density of each row under q(θ); entropies of q(z_i)."""
        r, _, entropies = self._assign(params, block)
        log_joint = np.empty_like(r)
        for g, group in enumerate(self.groups):
            log_joint[:, group.index] = params.posteriors[g].log_predictive(block.x)
        _, log_density, _ = soft_assign(log_joint + params.log_weights)
        return r, log_density, entropies

    # -- M-step ------------------------------------------------------------------------------------
    def maximize(
        self, statistics: MixtureStatistics, params: VariationalParameters | None
    ) -> VariationalParameters:
        """The conjugate update: prior + expected statistics."""
        pairs = zip(self.priors, statistics.components, strict=True)
        return VariationalParameters(
            self.weight_prior.update(statistics.counts),
            tuple(prior.update(sums) for prior, sums in pairs),
        )

    def expected_log_joint(
        self, params: VariationalParameters, statistics: MixtureStatistics
    ) -> float:
        """E_q log p(x, z | θ), nats, from the statistics alone."""
        weights = float(statistics.counts @ params.weights.expected_log())
        pairs = zip(params.posteriors, statistics.components, strict=True)
        return weights + sum(q.expected_log_likelihood(sums) for q, sums in pairs)

    def log_prior(self, params: VariationalParameters) -> float:
        """−KL(q(θ) ‖ p(θ)), nats."""
        if not params.is_inside:
            return float("nan")
        with np.errstate(all="ignore"):
            pairs = zip(params.posteriors, self.priors, strict=True)
            parts = sum(float(q.kl_divergence(p).sum()) for q, p in pairs)
            return -params.weights.kl_divergence(self.weight_prior) - parts

    def magnitude(self, params: VariationalParameters, statistics: MixtureStatistics) -> float:
        """Size of the terms that the bound sums, nats."""
        weights = float(statistics.counts @ np.abs(params.weights.expected_log()))
        pairs = zip(params.posteriors, statistics.components, strict=True)
        rows = sum(abs(q.expected_log_likelihood(sums)) for q, sums in pairs)
        own = sum(float(np.abs(leaf.log_normalizer()).sum()) for leaf in params.leaves())
        return 8.0 * (weights + rows + own)

    def chart(self, params: VariationalParameters, statistics: MixtureStatistics) -> Any:
        """Whitened coordinates of q(θ)."""
        return _Chart(self, params, statistics)

    # -- starts ------------------------------------------------------------------------------------
    def from_responsibilities(self, blocks: list[tuple[Block, Array]]) -> VariationalParameters:
        """The M-step from given (weighted) responsibilities of the rows of each block."""
        components: tuple[Parameters, ...] = tuple(prior.mean() for prior in self.priors)
        for _ in range(2):  # the second time about the components' own means
            total: Any = None
            for block, r in blocks:
                part = self.statistics(block, r, components)
                total = part if total is None else total + part
            params = self.maximize(total, None)
            components = params.components
        return params

    # -- description -------------------------------------------------------------------------------
    def counts(self, params: VariationalParameters) -> Array:
        """Expected rows of each component: shape (K,)."""
        gained = (params.weights.distribution.natural() - self.weight_prior.distribution.natural())[
            0
        ]
        if params.weights.kind == "dirichlet_distribution":
            return np.asarray(gained)
        hit, miss = np.split(gained, 2)
        return np.append(hit, miss[-1]) if len(hit) else np.full(1, np.inf)  # one has all rows

    def n_parameters(self, params: VariationalParameters) -> int:
        """Free parameters of the model behind the bound."""
        own = zip(self.groups, params.components, strict=True)
        return self.n_components - 1 + sum(group.family.n_parameters(part) for group, part in own)

    def boundary(self, params: VariationalParameters) -> list[str]:
        """None: a distribution of parameters has no edge."""
        return []

    def permute(
        self, params: VariationalParameters, order: NDArray[np.intp]
    ) -> VariationalParameters:
        """Relabel components; `order` may only exchange components of the same group."""
        posteriors = []
        for g, group in enumerate(self.groups):
            position = {int(k): i for i, k in enumerate(group.index)}
            own = np.array([position[int(k)] for k in order[group.index]])
            posteriors.append(params.posteriors[g].take(own))
        return VariationalParameters(params.weights.take(order), tuple(posteriors))

    def canonical_order(self, params: VariationalParameters) -> NDArray[np.intp]:
        """Components by their location within each group; sticks keep the order they were broken in."""
        order = np.arange(self.n_components)
        if params.weights.kind == "dirichlet_process":
            return order
        for g, group in enumerate(self.groups):
            location = group.family.location(params.components[g])
            order[group.index] = group.index[np.lexsort(location.T[::-1])]
        return order

    def copy_parameters(self, params: VariationalParameters) -> VariationalParameters:
        """Parameters that share no memory with anything: no step writes into these."""
        return params

    def sample(
        self, params: VariationalParameters, n: int, rng: Rng
    ) -> tuple[Array, NDArray[np.int64]]:
        """n draws of the predictive distribution, each from its own θ, and their components."""
        weights = params.weights.mean()
        counts = rng.multinomial(n, weights / weights.sum())
        rows: list[Array] = []
        for k in range(self.n_components):
            for g, group in enumerate(self.groups):
                for i in np.flatnonzero(group.index == k):
                    draw = params.posteriors[g].sample_predictive
                    rows.append(draw(int(i), int(counts[k]), rng))
        return np.vstack(rows), np.repeat(np.arange(self.n_components), counts)


class _Chart:
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


class VariationalStarts(MixtureStarts):
    """The mixture's starts and moves, finished by a conjugate update: every one is regular."""

    def from_responsibilities(self, responsibilities: Array) -> Any:
        if self.block.label is not None:
            known = np.flatnonzero(self.block.label >= 0)
            responsibilities[known] = 0.0
            responsibilities[known, self.block.label[known]] = 1.0
        share = BLENDS[1]  # so that no component is cut off from the start
        r = (1 - share) * responsibilities + share / self.model.n_components
        if self.block.weight is not None:
            r = r * self.block.weight[:, None]
        model: Any = self.model
        return model.from_responsibilities([(self.block, r)])

    def _steepest(self, params: Any) -> Start[Any] | None:
        return None

    def _swap(self, params: Any, drop: Array, rng: Rng) -> Start[Any] | None:
        model: Any = self.model
        r, _, _ = model._assign(params, self.block)
        dropped = int(rng.integers(model.n_components))
        r[:, dropped] = 0.0
        total = r.sum(axis=1, keepdims=True)
        r = np.where(total > 0, r / np.where(total > 0, total, 1.0), 1.0 / model.n_components)
        others = np.delete(np.arange(model.n_components), dropped)
        draw = rng.random()
        if len(others) and draw < 0.2:  # leave it empty: fewer components
            kind = "emptied"
        elif len(others) and draw < 0.65:
            kind = self._split(r, int(rng.choice(others)), dropped, rng)
        else:
            kind = self._seed_neighbours(r, dropped, rng)
        if kind == "emptied":
            weight = 1.0 if self.block.weight is None else self.block.weight[:, None]
            return Start(model.from_responsibilities([(self.block, r * weight)]), kind)
        return Start(self.from_responsibilities(r), kind)


def _memo(block: Block, g: int) -> dict[Any, Any] | None:
    return None if block.memo is None else block.memo.setdefault(g, {})
