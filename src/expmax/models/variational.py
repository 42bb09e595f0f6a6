"""Variational Bayes of finite mixtures: q(z) q(θ), with q(θ) conjugate, as coordinate ascent of a bound.

The bound on log p(x) is E_q log p(x, z | θ) + H[q(z)] − KL(q(θ) ‖ p(θ)). To the engine it is EM: θ is q(θ), the
E-step has E_q log w and E_q log p(x | θ) in place of log w and log p, Q(q(θ); S) is linear in the same expected
sufficient statistics S, and −KL(q(θ) ‖ p(θ)) is the log prior. The M-step is the conjugate update, prior + S.
So the engine's proof of ascent holds term by term; what is proved to rise is a bound, and is called one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Expectation, Parameters
from expmax.inference.responsibilities import clamp_labels, soft_assign
from expmax.models.mixture import Group, MixtureStatistics
from expmax.models.variational_weights import WeightDistribution
from expmax.priors.conjugate import Conjugate
from expmax.statistics import Array

__all__ = ["VariationalMixture", "VariationalParameters"]

Rng = np.random.Generator


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
        from expmax.models.variational_chart import VariationalChart

        return VariationalChart(self, params, statistics)

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


def _memo(block: Block, g: int) -> dict[Any, Any] | None:
    return None if block.memo is None else block.memo.setdefault(g, {})
