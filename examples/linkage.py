"""The smallest user model: genetic linkage in 197 animals (Dempster, Laird & Rubin 1977, §1).

Counts (125, 18, 20, 34) are multinomial with probabilities (1/2 + ψ/4, (1−ψ)/4, (1−ψ)/4, ψ/4). The
first cell hides two: with probability 1/2 and ψ/4. Its latent split is the missing datum. Written
twice: by closed forms, and from the joint density of cell and split alone.
"""

from dataclasses import dataclass
from functools import cache

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


@cache
def fit():
    data = np.array([[125.0, 18.0, 20.0, 34.0]])
    return em.maximize_likelihood(Linkage(), data, start=0.5, tol=1e-10)


# -- from the joint density ------------------------------------------------------------------------
def joint_model():
    """One animal: its cell x in 0, …, 3 is seen, z in 0, …, 4 tells the two hidden cells apart."""
    import jax.numpy as jnp

    from expmax.general import Finite, Interval

    def log_joint(theta, x, z):
        psi = theta["psi"]
        p = jnp.array([1 / 2, psi / 4, (1 - psi) / 4, (1 - psi) / 4, psi / 4])
        shown = jnp.array([0, 0, 1, 2, 3])[z]
        return jnp.where(shown == x[0], jnp.log(p[z]), -jnp.inf)

    return em.JointModel(log_joint, latent=Finite(5), parameters={"psi": Interval(0, 1, start=0.5)})


@cache
def fit_joint():
    cells = em.Block(np.arange(4.0)[:, None], weight=np.array([125.0, 18, 20, 34]), memo={})
    return em.maximize_likelihood(joint_model(), cells, tol=1e-10)


def main():
    result, joint = fit(), fit_joint()
    print(f"psi = {result.params:.10f}   log-likelihood = {result.log_likelihood:.6f}")
    print(f"    = {joint.params['psi']:.10f}   from the joint density alone")
    print(result.certificate)
    print(joint.standard_errors())


if __name__ == "__main__":
    main()
