"""Models as a user writes them: the three methods of the contract, and little else."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

import expmax as em


@dataclass(frozen=True)
class Sums(em.Additive):
    """Expected counts and totals by component, and Σ of what has no parameter."""

    count: np.ndarray
    total: np.ndarray
    constant: float


class Pack:
    """(weights, rates) of two components as three unconstrained numbers; `factor` ≠ 1 makes a wrong inverse."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def pack(self, params):
        weights, rates = params
        return np.r_[np.log(weights[0] / weights[1]), np.log(rates)]

    def unpack(self, vector):
        first = 1 / (1 + np.exp(-vector[0]))
        return np.array([first, 1 - first]), self.factor * np.exp(np.array(vector[1:]))


class TwoPoissons:
    """Counts from one of two Poisson distributions; without coordinates."""

    def log_joint(self, params, block):
        (weights, rates), x = params, block.x[:, :1]
        return np.log(weights) + x * np.log(rates) - rates - gammaln(x + 1)

    def expect(self, params, block):
        x = block.x[:, 0]
        w = np.ones(len(x)) if block.weight is None else block.weight
        joint = self.log_joint(params, block)
        evidence = np.logaddexp.reduce(joint, axis=1)
        logs = joint - evidence[:, None]
        r = np.exp(logs)
        sums = Sums(w @ r, (w * x) @ r, float(-w @ gammaln(x + 1)))
        return em.Expectation(
            sums, float(w @ evidence), float(-w @ (r * logs).sum(axis=1)), float(w.sum())
        )

    def maximize(self, sums, params):
        return sums.count / sums.count.sum(), sums.total / sums.count

    def expected_log_joint(self, params, sums):
        weights, rates = params
        part = sums.count * (np.log(weights) - rates) + sums.total * np.log(rates)
        return float(part.sum()) + sums.constant


class TwoPoissonsInOrder(TwoPoissons):
    """The same with coordinates, and labels that may be exchanged."""

    space = Pack()
    n_components = 2

    def permute(self, params, order):
        return params[0][order], params[1][order]


@dataclass(frozen=True)
class Total(em.Additive):
    """Σ w x and Σ w."""

    total: float
    n: float


class OneRate:
    """One Poisson rate; nothing is hidden, so that every answer is known."""

    def expect(self, rate, block):
        x = block.x[:, 0]
        w = np.ones(len(x)) if block.weight is None else block.weight
        sums = Total(float(w @ x), float(w.sum()))
        return em.Expectation(sums, self.expected_log_joint(rate, sums), 0.0, sums.n)

    def maximize(self, sums, rate):
        return sums.total / sums.n

    def expected_log_joint(self, rate, sums):
        return float(sums.total * np.log(rate) - sums.n * rate)
