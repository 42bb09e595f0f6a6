"""Adaptive Gauss–Hermite quadrature: nodes about the mode of each unit's posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import log
from numbers import Integral
from typing import Any

import numpy as np

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.enumeration import logsumexp
from expmax.general.latent import Gaussian, Mixed
from expmax.general.modes import find_mode, pair
from expmax.general.nodes import expect_over, weighted
from expmax.general.rules import Inferred, Joint, Theta
from expmax.statistics import Array

__all__ = ["Quadrature"]

NODES = {1: 21, 2: 15, 3: 9}  # a dimension


@dataclass(frozen=True)
class Quadrature:
    """∫ p(x, z) dz by a product Gauss–Hermite rule placed at the mode, with the curvature there.

    Parameters
    ----------
    nodes : int, optional
        Nodes in each dimension; default 21, 15 or 9 for d = 1, 2, 3. The error is estimated against a rule
        with about half as many nodes again (`JointModel.approximation_error`).

    References
    ----------
    Liu & Pierce (1994), Biometrika 81(3). Pinheiro & Bates (1995), J. Comput. Graph. Statist. 4(1), §2.4.
    """

    nodes: int | None = None

    def bind(self, joint: Joint) -> QuadraturePosterior:
        """The rule for a model with a Gaussian part."""
        latent = joint.latent
        if not isinstance(latent, (Gaussian, Mixed)):
            raise parameter_error(
                "inference",
                "a rule for this latent type",
                "quadrature",
                'Quadrature needs Gaussian(d) or (Finite(k), Gaussian(d)); a finite z takes "exact"',
            )
        if latent.dim > 3:
            raise ParameterError(
                f"quadrature over {latent.dim} dimensions would need too many nodes; it goes to 3. "
                'Use inference="gaussian", "laplace" or "monte_carlo".'
            )
        nodes = NODES[latent.dim] if self.nodes is None else self.nodes
        if not isinstance(nodes, Integral) or not 1 <= nodes <= 200:
            raise parameter_error("nodes", "an integer from 1 to 200", nodes)
        return QuadraturePosterior(joint, int(nodes))

    def finer(self, dim: int) -> Quadrature:
        """The rule that errors are estimated by."""
        nodes = NODES[dim] if self.nodes is None else self.nodes
        return replace(self, nodes=nodes + max(4, nodes // 2))


@cache
def hermite_rule(n_nodes: int, dim: int) -> tuple[Array, Array]:
    """Nodes ξ, shape (m, d), and log(w exp(ξᵀξ)), shape (m,), of the product rule."""
    one, weights = np.polynomial.hermite.hermgauss(n_nodes)
    grid = np.stack(np.meshgrid(*[one] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    logs = np.log(weights) + one**2
    total = np.stack(np.meshgrid(*[logs] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    return grid, total.sum(axis=1)


class QuadraturePosterior:
    """q: nodes (s, m, d) for every finite state, their probabilities, and the logs of their volumes (s, m)."""

    kind: Kind = "approximate"
    random = False

    def __init__(self, joint: Joint, n_nodes: int) -> None:
        self._bind(joint)
        self.own = joint.posterior
        self.grid, self.log_weights = hermite_rule(n_nodes, self.dim)
        if self.own is not None and isinstance(joint.latent, Mixed):
            raise ParameterError(
                "posterior cannot be given for a mixed latent: leave it out, the mode is found for you."
            )

    def _bind(self, joint: Joint) -> None:
        assert joint.log_joint is not None
        self.log_joint = joint.log_joint
        self.latent = joint.latent
        self.dim = joint.latent.dim

    def size(self, x: Any) -> int:
        """Numbers of one row."""
        return len(self.log_weights) * self.latent.n_states * (1 + self.dim)

    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """Nodes at each state's mode, all of them normalised together."""
        states = jnp.arange(self.latent.n_states)
        nodes, base = jax.vmap(lambda state: self._place(theta, x, state, key))(states)
        q = {"nodes": nodes, "base": base}
        terms = self._table(theta, x, q) + base
        log_likelihood = logsumexp(jnp.ravel(terms))
        probability = jnp.exp(terms - log_likelihood)
        used = probability != 0
        log_density = jnp.where(used, terms - log_likelihood - base, 0.0)
        q["probability"] = probability
        return Inferred(q, log_likelihood, -(probability * log_density).sum())

    def _place(self, theta: Theta, x: Any, state: Any, key: Any) -> tuple[Any, Any]:
        """Nodes (m, d) for one state, and the logs of their volumes."""
        if self.own is not None:
            centre, covariance = self.own(theta, x)
            root = jnp.linalg.cholesky(jnp.reshape(covariance, (self.dim, self.dim)))
            centre = jnp.reshape(centre, (self.dim,))
            log_volume = jnp.log(jnp.diagonal(root)).sum()
        else:
            centre, root, log_volume = find_mode(
                lambda vector: self.log_joint(theta, x, pair(self.latent, state, vector)), self.dim
            )
        nodes = centre + jnp.sqrt(2.0) * (self.grid @ root.T)
        return nodes, self.log_weights + log_volume + 0.5 * self.dim * log(2.0)

    def _table(self, theta: Theta, x: Any, q: Any) -> Any:
        return self._at_nodes(lambda z: self.log_joint(theta, x, z), q)

    def _at_nodes(self, function: Callable[[Any], Any], q: Any) -> Any:
        states = jnp.arange(self.latent.n_states)
        return jax.vmap(
            lambda state, nodes: jax.vmap(
                lambda vector: function(pair(self.latent, state, vector))
            )(nodes)
        )(states, q["nodes"])

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Σ over states and nodes."""
        values = self._at_nodes(lambda z: g(x, z), q)
        flat = jax.tree.map(lambda v: v.reshape((-1, *v.shape[2:])), values)
        return expect_over(q["probability"].ravel(), flat)

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """Σ_j q_j log p(x, z_j | θ)."""
        return weighted(q["probability"].ravel(), self._table(theta, x, q).ravel())

    def log_evidence(self, theta: Theta, x: Any, q: Any) -> Any:
        """log Σ_j v_j p(x, z_j | θ) with the nodes where they are."""
        return logsumexp(jnp.ravel(self._table(theta, x, q) + q["base"]))

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """Each finite state at z = 0."""
        states = jnp.arange(self.latent.n_states)
        origin = jnp.zeros(self.dim)
        return jax.vmap(lambda state: self.log_joint(theta, x, pair(self.latent, state, origin)))(
            states
        )

    def summarize(self, q: Any) -> dict[str, Any]:
        """Mean and covariance of the continuous part, probabilities of the finite part."""
        p, nodes = q["probability"], q["nodes"]
        mean = (p[..., None] * nodes).sum(axis=(-3, -2))
        centred = nodes - mean[..., None, None, :]
        covariance = jnp.einsum("...sm,...smi,...smj->...ij", p, centred, centred)
        out = {"mean": mean, "covariance": covariance}
        if isinstance(self.latent, Mixed):
            sizes = getattr(self.latent.finite, "sizes", (self.latent.n_states,))
            states = p.sum(axis=-1)
            out["probabilities"] = states.reshape(states.shape[:-1] + tuple(sizes))
        return out
