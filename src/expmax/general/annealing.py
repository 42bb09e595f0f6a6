"""Annealed starts: EM steps with flattened posteriors, before plain EM takes over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expmax.contract import Block
from expmax.errors import parameter_error
from expmax.general.backend import double_precision, jnp
from expmax.general.programs import arrays
from expmax.general.statistics import JointStatistics, Part

__all__ = ["annealed", "check_schedule"]

STEPS = 10  # at each β


def check_schedule(anneal: Any, posterior: Any) -> tuple[float, ...]:
    """The values of β.

    Raises
    ------
    ParameterError
        They do not rise within (0, 1), or the posterior cannot be tempered.
    """
    if anneal is None:
        return ()
    betas = tuple(anneal) if isinstance(anneal, Sequence) and not isinstance(anneal, str) else None
    good = betas is not None and all(
        isinstance(beta, (int, float)) and 0 < beta < 1 for beta in betas
    )
    if betas is None or not good or list(betas) != sorted(set(betas)):
        raise parameter_error("anneal", "numbers between 0 and 1 that rise", anneal)
    if not hasattr(posterior, "tempered"):
        raise parameter_error(
            "anneal",
            "None for this rule",
            anneal,
            "Only exact posteriors of Finite, Finites and Markov latents are annealed",
        )
    return betas


@double_precision
def annealed(
    model: Any, params: Mapping[str, Any], blocks: Sequence[Block], betas: Sequence[float]
) -> dict[str, Any]:
    """Parameters after a few EM steps with q ∝ p(x, z | θ)^β at each β in turn.

    References
    ----------
    Ueda & Nakano (1998), Neural Networks 11(2).
    """
    theta = dict(params)
    for beta in betas:
        for _ in range(STEPS):
            total = _tempered(model, theta, blocks, beta)
            new = model.maximize(total, theta)
            if not np.isfinite(model.space.pack(new)).all():
                return theta
            theta = dict(new)
    return theta


def _tempered(
    model: Any, theta: Mapping[str, Any], blocks: Sequence[Block], beta: float
) -> JointStatistics:
    """The statistics of an E-step at β."""
    u = model.space.pack(theta)
    parts = []
    for block in blocks:
        prepared = model.prepared(block)
        kept = None
        if block.memo is not None:
            kept = tuple(
                model.programs.infer_tempered(jnp.asarray(u), arrays(chunk), beta)
                for chunk in prepared.chunks
            )
        parts.append(Part(u, 1.0, prepared, kept, model.programs, beta))
    return JointStatistics(tuple(parts), sum(part.prepared.weight for part in parts))
