"""What a model with random draws says of its own noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from math import sqrt
from typing import Any, Self

import numpy as np

from expmax.contract import Block
from expmax.general.ascent import normalised_eigen
from expmax.general.backend import double_precision, jax, jnp
from expmax.general.inquiries import Inquiries
from expmax.general.monte_carlo import MonteCarlo
from expmax.general.programs import Programs, arrays
from expmax.general.statistics import JointStatistics
from expmax.statistics import Array

__all__ = ["Drawing"]

FEW = 10.0  # draws: a row worth fewer is named
LEAST = 1e-12  # normalised eigenvalue of an information below which it is singular


class Drawing(Inquiries):
    """The part of `JointModel` that a Monte Carlo fit asks for."""

    drawn: dict[int, Programs]  # by number of draws

    @property
    def stochastic(self) -> MonteCarlo | None:
        """The options of the draws; None for rules without any."""
        return self.rule if isinstance(self.rule, MonteCarlo) else None

    def redrawn(self, turn: int, draws: int) -> Self:
        """The same model with other draws; more of them in the same turn go on from fewer.

        Parameters
        ----------
        turn : int
            Number of the set of draws; a fresh model has 0.
        draws : int
            Of each row.
        """
        assert isinstance(self.rule, MonteCarlo)
        if self.prior is not None:
            self._prior  # noqa: B018  compiled once, for all copies
        if draws not in self.drawn:
            posterior = self.rule.with_draws(draws).bind(self.joint)
            self.drawn[draws] = Programs(self.space, posterior)
        other = copy(self)
        other.turn, other.programs = turn, self.drawn[draws]
        other.bound_posterior = other.programs.posterior
        return other

    @double_precision
    def gain(
        self, new: Mapping[str, Any], old: Mapping[str, Any], statistics: JointStatistics
    ) -> tuple[float, float]:
        """Q(new; S) − Q(old; S) + Δ log prior, and the Monte Carlo standard error of ΔQ, nats.

        The variance of a row is Σ_m h_m² with h_m = w_m (d_m − Δ), w the normalised weights, d the differences
        of log p(x, z | θ). Equal rows have equal draws, so their weights add before they are squared.
        """
        after, before = self.space.pack(new), self.space.pack(old)
        gain, noise = 0.0, _Noise()
        for part in statistics.parts:
            for q, chunk in part.units():
                mean, variance = part.programs.gains(after, before, q, arrays(chunk))
                weight = part.factor * np.asarray(chunk.weight)
                used = weight != 0
                gain += float(weight[used] @ np.asarray(mean)[used])
                noise.add(chunk.seed, weight, variance)
        prior = 0.0
        if self.prior is not None:
            prior = float(self._prior[0](after)) - float(self._prior[0](before))
        return gain + prior, noise.error()

    @double_precision
    def log_likelihood_error(self, statistics: JointStatistics) -> float:
        """Monte Carlo standard error of the log-likelihood at the parameters of an E-step, nats."""
        noise = _Noise()
        for part in statistics.parts:
            for q, chunk in part.units():
                variance = jax.vmap(self.bound_posterior.evidence_variance)(q)  # type: ignore[attr-defined]
                noise.add(chunk.seed, part.factor * np.asarray(chunk.weight), variance)
        return noise.error()

    @double_precision
    def remaining_gain(self, params: Mapping[str, Any], statistics: JointStatistics) -> float:
        """½ sᵀI⁻¹s: what the objective may still gain by the score and information of these draws, nats.

        The noise of the score is in it. Infinite where the information is not positive definite.
        """
        u = jnp.asarray(self.space.pack(params))
        total = statistics.total(
            lambda q, chunk: self.programs.evidence_curvature(u, q, arrays(chunk))
        )
        score, hessian = np.asarray(total[1]), np.asarray(total[2])
        if self.prior is not None:
            _, slope, bend = self._prior[1](u)
            score, hessian = score + np.asarray(slope), hessian + np.asarray(bend)
        if not (np.isfinite(score).all() and np.isfinite(hessian).all()):
            return float("inf")
        unit, values, vectors = normalised_eigen(-hessian)
        if values[0] <= LEAST:
            return float("inf")
        return 0.5 * float(((vectors.T @ (score / unit)) ** 2 / values).sum())

    @double_precision
    def explain_draws(self, params: Mapping[str, Any], blocks: Sequence[Block]) -> str:
        """The rows whose draws are worth too few, in words; empty where none is."""
        u = jnp.asarray(self.space.pack(params))
        worst, where, n_few, before = float("inf"), -1, 0, 0
        for block in blocks:
            prepared = self.prepared(block)
            sizes = [
                np.asarray(self._worth(u, params, prepared, i))[: chunk.n_rows]
                for i, chunk in enumerate(prepared.chunks)
            ]
            if sizes:
                size = np.concatenate(sizes)
                few = np.isin(prepared.unit, np.flatnonzero(size < FEW))
                n_few += int(few.sum())
                if size.min() < worst:
                    worst, where = float(size.min()), before + int(prepared.first[size.argmin()])
            before += len(block.x)
        if not n_few:
            return ""
        others = f" (and those of {n_few - 1} other rows)" if n_few > 1 else ""
        return (
            f"The draws of row {where}{others} are worth only {worst:.1f}: their weights differ too much, and "
            "no standard error above can be trusted. Raise draws, or write z in coordinates in which its "
            "posterior is nearer to a Gaussian."
        )

    def _worth(self, u: Any, params: Mapping[str, Any], prepared: Any, i: int) -> Array:
        q = self._infer(u, params, prepared, i)[2]
        return np.asarray(self.bound_posterior.summarize(q)["effective_sample_size"])


class _Noise:
    """The variance of Σ w_i v_i with v_i independent but for rows of the same seed, which are equal."""

    def __init__(self) -> None:
        self.seeds: list[Array] = []
        self.weights: list[Array] = []
        self.variances: list[Array] = []

    def add(self, seeds: Any, weights: Array, variances: Any) -> None:
        used = weights != 0
        self.seeds.append(np.asarray(seeds)[used])
        self.weights.append(weights[used])
        self.variances.append(np.asarray(variances)[used])

    def error(self) -> float:
        if not self.seeds:
            return 0.0
        _, first, group = np.unique(
            np.concatenate(self.seeds), return_index=True, return_inverse=True
        )
        weights = np.bincount(group, np.concatenate(self.weights))
        return sqrt(float(weights**2 @ np.concatenate(self.variances)[first]))
