"""Mixture of experts: regressions whose probabilities depend on x (Jacobs, Jordan, Nowlan & Hinton 1991).

    z | x ~ softmax(gate of x),   y | x, z ~ N(coef[z] · (1, x, x²), scale[z]²)

A row is (x, y): only the density of y and z given x is modelled. With a constant gate it is a mixture of
regressions. Data: NPreg of R's flexmix (Leisch 2004), 200 points about a line and a parabola.
"""

import csv
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

import expmax as em


@cache
def read():
    with open(Path(__file__).parent / "data" / "NPreg.csv", newline="") as file:
        return np.array([[row["x"], row["yn"]] for row in csv.DictReader(file)], float)


# -- from the joint density ------------------------------------------------------------------------
def joint_model(gated=True, **options):
    import jax.numpy as jnp
    from jax.nn import log_softmax
    from jax.scipy.stats import norm

    from expmax.general import Finite, Positive, Real

    def log_prior_given(theta, x):
        slope = theta["slope"] if gated else 0.0
        return log_softmax(jnp.stack([0.0 * x, theta["level"] + slope * (x - 5.0)]))

    def log_joint(theta, row, z):
        x, y = row
        mean = theta["coef"][z] @ jnp.stack([jnp.ones_like(x), x, x**2])
        return log_prior_given(theta, x)[z] + norm.logpdf(y, mean, theta["scale"][z])

    parameters = {
        "level": Real(start=0.0),
        "coef": Real((2, 3), start=[[0.0, 5.0, 0.0], [15.0, 10.0, -1.0]]),
        "scale": Positive(2, start=5.0),
    }
    if gated:
        parameters["slope"] = Real(start=0.0)
    return em.JointModel(log_joint, latent=Finite(2), parameters=parameters, **options)


@cache
def fit_joint(gated=True):
    return em.maximize_likelihood(joint_model(gated), read(), tol=1e-8)


# -- with the experts' M-step in closed form -------------------------------------------------------
def experts(theta, expect):
    """Weighted least squares of each expert; the gate is left to the ascent of Q."""
    import jax.numpy as jnp

    def moments(row, z):
        x, y = row
        design = jnp.stack([jnp.ones_like(x), x, x**2])
        mine = jnp.eye(2)[z]
        outer = jnp.multiply.outer(mine, jnp.outer(design, design))
        return mine, outer, jnp.outer(mine, design * y), mine * y**2

    count, outer, cross, square = expect(moments)
    coef = jnp.linalg.solve(outer, cross[..., None])[..., 0]
    return coef, jnp.sqrt((square - (coef * cross).sum(axis=1)) / count)


@cache
def fit_closed():
    model = joint_model(maximize={("coef", "scale"): experts})
    return em.maximize_likelihood(model, read(), tol=1e-8)


# -- by direct search, without EM ------------------------------------------------------------------
def log_likelihood(level, slope, coef, scale):
    x, y = read().T
    gate = np.stack([0.0 * x, level + slope * (x - 5.0)], axis=1)
    gate -= np.logaddexp.reduce(gate, axis=1)[:, None]
    distance = (y[:, None] - np.stack([x**0, x, x**2], axis=1) @ coef.T) / scale
    terms = gate - np.log(scale) - 0.5 * np.log(2 * np.pi) - 0.5 * distance**2
    return float(np.logaddexp.reduce(terms, axis=1).sum())


def search():
    """The maximum of the log-likelihood by BFGS from the same start."""

    def loss(v):
        return -log_likelihood(v[0], v[1], v[2:8].reshape(2, 3), np.exp(v[8:]))

    start = np.array([0.0, 0.0, 0.0, 5.0, 0.0, 15.0, 10.0, -1.0, *np.log([5.0, 5.0])])
    return minimize(loss, start, method="BFGS", options={"gtol": 1e-6})


def main():
    print(f"{fit_joint(False).log_likelihood:.6f} with a constant gate")
    print(f"{fit_joint().log_likelihood:.6f} with a gate by x")
    print(f"{fit_closed().log_likelihood:.6f} the same, the experts' M-step in closed form")
    print(f"{-search().fun:.6f} the same, by direct search")


if __name__ == "__main__":
    main()
