"""Logistic regression with random intercepts: pleuropneumonia in 15 herds of zebu (Lesnoff et al. 2004).

    cases in period t of herd i ~ Binomial(size_it, 1 / (1 + exp(−(b_t + σ z_i)))),   z_i ~ N(0, 1)

The latent datum is z_i, how the herd departs from the average one. A row is a herd, shape (4, 2):
cases and animals in each of four periods, NaN where there is no count. Written twice: from the
joint density of cases and z, and with z integrated by a fixed rule of many nodes, searched
directly.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import binom

import expmax as em


@cache
def read():
    table = np.loadtxt(Path(__file__).parent / "data" / "cbpp.csv", delimiter=",", skiprows=1)
    herd, cases, size, period = table.T
    rows = np.full((15, 4, 2), np.nan)
    rows[herd.astype(int) - 1, period.astype(int) - 1] = np.stack([cases, size], axis=1)
    return rows


# -- from the joint density ------------------------------------------------------------------------
def joint_model():
    import jax.numpy as jnp
    from jax.nn import log_sigmoid
    from jax.scipy.special import gammaln
    from jax.scipy.stats import norm

    from expmax.general import Gaussian, Positive, Real

    def log_likelihood(theta, row, z):
        there = ~jnp.isnan(row[:, 0])
        cases, size = jnp.where(there[:, None], row, 0.0).T
        ways = gammaln(size + 1) - gammaln(cases + 1) - gammaln(size - cases + 1)
        logit = theta["b"] + theta["sigma"] * z[0]
        return (ways + cases * log_sigmoid(logit) + (size - cases) * log_sigmoid(-logit)).sum()

    return em.JointModel(
        log_prior=lambda theta, z: norm.logpdf(z[0]),
        log_likelihood=log_likelihood,
        latent=Gaussian(1),
        parameters={"b": Real(4, start=-1.0), "sigma": Positive(start=1.0)},
    )


@cache
def fit_joint():
    return em.maximize_likelihood(joint_model(), read(), tol=1e-8)


# -- by a fixed rule of many nodes -----------------------------------------------------------------
def log_likelihood(b, sigma, nodes=100):
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    cases, size = np.nan_to_num(np.moveaxis(read(), -1, 0))  # 0 of 0 has probability 1
    p = 1 / (1 + np.exp(-(np.asarray(b)[:, None] + sigma * z)))
    terms = binom.logpmf(cases[:, :, None], size[:, :, None], p).sum(axis=1)
    return float(np.log(np.exp(terms) @ (weights / weights.sum())).sum())


def search():
    """The maximum by BFGS."""

    def loss(v):
        return -log_likelihood(v[:4], np.exp(v[4]))

    return minimize(loss, [-1.0, -2.0, -2.0, -2.0, 0.0], method="BFGS")


def main():
    joint, direct = fit_joint(), search()
    print(f"{joint.log_likelihood:.6f} from the joint density, {joint.status}")
    print(f"{-direct.fun:.6f} by a direct search over a rule of 100 nodes")
    print(joint.standard_errors())


if __name__ == "__main__":
    main()
