"""Exact posteriors of finite latents: every state is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.latent import Finite, Finites
from expmax.general.nodes import entropy, expect_over, weighted
from expmax.general.rules import Inferred, Joint, Theta

__all__ = ["Enumeration", "logsumexp"]


def logsumexp(table: Any) -> Any:
    """log Σ exp over the first axis; −∞ where all are, with derivatives that are 0 there."""
    top = jax.lax.stop_gradient(table.max(axis=0))
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    return top + jnp.log(jnp.exp(table - top).sum(axis=0))


@dataclass(frozen=True)
class Enumeration:
    """p(z | x) ∝ p(x, z) over all values of z.

    Parameters
    ----------
    limit : int
        More states than this are refused.
    """

    limit: int = 4096

    def bind(self, joint: Joint) -> EnumeratedPosterior:
        """The rule for a model with a finite latent."""
        latent = joint.latent
        if not isinstance(latent, (Finite, Finites)):
            raise parameter_error(
                "inference",
                "a rule for this latent type",
                "exact",
                'Enumeration needs Finite or Finites; a continuous z takes "quadrature"',
            )
        if latent.n_states > self.limit:
            raise ParameterError(
                f"{latent} has {latent.n_states} values, more than the {self.limit} that are enumerated "
                "for every row; write a chain as Markov(k), factorise the posterior by "
                'inference="mean_field", or allow it by Enumeration(limit=…).'
            )
        return EnumeratedPosterior(joint)


class EnumeratedPosterior:
    """q is the array of the probabilities of all states."""

    kind: Kind = "exact"
    random = False
    tabulated = True  # q and log p(x, z) are tables over all z

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.latent = joint.latent

    def size(self, x: Any) -> int:
        """Numbers of one row: the states."""
        return self.latent.n_states

    def _table(self, theta: Theta, x: Any) -> Any:
        log_joint = self.joint.log_joint
        assert log_joint is not None
        return self._over_states(lambda z: log_joint(theta, x, z))

    def _over_states(self, function: Callable[[Any], Any]) -> Any:
        states = jnp.arange(self.latent.n_states)
        return jax.vmap(lambda index: function(self.latent.state(index)))(states)

    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """Responsibilities by Bayes' rule, or as the user's own posterior gives them."""
        table = self._table(theta, x)
        log_likelihood = logsumexp(table)
        if self.joint.posterior is None:
            q = jnp.exp(table - log_likelihood)
        else:
            q = jnp.ravel(self.joint.posterior(theta, x))
        return Inferred(q, log_likelihood, entropy(q))

    def tempered(self, theta: Theta, x: Any, beta: Any) -> Any:
        """q ∝ p(x, z)^β."""
        table = self._table(theta, x)
        return jax.nn.softmax(jnp.where(jnp.isneginf(table), table, beta * table))

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Σ_z q(z) g(x, z)."""
        return expect_over(q, self._over_states(lambda z: g(x, z)))

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """Σ_z q(z) log p(x, z | θ)."""
        return weighted(q, self._table(theta, x))

    def log_evidence(self, theta: Theta, x: Any, q: Any) -> Any:
        """log Σ_z p(x, z | θ)."""
        return logsumexp(self._table(theta, x))

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """The table."""
        return self._table(theta, x)

    def summarize(self, q: Any) -> dict[str, Any]:
        """Probabilities, in the shape of the latent's sizes."""
        sizes = getattr(self.latent, "sizes", (self.latent.n_states,))
        return {"probabilities": q.reshape(q.shape[:-1] + tuple(sizes))}
