"""The optimal decision rule of Fellegi and Sunter, from m- and u-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.errors import ParameterError, parameter_error
from expmax.statistics import Array

__all__ = [
    "ErrorRates",
    "LinkageRule",
    "Patterns",
    "Thresholds",
    "is_number",
    "refuse_cuts",
]

MOST = 1 << 22  # patterns that are enumerated


@dataclass(frozen=True)
class ErrorRates:
    """What a rule does, by the model."""

    false_match: float  # P(decided a match | non-match): μ
    false_non_match: float  # P(decided a non-match | match): λ
    possible: float  # P(undecided)
    precision: float  # P(match | decided a match); NaN where nothing is
    recall: float  # P(decided a match | match)


@dataclass(frozen=True)
class Thresholds:
    """Match weights, bits: a match from `upper` on, a non-match up to `lower`, undecided between."""

    upper: float
    lower: float
    rates: ErrorRates


@dataclass(frozen=True)
class Patterns:
    """m_g and u_g of each field."""

    m: list[Array]
    u: list[Array]


@dataclass(frozen=True)
class LinkageRule:
    """Decisions by match weight: likelihood-ratio tests of match against non-match."""

    patterns: Patterns
    prevalence: float

    @property
    def weights(self) -> list[Array]:
        """log₂(m_g/u_g), bits; NaN for a level that neither class shows."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return [
                np.where((m == 0) & (u == 0), np.nan, np.log2(m) - np.log2(u))
                for m, u in zip(self.patterns.m, self.patterns.u, strict=True)
            ]

    def weigh(self, x: Array) -> Array:
        """Σ_g log₂(m_g/u_g) of rows of levels, missing ones left out; NaN where +∞ meets −∞."""
        out = np.zeros(len(x))
        for g, weight in enumerate(self.weights):
            present = ~np.isnan(x[:, g])
            with np.errstate(invalid="ignore"):
                out[present] += weight[x[present, g].astype(np.intp)]
        return out

    def _table(self) -> tuple[Array, Array, Array]:
        """Weight, P(·|match) and P(·|non-match) of every complete pattern, by falling weight."""
        sizes = [len(m) for m in self.patterns.m]
        if np.prod([float(size) for size in sizes]) > MOST:
            raise ParameterError(
                f"{len(sizes)} fields have more than {MOST} patterns, too many to enumerate; choose "
                "thresholds by match_probability instead."
            )
        weight, m, u = np.zeros(1), np.ones(1), np.ones(1)
        for own, m_g, u_g in zip(self.weights, self.patterns.m, self.patterns.u, strict=True):
            with np.errstate(invalid="ignore"):
                weight = (weight[:, None] + own).ravel()
            m, u = (m[:, None] * m_g).ravel(), (u[:, None] * u_g).ravel()
        shown = (m > 0) | (u > 0)
        weight, m, u = weight[shown], m[shown], u[shown]
        order = np.argsort(-weight, kind="stable")
        return weight[order], m[order], u[order]

    def rates(self, upper: float, lower: float | None = None) -> ErrorRates:
        """Error rates of a pair of thresholds, bits; without `lower` nothing is left undecided."""
        refuse_cuts(upper, lower)
        weight, m, u = self._table()
        match = weight >= upper
        other = ~match if lower is None else (weight <= lower) & ~match
        share = self.prevalence
        hit, wrong = float(m[match].sum()), float(u[match].sum())
        between = ~(match | other)
        decided = share * hit + (1.0 - share) * wrong
        return ErrorRates(
            false_match=wrong,
            false_non_match=float(m[other].sum()),
            possible=share * float(m[between].sum()) + (1.0 - share) * float(u[between].sum()),
            precision=share * hit / decided if decided > 0 else float("nan"),
            recall=hit,
        )

    def thresholds(self, false_match_rate: float, false_non_match_rate: float) -> Thresholds:
        """The widest sets of matches and of non-matches within the error rates; ties of weight together."""
        for name, rate in (
            ("false_match_rate", false_match_rate),
            ("false_non_match_rate", false_non_match_rate),
        ):
            if not (is_number(rate) and 0 <= rate < 1):
                raise parameter_error(name, "at least 0 and below 1", rate)
        weight, m, u = self._table()
        cuts = _distinct_weights(weight)
        wrong = np.add.reduceat(u, cuts).cumsum()  # of deciding for everything down to each weight
        missed = np.add.reduceat(m, cuts)[::-1].cumsum()[
            ::-1
        ]  # of deciding against all from it down
        slack = 1e-12
        n_match = int((wrong <= false_match_rate + slack).sum())
        n_other = int((missed <= false_non_match_rate + slack).sum())
        levels = weight[cuts]
        if n_match + n_other > len(levels):  # the rates are so lax that the sets meet
            n_other = len(levels) - n_match
        upper = float(levels[n_match - 1]) if n_match else np.inf
        lower = float(levels[len(levels) - n_other]) if n_other else -np.inf
        return Thresholds(upper, lower, self.rates(upper, lower))


def is_number(value: Any) -> bool:
    """Whether a value is a number other than NaN."""
    return isinstance(value, int | float | np.number) and value == value


def refuse_cuts(upper: Any, lower: Any) -> None:
    """Match weights of a rule must be numbers, the lower one at most the upper."""
    if not is_number(upper):
        raise parameter_error("upper", "a match weight, bits", upper)
    if lower is not None and not (is_number(lower) and lower <= upper):
        raise parameter_error("lower", f"a match weight, bits, at most upper={upper:g}", lower)


def _distinct_weights(weight: Array) -> NDArray[np.intp]:
    """Where runs of equal weight (to rounding) begin, in falling order."""
    with np.errstate(invalid="ignore"):
        near = np.abs(np.diff(weight)) <= 1e-9 * (1.0 + np.abs(weight[1:]))
    same = near | (weight[1:] == weight[:-1])
    return np.flatnonzero(np.concatenate([[True], ~same]))
