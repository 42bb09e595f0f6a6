"""Laplace's approximation: a Gaussian at the mode of each unit's posterior, in any dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi, sqrt
from typing import Any

import numpy as np

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.enumeration import logsumexp
from expmax.general.latent import Gaussian, Mixed
from expmax.general.modes import find_mode, pair
from expmax.general.nodes import entropy, expect_over, gaussian_summary
from expmax.general.rules import Inferred, Joint, PosteriorRule, Theta

__all__ = ["Laplace"]

FOLLOW = (
    2  # Newton steps by which the mode follows θ: after two, derivatives of second order are exact
)


@dataclass(frozen=True)
class Laplace:
    """log p(x | θ) ≈ f(ẑ) + (d/2) log 2π − ½ log|−∇²f(ẑ)|, f(z) = log p(x, z | θ), ẑ its mode.

    The M-step climbs this value itself, the modes following θ, so that a fit ends at its maximum (as
    `glmer(nAGQ = 1)` does), and the observed information is that of this value. With a finite part the
    approximations of its states are summed.

    Expectations (`maximize=`) are exact up to second order about the mode: 2d points at distance √d.

    References
    ----------
    Tierney & Kadane (1986), J. Am. Statist. Assoc. 81(393), eq. 2.2.
    """

    def bind(self, joint: Joint) -> LaplacePosterior:
        """The rule for a model with a Gaussian part."""
        if not isinstance(joint.latent, (Gaussian, Mixed)):
            raise parameter_error(
                "inference",
                "a rule for this latent type",
                "laplace",
                'Laplace needs Gaussian(d) or (Finite(k), Gaussian(d)); a finite z takes "exact"',
            )
        if joint.posterior is not None:
            raise ParameterError(
                'posterior cannot be given with inference="laplace", which finds the mode itself; leave '
                'it out, or use inference="quadrature".'
            )
        return LaplacePosterior(joint)

    def finer(self, dim: int) -> PosteriorRule:
        """The rule that errors are estimated by: an integral by points about the mode."""
        return Cubature()


@dataclass(frozen=True)
class Cubature(Laplace):
    """∫ p(x, z) dz by 2d points about the mode: exact where log p is quadratic, as Laplace is."""

    def bind(self, joint: Joint) -> LaplacePosterior:
        """The rule for a model with a Gaussian part."""
        return CubaturePosterior(joint)


class LaplacePosterior:
    """q: a Gaussian for each finite state (modes (s, d), roots (s, d, d)), and the states' probabilities."""

    kind: Kind = "approximate"
    random = False

    def __init__(self, joint: Joint) -> None:
        assert joint.log_joint is not None
        self.log_joint = joint.log_joint
        self.latent = joint.latent
        self.dim = joint.latent.dim
        self.points = np.concatenate([np.eye(self.dim), -np.eye(self.dim)]) * sqrt(self.dim)

    def size(self, x: Any) -> int:
        """Numbers of one row."""
        return self.latent.n_states * self.dim * (2 * self.dim + 2)

    def _at(self, theta: Theta, x: Any, state: Any) -> Callable[[Any], Any]:
        return lambda vector: self.log_joint(theta, x, pair(self.latent, state, vector))

    def _states(self) -> Any:
        return jnp.arange(self.latent.n_states)

    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """The modes, and Laplace's value at each."""

        def one(state: Any) -> tuple[Any, Any, Any, Any]:
            function = self._at(theta, x, state)
            mode, root, log_volume = find_mode(function, self.dim)
            return mode, root, log_volume, self._value(function, mode, root, log_volume)

        modes, roots, log_volumes, values = jax.vmap(one)(self._states())
        log_likelihood = logsumexp(values)
        probability = jnp.exp(values - log_likelihood)
        inside = 0.5 * self.dim * (1 + log(2 * pi)) + log_volumes
        used = jnp.where(probability == 0, 0.0, inside)
        q = {"mode": modes, "root": roots, "probability": probability}
        return Inferred(q, log_likelihood, entropy(probability) + (probability * used).sum())

    def _value(self, function: Callable[[Any], Any], mode: Any, root: Any, log_volume: Any) -> Any:
        return function(mode) + 0.5 * self.dim * log(2 * pi) + log_volume

    def log_evidence(self, theta: Theta, x: Any, q: Any) -> Any:
        """Laplace's value, the modes following θ by Newton's method."""

        def one(state: Any, mode: Any) -> Any:
            function = self._at(theta, x, state)
            z = _follow(function, self._at(jax.lax.stop_gradient(theta), x, state), mode)
            curvature = -jax.hessian(function)(z)
            log_det = jnp.linalg.slogdet(curvature)[1]
            return function(z) + 0.5 * self.dim * log(2 * pi) - 0.5 * log_det

        return logsumexp(jax.vmap(one)(self._states(), q["mode"]))

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """Laplace's value less the entropy of q, so that a higher Q is a higher value."""
        inside = 0.5 * self.dim * (1 + log(2 * pi)) + _log_volume(q["root"])
        p = q["probability"]
        return (
            self.log_evidence(theta, x, q) - entropy(p) - jnp.where(p == 0, 0.0, p * inside).sum()
        )

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Σ over states and the points of the third-degree rule."""

        def one(state: Any, mode: Any, root: Any) -> Any:
            nodes = mode + self.points @ root.T
            return jax.vmap(lambda vector: g(x, pair(self.latent, state, vector)))(nodes)

        values = jax.vmap(one)(self._states(), q["mode"], q["root"])
        flat = jax.tree.map(lambda v: v.reshape((-1, *v.shape[2:])), values)
        return expect_over(jnp.repeat(q["probability"], 2 * self.dim) / (2 * self.dim), flat)

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """Each finite state at z = 0."""
        return jax.vmap(lambda state: self._at(theta, x, state)(jnp.zeros(self.dim)))(
            self._states()
        )

    def summarize(self, q: Any) -> dict[str, Any]:
        """Mean and covariance of the continuous part, probabilities of the finite part."""
        return gaussian_summary(self.latent, q["probability"], q["mode"], q["root"])


class CubaturePosterior(LaplacePosterior):
    """The same modes, the integral by points."""

    def _value(self, function: Callable[[Any], Any], mode: Any, root: Any, log_volume: Any) -> Any:
        values = jax.vmap(function)(mode + self.points @ root.T)
        mean = logsumexp(values + 0.5 * self.dim) - log(2 * self.dim)
        return mean + 0.5 * self.dim * log(2 * pi) + log_volume


def _follow(function: Callable[[Any], Any], still: Callable[[Any], Any], mode: Any) -> Any:
    """The mode at θ from that at another θ, with its derivatives by θ (implicit function theorem).

    `still` is the same function with θ held: the steps themselves are not differentiated.
    """

    def newton(_: Any, z: Any) -> Any:
        return z - _solve(jax.hessian(still)(z), jax.grad(still)(z))

    def solve(linear: Callable[[Any], Any], right: Any) -> Any:
        return _solve(jax.jacobian(linear)(right), right)

    mode = jax.lax.fori_loop(0, FOLLOW, newton, mode)

    return jax.lax.custom_root(jax.grad(function), mode, lambda _, z: z, solve)


def _solve(matrix: Any, right: Any) -> Any:
    return right / matrix[0] if len(right) == 1 else jnp.linalg.solve(matrix, right)


def _log_volume(roots: Any) -> Any:
    """log|R| of each root (V/√λ, whose columns are orthogonal)."""
    return 0.5 * jnp.log((roots**2).sum(axis=-2)).sum(axis=-1)
