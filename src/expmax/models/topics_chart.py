"""Whitened coordinates of topics: q(β) in log λ, where every number is allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import polygamma

from expmax.statistics import Array

__all__ = ["TopicChart"]

LEAST_SCALE = 3.0  # log λ of a word that a topic hardly holds may move this far in one step


class TopicChart:
    """v = Lᵀ(log λ − log λ₀), LLᵀ the Fisher information of the Dirichlet distributions in log λ.

    Of one topic it is D(I − ppᵀ)D with D² = λ²ψ'(λ) and p² = ψ'(Σλ)/ψ'(λ). The score of the bound in λ is
    F(λ)(λ* − λ), F the information in λ and λ* the conjugate update, where document steps are exact: the first
    step along it is, to first order, the EM step.
    """

    def __init__(self, params: Any, statistics: Any) -> None:
        self.params = replace(params, kept=statistics.kept)
        start = params.pseudo_counts
        own, whole = polygamma(1, start), polygamma(1, start.sum(axis=0))
        self.log_start = np.log(start)
        self.diagonal = start * np.sqrt(own)
        pull = np.sqrt(whole / own)
        share = (pull**2).sum(axis=0)  # below 1
        self.unit = pull / np.sqrt(share)
        self.shrink = np.sqrt(1.0 - share)
        self.scale = np.maximum(self.diagonal, LEAST_SCALE).ravel()

    def _stretch(self, values: Array, factor: Array) -> Array:
        """Multiply the part of each column along its unit vector by a factor."""
        along = (self.unit * values).sum(axis=0)
        return np.asarray(values + self.unit * ((factor - 1.0) * along))

    def to_vector(self, params: Any) -> Array:
        """v of q(β)."""
        moved = self.diagonal * (np.log(params.pseudo_counts) - self.log_start)
        return self._stretch(moved, self.shrink).ravel()

    def from_vector(self, vector: Array) -> Any:
        """q(β) at v; its document steps start where those of the reference ended."""
        moved = self._stretch(vector.reshape(self.diagonal.shape), 1.0 / self.shrink)
        with np.errstate(over="ignore"):
            return replace(
                self.params, pseudo_counts=np.exp(self.log_start + moved / self.diagonal)
            )

    def score(self, params: Any, statistics: Any) -> Array:
        """∂(bound)/∂v."""
        here = params.pseudo_counts
        change = statistics.counts + params.topic_prior[:, None] - here
        slope = polygamma(1, here) * change - polygamma(1, here.sum(axis=0)) * change.sum(axis=0)
        return self._stretch(here * slope / self.diagonal, 1.0 / self.shrink).ravel()
