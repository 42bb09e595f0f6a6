"""Sums over weighted values of z, which every posterior on points is."""

from __future__ import annotations

from typing import Any

from expmax.general.backend import jax, jnp
from expmax.general.latent import Latent, Mixed

__all__ = ["entropy", "expect_over", "gaussian_summary", "weighted"]


def weighted(weights: Any, values: Any) -> Any:
    """Σ_j w_j v_j over the first axis, where w_j = 0 cancels even an infinite v_j."""
    shape = weights.shape + (1,) * (values.ndim - 1)
    column = weights.reshape(shape)
    return jnp.where(column == 0, 0.0, column * values).sum(axis=0)


def entropy(weights: Any) -> Any:
    """−Σ w log w."""
    safe = jnp.where(weights == 0, 1.0, weights)
    return -(safe * jnp.log(safe)).sum()


def expect_over(weights: Any, values: Any) -> Any:
    """`weighted` on every array of a pytree."""
    return jax.tree.map(lambda value: weighted(weights, jnp.asarray(value, float)), values)


def gaussian_summary(latent: Latent, p: Any, means: Any, roots: Any) -> dict[str, Any]:
    """Moments of a mixture of Gaussians with means (…, s, d) and roots (…, s, d, d)."""
    mean = (p[..., None] * means).sum(axis=-2)
    away = means - mean[..., None, :]
    covariance = jnp.einsum("...s,...sij,...skj->...ik", p, roots, roots)
    covariance = covariance + jnp.einsum("...s,...si,...sk->...ik", p, away, away)
    out = {"mean": mean, "covariance": covariance}
    if isinstance(latent, Mixed):
        sizes = getattr(latent.finite, "sizes", (latent.n_states,))
        out["probabilities"] = p.reshape(p.shape[:-1] + tuple(sizes))
    return out
