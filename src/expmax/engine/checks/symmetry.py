"""Identities under changes that mean nothing: labels of components, units; and complete data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block
from expmax.engine.checks.expectation import posterior_of
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting
from expmax.engine.problem import Point, Problem

__all__ = ["affine_change", "calibration", "complete_data", "component_labels"]

SCALE = 2.5  # of the change of units
ITERATIVE = 10.0  # in units of SAME: two iterative M-steps that begin at different parameters
DRAWS = 10_000
SIGMAS = 5.0  # one check in a million goes further by chance


def component_labels(setting: Setting) -> Gap:
    """ℓ(Pθ) = ℓ(θ), H(Pθ) = H(θ) and F(Pθ) = P F(θ) for a permutation P of the components."""
    permute = setting.need("permute", "(params, order)")
    order = _permutation(setting)
    gap = Gap()
    blocks = [_relabelled(block, order) for block in setting.blocks]
    problem = Problem(setting.model, blocks, setting.problem.compute)
    for point in [setting.start, *setting.near]:
        other = problem.at(permute(point.params, order))
        slack = setting.rounding(point, other)
        a, b = other.expectation, point.expectation
        gap.equal(a.log_likelihood, b.log_likelihood, slack, "in ℓ")
        gap.equal(a.entropy, b.entropy, slack, "in H")
        step = permute(setting.problem.maximize(point), order)
        setting.same_params(gap, problem.maximize(other), step, "in F", ITERATIVE)
    return gap


def _permutation(setting: Setting) -> NDArray[np.intp]:
    """A cyclic exchange within each set of components that may be exchanged."""
    exchangeable = getattr(setting.model, "exchangeable", None)
    n_components = getattr(setting.model, "n_components", None)
    if n_components is None:
        raise NotApplicableError("needs model.n_components")
    order = np.arange(n_components)
    for index in [order.copy()] if exchangeable is None else exchangeable():
        order[index] = np.roll(index, 1)
    if (order == np.arange(n_components)).all():
        raise NotApplicableError("no two components may exchange their labels")
    return order


def _relabelled(block: Block, order: NDArray[np.intp]) -> Block:
    """Known components under their new numbers: new component j is the old order[j]."""
    if block.label is None:
        return block
    number = np.argsort(order)
    return replace(block, label=np.where(block.label >= 0, number[block.label], -1))


def affine_change(setting: Setting) -> Gap:
    """x → a + cx changes ℓ by −Σw log c a cell, leaves H, and F(θ) goes along."""
    rescale = setting.need("rescale", "(params, shift, scale)")
    rng = setting.rng("affine change")
    x = np.vstack([block.x for block in setting.blocks]).astype(float)
    shift = rng.uniform(0.5, 2.0, x.shape[1]) * np.nanstd(x, axis=0)
    if rescale(setting.start.params, shift, SCALE) is None:
        raise NotApplicableError("the model is of no location-scale family")
    blocks = [replace(block, x=shift + SCALE * block.x) for block in setting.blocks]
    problem = Problem(setting.model, blocks, setting.problem.compute)
    cells = sum(_present(block) for block in setting.blocks)
    gap = Gap()
    for point in [setting.start, *setting.near]:
        other = problem.at(rescale(point.params, shift, SCALE))
        slack = 4.0 * setting.rounding(point, other)
        a, b = other.expectation, point.expectation
        gap.equal(a.log_likelihood, b.log_likelihood - cells * np.log(SCALE), slack, "in ℓ")
        gap.equal(a.entropy, b.entropy, slack, "in H")
        if getattr(setting.model, "prior", None) is None:  # a prior knows the unit of x
            step = rescale(setting.problem.maximize(point), shift, SCALE)
            setting.same_params(gap, problem.maximize(other), step, "in F", ITERATIVE)
    return gap


def _present(block: Block) -> float:
    """Σw over the cells present."""
    cells = (~np.isnan(block.x)).sum(axis=1)
    return float(cells.sum() if block.weight is None else cells @ block.weight)


def complete_data(setting: Setting) -> Gap:
    """All labels known: one M-step is the maximum, whatever θ; and the entropy is 0."""
    setting.need_maximum()
    for name in ("inner_latent", "local_statistics"):
        if setting.declared(name, False):
            raise NotApplicableError(f"the model declares {name}: labels do not complete the data")
    if not setting.declared("supports_labels", True):
        raise NotApplicableError("the model declares supports_labels = False")
    blocks = [_completed(setting, block) for block in setting.blocks]
    problem = Problem(setting.model, blocks, setting.problem.compute)
    gap = Gap()
    point = problem.at(setting.start.params)
    first = problem.maximize(point)
    bad = problem.degeneracies(Point(first, point.expectation, point.objective))
    if bad:
        raise NotApplicableError(f"labels drawn from the posterior: {bad[0].reason}")
    gap.equal(point.expectation.entropy, 0.0, setting.rounding(setting.start), "in H")
    setting.same_params(
        gap, problem.maximize(problem.at(first)), first, "in F(F(θ)) − F(θ)", ITERATIVE
    )
    for other in setting.near:
        step = problem.maximize(problem.at(other.params))
        setting.same_params(gap, step, first, "in F(θ') − F(θ)", ITERATIVE)
    return gap


def _completed(setting: Setting, block: Block) -> Block:
    """Labels for the rows that have none, drawn from the posterior."""
    r = posterior_of(setting, setting.start.params, block)[0]
    draw = setting.rng("labels").random((len(r), 1))
    label = np.minimum((r.cumsum(axis=1) < draw).sum(axis=1), r.shape[1] - 1)
    if block.label is not None:
        label = np.where(block.label >= 0, block.label, label)
    return replace(block, label=label.astype(np.int64))


def calibration(setting: Setting) -> Gap:
    """Of simulated rows with posterior r_k, a share r_k is of component k."""
    sample = setting.need("sample", "(params, n, rng) -> (x, component)")
    gap = Gap("standard errors")
    params = setting.start.params
    drawn: Any = sample(params, DRAWS, setting.rng("calibration"))
    if not isinstance(drawn, tuple):
        raise NotApplicableError("model.sample gives no latent values beside the rows")
    x, z = drawn
    r = posterior_of(setting, params, Block(np.asarray(x)))[0]
    off = (np.asarray(z)[:, None] == np.arange(r.shape[1])) - r
    spread = r * (1.0 - r)
    for k in range(r.shape[1]):
        for name, factor in (("", 1.0), (", by size", r[:, k])):
            error = np.sqrt(float((factor**2 * spread[:, k]).sum()) + 1.0)
            total = float((factor * off[:, k]).sum())
            gap.equal(total / error, 0.0, SIGMAS, f"in component {k}{name}")
    return gap
