"""How a posterior is found: the interface that every E-step of `JointModel` follows.

A `PosteriorRule` is what a user writes (`inference="exact"`, `inference=Quadrature(nodes=31)`): options alone,
no state. `bind(joint)` looks at the model, refuses what the rule cannot do (saying what can) and returns a
`Posterior`: a handful of functions of ONE unit, traceable by JAX and free of side effects. All else is done
once for all rules by `JointModel`: vectorising over rows (`vmap`), compiling, chunks of a fixed number of rows
(padded with rows of weight 0), weights, sums, the M-step, ∇Q, ∇²Q, the chart, standard errors.

    size(x) -> int
        How many numbers one row takes (states, nodes, steps); x are the rows as the latent type prepared them.
    infer(theta, x, key) -> Inferred(q, log_likelihood, entropy)
        q is any pytree of arrays of fixed shapes: it stands for q(z | x) and is held fixed while Q(θ; S) is
        maximised. `entropy` is computed from q itself. `key` is None unless the rule is `random`; then it is a
        key of `noise.py` made from the seed and the values of the row: neither order, blocks nor copies matter.
    expected(q, x, g, over) -> pytree
        E_q[g(x, z)]; `over` is "unit" (g takes the row and z), or one of the parts the latent type has (for
        chains "step": g(x_t, z_t) summed over t; "initial": g(z_0); "transition": Σ_t g(z_t, z_{t+1})).
    expected_log_joint(theta, x, q) -> scalar
        E_q log p(x, z | θ); differentiated twice in θ.
    log_evidence(theta, x, q) -> scalar, or the attribute is None
        log p(x | θ), differentiable twice in θ with q held (q may place nodes, no more). It gives the observed
        information. A rule whose log-likelihood is a bound has none; standard errors then come from differences
        of the score.
    log_joint_values(theta, x, q) -> array
        log p(x, z | θ) at the values of z looked at, to name the row and the state of a NaN.
    summarize(q) -> dict of arrays
        What `JointModel.posterior` shows of a row.

Which rule fits: "auto" takes `Enumeration` for finite latents, `ForwardBackward` for chains and `Quadrature`
where there is a Gaussian part. `kind` tells the engine how to read the log-likelihood: exact (equals Q + H to
rounding), bound, approximate, monte_carlo. A rule that is not exact may offer `finer()`: the same rule with
more work, from which `approximation_error` is estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from expmax.contract import Kind
from expmax.general.latent import Latent

__all__ = ["Inferred", "Joint", "Posterior", "PosteriorRule"]

Theta = Mapping[str, Any]  # the user's parameters by name, arrays (traced)


class Inferred(NamedTuple):
    """What the E-step finds of one unit."""

    q: Any  # the posterior, a pytree of arrays
    log_likelihood: Any  # log p(x | θ), nats; or the bound, or an approximation
    entropy: Any  # H[q], nats, from q itself


@dataclass(frozen=True)
class Joint:
    """The densities that the user wrote, as functions of one unit."""

    latent: Latent
    log_joint: Callable[[Theta, Any, Any], Any] | None  # (θ, x, z); None for chains
    posterior: Callable[[Theta, Any], Any] | None = None  # the user's own q(z | x)
    # log_prior, log_likelihood (finite and continuous latents, if given apart), or log_initial,
    # log_transition, log_likelihood (chains)
    parts: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


class Posterior(Protocol):
    """A rule bound to a model: functions of one unit, see the head of this module."""

    kind: Kind
    random: bool  # whether `infer` wants a key

    @property
    def log_evidence(self) -> Callable[[Theta, Any, Any], Any] | None:
        """log p(x | θ) as a function of (θ, x, q), nats; None for a bound."""
        ...

    def size(self, x: Any) -> int:
        """Numbers that one of these rows needs at a time: from it the rows of a chunk are counted."""
        ...

    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """The posterior of a unit, its log-likelihood and entropy."""
        ...

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """E_q[g]."""
        ...

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """E_q log p(x, z | θ), nats."""
        ...

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """log p(x, z | θ) at the z looked at."""
        ...

    def summarize(self, q: Any) -> dict[str, Any]:
        """What users see of q."""
        ...


@runtime_checkable
class PosteriorRule(Protocol):
    """Options of an E-step."""

    def bind(self, joint: Joint) -> Posterior:
        """The rule for a model.

        Raises
        ------
        ParameterError
            The rule does not fit the latent type, or the latent space is too large; the message says which
            rule fits.
        """
        ...
