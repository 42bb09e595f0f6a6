"""Monte Carlo posteriors: importance sampling about the mode of each unit's posterior, in any dimension."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lgamma, log, pi
from numbers import Integral, Real
from typing import Any

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general import noise
from expmax.general.backend import jnp
from expmax.general.latent import Gaussian, Mixed
from expmax.general.modes import find_mode, pair
from expmax.general.quadrature import QuadraturePosterior
from expmax.general.rules import Joint, Theta

__all__ = ["MonteCarlo", "MonteCarloPosterior"]

FREEDOM = 5  # degrees of freedom of the proposal: tails heavier than those of most posteriors
ALGORITHMS = ("ascent", "saem")


@dataclass(frozen=True)
class MonteCarlo:
    """∫ p(x, z) dz by importance sampling: z_m from a multivariate t about the mode, weights p(x, z_m)/g(z_m).

    The draws of a row come from `seed`, the values of the row and the number of the iteration, so that a fit
    repeats to the bit, whatever the blocks or workers. Two algorithms use them:

    - "ascent": each iteration draws anew and is taken only where the lower confidence bound of its ΔQ is
      positive; else the same draws are continued fourfold. It ends where the upper bound is below `tol`.
    - "saem": S ← (1 − γ)S + γŜ, first with γ = 1 for at least `burn_in` iterations and until the noise hides
      the ascent, then with γ = 1, 1/2, 1/3, … for `average` iterations. Every round is kept, so that the
      time of an M-step grows with their number: a few draws each are enough.

    Parameters
    ----------
    draws : int
        For each row, and each value of a finite part; of "ascent" those of the first iteration.
    algorithm : {"ascent", "saem"}
    max_draws : int
        The most that "ascent" goes to.
    tol : float
        Nats: "ascent" ends where an iteration and the remaining gain are below it. (Where `tol` of
        `maximize_likelihood` is larger, that counts.)
    burn_in, average : int
        Iterations of "saem".

    References
    ----------
    Caffo, Jank & Jones (2005), J. R. Statist. Soc. B 67(2), §3. Delyon, Lavielle & Moulines (1999), Ann.
    Statist. 27(1).
    """

    draws: int = 100
    algorithm: str = "ascent"
    max_draws: int = 25_600
    tol: float = 1e-2
    burn_in: int = 20
    average: int = 40

    def bind(self, joint: Joint) -> MonteCarloPosterior:
        """The rule for a model with a Gaussian part."""
        if self.algorithm not in ALGORITHMS:
            raise parameter_error("algorithm", "'ascent' or 'saem'", self.algorithm)
        for name, least in (
            ("draws", 10),
            ("max_draws", self.draws),
            ("burn_in", 1),
            ("average", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise parameter_error(name, f"an integer of at least {least}", value)
        if not isinstance(self.tol, Real) or not self.tol > 0:
            raise parameter_error("tol", "a positive number of nats", self.tol)
        if not isinstance(joint.latent, (Gaussian, Mixed)):
            raise parameter_error(
                "inference",
                "a rule for this latent type",
                "monte_carlo",
                'MonteCarlo needs Gaussian(d) or (Finite(k), Gaussian(d)); a finite z takes "exact"',
            )
        if joint.posterior is not None:
            raise ParameterError(
                'posterior cannot be given with inference="monte_carlo", which finds the mode itself; leave '
                'it out, or use inference="quadrature".'
            )
        return MonteCarloPosterior(joint, int(self.draws))

    def with_draws(self, draws: int) -> MonteCarlo:
        """The same with another number of draws."""
        return replace(self, draws=draws, max_draws=max(draws, self.max_draws))


class MonteCarloPosterior(QuadraturePosterior):
    """q: draws (s, m, d) for every finite state, their probabilities, and −log m g(z) of each (s, m)."""

    kind: Kind = "monte_carlo"
    random = True

    def __init__(self, joint: Joint, n_draws: int) -> None:
        self._bind(joint)
        self.n_draws = n_draws

    def size(self, x: Any) -> int:
        """Numbers of one row."""
        return self.n_draws * self.latent.n_states * (1 + self.dim)

    def _place(self, theta: Theta, x: Any, state: Any, key: Any) -> tuple[Any, Any]:
        """Draws (m, d) for one state, and the logs of their volumes.

        More draws go on from fewer.
        """
        centre, root, log_volume = find_mode(
            lambda vector: self.log_joint(theta, x, pair(self.latent, state, vector)), self.dim
        )
        normals = noise.normals(noise.fold(key, state), self.n_draws, self.dim + FREEDOM)
        chi_squared = (normals[:, self.dim :] ** 2).sum(axis=1)
        t = normals[:, : self.dim] / jnp.sqrt(chi_squared / FREEDOM)[:, None]
        log_density = _log_constant(self.dim) - 0.5 * (FREEDOM + self.dim) * jnp.log1p(
            (t**2).sum(axis=1) / FREEDOM
        )
        return centre + t @ root.T, log_volume - log_density - log(self.n_draws)

    def gain(self, new: Theta, old: Theta, x: Any, q: Any) -> tuple[Any, Any]:
        """E_q[log p(x, z | new) − log p(x, z | old)] and the variance of this estimate."""
        p = q["probability"]
        used = p != 0
        difference = jnp.where(used, self._table(new, x, q), 0.0) - jnp.where(
            used, self._table(old, x, q), 0.0
        )
        mean = (p * difference).sum()
        return mean, _variance(p * (difference - mean))

    def evidence_variance(self, q: Any) -> Any:
        """The variance of the estimate of log p(x), to first order."""
        return _variance(q["probability"])

    def summarize(self, q: Any) -> dict[str, Any]:
        """Moments of z, and the number of draws that weighted ones are worth: 1/Σ p²."""
        size = 1.0 / (q["probability"] ** 2).sum(axis=(-2, -1))
        return {**super().summarize(q), "effective_sample_size": size}


def _variance(terms: Any) -> Any:
    """Of a sum of terms (s, m), independent draws of equal distribution within each state."""
    m = terms.shape[1]
    away = terms - terms.mean(axis=1, keepdims=True)
    return (away**2).sum() * (m / (m - 1))


def _log_constant(dim: int) -> float:
    """log density at 0 of the standard multivariate t."""
    half = 0.5 * FREEDOM
    return lgamma(half + 0.5 * dim) - lgamma(half) - 0.5 * dim * log(FREEDOM * pi)
