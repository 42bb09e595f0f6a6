"""Discrete answers that are independent given a hidden class: the core of crowds and of record linkage.

Unit i has a hidden class z_i and answers some questions (a worker's label of an item, the comparison of one
field of a pair). Given the class the answers are independent and categorical,

    log p(x_i, z_i = k) = log w_k + Σ_{c answered by i} (log θ_{m(c, k)} + o_{ck}),

where c numbers all (question, answer) cells, m says which free probability a cell has under class k (several
may share one), and o are constants. The free probabilities stand in one flat array, cut into segments that each
sum to one. Both steps of EM are products with the sparse incidence matrix of units and cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from expmax.contract import Block, Expectation, iterate_rows
from expmax.inference.responsibilities import clamp_labels, soft_assign
from expmax.statistics import Additive, Array

__all__ = ["AnswerModel", "AnswerParameters", "AnswerStatistics"]

VANISHING = 1e-2  # expected answers below which a probability is tried at 0
FALLING = 0.99  # and by which factor at most EM must change it: a multiplier that holds it at 0
LEAST = 1e-6  # expected answers below which nothing is known of a segment
TINY = 1e-290  # expected answers below which there are none: their share may not be a number
MANY, FEW = 1000, 32  # units and classes from and to which posteriors are taken class by class
LOWEST = -1e300
SLICE = (
    2048  # units whose answers are added up one after the other: up to SLICE / 2 roundings alike
)
MOST_EDGES = 1000  # probabilities of 0 that are named one by one
NO_WEIGHT = -27.6  # log of 1e-12: a weight below it supports nothing


@dataclass(frozen=True, slots=True)
class AnswerParameters:
    """θ: log weights of the classes, and the free probabilities, segment after segment."""

    log_weights: Array  # log w_k, shape (K,)
    probability: Array  # θ, shape (M,)

    @property
    def log_probability(self) -> Array:
        """log θ, −∞ for 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.probability)


@dataclass(frozen=True, slots=True)
class AnswerStatistics(Additive):
    """Expected class counts, expected answers of each free probability, and Σ of the constants."""

    counts: Array  # Σ_i w_i r_ik, shape (K,)
    answers: Array  # expected answers with probability θ_m, shape (M,)
    constant: float  # Σ_i w_i Σ_k r_ik Σ_c o_ck, nats


@dataclass(frozen=True)
class AnswerModel:
    """Base of the models of this kind: subclasses say which cell a unit answered, and what a cell means.

    A subclass gives `sizes`, `index`, `offset` and `incidence`.

    References
    ----------
    Dawid & Skene (1979), Appl. Statist. 28(1), eq. 2.3-2.5. Goodman (1974), Biometrika 61(2).
    """

    n_components: int
    pseudo_weights: Array | None = None  # imaginary units of each class, shape (K,)
    pseudo_answers: Array | None = None  # imaginary answers, shape (M,)
    fixed_weights: Array | None = None  # log weights held, shape (K,)
    fixed_answers: Array | None = None  # probabilities held, NaN where free, shape (M,)

    # -- what a subclass says ----------------------------------------------------------------------
    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Probabilities in each segment: shape (number of segments,)."""
        raise NotImplementedError  # abstract: the segments are the subclass's

    @cached_property
    def index(self) -> NDArray[np.intp]:
        """m(c, k), which free probability cell c has under class k: shape (C, K)."""
        raise NotImplementedError  # abstract: what a cell means is the subclass's

    @cached_property
    def offset(self) -> Array | None:
        """o_ck, nats, shape (C, K); None for zeros."""
        return None

    def cells(self, x: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The cells that the units answered, unit after unit, and how many each answered."""
        raise NotImplementedError  # abstract: tables are read in more than one shape

    def edge_name(self, m: int) -> str:
        """What a person calls free probability m."""
        return f"probability {m}"

    # -- shapes ------------------------------------------------------------------------------------
    @cached_property
    def starts_of(self) -> NDArray[np.intp]:
        """Where the segments begin."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.intp)

    @cached_property
    def segment(self) -> NDArray[np.intp]:
        """The segment of each free probability: shape (M,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """Which free probabilities are fixed: shape (M,)."""
        if self.fixed_answers is None:
            return np.zeros(len(self.segment), bool)
        return ~np.isnan(self.fixed_answers)

    def totals(self, answers: Array) -> Array:
        """Sums over the segments, spread over their probabilities: shape (M,)."""
        return np.add.reduceat(answers, self.starts_of)[self.segment]

    def gather(self, table: Array) -> Array:
        """Sums of a table over cells and classes, (C, K), by free probability: shape (M,)."""
        return np.asarray(np.bincount(self.index.ravel(), table.ravel(), len(self.segment)), float)

    # -- E-step ------------------------------------------------------------------------------------
    def incidence(self, block: Block) -> Any:
        """Which cells each unit answered, and how often: sparse, shape (n, C)."""
        if block.memo is not None and "incidence" in block.memo:
            return block.memo["incidence"]
        cells, lengths = self.cells(block.x)
        pointer = np.concatenate([[0], np.cumsum(lengths)])
        matrix = csr_matrix((np.ones(len(cells)), cells, pointer), (len(lengths), len(self.index)))
        if block.memo is not None:
            block.memo["incidence"] = matrix
        return matrix

    def log_joint(self, params: AnswerParameters, block: Block) -> Array:
        """log p(x_i, z_i = k | θ), nats: shape (n, K)."""
        table = params.log_probability[self.index]
        if self.offset is not None:
            table = table + self.offset
        return np.asarray(self.incidence(block) @ table) + params.log_weights

    def assign(self, params: AnswerParameters, block: Block) -> tuple[Array, Array, Array]:
        """Responsibilities (n, K), log p(x_i) (n,) and entropy (n,) of each unit, nats."""
        log_joint = self.log_joint(params, block)
        if block.label is not None:
            clamp_labels(log_joint, block.label)
        if len(log_joint) < MANY or log_joint.shape[1] > FEW:
            return soft_assign(log_joint)
        return _assign_by_class(log_joint)

    def expect(self, params: AnswerParameters, block: Block) -> Expectation[AnswerStatistics]:
        """E-step on one block: responsibilities, then expected classes and answers."""
        r, log_evidence, entropies = self.assign(params, block)
        if block.weight is None:
            log_likelihood, entropy = float(log_evidence.sum()), float(entropies.sum())
        else:
            used = block.weight > 0  # a unit of weight zero is absent, whatever its density
            r = r * block.weight[:, None]
            r[~used] = 0.0
            log_likelihood = float(block.weight[used] @ log_evidence[used])
            entropy = float(block.weight[used] @ entropies[used])
        statistics = self.count(r, block)
        return Expectation(statistics, log_likelihood, entropy, block.total_weight)

    def count(self, r: Array, block: Block) -> AnswerStatistics:
        """The statistics of weighted responsibilities."""
        counts = np.zeros(self.n_components)
        table = np.zeros((len(self.index), self.n_components))
        for rows, part in self._slices(block):
            counts += r[rows].sum(axis=0)
            table += part.T @ r[rows]
        answers = self.gather(table)
        constant = 0.0 if self.offset is None else float(np.vdot(table, self.offset))
        return AnswerStatistics(counts, answers, constant)

    def _slices(self, block: Block) -> list[tuple[slice, Any]]:
        """The incidence matrix in slices of rows that share its memory.

        Equal rows add the same number again and again, which rounds the same way each time: the error of a
        sum grows with their number, unless it is taken in slices.
        """
        if block.memo is not None and "slices" in block.memo:
            return block.memo["slices"]
        whole = self.incidence(block)
        n_rows, n_cells = whole.shape
        wide = 2 * n_cells * n_rows // max(whole.nnz, 1)  # rows that answer each cell twice
        found = []
        for rows in iterate_rows(n_rows, max(SLICE, wide)):
            pointer = whole.indptr[rows.start : rows.stop + 1]
            own = slice(pointer[0], pointer[-1])
            parts = whole.data[own], whole.indices[own], pointer - pointer[0]
            found.append((rows, csr_matrix(parts, (len(pointer) - 1, whole.shape[1]))))
        if block.memo is not None:
            block.memo["slices"] = found
        return found

    # -- M-step ------------------------------------------------------------------------------------
    def maximize(
        self, statistics: AnswerStatistics, params: AnswerParameters | None
    ) -> AnswerParameters:
        """M-step: shares of the classes, shares of the answers within each segment."""
        full = self.with_prior(statistics)
        log_weights = self.fixed_weights
        if log_weights is None:
            with np.errstate(divide="ignore"):
                log_weights = np.log(full.counts / full.counts.sum())
        total = self.totals(full.answers)
        empty = total <= TINY  # nobody's answers: Q does not depend on them
        if empty.any():
            old = 1.0 / self.sizes[self.segment] if params is None else params.probability
            p = np.where(empty, old, full.answers / np.where(empty, 1.0, total))
        else:
            p = full.answers / total
        if self.fixed_answers is not None:
            p = np.where(self.held, self.fixed_answers, p)
        return AnswerParameters(log_weights, p)

    def expected_log_joint(self, params: AnswerParameters, statistics: AnswerStatistics) -> float:
        """Q(θ; S) = Σ_k n_k log w_k + Σ_m N_m log θ_m + constants, nats."""
        value = _dot(statistics.counts, params.log_weights)
        return value + _dot(statistics.answers, params.log_probability) + statistics.constant

    def magnitude(self, params: AnswerParameters, statistics: AnswerStatistics) -> float:
        """Size of the terms that the log-likelihood sums, nats, as often as a slice rounds them alike."""
        value = _dot(statistics.counts, np.abs(params.log_weights)) + abs(statistics.constant)
        return SLICE / 64 * (value + _dot(statistics.answers, np.abs(params.log_probability)))

    def log_prior(self, params: AnswerParameters) -> float:
        """Σ pseudo-count · log probability, up to a constant, nats."""
        value = 0.0
        if self.pseudo_weights is not None:
            value += _dot(self.pseudo_weights, params.log_weights)
        if self.pseudo_answers is not None:
            value += _dot(self.pseudo_answers, params.log_probability)
        return value

    def with_prior(self, statistics: AnswerStatistics) -> AnswerStatistics:
        """The statistics with the imaginary ones added."""
        counts, answers = statistics.counts, statistics.answers
        if self.pseudo_weights is not None:
            counts = counts + self.pseudo_weights
        if self.pseudo_answers is not None:
            answers = answers + self.pseudo_answers
        return AnswerStatistics(counts, answers, statistics.constant)

    # -- what the engine may ask further -----------------------------------------------------------
    def chart(self, params: AnswerParameters, statistics: AnswerStatistics) -> Any:
        """Whitened coordinates at these parameters; None where nothing is free."""
        from expmax.models.answer_chart import AnswerChart

        chart = AnswerChart(self, params, statistics)
        return chart if len(chart.scale) else None

    def snap(
        self, params: AnswerParameters, statistics: AnswerStatistics
    ) -> AnswerParameters | None:
        """The parameters with every probability at 0 that EM sends there; None if there is none.

        A vanishing probability belongs at 0 if EM shrinks it by a factor below 1 however small it is:
        that factor is its Kuhn-Tucker multiplier over the expected answers of its segment.
        """
        small, light = self.vanishing(params, self.with_prior(statistics))
        if not (small.any() or light.any()):
            return None
        return self._emptied(params, small, light)

    def vanishing(
        self, params: AnswerParameters, full: AnswerStatistics
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which probabilities and weights EM sends to 0, and has almost there: shapes (M,), (K,)."""
        total = self.totals(full.answers)
        p = params.probability
        small = (p > 0) & (p * total < VANISHING) & (total > LEAST) & ~self.held
        small &= full.answers < FALLING * p * total
        weights = np.exp(params.log_weights)
        n = full.counts.sum()
        light = (weights > 0) & (weights * n < VANISHING) & (full.counts < FALLING * weights * n)
        light &= self.fixed_weights is None
        return small, light

    def _emptied(
        self, params: AnswerParameters, small: NDArray[np.bool_], light: NDArray[np.bool_]
    ) -> AnswerParameters:
        """Some probabilities and weights at 0, what is left of their segments sums to one."""
        p = np.where(small, 0.0, params.probability)
        weights = np.where(light, 0.0, np.exp(params.log_weights))
        with np.errstate(divide="ignore"):
            log_w = np.log(weights / weights.sum()) if light.any() else params.log_weights
        return AnswerParameters(log_w, self._summing(p, small))

    def _summing(self, p: Array, changed: NDArray[np.bool_]) -> Array:
        """Segments in which something changed scaled to sum to one."""
        touched = self.totals(changed.astype(float)) > 0
        return np.where(touched, p / np.where(touched, self.totals(p), 1.0), p)

    def nudged(self, params: AnswerParameters, share: float) -> AnswerParameters:
        """The parameters with every probability at 0 that may rise put to `share`."""
        off = (params.probability == 0) & ~self.held
        return self.raised(params, off, np.isneginf(params.log_weights), share)

    def raised(
        self,
        params: AnswerParameters,
        cells: NDArray[np.bool_],
        classes: NDArray[np.bool_],
        share: float,
    ) -> AnswerParameters:
        """Some probabilities and weights put to `share` of their segment."""
        p = self._summing(np.where(cells, share, params.probability), cells)
        log_w = params.log_weights
        if self.fixed_weights is None and classes.any():
            weights = np.where(classes, share, np.exp(log_w))
            with np.errstate(divide="ignore"):
                log_w = np.log(weights / weights.sum())
        return AnswerParameters(log_w, p)

    def growing(
        self, params: AnswerParameters, statistics: AnswerStatistics
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which probabilities and weights EM raises, by more than rounding: shapes (M,), (K,)."""
        full = self.with_prior(statistics)
        total = self.totals(full.answers)
        p, w = params.probability, np.exp(params.log_weights)
        cells = (full.answers > (1 + 1e-4) * p * total) & (total > LEAST) & ~self.held
        return cells, full.counts > (1 + 1e-4) * w * full.counts.sum()

    def boundary(self, params: AnswerParameters) -> list[str]:
        """Names of the parameters on the edge of their space: weights of 0, probabilities of 0."""
        found = []
        if self.fixed_weights is None:
            empty = np.flatnonzero(params.log_weights < NO_WEIGHT)
            found += [f"weight of class {k}" for k in empty]
        zero = np.flatnonzero((params.probability == 0) & ~self.held)
        found += [self.edge_name(int(m)) for m in zero[:MOST_EDGES]]
        more = len(zero) - MOST_EDGES
        return found if more <= 0 else [*found, f"… and {more} more probabilities"]

    def n_parameters(self, params: AnswerParameters) -> int:
        """Free parameters: K − 1 weights and one less than its size for each segment not held."""
        total = 0 if self.fixed_weights is not None else self.n_components - 1
        return total + int((self.sizes - 1)[~self.held[self.starts_of]].sum())

    def to_array(self, params: AnswerParameters) -> Array:
        """Weights and probabilities as one vector, for extrapolation."""
        return np.concatenate([np.exp(params.log_weights), params.probability])

    def from_array(self, vector: Array, like: AnswerParameters) -> AnswerParameters | None:
        """Parameters of a vector; None where a probability would be negative, or new at 0."""
        if not ((vector > 0) | (self.to_array(like) == 0)).all() or (vector < 0).any():
            return None
        weights, p = vector[: self.n_components], vector[self.n_components :]
        with np.errstate(divide="ignore"):
            log_w = np.log(weights / weights.sum())
        if self.fixed_weights is not None:
            log_w = self.fixed_weights
        return AnswerParameters(log_w, np.where(self.held, like.probability, p / self.totals(p)))


def _assign_by_class(log_joint: Array) -> tuple[Array, Array, Array]:
    """What `soft_assign` gives, class after class: sums over a few neighbours are slow, over columns not."""
    log_ratio = np.ascontiguousarray(log_joint.T)
    top = log_ratio.max(axis=0)
    if not top.min() > -np.inf:
        return soft_assign(log_joint)
    log_ratio -= top
    r = np.exp(log_ratio)
    total = r.sum(axis=0)
    r /= total
    log_total = np.log(total)
    np.maximum(log_ratio, LOWEST, out=log_ratio)  # 0 · ∞ is 0
    entropy = log_total - np.einsum("ij,ij->j", r, log_ratio)
    return np.ascontiguousarray(r.T), top + log_total, entropy


def _dot(counts: Array, logs: Array) -> float:
    """Σ n log p with 0 · log 0 = 0."""
    used = counts > TINY
    return float(counts @ logs) if used.all() else float(counts[used] @ logs[used])
