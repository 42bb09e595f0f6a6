"""Compiled E-steps: which kernel serves which family, and from what size on it pays to compile."""

from __future__ import annotations

from expmax.contract import Block, Parameters
from expmax.families.base import Family
from expmax.statistics import Additive, Array

__all__ = ["expect"]


def expect(
    family: Family, parameters: Parameters, log_weights: Array, block: Block
) -> tuple[Array, Additive, float, float] | None:
    """Counts, statistics, log-likelihood and entropy of one block; None where no kernel applies."""
    return None
