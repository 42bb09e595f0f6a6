"""`JointModel`: EM for a latent-variable model of which only the joint density is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from expmax.contract import Block, Expectation, Start
from expmax.errors import NotFiniteError, parameter_error
from expmax.general.annealing import annealed, check_schedule
from expmax.general.ascent import climb, climb_by_gradient
from expmax.general.backend import double_precision, jax, jnp, require_jax
from expmax.general.chart import JointChart
from expmax.general.chunks import Prepared
from expmax.general.densities import make_joint, traced
from expmax.general.drawing import Drawing
from expmax.general.explicit import closed_forms
from expmax.general.inference import choose_rule
from expmax.general.latent import count, make_latent
from expmax.general.programs import Programs, arrays
from expmax.general.rules import PosteriorRule
from expmax.general.space import Space
from expmax.general.statistics import JointStatistics, Part
from expmax.general.warm import Followed, last_posteriors
from expmax.statistics import Array

__all__ = ["JointModel"]

KEPT = 1 << 22  # numbers of q that a block keeps
MANY = 100  # parameters above which the M-step takes gradients alone
SPREAD = 0.5  # of random starts about the given one, in free coordinates


class JointModel(Drawing):
    """A latent-variable model from its joint density log p(x, z | θ): generalised EM.

    Parameters
    ----------
    log_joint : callable, optional
        `log_joint(theta, x, z)`, nats, of ONE unit, written with `jax.numpy`: theta a dict of arrays, x one row
        of the data, z as `latent` says. Or give its parts by name.
    latent : Finite, Finites, Markov, Gaussian, or (Finite, Gaussian)
    parameters : dict of str to constraint
        `Real(shape)`, `Positive(shape)`, `Interval(a, b)`, `Simplex(k)`, `PositiveDefinite(d)`, `Ordered(k)`,
        `CholeskyCorrelation(d)`, each with an optional `start=`.
    log_prior, log_likelihood : callable, optional
        `log_prior(theta, z)` and `log_likelihood(theta, x, z)` in place of `log_joint`.
    log_initial, log_transition : callable, optional
        Of a chain: `log_initial(theta, z)`, `log_transition(theta, z, z_next)`, with
        `log_likelihood(theta, x_t, z_t)`.
    prior : callable, optional
        `prior(theta)`: log density of the parameters themselves, added to the objective (MAP).
    maximize : dict of str to callable, optional
        M-steps known in closed form: `f(theta, expect)` returns the new value of the parameter, where
        `expect(g)` is Σ_i w_i E_q[g(x_i, z_i)]. Parameters without one climb Q by Newton's method.
    posterior : callable, optional
        `posterior(theta, x)`: for finite z the probabilities of its values; for Gaussian z (mean, covariance).
    start : callable, optional
        `start(data, rng)` returns a dict of values for all parameters.
    n_starts : int, optional
        Default: one where every parameter was given a start, else 5 random ones.
    inference : str or rule
        "auto", "exact", "quadrature", "laplace", "gaussian", "mean_field", "monte_carlo", or a rule with
        options such as `Quadrature(nodes=31)`.
    seed : int
        Of rules that draw at random.
    anneal : sequence of float, optional
        Powers β that rise within (0, 1), such as `(0.2, 0.4, 0.7)`: each of the model's own starts first takes
        ten EM steps with q ∝ p(x, z | θ)^β at each of them (deterministic annealing; finite latents, chains).

    Raises
    ------
    MissingDependencyError
        JAX is not installed: `pip install "expmax[jax]"`.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Statist. Soc. B 39(1), §3.

    Examples
    --------
    Days with 0, 1, 2 … deaths as a mixture of two Poisson distributions, from its densities alone:

    >>> import expmax as em
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from jax.scipy.stats import poisson
    >>> from expmax.general import Finite, Positive, Simplex
    >>> model = em.JointModel(
    ...     log_prior=lambda theta, z: jnp.log(theta["weight"][z]),
    ...     log_likelihood=lambda theta, x, z: poisson.logpmf(x[0], theta["rate"][z]),
    ...     latent=Finite(2),
    ...     parameters={"weight": Simplex(2), "rate": Positive(2, start=[1.0, 3.0])},
    ... )
    >>> deaths = em.Block(
    ...     np.arange(10.0)[:, None],
    ...     weight=np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1]),
    ...     memo={},
    ... )
    >>> result = em.maximize_likelihood(model, deaths)
    >>> print(f"{result.log_likelihood:.4f} {result.status}")
    -1989.9459 stationary
    """

    supports_labels = False

    def __init__(
        self,
        log_joint: Callable[..., Any] | None = None,
        *,
        latent: Any,
        parameters: Mapping[str, Any],
        log_prior: Callable[..., Any] | None = None,
        log_likelihood: Callable[..., Any] | None = None,
        log_initial: Callable[..., Any] | None = None,
        log_transition: Callable[..., Any] | None = None,
        prior: Callable[..., Any] | None = None,
        maximize: Mapping[Any, Callable[..., Any]] | None = None,
        posterior: Callable[..., Any] | None = None,
        start: Callable[..., Any] | None = None,
        n_starts: int | None = None,
        inference: str | PosteriorRule = "auto",
        seed: int = 0,
        anneal: Sequence[float] | None = None,
    ) -> None:
        require_jax()
        self.latent = make_latent(latent)
        self.space = Space(parameters)
        parts = {
            "log_prior": log_prior,
            "log_likelihood": log_likelihood,
            "log_initial": log_initial,
            "log_transition": log_transition,
        }
        self.joint = make_joint(self.latent, log_joint, parts, posterior)
        self.rule = choose_rule(inference, self.latent)
        self.bound_posterior = self.rule.bind(self.joint)
        self.seed = count("seed", seed, least=0)
        self.programs = Programs(self.space, self.bound_posterior)
        self.drawn = {getattr(self.bound_posterior, "n_draws", 0): self.programs}
        self.betas = check_schedule(anneal, self.bound_posterior)
        self.prior = prior
        self.explicit = closed_forms(maximize, self.space, self.programs)
        self.start, self.n_starts = start, n_starts
        if start is not None and not callable(start):
            raise parameter_error("start", "a function (data, rng) -> dict", start)
        if getattr(self.bound_posterior, "tabulated", False):
            self.assign = self._assign
            self.log_joint = self._log_joint

    @property
    def exact_m_step(self) -> bool:
        """Whether `maximize` takes the greatest Q: by blocks (ECM) it only climbs."""
        held = {name for form in self.explicit for name in form.names}
        alone = len(self.explicit) == 1 and held == set(self.space.constraints)
        return not self.explicit or alone

    # -- the contract ------------------------------------------------------------------------------
    @double_precision
    def expect(self, params: Mapping[str, Any], block: Block) -> Expectation[JointStatistics]:
        """E-step on one block: q at the parameters, log-likelihood, entropy."""
        u = self.space.pack(params)
        prepared = self.prepared(block)
        out = [self._infer(u, params, prepared, i) for i in range(len(prepared.chunks))]
        keep = block.memo is not None and sum(_size(q) for _, _, q in out) <= KEPT
        keep = keep or self._follows
        kept = tuple(q for _, _, q in out) if keep else None
        part = Part(u, 1.0, prepared, kept, self.programs)
        return Expectation(
            JointStatistics((part,), prepared.weight),
            float(sum(float(one[0]) for one in out)),
            float(sum(float(one[1]) for one in out)),
            prepared.weight,
            self.bound_posterior.kind,
        )

    def _infer(self, u: Array, params: Mapping[str, Any], prepared: Prepared, i: int) -> Any:
        """ℓ, H and q of one chunk; of rules with an ascent of their own, from the last q on."""
        chunk = arrays(prepared.chunks[i])
        last = last_posteriors(params, prepared.source, self.programs)
        if last is not None:
            return self.programs.infer_from(jnp.asarray(u), last[i], chunk)
        return traced(self.joint, self.programs.infer, jnp.asarray(u), chunk)

    @property
    def _follows(self) -> bool:
        return hasattr(self.bound_posterior, "infer_from")

    def maximize(self, statistics: JointStatistics, params: Mapping[str, Any]) -> dict[str, Array]:
        """M-step: closed forms where given, then an ascent of Q + log prior in the rest."""
        return self.following(self._maximize(statistics, params), statistics)

    def following(self, theta: dict[str, Array], statistics: JointStatistics) -> dict[str, Array]:
        """Parameters whose E-step begins at the posteriors of statistics, if the rule has such steps."""
        return Followed(theta, statistics) if self._follows else theta

    @double_precision
    def _maximize(self, statistics: JointStatistics, params: Mapping[str, Any]) -> dict[str, Array]:
        theta = {name: np.asarray(params[name], float) for name in self.space.constraints}
        for form in self.explicit:
            theta.update(form(theta, statistics))
        moving = np.array(
            [not any(name in form.names for form in self.explicit) for name in self.space.names()]
        )
        if not moving.any():
            return theta
        begin = self.space.pack(theta)
        weight = max(statistics.weight, 1.0)
        if moving.sum() > MANY:
            slope = self._objective_gradient(begin, statistics)
            self._check_gradient(*slope, moving)
            end = climb_by_gradient(
                begin, slope, lambda u: self._objective_gradient(u, statistics), moving, weight
            )
        else:
            here = self.objective_curvature(begin, statistics)
            self._check_gradient(*here[:2], moving)
            end = climb(
                begin,
                here,
                lambda u: self.objective_curvature(u, statistics),
                moving,
                self.space.has_unit,
                weight,
            )
        if np.array_equal(begin, end):
            return theta
        new = self._moved(theta, end, moving)
        if end.tobytes() in statistics.seen:  # the same point, but for the rounding of coordinates
            statistics.remember(self.space.pack(new), *statistics.seen[end.tobytes()])
        return new

    def _check_gradient(self, value: float, gradient: Array, moving: Array) -> None:
        """Refuse a density that has a value but no derivative.

        Raises
        ------
        NotFiniteError
            Naming the parameter.
        """
        bad = np.flatnonzero(~np.isfinite(gradient) & moving)
        if np.isfinite(value) and len(bad):
            raise NotFiniteError(
                f"log_joint has no derivative by {self.space.names()[bad[0]]!r} here, though it has a value: "
                "inside jnp.where both branches are differentiated, so put safe numbers into the one not "
                "taken; or give the parameter a closed form by maximize=."
            )

    def _moved(self, theta: dict[str, Array], u: Array, moving: Array) -> dict[str, Array]:
        """New values of the parameters that moved; the others to their last bit."""
        new = self.space.unpack(u)
        names = dict.fromkeys(np.array(self.space.names())[moving])
        return {name: new[name] if name in names else value for name, value in theta.items()}

    def expected_log_joint(self, params: Mapping[str, Any], statistics: JointStatistics) -> float:
        """Q(θ; S) = Σ w E_q log p(x, z | θ), nats."""
        return self.q_gradient(self.space.pack(params), statistics)[0]

    @double_precision
    def log_prior(self, params: Mapping[str, Any]) -> float:
        """Log density of the parameters that the user gave, nats; 0 without one."""
        return 0.0 if self.prior is None else float(self._prior[0](self.space.pack(params)))

    def score(self, params: Mapping[str, Any], statistics: JointStatistics) -> Array:
        """∂(Q + log prior)/∂u at packed parameters."""
        return self._objective_gradient(self.space.pack(params), statistics)[1]

    def chart(self, params: Mapping[str, Any], statistics: JointStatistics) -> JointChart | None:
        """Whitened coordinates, none of them where every parameter is on its edge; None at a kink of Q."""
        chart = JointChart(self, params, statistics)
        return chart if chart.usable else None

    def magnitude(self, params: Mapping[str, Any], statistics: JointStatistics) -> float:
        """Σ w |E_q log p(x, z | θ)|, the size of the terms of Q."""
        u = self.space.pack(params)
        total = statistics.total(lambda q, chunk: [self.programs.magnitude(u, q, arrays(chunk))])
        return 0.0 if total is None else float(total[0])

    def to_array(self, params: Mapping[str, Any]) -> Array:
        """Coordinates in which steps are extrapolated."""
        return self.space.pack(params)

    def from_array(self, vector: Array, like: Any) -> dict[str, Array] | None:
        """Parameters at coordinates; None where these are no numbers."""
        return self.space.unpack(vector) if np.isfinite(vector).all() else None

    # -- starts ------------------------------------------------------------------------------------
    def starts(self, blocks: Sequence[Block], rng: np.random.Generator) -> Iterator[Start[Any]]:
        """The given start, then random ones about it; or the user's function, called for each; annealed."""
        for one in self._cold_starts(blocks, rng):
            yield Start(annealed(self, one.params, blocks, self.betas), one.kind)

    def _cold_starts(
        self, blocks: Sequence[Block], rng: np.random.Generator
    ) -> Iterator[Start[Any]]:
        if self.start is not None:
            data = np.concatenate([block.x for block in blocks])
            for _ in range(self.n_starts or 1):
                yield Start(self.space.check(self.start(data, rng)), "function")
            return
        given = all(one.start is not None for one in self.space.constraints.values())
        middle = {
            name: one.default() if one.start is None else one.start
            for name, one in self.space.constraints.items()
        }
        loose = np.concatenate(
            [np.full(one.n_free, one.start is None) for one in self.space.constraints.values()]
        )
        for i in range(self.n_starts or (1 if given else 5)):
            away = SPREAD * rng.standard_normal(self.space.size)
            if i == 0:
                away = np.where(loose, away, 0.0)
            kind = "given" if i == 0 and given else "random"
            yield Start(self.space.unpack(self.space.pack(middle) + away), kind)

    # -- sums ----------------------------------------------------------------------------------
    @double_precision
    def q_gradient(self, u: Array, statistics: JointStatistics) -> tuple[float, Array]:
        """Q and ∇Q at packed parameters."""
        known = statistics.seen.get(u.tobytes())
        if known is not None:
            return known
        total = statistics.total(lambda q, chunk: self.programs.q_gradient(u, q, arrays(chunk)))
        if total is None:
            return 0.0, np.zeros(self.space.size)
        value, gradient = float(total[0]), np.array(total[1])
        statistics.remember(u, value, gradient)
        return value, gradient

    @double_precision
    def objective_curvature(
        self, u: Array, statistics: JointStatistics
    ) -> tuple[float, Array, Array]:
        """Q + log prior with gradient and Hessian at packed parameters."""
        size = self.space.size
        terms: list[Any] = [0.0, np.zeros(size), np.zeros((size, size))]
        total = statistics.total(lambda q, chunk: self.programs.q_curvature(u, q, arrays(chunk)))
        if total is not None:
            terms = [np.asarray(term) for term in total]
            statistics.remember(u, float(terms[0]), terms[1])
        if self.prior is not None:
            terms = [a + np.asarray(b) for a, b in zip(terms, self._prior[1](u), strict=True)]
        return float(terms[0]), terms[1], terms[2]

    @double_precision
    def _objective_gradient(self, u: Array, statistics: JointStatistics) -> tuple[float, Array]:
        value, gradient = self.q_gradient(u, statistics)
        if self.prior is not None:
            prior = self._prior[1](u)
            value, gradient = value + float(prior[0]), gradient + np.asarray(prior[1])
        return value, gradient


def _size(q: Any) -> int:
    return sum(int(leaf.size) for leaf in jax.tree.leaves(q))
