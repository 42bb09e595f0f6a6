"""Identities of one E-step: the log-likelihood, Q, the entropy and the posterior fit together."""

from __future__ import annotations

import numpy as np

from expmax.contract import Block
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting
from expmax.engine.problem import Point
from expmax.statistics import Array

__all__ = [
    "cross_entropy",
    "elbo_and_kl",
    "enumeration",
    "gibbs",
    "kl_at_least_zero",
    "posterior",
    "posterior_of",
    "tightness",
]

TINY = 1e-150  # a responsibility below it adds nothing to a divergence


def tightness(setting: Setting) -> Gap:
    """ℓ(θ) = Q(θ; S_θ) + H(θ), at θ and near it."""
    if setting.start.expectation.kind in ("approximate", "monte_carlo"):
        setting.need_exact()
    gap = Gap()
    for point in [setting.start, *setting.near]:
        expectation = point.expectation
        q = setting.problem.q(point.params, point)
        gap.equal(expectation.log_likelihood, q + expectation.entropy, setting.rounding(point))
    return gap


def kl_at_least_zero(setting: Setting) -> Gap:
    """ℓ(θ') − Q(θ'; S_θ) − H(θ) = KL ≥ 0 at random θ' near θ."""
    setting.need_exact()
    gap = Gap()
    for point in _others(setting):
        gap.at_least(_implied_kl(setting, point), 0.0, _slack(setting, point))
    return gap


def elbo_and_kl(setting: Setting) -> Gap:
    """ℓ(θ') = Q(θ'; S_θ) + H(θ) + KL(q_θ ‖ q_θ'), the divergence from the posteriors themselves."""
    setting.need_exact()
    gap = Gap()
    for point in _others(setting):
        kl = _cross_entropy(setting, point) - _own_entropy(setting)
        gap.equal(_implied_kl(setting, point), kl, _slack(setting, point))
    return gap


def cross_entropy(setting: Setting) -> Gap:
    """ℓ(θ') = Q(θ'; S_θ) + H′ with H′ = −E log q_θ' under q_θ."""
    setting.need_exact()
    gap = Gap()
    for point in _others(setting):
        crossed = _cross_entropy(setting, point)
        q = setting.problem.q(point.params, setting.start)
        gap.equal(point.expectation.log_likelihood, q + crossed, _slack(setting, point))
    return gap


def gibbs(setting: Setting) -> Gap:
    """H′ ≥ H: the cross-entropy is at least the entropy that the E-step reports."""
    setting.need_exact()
    gap = Gap()
    for point in _others(setting):
        crossed = _cross_entropy(setting, point)
        gap.at_least(crossed, setting.start.expectation.entropy, _slack(setting, point))
    return gap


def posterior(setting: Setting) -> Gap:
    """Responsibilities sum to 1; their Σw log p(x) is ℓ, and their entropy is H."""
    setting.need_exact()
    gap = Gap()
    for point in [setting.start, *setting.near]:
        slack = 2.0 * setting.rounding(point)
        evidence = entropy = reported = 0.0
        for block in setting.blocks:
            weight = _weight(block)
            used = weight > 0
            r, log_evidence, entropies = posterior_of(setting, point.params, block)
            gap.arrays(r[used].sum(axis=1), np.ones(used.sum()), 1e-12, "in Σ_k r_ik")
            evidence += float(weight[used] @ log_evidence[used])
            reported += float(weight[used] @ entropies[used])
            entropy += float(weight[used] @ _entropies(r[used]))
        gap.equal(evidence, point.expectation.log_likelihood, slack, "in ℓ")
        gap.equal(reported, entropy, slack, "in the entropy of a row")
        if not setting.declared("inner_latent", False):
            gap.equal(entropy, point.expectation.entropy, slack, "in H")
    return gap


def enumeration(setting: Setting) -> Gap:
    """ℓ = Σ w log Σ_z p(x, z); Q(θ'; S_θ) = Σ w Σ_z p(z|x, θ) log p(x, z|θ'), by the full table."""
    setting.need_exact()
    setting.need("log_joint", "(params, block), shape (n, number of latent values)")
    gap = Gap()
    r = [_softmax(_log_joint(setting, setting.start.params, block)) for block in setting.blocks]
    for point in [setting.start, *setting.near]:
        slack = 2.0 * _slack(setting, point)
        evidence = q = 0.0
        for block, own in zip(setting.blocks, r, strict=True):
            weight = _weight(block)
            used = weight > 0
            table = _log_joint(setting, point.params, block)
            evidence += float(weight[used] @ _logsumexp(table)[used])
            q += float(weight[used] @ _expected(own, table)[used])
        gap.equal(point.expectation.log_likelihood, evidence, slack, "in ℓ")
        if not setting.declared("inner_latent", False):
            gap.equal(setting.problem.q(point.params, setting.start), q, slack, "in Q")
    return gap


def posterior_of(setting: Setting, params: object, block: Block) -> tuple[Array, Array, Array]:
    """Responsibilities, log p(x_i) and entropy of each row: by `assign`, or from the table `log_joint`."""
    assign = getattr(setting.model, "assign", None)
    with np.errstate(all="ignore"):
        if assign is not None:
            r, evidence, entropy = assign(params, block)
            return np.asarray(r), np.asarray(evidence), np.asarray(entropy)
        if getattr(setting.model, "log_joint", None) is None:
            raise NotApplicableError("needs model.assign or model.log_joint (params, block)")
        table = _log_joint(setting, params, block)
        r = _softmax(table)
        return r, _logsumexp(table), _entropies(r)


def _others(setting: Setting) -> list[Point]:
    if not setting.near:
        raise NotApplicableError("no other parameters near these are valid")
    return setting.near


def _implied_kl(setting: Setting, point: Point) -> float:
    """ℓ(θ') − Q(θ'; S_θ) − H(θ)."""
    q = setting.problem.q(point.params, setting.start)
    return point.expectation.log_likelihood - q - setting.start.expectation.entropy


def _slack(setting: Setting, point: Point) -> float:
    start = setting.start
    return 2.0 * setting.rounding(start, point, setting.crossed(point.params, start))


def _own_entropy(setting: Setting) -> float:
    """H from the posteriors themselves."""
    return _cross_entropy(setting, setting.start)


def _cross_entropy(setting: Setting, point: Point) -> float:
    """−Σ w Σ_k r_ik(θ) log r_ik(θ')."""
    if setting.declared("inner_latent", False):
        raise NotApplicableError("the model declares inner_latent: assign gives only a part of q")
    total = 0.0
    for block in setting.blocks:
        weight = _weight(block)
        used = weight > 0
        r = posterior_of(setting, setting.start.params, block)[0][used]
        other = posterior_of(setting, point.params, block)[0][used]
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(r > TINY, -r * np.log(other), 0.0)
        total += float(weight[used] @ terms.sum(axis=1))
    return total


def _weight(block: Block) -> Array:
    return np.ones(len(block.x)) if block.weight is None else block.weight


def _log_joint(setting: Setting, params: object, block: Block) -> Array:
    """The table with what a label excludes at −∞."""
    with np.errstate(all="ignore"):
        table = np.array(setting.model.log_joint(params, block), float)
    if block.label is not None:
        known = block.label >= 0
        other = np.arange(table.shape[1]) != block.label[:, None]
        table[known[:, None] & other] = -np.inf
    return table


def _logsumexp(table: Array) -> Array:
    top = table.max(axis=1)
    with np.errstate(all="ignore"):
        return np.asarray(top + np.log(np.exp(table - top[:, None]).sum(axis=1)))


def _softmax(table: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.exp(table - _logsumexp(table)[:, None]))


def _entropies(r: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(r > 0, -r * np.log(r), 0.0).sum(axis=1))


def _expected(r: Array, table: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(r > TINY, r * table, 0.0).sum(axis=1))
