"""Local coordinates of parameters in which the complete-data information is the identity.

A chart is taken at a reference θ₀ with the counts of an E-step there. v = 0 is θ₀, v is unconstrained, and
−∂²Q/∂v² = I at θ₀ when θ₀ is the M-step of its own statistics. So the score in v is, to first order, the EM
step; eigenvalues of the observed information in v lie in (0, 1], and 1 minus one of them is the fraction of
missing information along its direction. Components without data and probabilities at 0 have no coordinate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.families.parameters import map_arrays, put
from expmax.statistics import Array

__all__ = [
    "CategoryChart",
    "FamilyChart",
    "FreeChart",
    "LogitChart",
    "ProductChart",
    "SimplexCoordinates",
]


class FamilyChart(Protocol):
    """Coordinates of the parameters of K components of one family."""

    scale: Array  # √count behind each coordinate: v/scale is a change in units of one observation, (size,)

    def to_vector(self, parameters: Parameters) -> Array: ...

    def from_vector(self, vector: Array) -> Parameters:
        """Parameters at v; not finite where v leaves the family: its formulas may hold on beyond it."""
        ...

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        """∂Q/∂v at the parameters, for statistics of any E-step."""
        ...


class SimplexCoordinates:
    """Probabilities p near p₀ (several rows): log p = a − log Σ exp a, a = a₀ + diag(1/√p₀) B v / √n.

    B is an orthonormal basis of the complement of √p₀, which removes the direction that changes nothing.
    """

    def __init__(self, log_p: Array, counts: Array) -> None:
        self.log_p = log_p
        self.live = [np.flatnonzero(np.isfinite(row)) for row in log_p]
        self.counts = counts
        self.bases, self.inverses, self.parts = [], [], []
        size = 0
        for row, live, count in zip(log_p, self.live, counts, strict=True):
            root_p = np.exp(0.5 * row[live])
            basis = np.zeros((len(live), 0))
            if count > 0 and len(live):
                basis = _complement(root_p)
            root = np.sqrt(count) * root_p[:, None]
            self.bases.append(basis / root)
            self.inverses.append((basis * root).T)  # Bᵀ√p₀ = 0: a constant added to a drops out
            self.parts.append(slice(size, size + basis.shape[1]))
            size += basis.shape[1]
        self.scale = np.repeat(np.sqrt(counts), [part.stop - part.start for part in self.parts])

    def to_vector(self, log_p: Array) -> Array:
        parts = []
        for k, live in enumerate(self.live):
            change = log_p[k, live] - self.log_p[k, live]
            parts.append(self.inverses[k] @ change)
        return np.concatenate(parts) if parts else np.zeros(0)

    def from_vector(self, vector: Array) -> Array:
        log_p = self.log_p.copy()
        for k, (live, part) in enumerate(zip(self.live, self.parts, strict=True)):
            if not len(live):
                continue
            a = log_p[k, live] + self.bases[k] @ vector[part]
            top = a.max()
            log_p[k, live] = a - (top + np.log(np.exp(a - top).sum()))
        return log_p

    def score(self, log_p: Array, sums: Array) -> Array:
        """`sums` are the expected counts of each category."""
        parts = []
        for k, live in enumerate(self.live):
            seen = sums[k, live]
            parts.append(self.bases[k].T @ (seen - seen.sum() * np.exp(log_p[k, live])))
        return np.concatenate(parts) if parts else np.zeros(0)


class FreeChart:
    """Exponential families in free coordinates φ: v = √n Lᵀ(φ − φ₀), with LLᵀ the information of a row at φ₀.

    φ is unconstrained: η itself, or what the family says (`to_free`), such as log scales.
    """

    def __init__(self, family: Any, parameters: Parameters, statistics: Any) -> None:
        self.family, self.parameters = family, parameters
        with np.errstate(all="ignore"):  # a component on the boundary has none
            self.free = family.to_free(parameters)
            information = family.free_information(parameters)
        regular = np.isfinite(information).all(axis=(1, 2)) & (statistics.counts > 0)
        regular &= np.isfinite(self.free).all(axis=1)
        regular[regular] = [_positive_definite(matrix) for matrix in information[regular]]
        self.live = np.flatnonzero(regular)
        root = np.sqrt(statistics.counts[self.live])
        self.factor = np.linalg.cholesky(information[self.live]) * root[:, None, None]
        self.inverse = np.linalg.inv(self.factor)
        self.scale = np.repeat(root, self.free.shape[1])

    def to_vector(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore"):
            change = (self.family.to_free(parameters) - self.free)[self.live]
        return np.einsum("kij,ki->kj", self.factor, change).ravel()

    def from_vector(self, vector: Array) -> Parameters:
        free = self.free.copy()
        steps = vector.reshape(-1, free.shape[1])
        with np.errstate(all="ignore"):
            free[self.live] += np.einsum("kji,kj->ki", self.inverse, steps)
            new = self.family.from_free(free)
        left = np.zeros(len(free), bool)
        left[self.live] = ~self.family.in_space(new)[self.live]
        if left.any():
            new = put(new, map_arrays(lambda a: np.full(a.shape, np.nan), new), left)
        dead = np.ones(len(free), bool)
        dead[self.live] = False
        return put(new, self.parameters, dead) if dead.any() else new

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        mean = self.family.to_mean(self.family.natural(parameters))
        gradient = statistics.sums - statistics.counts[:, None] * mean
        slopes = self.family.free_slopes(parameters)
        if slopes is not None:
            gradient = np.einsum("kij,ki->kj", slopes, gradient)
        return np.einsum("kij,kj->ki", self.inverse, gradient[self.live]).ravel()


class CategoryChart:
    """Probabilities that sum to one a component (Categorical, Multinomial)."""

    def __init__(self, family: Any, parameters: Parameters, statistics: Any) -> None:
        with np.errstate(divide="ignore"):
            log_p = np.log(parameters["probability"])
        self.simplex = SimplexCoordinates(log_p, statistics.sums.sum(axis=1))
        self.scale = self.simplex.scale

    def to_vector(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore"):
            return self.simplex.to_vector(np.log(parameters["probability"]))

    def from_vector(self, vector: Array) -> Parameters:
        return {"probability": np.exp(self.simplex.from_vector(vector))}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        with np.errstate(divide="ignore"):
            return self.simplex.score(np.log(parameters["probability"]), statistics.sums)


class LogitChart:
    """Independent yes/no probabilities (Bernoulli, Binomial): v = √(n p₀(1 − p₀)) (logit p − logit p₀)."""

    def __init__(self, family: Any, parameters: Parameters, statistics: Any) -> None:
        self.parameters = parameters
        p = _columns(parameters["probability"])
        ones, zeros = np.hsplit(statistics.sums, 2)
        self.live: NDArray[np.bool_] = (p > 0) & (p < 1) & (ones + zeros > 0)
        with np.errstate(divide="ignore"):
            self.logit = np.log(p) - np.log1p(-p)
        self.root = np.sqrt((ones + zeros) * p * (1 - p))[self.live]
        self.scale = np.sqrt(ones + zeros)[self.live]

    def to_vector(self, parameters: Parameters) -> Array:
        p = _columns(parameters["probability"])[self.live]
        return self.root * (np.log(p) - np.log1p(-p) - self.logit[self.live])

    def from_vector(self, vector: Array) -> Parameters:
        p = _columns(self.parameters["probability"]).copy()
        logit = self.logit[self.live] + vector / self.root
        with np.errstate(over="ignore"):
            p[self.live] = 1.0 / (1.0 + np.exp(-logit))
        return {"probability": p.reshape(self.parameters["probability"].shape)}

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        p = _columns(parameters["probability"])
        ones, zeros = np.hsplit(statistics.sums, 2)
        return (ones - (ones + zeros) * p)[self.live] / self.root


class ProductChart:
    """The charts of the factors side by side."""

    def __init__(
        self, labels: Sequence[str], charts: Sequence[FamilyChart | None], rest: Parameters
    ) -> None:
        self.labels = labels
        self.charts = charts  # None: a factor with nothing to estimate
        self.rest = rest
        self.scale = np.concatenate([c.scale if c is not None else np.zeros(0) for c in charts])
        self._cuts = np.cumsum([0 if c is None else len(c.scale) for c in charts])[:-1]

    def to_vector(self, parameters: Parameters) -> Array:
        return np.concatenate(
            [
                np.zeros(0) if chart is None else chart.to_vector(parameters[label])
                for label, chart in zip(self.labels, self.charts, strict=True)
            ]
        )

    def from_vector(self, vector: Array) -> Parameters:
        parts = np.split(vector, self._cuts)
        return {
            label: self.rest[label] if chart is None else chart.from_vector(part)
            for label, chart, part in zip(self.labels, self.charts, parts, strict=True)
        }

    def score(self, parameters: Parameters, statistics: Any) -> Array:
        return np.concatenate(
            [
                np.zeros(0) if chart is None else chart.score(parameters[label], factor)
                for label, chart, factor in zip(
                    self.labels, self.charts, statistics.factors, strict=True
                )
            ]
        )


def _complement(direction: Array) -> Array:
    """Orthonormal basis of what is orthogonal to a vector: shape (m, m − 1)."""
    unit = direction / np.sqrt(direction @ direction)
    axis = unit.copy()  # the Householder reflection of unit to the first axis
    axis[0] += np.copysign(1.0, unit[0])
    reflection = np.eye(len(unit)) - np.outer(axis / abs(axis[0]), axis)
    return np.asarray(reflection[:, 1:])


def _columns(p: Array) -> Array:
    return p[:, None] if p.ndim == 1 else p


def _positive_definite(matrix: Array) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True
