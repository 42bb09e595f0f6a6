"""Slow and obvious answers: SciPy's densities, log-sum-exp, sums over rows in plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from expmax.families.product import Product
from expmax.models.mixture import MixtureModel, MixtureParameters

Array = np.ndarray


def column(distribution: Any, x: Array) -> Array:
    """Σ over the present cells of log p of independent columns of one distribution."""
    log_p = distribution.logpdf if hasattr(distribution.dist, "pdf") else distribution.logpmf
    return np.where(np.isnan(x), 0.0, log_p(np.nan_to_num(x, nan=1.0))).sum(axis=1)


def gaussian(p: dict[str, Array], x: Array) -> Array:
    if p["covariance"].ndim == 1:
        each = stats.norm.logpdf(x, p["mean"], np.sqrt(p["covariance"]))
        return np.where(np.isnan(x), 0.0, each).sum(axis=1)
    return stats.multivariate_normal(p["mean"], p["covariance"]).logpdf(x).reshape(len(x))


def student_t(p: dict[str, Array], x: Array) -> Array:
    missing = np.isnan(x).any(axis=1)
    filled = np.where(np.isnan(x), p["mean"], x)
    log_p = stats.multivariate_t(p["mean"], p["scale"], df=p["dof"]).logpdf(filled)
    return np.where(missing, 0.0, np.reshape(log_p, len(x)))


def bernoulli(p: dict[str, Array], x: Array) -> Array:
    return np.where(np.isnan(x), 0.0, stats.bernoulli.logpmf(x, p["probability"])).sum(axis=1)


def categorical(p: dict[str, Array], x: Array) -> Array:
    codes = np.nan_to_num(x[:, 0]).astype(int)
    return np.where(np.isnan(x[:, 0]), 0.0, np.log(p["probability"])[codes])


def uniform(p: dict[str, Array], x: Array) -> Array:
    return stats.uniform(p["low"], p["high"] - p["low"]).logpdf(x).sum(axis=1)


def multinomial(p: dict[str, Array], x: Array) -> Array:
    return np.array([stats.multinomial.logpmf(row, row.sum(), p["probability"]) for row in x])


LOG_DENSITY = {
    "Gaussian": gaussian,
    "StudentT": student_t,
    "Bernoulli": bernoulli,
    "Categorical": categorical,
    "Uniform": uniform,
    "Multinomial": multinomial,
    "PointMass": lambda p, x: np.where((x == p["value"]).all(axis=1), 0.0, -np.inf),
    "Poisson": lambda p, x: column(stats.poisson(p["rate"]), x),
    "Exponential": lambda p, x: column(stats.expon(scale=1 / p["rate"]), x),
    "Geometric": lambda p, x: column(stats.geom(p["probability"], loc=-1), x),
    "Gamma": lambda p, x: column(stats.gamma(p["shape"], scale=1 / p["rate"]), x),
    "Beta": lambda p, x: column(stats.beta(p["a"], p["b"]), x),
    "LogNormal": lambda p, x: column(stats.lognorm(p["sigma"], scale=np.exp(p["mu"])), x),
    "Weibull": lambda p, x: column(stats.weibull_min(p["shape"], scale=p["scale"]), x),
    "VonMises": lambda p, x: column(stats.vonmises(p["concentration"], loc=p["mean"]), x),
    "InverseGaussian": lambda p, x: column(
        stats.invgauss(p["mean"] / p["shape"], scale=p["shape"]), x
    ),
    "NegativeBinomial": lambda p, x: column(
        stats.nbinom(p["size"], p["size"] / (p["size"] + p["mean"])), x
    ),
    "Dirichlet": lambda p, x: np.array(
        [stats.dirichlet.logpdf(row, p["concentration"]) for row in x]
    ),
    "VonMisesFisher": lambda p, x: stats.vonmises_fisher(p["mean"], p["concentration"]).logpdf(x),
}


def log_density(family: Any, parameters: dict[str, Any], k: int, x: Array) -> Array:
    """log p(x_i | θ_k) by SciPy, nats: shape (n,); missing cells drop out of their column."""
    if isinstance(family, Product):
        parts = zip(family.families, parameters.values(), family.slices, strict=True)
        return sum(log_density(part, own, k, x[:, columns]) for part, own, columns in parts)
    name = type(family).__name__.removesuffix("OfSize")
    one = {key: value[k] for key, value in parameters.items() if key != "precision_cholesky"}
    if name == "Binomial":
        return column(stats.binom(family.n_trials, one["probability"]), x)
    return LOG_DENSITY[name](one, x)


def log_joint(model: MixtureModel, params: MixtureParameters, x: Array) -> Array:
    """log w_k + log p_k(x_i): shape (n, K); a row on an atom is impossible for what is continuous."""
    out = np.empty((len(x), model.n_components))
    atom = np.zeros(model.n_components, bool)
    continuous = np.zeros(model.n_components, bool)
    for group, parameters in zip(model.groups, params.components, strict=True):
        atom[group.index] = type(group.family).__name__ == "PointMass"
        continuous[group.index] = not group.family.discrete
        for i, k in enumerate(group.index):
            out[:, k] = log_density(group.family, parameters, i, x)
    for row in out:
        if (row[atom] > -np.inf).any():
            row[continuous] = -np.inf
    return out + params.log_weights


def posterior(log_joint: Array, label: Array | None = None) -> tuple[Array, Array, Array]:
    """Responsibilities, log-evidence and entropy of each row; a known row is wholly its component's."""
    log_joint = log_joint.copy()
    if label is not None:
        for i in np.flatnonzero(label >= 0):
            log_joint[i, np.arange(log_joint.shape[1]) != label[i]] = -np.inf
    evidence = logsumexp(log_joint, axis=1)
    responsibilities = np.exp(log_joint - evidence[:, None])
    entropy = stats.entropy(responsibilities, axis=1)
    return responsibilities, evidence, entropy
