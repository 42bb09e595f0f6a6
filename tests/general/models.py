"""Models of every latent type, written as a user would: from their densities."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm, poisson

import expmax as em
from expmax.general import (
    Finite,
    Finites,
    Gaussian,
    Interval,
    Markov,
    Positive,
    Real,
    Simplex,
)

ALLELES = 3  # A, B, O; phenotypes A, B, AB, O
PHENOTYPE = np.array([[0, 2, 0], [2, 1, 1], [0, 1, 3]])


def blood_groups(**options):
    """Two alleles drawn by Hardy–Weinberg proportions; the phenotype is a function of both."""
    return em.JointModel(
        log_prior=lambda theta, z: jnp.log(theta["p"][z]).sum(),
        log_likelihood=lambda theta, x, z: jnp.where(
            jnp.asarray(PHENOTYPE)[z[0], z[1]] == x[0], 0.0, -jnp.inf
        ),
        latent=Finites(ALLELES, ALLELES),
        parameters={"p": Simplex(ALLELES)},
        **options,
    )


def blood_counts():
    return em.Block(np.arange(4.0)[:, None], weight=np.array([182.0, 60.0, 17.0, 176.0]))


def linkage():
    """Animals in four cells, the first of two kinds."""

    def log_joint(theta, x, z):
        psi = theta["psi"]
        p = jnp.stack([jnp.full_like(psi, 0.5), psi / 4, (1 - psi) / 4, (1 - psi) / 4, psi / 4])
        return jnp.where(jnp.array([0, 0, 1, 2, 3])[z] == x[0], jnp.log(p[z]), -jnp.inf)

    return em.JointModel(log_joint, latent=Finite(5), parameters={"psi": Interval(0, 1)})


def poisson_mixture(**options):
    return em.JointModel(
        log_prior=lambda theta, z: jnp.log(theta["weight"][z]),
        log_likelihood=lambda theta, x, z: poisson.logpmf(x[0], theta["rate"][z]),
        latent=Finite(2),
        parameters={
            "weight": Simplex(2, start=[0.4, 0.6]),
            "rate": Positive(2, start=[1.0, 3.0]),
        },
        **options,
    )


def gaussian_mixture(**options):
    def log_joint(theta, x, z):
        return jnp.log(theta["w"][z]) + norm.logpdf(x[0], theta["mean"][z], theta["scale"][z])

    return em.JointModel(
        log_joint,
        latent=Finite(2),
        parameters={
            "w": Simplex(2, start=[0.5, 0.5]),
            "mean": Real(2, start=[0.0, 4.0]),
            "scale": Positive(2, start=1.0),
        },
        **options,
    )


def chain(**options):
    """Counts in two states; NaN is a count that is missing."""

    def log_likelihood(theta, x, z):
        there = ~jnp.isnan(x)
        return jnp.where(there, poisson.logpmf(jnp.where(there, x, 0.0), theta["rate"][z]), 0.0)

    return em.JointModel(
        log_initial=lambda theta, z: jnp.log(theta["initial"][z]),
        log_transition=lambda theta, z, to: jnp.log(theta["transition"][z, to]),
        log_likelihood=log_likelihood,
        latent=Markov(2),
        parameters={
            "initial": Simplex(2, start=[0.4, 0.6]),
            "transition": Simplex(2, shape=2, start=[[0.7, 0.3], [0.4, 0.6]]),
            "rate": Positive(2, start=[1.0, 5.0]),
        },
        **options,
    )


def sequences():
    rng = np.random.default_rng(0)
    x = np.full((4, 9), np.nan)
    for row, length in zip(x, (7, 5, 9, 1), strict=True):
        row[:length] = rng.poisson(np.where(np.arange(length) % 4 < 2, 1.0, 6.0))
    x[2, 3] = np.nan
    return x, (7, 5, 9, 1)


def paths(params, x, length):
    """Oracle: p(x, z) of every path of one sequence."""
    from scipy.stats import poisson as counts

    for path in itertools.product(range(2), repeat=length):
        p = params["initial"][path[0]]
        p *= np.prod([params["transition"][a, b] for a, b in itertools.pairwise(path)])
        for t, z in enumerate(path):
            if not np.isnan(x[t]):
                p *= counts.pmf(x[t], params["rate"][z])
        yield path, p


def two_parameter_logistic(n_items=5):
    def log_likelihood(theta, x, z):
        logit = theta["slope"] * z[0] + theta["intercept"]
        return (x * logit - jnp.logaddexp(0.0, logit)).sum()

    return em.JointModel(
        log_prior=lambda theta, z: norm.logpdf(z[0]),
        log_likelihood=log_likelihood,
        latent=Gaussian(1),
        parameters={"slope": Real(n_items, start=1.0), "intercept": Real(n_items, start=0.0)},
    )


def random_intercept(**options):
    """Groups in rows: x[:, 0] the answers, x[:, 1] the covariate, NaN where a group is short."""

    def log_likelihood(theta, x, z):
        there = ~jnp.isnan(x[:, 0])
        y, covariate = jnp.where(there, x[:, 0], 0.0), jnp.where(there, x[:, 1], 0.0)
        logit = theta["b"][0] + theta["b"][1] * covariate + theta["sigma"] * z[0]
        return jnp.where(there, y * logit - jnp.logaddexp(0.0, logit), 0.0).sum()

    return em.JointModel(
        log_prior=lambda theta, z: norm.logpdf(z[0]),
        log_likelihood=log_likelihood,
        latent=Gaussian(1),
        parameters={"b": Real(2, start=0.0), "sigma": Positive(start=1.0)},
        **options,
    )


def groups(sigma, n_groups, seed):
    rng = np.random.default_rng(seed)
    covariate = rng.normal(size=(n_groups, 6))
    logit = -0.5 + covariate + rng.normal(0.0, sigma, (n_groups, 1))
    y = (rng.random((n_groups, 6)) < 1 / (1 + np.exp(-logit))).astype(float)
    x = np.stack([y, covariate], axis=-1)
    x[::3, 4:] = np.nan
    return x


def classes_with_intercepts(**options):
    """Two classes of units, each unit with its own level."""

    def log_joint(theta, x, z):
        k, v = z
        return (
            jnp.log(theta["w"][k])
            + norm.logpdf(v[0])
            + norm.logpdf(x, theta["mean"][k] + theta["tau"][k] * v[0], theta["scale"]).sum()
        )

    return em.JointModel(
        log_joint,
        latent=(Finite(2), Gaussian(1)),
        parameters={
            "w": Simplex(2, start=[0.5, 0.5]),
            "mean": Real(2, start=[-1.0, 1.0]),
            "tau": Positive(2, start=0.5),
            "scale": Positive(start=1.0),
        },
        **options,
    )


def levels(n_units, seed):
    rng = np.random.default_rng(seed)
    k = (rng.random(n_units) < 0.4).astype(int)
    level = np.array([-1.0, 1.5])[k] + rng.normal(size=n_units) * np.array([0.3, 0.8])[k]
    return level[:, None] + 0.7 * rng.normal(size=(n_units, 6))
