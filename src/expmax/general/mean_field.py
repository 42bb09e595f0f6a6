"""Mean field: finite latent variables that are independent given the row, by coordinate ascent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax.contract import Kind
from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.enumeration import Enumeration
from expmax.general.latent import Finite, Finites
from expmax.general.nodes import expect_over, weighted
from expmax.general.rules import Inferred, Joint, PosteriorRule, Theta

__all__ = ["MeanField"]

SWEEPS = 500
STARTS = 4  # uniform, and random ones: coordinate ascent has local maxima
STILL = 1e-8  # change of a probability at which a sweep has arrived; the bound is then off by its square
PROBES = 16  # states at which a pairwise form is tried
LOW = -1e300  # stands for log 0 in sums that a probability of 0 must cancel
HOPELESS = -1e200  # a bound below: some probability was left on what is impossible


@dataclass(frozen=True)
class MeanField:
    """q(z) = Π_j q_j(z_j) that maximises E_q[log p(x, z | θ)] + H[q] ≤ log p(x | θ), for each unit.

    Coordinate ascent, q_j(v) ∝ exp E_q[log p(x, z | θ) | z_j = v], from several starts, the best kept. Up to
    `limit` states expectations are taken over all of them. Beyond, log p(x, z | θ) must be a sum of terms in
    at most two of the variables (as in a Boltzmann machine, or a Gaussian whose mean is linear in z): the terms
    are read off from single and double changes of a state, and tried at other states; where they do not add up
    the row is refused. The E-steps of a fit go on from q of the last one, so that the bound never falls.

    Parameters
    ----------
    limit : int
        States up to which all are looked at.

    References
    ----------
    Saul, Jaakkola & Jordan (1996), J. Artif. Intell. Res. 4. Bishop (2006), §10.1.
    """

    limit: int = 4096

    def bind(self, joint: Joint) -> MeanFieldPosterior:
        """The rule for a model with a finite latent."""
        if not isinstance(joint.latent, (Finite, Finites)):
            raise parameter_error(
                "inference",
                "a rule for this latent type",
                "mean_field",
                'MeanField needs Finites(k1, k2, …); a chain takes "exact", a continuous z "gaussian"',
            )
        if joint.posterior is not None:
            raise ParameterError(
                'posterior cannot be given with inference="mean_field", which finds q itself; leave it out.'
            )
        if joint.latent.n_states <= self.limit:
            return MeanFieldPosterior(joint)
        return PairwisePosterior(joint)

    def exact(self, dim: int) -> PosteriorRule:
        """The rule that the bound can be compared with."""
        return Enumeration(limit=self.limit)


class MeanFieldPosterior:
    """q: probabilities (J, k) of each variable, zeros beyond its own number of values."""

    kind: Kind = "bound"
    random = False
    log_evidence = None

    def __init__(self, joint: Joint) -> None:
        assert joint.log_joint is not None
        self.log_joint = joint.log_joint
        self.latent = joint.latent
        self.sizes: tuple[int, ...] = getattr(joint.latent, "sizes", (joint.latent.n_states,))
        self.width = max(self.sizes)
        self.allowed = np.arange(self.width) < np.array(self.sizes)[:, None]  # (J, k)
        rng = np.random.default_rng(0)
        draws = rng.dirichlet(np.ones(self.width), (STARTS - 1, len(self.sizes)))
        both = np.concatenate([np.ones((1, *self.allowed.shape)), draws]) * self.allowed
        self.starts = both / both.sum(axis=2, keepdims=True)

    def size(self, x: Any) -> int:
        """Numbers of one row."""
        return self.latent.n_states * STARTS

    # -- the terms of log p(x, z | θ) --------------------------------------------------------------
    def _terms(self, theta: Theta, x: Any) -> Any:
        """log p(x, z | θ) as an array of the shape of the sizes."""
        states = jnp.arange(self.latent.n_states)
        values = jax.vmap(lambda index: self.log_joint(theta, x, self.latent.state(index)))(states)
        return jnp.where(jnp.isneginf(values), LOW, values).reshape(self.sizes)

    def _given(self, terms: Any, q: Any, j: int) -> Any:
        """E_q[log p | z_j = v] for every value v: (k,)."""
        for i in reversed(range(len(self.sizes))):
            if i != j:
                terms = jnp.tensordot(terms, q[i, : self.sizes[i]], axes=(i, 0))
        return jnp.pad(terms, (0, self.width - self.sizes[j]), constant_values=LOW)

    def _mean(self, terms: Any, q: Any) -> Any:
        """E_q log p."""
        return weighted(q[0], self._given(terms, q, 0))

    # -- the rule ----------------------------------------------------------------------------------
    def infer(self, theta: Theta, x: Any, key: Any) -> Inferred:
        """The best of the coordinate ascents."""
        return self._best(theta, x, jnp.asarray(self.starts))

    def infer_from(self, theta: Theta, x: Any, q: Any) -> Inferred:
        """The ascent from an earlier q, which ends no lower."""
        return self._best(theta, x, q[None])

    def _best(self, theta: Theta, x: Any, starts: Any) -> Inferred:
        terms = self._terms(theta, x)
        qs = jax.vmap(lambda start: self._ascend(terms, start))(starts)
        entropies = jax.vmap(_entropy)(qs)
        bounds = jax.vmap(lambda q: self._mean(terms, q))(qs) + entropies
        best = jnp.argmax(jnp.where(jnp.isnan(bounds), -jnp.inf, bounds))
        return Inferred(qs[best], self._checked(theta, x, terms, bounds[best]), entropies[best])

    def _checked(self, theta: Theta, x: Any, terms: Any, bound: Any) -> Any:
        return jnp.where(bound < HOPELESS, -jnp.inf, bound)

    def _ascend(self, terms: Any, q: Any) -> Any:
        def sweep(carry: Any) -> Any:
            q, _, count = carry
            old = q
            for j in range(len(self.sizes)):
                q = q.at[j].set(jax.nn.softmax(self._given(terms, q, j)) * self.allowed[j])
            return q, jnp.abs(q - old).max(), count + 1

        def running(carry: Any) -> Any:
            return (carry[1] > STILL) & (carry[2] < SWEEPS)

        return jax.lax.while_loop(running, sweep, (q, jnp.asarray(jnp.inf), 0))[0]

    def expected_log_joint(self, theta: Theta, x: Any, q: Any) -> Any:
        """E_q log p(x, z | θ)."""
        return self._mean(self._terms(theta, x), q)

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Σ_z Π_j q_j(z_j) g(x, z)."""
        states = jnp.arange(self.latent.n_states)
        probability = q[0, : self.sizes[0]]
        for j in range(1, len(self.sizes)):
            probability = (probability[:, None] * q[j, : self.sizes[j]]).ravel()
        return expect_over(
            probability, jax.vmap(lambda index: g(x, self.latent.state(index)))(states)
        )

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """The table."""
        states = jnp.arange(self.latent.n_states)
        return jax.vmap(lambda index: self.log_joint(theta, x, self.latent.state(index)))(states)

    def summarize(self, q: Any) -> dict[str, Any]:
        """Probabilities (J, k) of each variable; 0 beyond its own number of values."""
        return {"probabilities": q}


class PairwisePosterior(MeanFieldPosterior):
    """Terms: log p at z = 0, single changes (J, k), double changes (J, J, k, k), symmetric."""

    def __init__(self, joint: Joint) -> None:
        super().__init__(joint)
        j, v = np.nonzero(self.allowed & (np.arange(self.width) > 0))
        one, two = np.triu_indices(len(j), 1)
        one, two = one[j[one] != j[two]], two[j[one] != j[two]]
        self.single = j, v
        self.double = j[one], v[one], j[two], v[two]
        zero = np.zeros(len(self.sizes), int)
        self.states = np.stack(
            [zero]
            + [
                _changed(zero, (a, u))
                for a, u in zip(*map(np.ndarray.tolist, self.single), strict=True)
            ]
            + [
                _changed(zero, (a, u), (b, w))
                for a, u, b, w in zip(*map(np.ndarray.tolist, self.double), strict=True)
            ]
        )
        self.first, self.second = one, two
        rng = np.random.default_rng(1)
        self.probes = np.stack([rng.integers(0, self.sizes) for _ in range(PROBES)])

    def size(self, x: Any) -> int:
        """Numbers of one row."""
        return len(self.states) + STARTS * (len(self.sizes) * self.width) ** 2

    def _values(self, theta: Theta, x: Any, states: Any) -> Any:
        return jax.vmap(lambda z: self.log_joint(theta, x, z))(jnp.asarray(states))

    def _terms(self, theta: Theta, x: Any) -> Any:
        values = self._values(theta, x, self.states)
        base, n = values[0], len(self.single[0])
        single = values[1 : 1 + n] - base
        double = values[1 + n :] - base - single[self.first] - single[self.second]
        shape = self.allowed.shape
        ones = jnp.zeros(shape).at[self.single].set(single)
        a, u, b, w = self.double
        pairs = jnp.zeros((shape[0], shape[0], shape[1], shape[1]))
        return base, ones, pairs.at[a, b, u, w].set(double).at[b, a, w, u].set(double)

    def _given(self, terms: Any, q: Any, j: int) -> Any:
        base, ones, pairs = terms
        others = q.at[j].set(0.0)
        field = ones[j] + jnp.einsum("ivw,iw->v", pairs[j], others)
        rest = base + (ones * others).sum() + 0.5 * self._double(pairs, others)
        return jnp.where(self.allowed[j], field + rest, LOW)

    def _double(self, pairs: Any, q: Any) -> Any:
        return jnp.einsum("iu,ijuw,jw->", q, pairs, q)

    def _checked(self, theta: Theta, x: Any, terms: Any, bound: Any) -> Any:
        """NaN where the probes show terms in more than two variables."""
        base, ones, pairs = terms
        found = self._values(theta, x, self.probes)
        hot = jax.nn.one_hot(self.probes, self.width)
        told = jax.vmap(lambda q: base + (ones * q).sum() + 0.5 * self._double(pairs, q))(hot)
        fits = jnp.abs(found - told) <= 1e-8 * (1 + jnp.abs(found) + jnp.abs(base))
        return jnp.where(fits.all(), bound, jnp.nan)

    def name_state(self, index: int) -> str:
        """One of the states looked at, in words."""
        return f"z = ({', '.join(map(str, self.states[index]))})"

    def explain(self, row: int) -> str:
        """What a NaN means whose values are all numbers."""
        return (
            f"log_joint at row {row} has terms in three or more of the latent variables (or is -inf at some "
            f"states), so its mean under independent variables needs all {self.latent.n_states} states: "
            "allow them by MeanField(limit=…), or split z into fewer variables."
        )

    def expected(self, q: Any, x: Any, g: Callable[..., Any], over: str) -> Any:
        """Refused: g may depend on all variables at once.

        Raises
        ------
        ParameterError
        """
        raise ParameterError(
            f"maximize cannot be given with mean field over {self.latent.n_states} states, which are not "
            "enumerated; leave it out (the M-step climbs Q), or allow them by MeanField(limit=…)."
        )

    def log_joint_values(self, theta: Theta, x: Any, q: Any) -> Any:
        """The states looked at."""
        return self._values(theta, x, self.states)


def _changed(state: Any, *changes: tuple[int, int]) -> Any:
    new = state.copy()
    for j, v in changes:
        new[j] = v
    return new


def _entropy(q: Any) -> Any:
    safe = jnp.where(q == 0, 1.0, q)
    return -(safe * jnp.log(safe)).sum()
