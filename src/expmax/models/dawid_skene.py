"""Labels of items by fallible workers: prevalences and confusion matrices (Dawid & Skene 1979)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Start, iterate_rows
from expmax.models.answers import AnswerModel, AnswerParameters, AnswerStatistics
from expmax.statistics import Array

__all__ = ["STRUCTURES", "DawidSkeneModel", "DawidSkeneStarts"]

STRUCTURES = ("full", "class_conditional", "one_coin", "homogeneous")
BLURS = (0.3, 0.6, 1.0)  # shares of noise in random starts, in rotation
RANDOM_STARTS = 20  # of `starts`, beside the vote
DRAWN = 1 << 16  # labels drawn at a time


@dataclass(frozen=True)
class DawidSkeneModel(AnswerModel):
    """p(labels of item i) = Σ_k p_k Π_{(w, l) of i} π_wkl: the model as the engine sees it.

    A block's row is an item: its labels as codes w·K + l, −1 after the last; a worker may label an item again.

    `structure`: what π is made of. "full": a matrix π_w each worker. "homogeneous": one matrix for all.
    "class_conditional": π_wkk = a_wk, the errors evenly spread. "one_coin": the same with a_wk = a_w.

    References
    ----------
    Dawid & Skene (1979), Appl. Statist. 28(1), 20-28. The restrictions as named by Paun et al. (2018), Trans.
    ACL 6, 571-585, and Zhang, Chen, Zhou & Jordan (2016), J. Mach. Learn. Res. 17(102).
    """

    n_workers: int = 1
    structure: str = "full"

    # -- which cell has which probability ----------------------------------------------------------
    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        k, w = self.n_components, self.n_workers
        n, size = {
            "full": (w * k, k),
            "homogeneous": (k, k),
            "class_conditional": (w * k, 2),
            "one_coin": (w, 2),
        }[self.structure]
        return np.full(n, size, np.intp)

    @cached_property
    def index(self) -> NDArray[np.intp]:
        k = self.n_components
        worker, label, true = np.ogrid[: self.n_workers, :k, :k]
        cell = {
            "full": (worker * k + true) * k + label,
            "homogeneous": true * k + label + 0 * worker,
            "class_conditional": 2 * (worker * k + true) + (label != true),
            "one_coin": 2 * worker + (label != true),
        }[self.structure]
        return np.asarray(cell, np.intp).reshape(self.n_workers * k, k)

    @cached_property
    def offset(self) -> Array | None:
        """An error is one of K − 1, all alike, where only their sum has a parameter."""
        k = self.n_components
        if self.structure in ("full", "homogeneous") or k == 2:
            return None
        wrong = -np.log(k - 1.0) * (1.0 - np.eye(k))
        return np.tile(wrong, (self.n_workers, 1))

    def cells(self, x: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        codes = np.asarray(x, np.intp)
        present = codes >= 0
        return codes[present], present.sum(axis=1)

    # -- in the field's words ----------------------------------------------------------------------
    def confusion(self, params: AnswerParameters) -> Array:
        """π_wkl = P(label l by worker w | true class k): shape (W, K, K)."""
        k = self.n_components
        table = params.probability[self.index]
        if self.offset is not None:
            table = table * np.exp(self.offset)
        return table.reshape(self.n_workers, k, k).transpose(0, 2, 1).copy()

    def from_confusion(self, prevalence: Array, confusion: Array) -> AnswerParameters:
        """Parameters of prevalences (K,) and matrices (W, K, K), pooled where the structure shares them."""
        rows = confusion * prevalence[:, None]
        table = rows.transpose(0, 2, 1).reshape(len(self.index), -1)
        if self.structure in ("full", "class_conditional"):
            table = confusion.transpose(0, 2, 1).reshape(len(self.index), -1)
        answers = self.gather(table)
        with np.errstate(divide="ignore"):
            return AnswerParameters(np.log(prevalence), answers / self.totals(answers))

    def imaginary(self, labels: Array) -> Array:
        """Imaginary labels a worker, (K true, K given), as pseudo-answers: shape (M,)."""
        table = np.tile(labels.T, (self.n_workers, 1))
        if self.structure == "homogeneous":
            table = table / self.n_workers  # of one worker, who stands for all
        return self.gather(table)

    def edge_name(self, m: int) -> str:
        k = self.n_components
        if self.structure == "full":
            return f"P(label {m % k} | class {m // k % k}) of worker {m // (k * k)}"
        if self.structure == "homogeneous":
            return f"P(label {m % k} | class {m // k})"
        what = "P(error)" if m % 2 else "P(right)"
        if self.structure == "one_coin":
            return f"{what} of worker {m // 2}"
        return f"{what} in class {m // 2 % k} of worker {m // 2 // k}"

    # -- what the engine may ask -------------------------------------------------------------------
    def permute(self, params: AnswerParameters, order: NDArray[np.intp]) -> AnswerParameters:
        """Renumber the classes; only where labels tell nothing of them by themselves."""
        k = self.n_components
        matrices = params.probability.reshape(-1, k, k)
        return AnswerParameters(params.log_weights[order], matrices[:, order].ravel())

    def exchangeable(self) -> list[NDArray[np.intp]]:
        """Classes that may swap numbers: none where a right label is one of the same number."""
        symmetric = self.structure in ("full", "homogeneous") and self._even_prior
        return [np.arange(self.n_components)] if symmetric else []

    @property
    def _even_prior(self) -> bool:
        k = self.n_components
        even = self.pseudo_weights is None or np.ptp(self.pseudo_weights) == 0
        if self.pseudo_answers is None:
            return bool(even)
        return bool(even and (np.ptp(self.pseudo_answers.reshape(-1, k, k), axis=1) == 0).all())

    def agreement(self, statistics: AnswerStatistics) -> Array:
        """Expected labels l of items of class k, over all workers: shape (K, K); full or homogeneous."""
        k = self.n_components
        return statistics.answers.reshape(-1, k, k).sum(axis=0)

    def sample(
        self, params: AnswerParameters, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """n items labelled once by every worker (codes, shape (n, W)), and their true classes."""
        item, worker = (axis.ravel() for axis in np.indices((n, self.n_workers)))
        label, z = self.draw(params, item, worker, n, rng)
        return (self.n_components * worker + label).reshape(n, -1), z

    def draw(
        self,
        params: AnswerParameters,
        item: NDArray[np.intp],
        worker: NDArray[np.intp],
        n_items: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A label for each pair of an item (0 … n_items − 1) and a worker, and the items' true classes."""
        weights = np.exp(params.log_weights)
        z = rng.choice(self.n_components, n_items, p=weights / weights.sum())
        edges = self.confusion(params).cumsum(axis=2)
        label = np.empty(len(item), np.int64)
        for rows in iterate_rows(len(item), DRAWN):
            own = edges[worker[rows], z[item[rows]]]
            label[rows] = (rng.random((len(own), 1)) * own[:, -1:] > own).sum(axis=1)
        return label, z

    def starts(
        self, blocks: Sequence[Block], rng: np.random.Generator
    ) -> list[Start[AnswerParameters]]:
        """The vote, and random starts."""
        source = DawidSkeneStarts(self, blocks).starts(iter(rng.spawn(RANDOM_STARTS)))
        return [DawidSkeneStarts(self, blocks).vote(), *source]


@dataclass(frozen=True)
class DawidSkeneStarts:
    """Where runs begin: the vote of the workers, and the vote blurred by noise."""

    model: DawidSkeneModel
    blocks: Sequence[Block]

    def vote(self) -> Start[AnswerParameters]:
        """The M-step of each item's label frequencies (Dawid & Skene 1979, eq. 3.1)."""
        return Start(self.from_responsibilities(self.shares), "majority")

    def starts(self, rngs: Iterator[np.random.Generator]) -> Iterator[Start[AnswerParameters]]:
        """Noise blended into the vote: from a little to nothing else."""
        for i, rng in enumerate(rngs):
            blur = BLURS[i % len(BLURS)]
            noisy = [
                (1.0 - blur) * one + blur * rng.dirichlet(np.ones(one.shape[1]), len(one))
                for one in self.shares
            ]
            kind = "random" if blur == 1.0 else f"vote blurred by {blur:g}"
            yield Start(self.from_responsibilities(noisy), kind)

    def moves(
        self, params: AnswerParameters, rngs: Iterator[np.random.Generator]
    ) -> Iterator[Start[AnswerParameters]]:
        """None: blurred votes reach what swaps would."""
        return iter(())

    @cached_property
    def shares(self) -> list[Array]:
        """Label frequencies of the items of each block: shape (n, K); even where there is no label."""
        k = self.model.n_components
        given = np.tile(np.eye(k), (self.model.n_workers, 1))
        votes = [np.asarray(self.model.incidence(block) @ given) for block in self.blocks]
        return [
            np.where(one.sum(axis=1, keepdims=True) > 0, one, 1.0 / k)
            / np.maximum(one.sum(axis=1, keepdims=True), 1.0)
            for one in votes
        ]

    def from_responsibilities(self, parts: Sequence[Array]) -> AnswerParameters:
        """The M-step of given responsibilities; a worker who saw nothing of a class errs as all do."""
        total: AnswerStatistics | None = None
        for r, block in zip(parts, self.blocks, strict=True):
            part = self.model.count(_clamped(r, block), block)
            total = part if total is None else total + part
        assert total is not None
        return self.model.maximize(total, self._pooled(total))

    def _pooled(self, total: AnswerStatistics) -> AnswerParameters:
        """Every worker with the errors of all, and a trace of evenness where nobody saw a class."""
        model, k = self.model, self.model.n_components
        size = int(model.sizes[0])
        rows = 1 if model.structure == "one_coin" else k
        pooled = total.answers.reshape(-1, rows, size).sum(axis=0) + 1e-3
        pooled /= pooled.sum(axis=1, keepdims=True)
        n = len(model.segment) // pooled.size
        return AnswerParameters(np.full(k, -np.log(k)), np.tile(pooled.ravel(), n))


def _clamped(r: Array, block: Block) -> Array:
    """Known classes put in, weights multiplied on."""
    if block.label is not None:
        known = block.label >= 0
        r = np.where(known[:, None], np.arange(r.shape[1]) == block.label[:, None], r)
    return r if block.weight is None else r * block.weight[:, None]
