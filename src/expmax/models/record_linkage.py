"""Comparisons of record pairs: m- and u-probabilities of matches and others (Fellegi & Sunter 1969)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Start
from expmax.models.answers import AnswerModel, AnswerParameters
from expmax.statistics import Array

__all__ = ["RecordLinkageModel", "RecordLinkageStarts"]

PREVALENCES = (0.01, 0.1, 0.4)  # of matches, in the usual starts
AGREEMENTS = (0.9, 0.7)  # mean level of a match, likewise
RANDOM_STARTS = 10  # of `starts`, beside the usual


@dataclass(frozen=True)
class RecordLinkageModel(AnswerModel):
    """p(γ) = λ Π_g m_g(γ_g) + (1 − λ) Π_g u_g(γ_g): class 1 is the matches.

    A block's row is a pair: the level 0 … L_g − 1 of each field's comparison, NaN where it is missing.

    References
    ----------
    Fellegi & Sunter (1969), J. Amer. Statist. Assoc. 64(328). Winkler (1988), Proc. Sect. Survey Research
    Methods, ASA, 667-671. Jaro (1989), J. Amer. Statist. Assoc. 84(406): the EM algorithm.
    """

    levels: tuple[int, ...] = (2,)

    # -- which cell has which probability ----------------------------------------------------------
    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        return np.array(self.levels * 2, np.intp)

    @cached_property
    def index(self) -> NDArray[np.intp]:
        first = np.arange(sum(self.levels))
        return np.stack([first, first + len(first)], axis=1)

    @cached_property
    def first_level(self) -> NDArray[np.intp]:
        """The cell of each field's level 0."""
        return np.concatenate([[0], np.cumsum(self.levels)[:-1]]).astype(np.intp)

    def cells(self, x: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        present = ~np.isnan(x)
        codes = np.where(present, x, 0.0).astype(np.intp) + self.first_level
        return codes[present], present.sum(axis=1)

    # -- in the field's words ----------------------------------------------------------------------
    def fields(self, values: Array) -> tuple[list[Array], list[Array]]:
        """What belongs to m and to u of each field."""
        parts = np.split(values, np.cumsum(self.levels * 2)[:-1])
        return parts[len(self.levels) :], parts[: len(self.levels)]

    def join(self, prevalence: float, m: Sequence[Array], u: Sequence[Array]) -> AnswerParameters:
        """Parameters of probabilities by field."""
        weights = np.log(np.array([1.0 - prevalence, prevalence]))
        return self.hold(AnswerParameters(weights, np.concatenate([*u, *m])))

    def hold(self, params: AnswerParameters) -> AnswerParameters:
        """The same parameters with everything fixed put to its value."""
        weights = params.log_weights if self.fixed_weights is None else self.fixed_weights
        if self.fixed_answers is None:
            return AnswerParameters(weights, params.probability)
        return AnswerParameters(
            weights, np.where(self.held, self.fixed_answers, params.probability)
        )

    def agreement(self, params: AnswerParameters) -> Array:
        """Mean level of the fields, 0 to 1, of non-matches and matches: shape (2,)."""
        m, u = self.fields(params.probability)
        ranks = [np.linspace(0.0, 1.0, size) for size in self.levels]
        means = [[rank @ p for rank, p in zip(ranks, part, strict=True)] for part in (u, m)]
        return np.asarray(means).mean(axis=1)

    def edge_name(self, m: int) -> str:
        half = sum(self.levels)
        field = int(np.searchsorted(self.first_level, m % half, side="right")) - 1
        level = m % half - int(self.first_level[field])
        return f"{'u' if m < half else 'm'} of level {level} of field {field}"

    # -- what the engine may ask -------------------------------------------------------------------
    def permute(self, params: AnswerParameters, order: NDArray[np.intp]) -> AnswerParameters:
        """Call matches non-matches and the reverse, or not."""
        halves = params.probability.reshape(2, -1)
        return AnswerParameters(params.log_weights[order], halves[order].ravel())

    def exchangeable(self) -> list[NDArray[np.intp]]:
        """Both classes, unless something of one is held or has its own prior."""
        even = self.fixed_answers is None and self.fixed_weights is None
        for pseudo in (self.pseudo_weights, self.pseudo_answers):
            even &= pseudo is None or bool((np.diff(pseudo.reshape(2, -1), axis=0) == 0).all())
        return [np.arange(2)] if even else []

    def sample(
        self, params: AnswerParameters, n: int, rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.int64]]:
        """n complete comparison vectors, and whether each is of a match."""
        z = (rng.random(n) < np.exp(params.log_weights[1])).astype(np.int64)
        m, u = self.fields(params.probability)
        x = np.empty((n, len(self.levels)))
        for g in range(len(self.levels)):
            edges = np.stack([u[g], m[g]]).cumsum(axis=1)[z]
            x[:, g] = (rng.random((n, 1)) * edges[:, -1:] > edges).sum(axis=1)
        return x, z

    def starts(
        self, blocks: Sequence[Block], rng: np.random.Generator
    ) -> list[Start[AnswerParameters]]:
        """The usual starts, and random ones."""
        source = RecordLinkageStarts(self, blocks)
        return [*source.usual(), *source.starts(iter(rng.spawn(RANDOM_STARTS)))]


@dataclass(frozen=True)
class RecordLinkageStarts:
    """Where runs begin: matches that agree on most fields, few to many of them; and random splits."""

    model: RecordLinkageModel
    blocks: Sequence[Block]

    def usual(self) -> Iterator[Start[AnswerParameters]]:
        """u as all pairs are, m geometric in the level; as most pairs are no matches (Jaro 1989)."""
        marginal = self._marginal()
        for prevalence, level in product(PREVALENCES, AGREEMENTS):
            m = [_geometric(size, level) for size in self.model.levels]
            params = self.model.join(prevalence, m, marginal)
            yield Start(params, f"{prevalence:g} matches, agreement {level:g}")

    def starts(self, rngs: Iterator[np.random.Generator]) -> Iterator[Start[AnswerParameters]]:
        """Random probabilities of both classes about those of all pairs."""
        marginal = self._marginal()
        for rng in rngs:
            parts = [[rng.dirichlet(0.5 + 2.0 * p) for p in marginal] for _ in range(2)]
            params = self.model.join(float(rng.beta(0.5, 1.5)), *parts)
            if self.model.exchangeable() and np.diff(self.model.agreement(params)) < 0:
                params = self.model.permute(params, np.array([1, 0]))
            yield Start(params, "random")

    def moves(
        self, params: AnswerParameters, rngs: Iterator[np.random.Generator]
    ) -> Iterator[Start[AnswerParameters]]:
        """None: there are but two classes."""
        return iter(())

    def _marginal(self) -> list[Array]:
        """Level frequencies of all pairs, no level quite without."""
        total = np.full(sum(self.model.levels), 0.5)
        for block in self.blocks:
            weight = np.ones(len(block.x)) if block.weight is None else block.weight
            total += np.asarray(self.model.incidence(block).T @ weight)
        parts = np.split(total, self.model.first_level[1:])
        return [part / part.sum() for part in parts]


def _geometric(size: int, level: float) -> Array:
    """Probabilities of levels rising by one factor, of mean rank `level`: for two levels (1 − level, level)."""
    rank = np.linspace(0.0, 1.0, size)
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        p = np.exp(middle * (rank - 1.0))
        p /= p.sum()
        low, high = (middle, high) if p @ rank < level else (low, middle)
    return p
