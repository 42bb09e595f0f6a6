"""The smallest user model: genetic linkage in 197 animals (Dempster, Laird & Rubin 1977, §1).

Counts (125, 18, 20, 34) are multinomial with probabilities (1/2 + ψ/4, (1−ψ)/4, (1−ψ)/4, ψ/4). The first cell
hides two: with probability 1/2 and ψ/4. Its latent split is the missing datum.
"""

from dataclasses import dataclass

import numpy as np

import expmax as em


@dataclass(frozen=True)
class Counts(em.Additive):
    """Expected complete counts: of successes (ψ/4 cells) and failures ((1−ψ)/4 cells), and what is constant."""

    successes: float
    failures: float
    constant: float  # Σ of the terms without ψ


class Logit:
    """ψ in (0, 1) as one unconstrained number."""

    def pack(self, psi):
        return np.array([np.log(psi / (1 - psi))])

    def unpack(self, vector):
        return float(1 / (1 + np.exp(-vector[0])))


class Linkage:
    """One row holds all counts, so there is nothing to weight."""

    space = Logit()
    supports_weights = False

    def expect(self, psi, block):
        (y1, y2, y3, y4) = block.x[0]
        share = (psi / 4) / (1 / 2 + psi / 4)  # P(second of the hidden cells | first cell)
        log_likelihood = y1 * np.log(1 / 2 + psi / 4) + (y2 + y3) * np.log((1 - psi) / 4)
        log_likelihood += y4 * np.log(psi / 4)
        hidden = y1 * share
        constant = (y1 - hidden) * np.log(1 / 2) - (hidden + y2 + y3 + y4) * np.log(4)
        entropy = -y1 * (share * np.log(share) + (1 - share) * np.log(1 - share))
        counts = Counts(hidden + y4, y2 + y3, constant)
        return em.Expectation(counts, log_likelihood, entropy, y1 + y2 + y3 + y4)

    def maximize(self, counts, psi):
        return counts.successes / (counts.successes + counts.failures)

    def expected_log_joint(self, psi, counts):
        rising = counts.successes * np.log(psi) + counts.failures * np.log(1 - psi)
        return rising + counts.constant


def fit():
    data = np.array([[125.0, 18.0, 20.0, 34.0]])
    return em.maximize_likelihood(Linkage(), data, start=0.5, tol=1e-10)


if __name__ == "__main__":
    result = fit()
    print(f"psi = {result.params:.10f}   log-likelihood = {result.log_likelihood:.6f}")
    print(result.certificate)
    print(result.standard_errors())
