"""Exact posteriors of Markov chains: the forward recursion, and its derivatives, which are the posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.enumeration import logsumexp
from expmax.general.latent import Markov
from expmax.general.nodes import entropy, weighted
from expmax.general.rules import Inferred, Joint, Theta

__all__ = ["ForwardBackward"]


@dataclass(frozen=True)
class ForwardBackward:
    """p(z_0, …, z_T | x) of a chain, in time T k².

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), Ann. Math. Statist. 41(1). Eisner (2016), Inside-outside and
    forward-backward algorithms are just backprop, §6.
    """

    def bind(self, joint: Joint) -> ChainPosterior:
        """The rule for a model with a chain."""
        if not isinstance(joint.latent, Markov):
            raise parameter_error("latent", "Markov(k) for the forward-backward rule", joint.latent)
        if joint.posterior is not None:
            raise ParameterError(
                "posterior cannot be given for a chain: leave it out, forward-backward is exact."
            )
        return ChainPosterior(joint)


class ChainPosterior:
    """q: state probabilities of each step (T, k), expected transitions (k, k)."""

    kind: Kind = "exact"
    random = False

    def __init__(self, joint: Joint) -> None:
        self.parts = joint.parts
        self.n_states = joint.latent.n_states

    def size(self, x: Any) -> int:
        """Numbers of one row: k² a step."""
        return int(x["x"].shape[1]) * self.n_states * (self.n_states + 1)

    def _tables(self, theta: Theta, x: Any) -> tuple[Any, Any, Any]:
        """log p(z_0), shape (k,); log p(z' | z), (k, k); log p(x_t | z), (T, k), 0 at padding."""
        states = jnp.arange(self.n_states)
        initial = jax.vmap(lambda z: self.parts["log_initial"](theta, z))(states)
        transition = jax.vmap(
            lambda z: jax.vmap(lambda to: self.parts["log_transition"](theta, z, to))(states)
        )(states)
        emission = self._over_steps(
            lambda step, z: self.parts["log_likelihood"](theta, step, z), x["x"]
        )
        return initial, transition, jnp.where(_present(x)[:, None], emission, 0.0)

    def _over_steps(self, g: Callable[[Any, Any], Any], steps: Any) -> Any:
        states = jnp.arange(self.n_states)
        return jax.vmap(lambda step: jax.vmap(lambda z: g(step, z))(states))(steps)

    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """Forward recursion; its derivatives by the tables are the posterior probabilities."""
        log_likelihood, pair, state = self._smooth(self._tables(theta, x), x)
        q = {"state": state, "transition": pair.sum(axis=0)}
        return Inferred(q, log_likelihood, _entropy(state, pair))

    def tempered(self, theta: Theta, x: Any, beta: Any) -> Any:
        """q ∝ p(x, z)^β: the posterior of the chain with all its tables raised to that power."""
        tables = self._tables(theta, x)
        hotter = [jnp.where(jnp.isneginf(table), table, beta * table) for table in tables]
        _, pair, state = self._smooth(hotter, x)
        return {"state": state, "transition": pair.sum(axis=0)}

    def _smooth(self, tables: Any, x: Any) -> tuple[Any, Any, Any]:
        """log Σ over paths, and its derivatives: pairs (T − 1, k, k), states (T, k)."""
        initial, transition, emission = tables
        each = jnp.broadcast_to(transition, (emission.shape[0] - 1, *transition.shape))
        log_likelihood, (pair, state) = jax.value_and_grad(_forward, argnums=(1, 2))(
            initial, each, emission, _present(x)
        )
        return log_likelihood, pair, state

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Sums over steps, the first step, or transitions."""
        states = jnp.arange(self.n_states)
        if over == "initial":
            table, weights = jax.vmap(g)(states), q["state"][0]
        elif over == "transition":
            table = jax.vmap(lambda z: jax.vmap(lambda to: g(z, to))(states))(states)
            weights = q["transition"]
        else:
            table = self._over_steps(g, x["x"])
            weights = jnp.where(_present(x)[:, None], q["state"], 0.0)
        return jax.tree.map(lambda values: _contract(weights, jnp.asarray(values, float)), table)

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """Σ γ_0 log p(z_0) + Σ ξ log p(z' | z) + Σ_t γ_t log p(x_t | z)."""
        initial, transition, emission = self._tables(theta, x)
        return (
            weighted(q["state"][0], initial)
            + _contract(q["transition"], transition)
            + _contract(q["state"], emission)
        )

    def log_evidence(self, theta: Theta, x: Any, q: Any) -> Any:
        """log p(x | θ) by the forward recursion."""
        initial, transition, emission = self._tables(theta, x)
        each = jnp.broadcast_to(transition, (emission.shape[0] - 1, *transition.shape))
        return _forward(initial, each, emission, _present(x))

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """Best value of each state over the steps: NaN where any of its terms is."""
        initial, transition, emission = self._tables(theta, x)
        return initial + transition.sum(axis=0) + emission.sum(axis=0)

    def summarize(self, q: Any) -> dict[str, Any]:
        """Probabilities of the states at each step, and expected numbers of transitions."""
        return {"probabilities": q["state"], "transitions": q["transition"]}


def _present(x: Any) -> Any:
    return jnp.arange(x["x"].shape[0]) < x["length"]


def _forward(initial: Any, transition: Any, emission: Any, present: Any) -> Any:
    """log p(x): transition holds a table for each step, (T − 1, k, k)."""

    def advance(alpha: Any, step: Any) -> tuple[Any, None]:
        table, log_density, here = step
        moved = logsumexp(alpha[:, None] + table) + log_density
        return jnp.where(here, moved, alpha), None

    alpha, _ = jax.lax.scan(advance, initial + emission[0], (transition, emission[1:], present[1:]))
    return logsumexp(alpha)


def _entropy(state: Any, pair: Any) -> Any:
    """H(z_0) + Σ_t H(z_{t+1} | z_t), from the probabilities alone."""
    before = jnp.broadcast_to(pair.sum(axis=2, keepdims=True), pair.shape)
    used = pair != 0
    ratio = jnp.where(used, pair, 1.0) / jnp.where(used, before, 1.0)
    return entropy(state[0]) - (jnp.where(used, pair, 0.0) * jnp.log(ratio)).sum()


def _contract(weights: Any, values: Any) -> Any:
    """Sum of weights times values over all the axes of the weights."""
    flat = values.reshape((-1, *values.shape[weights.ndim :]))
    return weighted(weights.ravel(), flat)
