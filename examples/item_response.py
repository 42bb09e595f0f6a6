"""Two-parameter logistic item response model: five items of the Law School Admission Test, 1000 persons.

    P(x_j = 1 | z) = 1 / (1 + exp(−(c_j + a_j z))),   z ~ N(0, 1)

The latent datum is the ability z of a person; a_j is the slope of item j, c_j its intercept
(difficulty −c_j/a_j). Written twice: as Bock & Aitkin (1981) do, with z on a grid and a logistic
regression for each item, and from the joint density of answers and ability alone. Data: Bock &
Lieberman (1970).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import expmax as em


@cache
def read():
    """The answer patterns, 1 right and 0 wrong, and how many persons gave them."""
    file = Path(__file__).parent / "data" / "lsat6.csv"
    answers = np.loadtxt(file, delimiter=",", skiprows=1)
    patterns, persons = np.unique(answers, axis=0, return_counts=True)
    return em.Block(patterns, weight=persons.astype(float), memo={})


# -- Bock & Aitkin ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tallies(em.Additive):
    """Expected numbers at each ability of the grid, of those who answered the item: shape (m, items)."""

    persons: np.ndarray
    right: np.ndarray
    prior: float  # Σ E[log P(z)]


class Coordinates:
    """Slopes, then intercepts: both are real numbers already."""

    def pack(self, params):
        return np.ravel(params)

    def unpack(self, vector):
        return vector.reshape(2, -1)


class ItemResponse:
    """Parameters: array of slopes and intercepts, shape (2, items)."""

    space = Coordinates()
    supports_labels = False

    def __init__(self, n_nodes=41):
        self.ability, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
        self.log_weights = np.log(weights / weights.sum())
        self.design = np.stack([self.ability, np.ones(n_nodes)], axis=1)

    def expect(self, params, block):
        answered = ~np.isnan(block.x)
        right = np.where(answered, block.x, 0.0)
        weight = np.ones(len(right)) if block.weight is None else block.weight
        logit = self.design @ params
        log_joint = right @ logit.T - answered @ np.logaddexp(0.0, logit).T + self.log_weights
        log_evidence = np.logaddexp.reduce(log_joint, axis=1)
        log_posterior = log_joint - log_evidence[:, None]
        posterior = weight[:, None] * np.exp(log_posterior)
        prior = float(posterior.sum(axis=0) @ self.log_weights)
        tallies = Tallies(posterior.T @ answered, posterior.T @ right, prior)
        entropy = -float((posterior * log_posterior).sum())
        return em.Expectation(tallies, float(weight @ log_evidence), entropy, float(weight.sum()))

    def maximize(self, tallies, params):
        columns = zip(params.T, tallies.persons.T, tallies.right.T, strict=True)
        return np.stack([self.regress(*column) for column in columns], axis=1)

    def regress(self, start, persons, right, steps=50):
        """Logistic regression on ability, by Newton's method with halved steps."""
        here, value = start, self.value(start, persons, right)
        for _ in range(steps):
            p = 1 / (1 + np.exp(-self.design @ here))
            gradient = self.design.T @ (right - persons * p)
            information = (self.design * (persons * p * (1 - p))[:, None]).T @ self.design
            step = np.linalg.solve(information, gradient)
            while (new := self.value(here + step, persons, right)) < value:
                step = step / 2
                if np.abs(step).max() < 1e-12:
                    return here
            if gradient @ step < 1e-14 * abs(value):
                return here + step
            here, value = here + step, new
        return here

    def value(self, params, persons, right):
        logit = self.design @ params
        return float(right @ logit - persons @ np.logaddexp(0.0, logit))

    def expected_log_joint(self, params, tallies):
        logit = self.design @ params
        answers = tallies.right * logit - tallies.persons * np.logaddexp(0.0, logit)
        return float(answers.sum()) + tallies.prior

    def score(self, params, tallies):
        p = 1 / (1 + np.exp(-self.design @ params))
        return np.ravel(self.design.T @ (tallies.right - tallies.persons * p))


@cache
def fit():
    start = np.stack([np.ones(5), np.zeros(5)])
    return em.maximize_likelihood(ItemResponse(), read(), start, tol=1e-8)


# -- from the joint density ------------------------------------------------------------------------
def joint_model(n_items=5):
    import jax.numpy as jnp
    from jax.scipy.stats import norm

    from expmax.general import Gaussian, Real

    def log_likelihood(theta, x, z):
        logit = theta["intercept"] + theta["slope"] * z[0]
        return (x * logit - jnp.logaddexp(0.0, logit)).sum()

    return em.JointModel(
        log_prior=lambda theta, z: norm.logpdf(z[0]),
        log_likelihood=log_likelihood,
        latent=Gaussian(1),
        parameters={"slope": Real(n_items, start=1.0), "intercept": Real(n_items, start=0.0)},
    )


@cache
def fit_joint():
    return em.maximize_likelihood(joint_model(), read(), tol=1e-8)


def main():
    closed, joint = fit(), fit_joint()
    print(f"{closed.log_likelihood:.6f} by Bock and Aitkin's EM, {closed.status}")
    print(f"{joint.log_likelihood:.6f} from the joint density, {joint.status}")
    print(joint.standard_errors())


if __name__ == "__main__":
    main()
