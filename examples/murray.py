"""A saddle that EM never leaves: Murray's twelve pairs with eight missing cells (Murray 1977).

A bivariate normal with mean zero. At zero correlation the score is exactly zero, so plain EM stays there for
ever, though it is no maximum: the log-likelihood rises both ways, to correlations of -1/2 and 1/2.
"""

from dataclasses import dataclass

import numpy as np

import expmax as em

NAN = float("nan")
BOTH = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
FIRST = [(2, NAN), (2, NAN), (-2, NAN), (-2, NAN)]
SECOND = [(NAN, 2), (NAN, 2), (NAN, -2), (NAN, -2)]
PAIRS = np.array([*BOTH, *FIRST, *SECOND])


@dataclass(frozen=True)
class Moments(em.Additive):
    """Expected complete data: rows, and Σ x xᵀ with its three entries."""

    n: float
    products: np.ndarray  # shape (2, 2)


class CholeskyLogs:
    """A covariance as three unconstrained numbers: its Cholesky factor, logs on the diagonal."""

    def pack(self, covariance):
        (a, _), (b, c) = np.linalg.cholesky(covariance)
        return np.array([np.log(a), b, np.log(c)])

    def unpack(self, vector):
        factor = np.array([[np.exp(vector[0]), 0.0], [vector[1], np.exp(vector[2])]])
        return factor @ factor.T


class NormalWithMissingCells:
    """x ~ N(0, Σ) in two columns; NaN is a missing cell. The parameters are Σ."""

    space = CholeskyLogs()

    def expect(self, covariance, block):
        weight = np.ones(len(block.x)) if block.weight is None else block.weight
        products, log_likelihood, entropy = np.zeros((2, 2)), 0.0, 0.0
        for row, w in zip(block.x, weight, strict=True):
            seen, hidden = np.isfinite(row), np.isnan(row)
            s_oo, s_mo = covariance[np.ix_(seen, seen)], covariance[np.ix_(hidden, seen)]
            slope = np.linalg.solve(s_oo, s_mo.T).T  # of the regression of hidden on seen
            spread = covariance[np.ix_(hidden, hidden)] - slope @ s_mo.T
            filled = row.copy()
            filled[hidden] = slope @ row[seen]
            products += w * np.outer(filled, filled)
            products[np.ix_(hidden, hidden)] += w * spread
            log_likelihood += w * log_density(np.outer(row[seen], row[seen]), 1.0, s_oo)
            entropy += w * 0.5 * (np.linalg.slogdet(2 * np.pi * np.e * spread)[1])
        return em.Expectation(
            Moments(weight.sum(), products), log_likelihood, entropy, weight.sum()
        )

    def maximize(self, moments, covariance):
        return moments.products / moments.n

    def expected_log_joint(self, covariance, moments):
        return log_density(moments.products, moments.n, covariance)


def log_density(products, n, covariance):
    """Σ log N(x | 0, Σ) of n rows with Σ x xᵀ = products, nats."""
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return -0.5 * (n * log_det + np.trace(np.linalg.solve(covariance, products)))


def fit():
    """From the identity matrix: no correlation at the start, and none by EM alone."""
    return em.maximize_likelihood(
        NormalWithMissingCells(), PAIRS, start=np.eye(2), tol=1e-10, random_state=0
    )


if __name__ == "__main__":
    result = fit()
    (a, b), (_, c) = result.params
    print(f"variances {a:.7f}, {c:.7f}   correlation {b / np.sqrt(a * c):+.7f}")
    print(f"log-likelihood = {result.log_likelihood:.6f}")
    print(result.certificate)
    print(result.standard_errors())
