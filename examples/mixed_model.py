"""Linear mixed model: reaction times of 18 drivers over ten days of little sleep (Belenky et al. 2003).

    y_i = X_i β + Z_i b_i + ε_i,   b_i ~ N(0, D),   ε_i ~ N(0, σ² I)

The latent datum of driver i is b_i, by how much the driver's line departs from the average one. X
holds 1 and the day, Z the first of these (random intercepts) or both (random intercepts and
slopes). A row of the data is a driver, shape (T, 2): reaction time and day, NaN where a driver was
measured fewer times. Written three times: by closed forms, by closed forms of a larger model
(parameter-expanded EM), and from the joint density of y_i and b_i alone.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import expmax as em


@cache
def read():
    """Drivers as rows, shape (18, 10, 2): reaction time (ms) and day."""
    drivers = {}
    with open(Path(__file__).parent / "data" / "sleepstudy.csv", newline="") as file:
        for row in csv.DictReader(file):
            drivers.setdefault(row["Subject"], []).append([row["Reaction"], row["Days"]])
    return np.array(list(drivers.values()), float)


# -- by closed forms -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Parameters:
    beta: np.ndarray  # (2,)
    covariance: np.ndarray  # D, (q, q)
    variance: float  # σ²


@dataclass(frozen=True)
class Expanded(Parameters):
    """y = X β + Z A b + ε, b ~ N(μ, D): the likelihood of β + (A μ, 0) and A D Aᵀ."""

    mean: np.ndarray  # μ, (q,)
    loading: np.ndarray  # A, (q, q)


@dataclass(frozen=True)
class Moments(em.Additive):
    """Sums over drivers of what a regression of y on M = (X, bᵀ ⊗ Z) takes; its coefficients are (β, vec A)."""

    outer: np.ndarray  # E[MᵀM]
    cross: np.ndarray  # E[Mᵀy]
    square: float  # yᵀy
    total: np.ndarray  # E[b]
    scatter: np.ndarray  # E[bbᵀ]
    measurements: float
    drivers: float


class Coordinates:
    """β, log σ², and the Cholesky factor of D with its diagonal in logs."""

    def __init__(self, q):
        self.q, self.below = q, np.tril_indices(q, -1)

    def pack(self, params):
        root = np.linalg.cholesky(params.covariance)
        logs = np.log([params.variance, *np.diagonal(root)])
        return np.concatenate([params.beta, logs, root[self.below]])

    def unpack(self, vector):
        root = np.diag(np.exp(vector[3 : 3 + self.q]))
        root[self.below] = vector[3 + self.q :]
        return Parameters(vector[:2], root @ root.T, float(np.exp(vector[2])))


class MixedModel:
    """q = 1: random intercepts. q = 2: random intercepts and slopes."""

    supports_labels = False

    def __init__(self, q=2):
        self.q, self.space = q, Coordinates(q)

    def expect(self, params, block):
        there = ~np.isnan(block.x[:, :, 0])
        y, day = (np.where(there, block.x[:, :, j], 0.0) for j in (0, 1))
        x = np.stack([there.astype(float), day], axis=-1)
        z, n, w = x[:, :, : self.q], there.sum(axis=1), block.weight
        w = np.ones(len(y)) if w is None else w

        rest = y - x @ params.beta
        xx, xz, zz = (np.einsum("nti,ntj->nij", a, b) for a, b in ((x, x), (x, z), (z, z)))
        xy, zy, zr = (np.einsum("nti,nt->ni", a, b) for a, b in ((x, y), (z, y), (z, rest)))
        spread = np.linalg.inv(np.linalg.inv(params.covariance) + zz / params.variance)
        mean = np.einsum("nij,nj->ni", spread, zr) / params.variance
        second = spread + mean[:, :, None] * mean[:, None, :]

        inside = np.linalg.slogdet(spread)[1]
        distance = ((rest**2).sum(axis=1) - (zr * mean).sum(axis=1)) / params.variance
        log_likelihood = -0.5 * (n * np.log(2 * np.pi * params.variance) + distance - inside)
        log_likelihood -= 0.5 * np.linalg.slogdet(params.covariance)[1]
        entropy = 0.5 * (inside + self.q * np.log(2 * np.pi * np.e))

        size = 2 + self.q**2
        outer = np.empty((size, size))
        outer[:2, :2] = np.einsum("n,nij->ij", w, xx)
        outer[:2, 2:] = np.einsum("n,nj,nik->ijk", w, mean, xz).reshape(2, -1)
        outer[2:, :2] = outer[:2, 2:].T
        outer[2:, 2:] = np.einsum("n,nij,nkl->ikjl", w, second, zz).reshape(2 * [self.q**2])
        cross = np.concatenate([w @ xy, np.einsum("n,ni,nj->ij", w, mean, zy).ravel()])
        moments = Moments(
            outer,
            cross,
            float(w @ (y**2).sum(axis=1)),
            w @ mean,
            np.einsum("n,nij->ij", w, second),
            float(w @ n),
            float(w.sum()),
        )
        return em.Expectation(moments, float(w @ log_likelihood), float(w @ entropy), w.sum())

    def maximize(self, moments, params):
        fixed = np.eye(self.q).ravel()
        right = moments.cross[:2] - moments.outer[:2, 2:] @ fixed
        beta = np.linalg.solve(moments.outer[:2, :2], right)
        variance = residual(np.append(beta, fixed), moments) / moments.measurements
        return Parameters(beta, moments.scatter / moments.drivers, variance)

    def expected_log_joint(self, params, moments):
        larger = expanded(params)
        coefficients = np.append(larger.beta, larger.loading.T)
        answers = moments.measurements * np.log(2 * np.pi * larger.variance)
        answers += residual(coefficients, moments) / larger.variance
        effects = moments.drivers * np.linalg.slogdet(2 * np.pi * larger.covariance)[1]
        effects += np.trace(np.linalg.solve(larger.covariance, about(larger.mean, moments)))
        return float(-0.5 * (answers + effects))

    def magnitude(self, params, moments):
        """What cancels in the residual sum of squares."""
        return moments.square / params.variance


def residual(coefficients, moments):
    """E‖y − X β − Z A b‖²."""
    quadratic = coefficients @ moments.outer @ coefficients
    return float(moments.square - 2 * coefficients @ moments.cross + quadratic)


def about(mean, moments):
    """E[(b − μ)(b − μ)ᵀ], summed."""
    cross = np.outer(moments.total, mean)
    return moments.scatter - cross - cross.T + moments.drivers * np.outer(mean, mean)


def expanded(params):
    """Ordinary parameters have μ = 0 and A = I."""
    if isinstance(params, Expanded):
        return params
    q = len(params.covariance)
    return Expanded(params.beta, params.covariance, params.variance, np.zeros(q), np.eye(q))


class ExpandedModel(MixedModel):
    """Parameter-expanded EM (Liu, Rubin & Wu 1998): y is regressed on X and Z b, b has a mean of its own."""

    exact_m_step = False  # after `reduce`, the Q of the ordinary model need not be at its top

    def maximize(self, moments, params):
        # μ does for the likelihood what the first q of β do: these stay, and μ changes in their stead
        q, held = self.q, params.beta[: self.q]
        right = moments.cross[q:] - moments.outer[q:, :q] @ held
        coefficients = np.append(held, np.linalg.solve(moments.outer[q:, q:], right))
        variance = residual(coefficients, moments) / moments.measurements
        mean = moments.total / moments.drivers
        covariance = about(mean, moments) / moments.drivers
        loading = coefficients[2:].reshape(q, q).T
        return Expanded(coefficients[:2], covariance, variance, mean, loading)

    def reduce(self, params):
        larger = expanded(params)
        beta = larger.beta.copy()
        beta[: self.q] += larger.loading @ larger.mean
        covariance = larger.loading @ larger.covariance @ larger.loading.T
        return Parameters(beta, 0.5 * (covariance + covariance.T), larger.variance)


def start(q=2):
    return Parameters(np.array([250.0, 10.0]), np.diag([400.0, 25.0][:q]), 900.0)


@cache
def fit(model=MixedModel, q=2, **options):
    return em.maximize_likelihood(model(q), read(), start(q), **{"tol": 1e-8, **options})


# -- from the joint density ------------------------------------------------------------------------
def joint_model(q=2):
    import jax.numpy as jnp
    from jax.scipy.stats import multivariate_normal, norm

    from expmax.general import Gaussian, Positive, PositiveDefinite, Quadrature, Real

    def log_prior(theta, b):
        return multivariate_normal.logpdf(b, jnp.zeros(q), theta["covariance"])

    def log_likelihood(theta, x, b):
        there = ~jnp.isnan(x[:, 0])
        y, day = jnp.where(there, x[:, 0], 0.0), jnp.where(there, x[:, 1], 0.0)
        design = jnp.stack([jnp.ones_like(day), day], axis=-1)
        line = design @ theta["beta"] + design[:, :q] @ b
        return jnp.where(there, norm.logpdf(y, line, jnp.sqrt(theta["variance"])), 0.0).sum()

    begin = start(q)
    return em.JointModel(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latent=Gaussian(q),
        inference=Quadrature(
            nodes=3
        ),  # exact: the posterior is Gaussian and log p(x, z) quadratic in z
        parameters={
            "beta": Real(2, start=begin.beta),
            "covariance": PositiveDefinite(q, start=begin.covariance),
            "variance": Positive(start=begin.variance),
        },
    )


@cache
def fit_joint(q=2):
    return em.maximize_likelihood(joint_model(q), read(), tol=1e-8)


def main():
    for q, name in ((1, "random intercepts"), (2, "random intercepts and slopes")):
        closed, joint = fit(q=q), fit_joint(q)
        print(f"{name}: {closed.log_likelihood:.6f} by closed forms, {closed.status}")
        print(f"{joint.log_likelihood:.6f} from the joint density, {joint.status}")
    print(joint.standard_errors())
    for model in (MixedModel, ExpandedModel):
        plain = fit(model, accelerate=None)
        print(f"{model.__name__}: {len(plain.history)} EM steps without acceleration")


if __name__ == "__main__":
    main()
