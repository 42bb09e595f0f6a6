"""Modes of a continuous latent variable, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expmax.general.backend import jax, jnp
from expmax.general.latent import Latent, Mixed

__all__ = ["find_mode", "pair"]

NEWTON_STEPS = 50
SHARES = (1.0, 0.5, 0.2, 0.05, 0.01, 1e-3)  # of a Newton step, the best is taken
FLAT = 1e-8  # least curvature a mode is given


def pair(latent: Latent, state: Any, vector: Any) -> Any:
    """z as `log_joint` receives it: the vector, or for a mixed latent (finite z, vector)."""
    return (latent.state(state), vector) if isinstance(latent, Mixed) else vector


def find_mode(function: Callable[[Any], Any], dim: int) -> tuple[Any, Any, Any]:
    """argmax by damped Newton from 0, R with RRᵀ = (−∇²)⁻¹ there, and log|R|."""

    def curvature(z: Any) -> tuple[Any, Any]:
        values, vectors = _eigen(-jax.hessian(function)(z), dim)
        values = jnp.where(jnp.isfinite(values), jnp.maximum(jnp.abs(values), FLAT), 1.0)
        return values, jnp.where(jnp.isfinite(vectors), vectors, jnp.eye(dim))

    def advance(carry: Any) -> Any:
        z, value, count, _ = carry
        gradient = jax.grad(function)(z)
        values, vectors = curvature(z)
        step = vectors @ ((vectors.T @ gradient) / values)
        step = jnp.where(jnp.isfinite(step), step, 0.0)
        shares = jnp.asarray(SHARES)
        trials = jax.vmap(lambda share: function(z + share * step))(shares)
        trials = jnp.where(jnp.isnan(trials), -jnp.inf, trials)
        best = jnp.argmax(trials)
        better = trials[best] > value
        done = (jnp.abs(gradient @ step) < 1e-12) | ~better
        z = jnp.where(better, z + shares[best] * step, z)
        return z, jnp.maximum(trials[best], value), count + 1, done

    def running(carry: Any) -> Any:
        return (carry[2] < NEWTON_STEPS) & ~carry[3]

    origin = jnp.zeros(dim)
    start = (origin, function(origin), 0, jnp.asarray(False))
    z = jax.lax.while_loop(running, advance, start)[0]
    values, vectors = curvature(z)
    return z, vectors / jnp.sqrt(values), -0.5 * jnp.log(values).sum()


def _eigen(matrix: Any, dim: int) -> tuple[Any, Any]:
    return (matrix[0], jnp.eye(1)) if dim == 1 else jnp.linalg.eigh(matrix)
