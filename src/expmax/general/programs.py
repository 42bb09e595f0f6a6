"""The compiled functions of a model: one unit's formulas, over the rows of a chunk, summed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from expmax.general import noise
from expmax.general.backend import jax, jnp
from expmax.general.chunks import Chunk
from expmax.general.rules import Posterior
from expmax.general.space import Space

__all__ = ["Programs", "arrays"]


class Programs:
    """Functions of packed parameters u, each compiled once for every shape of chunk.

    All take (u, …, x, weight, seed) of a chunk and return sums over its rows.
    """

    def __init__(self, space: Space, posterior: Posterior) -> None:
        self.space, self.posterior = space, posterior

    # -- formulas, traceable -----------------------------------------------------------------------
    def _infer(self, u: Any, chunk: tuple[Any, Any, Any]) -> Any:
        theta = self.space.from_free(u)
        x, weight, seeds = chunk
        out = jax.vmap(lambda row, seed: self.posterior.infer(theta, row, self._key(seed)))(
            x, seeds
        )
        return _sum(weight, out.log_likelihood), _sum(weight, out.entropy), out.q

    def _key(self, seed: Any) -> Any:
        return noise.fold(0, seed) if self.posterior.random else None

    def _infer_from(self, u: Any, q: Any, chunk: tuple[Any, Any, Any]) -> Any:
        theta = self.space.from_free(u)
        x, weight, _ = chunk
        out = jax.vmap(lambda q, row: self.posterior.infer_from(theta, row, q))(q, x)  # type: ignore[attr-defined]
        return _sum(weight, out.log_likelihood), _sum(weight, out.entropy), out.q

    def _infer_tempered(self, u: Any, chunk: tuple[Any, Any, Any], beta: Any) -> Any:
        theta = self.space.from_free(u)
        return jax.vmap(lambda row: self.posterior.tempered(theta, row, beta))(chunk[0])  # type: ignore[attr-defined]

    def _q(self, u: Any, q: Any, chunk: tuple[Any, Any, Any]) -> Any:
        theta = self.space.from_free(u)
        x, weight, _ = chunk
        rows = jax.vmap(lambda q, row: self.posterior.expected_log_joint(theta, row, q))(q, x)
        return _sum(weight, rows)

    def _magnitude(self, u: Any, q: Any, chunk: tuple[Any, Any, Any]) -> Any:
        theta = self.space.from_free(u)
        x, weight, _ = chunk
        rows = jax.vmap(lambda q, row: self.posterior.expected_log_joint(theta, row, q))(q, x)
        return _sum(weight, jnp.abs(rows))

    def _evidence(self, u: Any, q: Any, chunk: tuple[Any, Any, Any]) -> Any:
        theta = self.space.from_free(u)
        log_evidence = self.posterior.log_evidence
        assert log_evidence is not None
        x, weight, _ = chunk
        return _sum(weight, jax.vmap(lambda q, row: log_evidence(theta, row, q))(q, x))

    def expected(self, q: Any, chunk: tuple[Any, Any, Any], g: Any, over: str) -> Any:
        """Σ w E_q g, as a pytree; traceable."""
        x, weight, _ = chunk
        rows = jax.vmap(lambda q, row: self.posterior.expected(q, row, g, over))(q, x)
        return jax.tree.map(lambda values: jnp.tensordot(weight, values, axes=(0, 0)), rows)

    # -- compiled ----------------------------------------------------------------------------------
    @cached_property
    def infer(self) -> Callable[..., Any]:
        """(u, chunk) → Σ w log p(x), Σ w H, q."""
        return jax.jit(self._infer)

    @cached_property
    def infer_from(self) -> Callable[..., Any]:
        """(u, q, chunk) → as `infer`, of rules that begin at an earlier q."""
        return jax.jit(self._infer_from)

    @cached_property
    def infer_tempered(self) -> Callable[..., Any]:
        """(u, chunk, β) → q ∝ p(x, z)^β."""
        return jax.jit(self._infer_tempered)

    @cached_property
    def gains(self) -> Callable[..., Any]:
        """(u_new, u_old, q, chunk) → ΔQ of every row and the variance of this estimate, of random rules."""

        def rows(new: Any, old: Any, q: Any, chunk: tuple[Any, Any, Any]) -> Any:
            after, before = self.space.from_free(new), self.space.from_free(old)
            gain = self.posterior.gain  # type: ignore[attr-defined]
            return jax.vmap(lambda q, row: gain(after, before, row, q))(q, chunk[0])

        return jax.jit(rows)

    @cached_property
    def q_gradient(self) -> Callable[..., Any]:
        """(u, q, chunk) → Q, ∇Q."""
        return jax.jit(jax.value_and_grad(self._q))

    @cached_property
    def q_curvature(self) -> Callable[..., Any]:
        """(u, q, chunk) → Q, ∇Q, ∇²Q."""
        return jax.jit(_with_curvature(self._q))

    @cached_property
    def evidence_curvature(self) -> Callable[..., Any]:
        """(u, q, chunk) → ℓ, ∇ℓ, ∇²ℓ."""
        return jax.jit(_with_curvature(self._evidence))

    @cached_property
    def magnitude(self) -> Callable[..., Any]:
        """(u, q, chunk) → Σ w |E_q log p(x, z)|."""
        return jax.jit(self._magnitude)

    @cached_property
    def values(self) -> Callable[..., Any]:
        """(u, q, chunk) → log p(x, z) of every row, at the z looked at."""

        def table(u: Any, q: Any, chunk: tuple[Any, Any, Any]) -> Any:
            theta = self.space.from_free(u)
            return jax.vmap(lambda q, row: self.posterior.log_joint_values(theta, row, q))(
                q, chunk[0]
            )

        return jax.jit(table)

    @cached_property
    def rows(self) -> Callable[..., Any]:
        """(u, chunk) → what `infer` finds of every row."""

        def each(u: Any, chunk: tuple[Any, Any, Any]) -> Any:
            theta = self.space.from_free(u)
            return jax.vmap(lambda row, seed: self.posterior.infer(theta, row, self._key(seed)))(
                chunk[0], chunk[2]
            )

        return jax.jit(each)


def arrays(chunk: Chunk) -> tuple[Any, Any, Any]:
    """A chunk as the compiled functions take it."""
    return chunk.x, chunk.weight, chunk.seed


def _sum(weight: Any, rows: Any) -> Any:
    """Σ w v; a row of weight 0 counts for nothing, whatever its v."""
    return jnp.where(weight == 0, 0.0, weight * rows).sum()


def _with_curvature(function: Callable[..., Any]) -> Callable[..., Any]:
    """Value, gradient and Hessian in one pass: forward over reverse."""

    def all_three(u: Any, *rest: Any) -> Any:
        def gradient(v: Any) -> Any:
            value, slope = jax.value_and_grad(function)(v, *rest)
            return slope, (value, slope)

        hessian, (value, slope) = jax.jacfwd(gradient, has_aux=True)(u)
        return value, slope, hessian

    return all_three
