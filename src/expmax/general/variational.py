"""Gaussian variational posteriors: the Gaussian of least KL divergence to each unit's posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.enumeration import logsumexp
from expmax.general.latent import Gaussian, Mixed, count
from expmax.general.modes import find_mode, pair
from expmax.general.nodes import entropy, expect_over, gaussian_summary, weighted
from expmax.general.quadrature import Quadrature, hermite_rule
from expmax.general.rules import Inferred, Joint, PosteriorRule, Theta
from expmax.statistics import Array

__all__ = ["GaussianVariational"]

NODES = {1: 21, 2: 11, 3: 7}  # a dimension
FINE = {1: 61, 2: 25, 3: 13}  # of the quadrature that a bound is compared with
DRAWS = 256  # points in more dimensions, and as many opposite ones
STEPS = 200
SHARES = (1.0, 0.5, 0.2, 0.05, 0.01, 1e-3)  # of a step, the best is taken
STILL = 1e-13  # relative rise of the bound at which it has arrived


@dataclass(frozen=True)
class GaussianVariational:
    """q = N(m, Σ) that maximises E_q[log p(x, z | θ)] + H[q] ≤ log p(x | θ), for each unit.

    Steps of the natural gradient, Σ⁻¹ ← −E_q ∇²f and m ← m + Σ E_q ∇f, damped so that the bound rises. With
    a finite part there is a Gaussian for each state, and the states are weighted by the exponentials of their
    bounds. Expectations are taken by Gauss–Hermite nodes up to three dimensions; beyond, by fixed points whose
    first and second moments are exact, and the result is then `approximate`, no longer a bound.

    Parameters
    ----------
    covariance : {"full", "diagonal"}
    nodes : int, optional
        Gauss–Hermite nodes in each dimension (default 21, 11, 7 for d = 1, 2, 3); beyond three dimensions the
        number of times 512 points are taken (default 1).

    References
    ----------
    Opper & Archambeau (2009), Neural Computation 21(3), eq. 8-10.
    """

    covariance: str = "full"
    nodes: int | None = None

    def bind(self, joint: Joint) -> GaussianVariationalPosterior:
        """The rule for a model with a Gaussian part."""
        if self.covariance not in ("full", "diagonal"):
            raise parameter_error("covariance", "'full' or 'diagonal'", self.covariance)
        if self.nodes is not None:
            count("nodes", self.nodes)
        if not isinstance(joint.latent, (Gaussian, Mixed)):
            raise parameter_error(
                "inference",
                "a rule for this latent type",
                "gaussian",
                "GaussianVariational needs Gaussian(d) or (Finite(k), Gaussian(d)); a finite z takes "
                '"exact" or "mean_field"',
            )
        if joint.posterior is not None:
            raise ParameterError(
                'posterior cannot be given with inference="gaussian", which finds q itself; leave it out, '
                'or use inference="quadrature".'
            )
        return GaussianVariationalPosterior(joint, self.covariance == "diagonal", self.nodes)

    def finer(self, dim: int) -> PosteriorRule:
        """The rule that errors of the expectations are estimated by."""
        nodes = NODES.get(dim, 1) if self.nodes is None else self.nodes
        return GaussianVariational(self.covariance, nodes + max(2, nodes // 4))

    def exact(self, dim: int) -> PosteriorRule:
        """The rule that the bound can be compared with."""
        return Quadrature(nodes=FINE.get(dim))


def _points(dim: int, nodes: int | None) -> tuple[Array, Array]:
    """Points ξ of N(0, I), shape (m, d), and their weights."""
    if dim in NODES:
        grid, logs = hermite_rule(NODES[dim] if nodes is None else nodes, dim)
        weights = np.exp(logs - (grid**2).sum(axis=1))
        return np.sqrt(2.0) * grid, weights / weights.sum()
    size = max(DRAWS, 4 * dim) * (1 if nodes is None else nodes)
    half = np.random.default_rng(0).standard_normal((size, dim))
    root = np.linalg.cholesky(half.T @ half / len(half))
    half = np.linalg.solve(root, half.T).T  # the second moments are those of N(0, I)
    both = np.concatenate([half, -half])
    return both, np.full(len(both), 1 / len(both))


class GaussianVariationalPosterior:
    """q: means (s, d) and roots (s, d, d) for every finite state, and the states' probabilities."""

    random = False
    log_evidence = None

    def __init__(self, joint: Joint, diagonal: bool, nodes: int | None) -> None:
        assert joint.log_joint is not None
        self.log_joint = joint.log_joint
        self.latent = joint.latent
        self.dim = joint.latent.dim
        self.diagonal = diagonal
        self.points, self.weights = _points(self.dim, nodes)
        self.kind: Kind = "bound" if self.dim in NODES else "approximate"

    def size(self, x: Any) -> int:
        """Numbers of one row."""
        return len(self.points) * self.latent.n_states * (1 + self.dim + self.dim**2)

    def _at(self, theta: Theta, x: Any, state: Any) -> Callable[[Any], Any]:
        return lambda vector: self.log_joint(theta, x, pair(self.latent, state, vector))

    def _states(self) -> Any:
        return jnp.arange(self.latent.n_states)

    def _over_points(self, function: Callable[[Any], Any], mean: Any, root: Any) -> Any:
        return weighted(jnp.asarray(self.weights), jax.vmap(function)(mean + self.points @ root.T))

    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """The best Gaussian of each state, from Laplace's."""
        means, roots, bounds = jax.vmap(lambda state: self._fit(self._at(theta, x, state)))(
            self._states()
        )
        bound = logsumexp(bounds)
        probability = jnp.exp(bounds - bound)
        inside = jnp.where(probability == 0, 0.0, probability * self._entropy(roots)).sum()
        q = {"mean": means, "root": roots, "probability": probability}
        return Inferred(q, bound, entropy(probability) + inside)

    def _entropy(self, root: Any) -> Any:
        log_volume = jnp.log(jnp.abs(jnp.diagonal(root, axis1=-2, axis2=-1))).sum(axis=-1)
        return 0.5 * self.dim * (1 + log(2 * pi)) + log_volume

    def _fit(self, function: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
        """Mean, lower root and bound of one state."""
        gradient, hessian = jax.grad(function), jax.hessian(function)

        def bound(mean: Any, root: Any) -> Any:
            return self._over_points(function, mean, root) + self._entropy(root)

        def root_of(precision: Any) -> Any:
            if self.diagonal:
                return jnp.diag(1 / jnp.sqrt(jnp.diagonal(precision)))
            flipped = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]  # U, P = U Uᵀ
            return jnp.linalg.inv(flipped).T

        def advance(carry: Any) -> Any:
            mean, precision, value, count, _ = carry
            root = root_of(precision)
            slope = self._over_points(gradient, mean, root)
            curvature = -self._over_points(hessian, mean, root)
            if self.diagonal:
                curvature = jnp.diag(jnp.diagonal(curvature))
            direction = root @ (root.T @ slope)

            def trial(share: Any) -> tuple[Any, Any, Any]:
                new_precision = (1 - share) * precision + share * curvature
                new_mean = mean + share * jnp.linalg.solve(new_precision, slope)
                new = bound(new_mean, root_of(new_precision))
                return new_mean, new_precision, jnp.where(jnp.isnan(new), -jnp.inf, new)

            means, precisions, values = jax.vmap(trial)(jnp.asarray(SHARES))
            best = jnp.argmax(values)
            better = values[best] > value
            risen = values[best] - value
            done = ~better | (risen + jnp.abs(slope @ direction) < STILL * (1 + jnp.abs(value)))
            return (
                jnp.where(better, means[best], mean),
                jnp.where(better, precisions[best], precision),
                jnp.where(better, values[best], value),
                count + 1,
                done,
            )

        mode, wide, _ = find_mode(function, self.dim)
        precision = jnp.linalg.inv(wide @ wide.T)
        if self.diagonal:
            precision = jnp.diag(jnp.diagonal(precision))
        start = (mode, precision, bound(mode, root_of(precision)), 0, jnp.asarray(False))
        mean, precision, value, _, _ = jax.lax.while_loop(
            lambda carry: (carry[3] < STEPS) & ~carry[4], advance, start
        )
        return mean, root_of(precision), value

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Σ over states and points."""

        def one(state: Any, mean: Any, root: Any) -> Any:
            nodes = mean + self.points @ root.T
            return jax.vmap(lambda vector: g(x, pair(self.latent, state, vector)))(nodes)

        values = jax.vmap(one)(self._states(), q["mean"], q["root"])
        flat = jax.tree.map(lambda v: v.reshape((-1, *v.shape[2:])), values)
        return expect_over((q["probability"][:, None] * self.weights).ravel(), flat)

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """E_q log p(x, z | θ)."""

        def one(state: Any, mean: Any, root: Any) -> Any:
            return self._over_points(self._at(theta, x, state), mean, root)

        return weighted(q["probability"], jax.vmap(one)(self._states(), q["mean"], q["root"]))

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """Each finite state at z = 0."""
        return jax.vmap(lambda state: self._at(theta, x, state)(jnp.zeros(self.dim)))(
            self._states()
        )

    def summarize(self, q: Any) -> dict[str, Any]:
        """Mean and covariance of the continuous part, probabilities of the finite part."""
        return gaussian_summary(self.latent, q["probability"], q["mean"], q["root"])
