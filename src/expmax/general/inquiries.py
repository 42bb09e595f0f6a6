"""What is asked of a model at given parameters: posteriors, information, errors, edges, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from expmax.contract import Block
from expmax.errors import InformationError, parameter_error
from expmax.general import edges
from expmax.general.ascent import normalised_eigen
from expmax.general.backend import double_precision, jax, jnp
from expmax.general.chunks import Prepared, prepare, reseeded
from expmax.general.latent import Latent
from expmax.general.programs import Programs, arrays
from expmax.general.rules import Joint, Posterior, PosteriorRule
from expmax.general.space import Space
from expmax.general.statistics import JointStatistics
from expmax.statistics import Array

__all__ = ["Inquiries"]


class Inquiries:
    """The part of `JointModel` that reads parameters and changes nothing."""

    latent: Latent
    space: Space
    joint: Joint
    rule: PosteriorRule
    bound_posterior: Posterior
    programs: Programs
    prior: Any
    seed: int
    turn: int = 0  # of the draws of random rules: another number, other draws

    def prepared(self, block: Block) -> Prepared:
        """The rows of a block, with the draws of this turn."""
        return reseeded(prepare(block, self.latent, self.bound_posterior), self.seed, self.turn)

    def _infer(self, u: Any, params: Mapping[str, Any], prepared: Prepared, i: int) -> Any:
        raise NotImplementedError  # abstract: `JointModel` knows where its last E-step ended

    # -- what is asked of a fit --------------------------------------------------------------------
    @double_precision
    def posterior(self, params: Mapping[str, Any], block: Block | Array) -> dict[str, Array]:
        """What q says of each row, as arrays by name with the rows first.

        Finite latents: `probabilities`; chains: `probabilities` (n, T, k) and expected `transitions` (n, k, k);
        continuous ones: `mean`, `covariance`. Rows of weight 0 are NaN.
        """
        whole = block if isinstance(block, Block) else Block(np.asarray(block, float))
        u = jnp.asarray(self.space.pack(self.space.check(params)))
        prepared = self.prepared(whole)
        pieces: dict[str, list[Array]] = {}
        for i, chunk in enumerate(prepared.chunks):
            q = self._infer(u, params, prepared, i)[2]
            for name, values in self.bound_posterior.summarize(q).items():
                pieces.setdefault(name, []).append(np.asarray(values)[: chunk.n_rows])
        return {
            name: _spread(np.concatenate(values), prepared.unit) for name, values in pieces.items()
        }

    @double_precision
    def information(self, params: Mapping[str, Any], blocks: Sequence[Block]) -> Array | None:
        """Observed information −∇²(ℓ + log prior) at packed parameters; None for a bound.

        Raises
        ------
        InformationError
            The data say nothing of some direction; the message names its parameter.
        """
        if self.bound_posterior.log_evidence is None:
            return None
        u = jnp.asarray(self.space.pack(params))
        total = np.zeros((self.space.size, self.space.size))
        for block in blocks:
            for chunk in self.prepared(block).chunks:
                q = self.programs.infer(u, arrays(chunk))[2]
                total -= np.asarray(self.programs.evidence_curvature(u, q, arrays(chunk))[2])
        if self.prior is not None:
            total -= np.asarray(self._prior[1](u)[2])
        if np.isfinite(total).all():
            _, values, vectors = normalised_eigen(total)
            if values[0] < 1e-10 and not edges.boundary(self, params):
                worst = self.space.names()[int(np.argmax(np.abs(vectors[:, 0])))]
                raise InformationError(
                    f"the observed information is singular along {worst!r} (normalised eigenvalue "
                    f"{values[0]:.2g}): the data do not determine it. Fix it, drop it, or give a prior."
                )
        return total

    @double_precision
    def approximation_error(
        self, params: Mapping[str, Any], statistics: JointStatistics | Sequence[Block] | Block
    ) -> float:
        """|ℓ by a finer rule − ℓ|, nats: what the log-likelihood may be wrong by; 0 for exact rules.

        Parameters
        ----------
        params : dict
        statistics : JointStatistics, Block or sequence of Block
        """
        finer = self._finer
        if finer is None:
            return 0.0
        u = jnp.asarray(self.space.pack(params))
        if isinstance(statistics, JointStatistics):
            parts = [(part.factor, part.prepared) for part in statistics.parts]
        else:
            blocks = [statistics] if isinstance(statistics, Block) else statistics
            parts = [(1.0, self.prepared(block)) for block in blocks]
        error = 0.0
        for factor, prepared in parts:
            for chunk in prepared.chunks:
                both = [one.infer(u, arrays(chunk))[0] for one in (finer, self.programs)]
                error += factor * float(both[0] - both[1])
        return abs(error)

    @double_precision
    def gap(self, params: Mapping[str, Any], data: Block | Sequence[Block] | Array) -> float:
        """KL(q ‖ p(z | x, θ)) = log p(x | θ) − bound ≥ 0, nats: what a restricted q costs; 0 for exact rules.

        The posterior is found by all states of finite latents, by quadrature of Gaussian ones.

        Raises
        ------
        ParameterError
            Neither can be done (too many states, or dimensions), or the rule is no bound.
        """
        kind = self.bound_posterior.kind
        if kind == "exact":
            return 0.0
        exact = getattr(self.rule, "exact", None)
        if kind != "bound" or exact is None:
            raise parameter_error("inference", "one whose log-likelihood is a bound", self.rule)
        u = self.space.pack(self.space.check(params))
        programs = self._exact
        total = 0.0
        for block in _as_blocks(data):
            prepared = self.prepared(block)
            for i, chunk in enumerate(prepared.chunks):
                bound = float(self._infer(u, params, prepared, i)[0])
                total += float(programs.infer(jnp.asarray(u), arrays(chunk))[0]) - bound
        return total

    def boundary(self, params: Mapping[str, Any]) -> list[str]:
        """Names of the parameters on the edge of their space."""
        return edges.boundary(self, params)

    def snap(self, params: Mapping[str, Any], statistics: JointStatistics) -> Any:
        """The parameters with those that creep towards an edge put on it; None if none is."""
        return edges.snap(self, params, statistics)

    def degeneracies(self, params: Mapping[str, Any], statistics: JointStatistics) -> list[Any]:
        """Scales at which the likelihood is unbounded."""
        return edges.degeneracies(self, params, statistics)

    @double_precision
    def explain_not_finite(self, params: Mapping[str, Any], blocks: Sequence[Block]) -> str | None:
        """The row and state at which log p(x, z | θ) is NaN, or the row that nothing can produce."""
        return edges.explain(self, params, blocks)

    @cached_property
    def _prior(self) -> tuple[Any, Any]:
        """Compiled log prior, and its value with gradient and Hessian."""
        assert self.prior is not None
        function = self.prior

        def value(u: Any) -> Any:
            return jnp.asarray(function(self.space.from_free(u)), float)

        def all_three(u: Any) -> Any:
            return value(u), jax.grad(value)(u), jax.hessian(value)(u)

        return jax.jit(value), jax.jit(all_three)

    @cached_property
    def _exact(self) -> Programs:
        """The functions that a bound is compared with."""
        rule = self.rule.exact(self.latent.dim)  # type: ignore[attr-defined]
        return Programs(self.space, rule.bind(self.joint))

    @cached_property
    def _finer(self) -> Programs | None:
        finer = getattr(self.rule, "finer", None)
        if finer is None:
            return None
        return Programs(self.space, finer(self.latent.dim).bind(self.joint))

    @double_precision
    def log_likelihood(self, params: Mapping[str, Any], statistics: JointStatistics) -> float:
        """ℓ at any parameters, of the rows that statistics were taken from."""
        u = jnp.asarray(self.space.pack(params))
        return sum(
            part.factor * float(part.programs.infer(u, arrays(chunk))[0])
            for part in statistics.parts
            for chunk in part.prepared.chunks
        )

    # -- tables, for finite latents ----------------------------------------------------------------
    @double_precision
    def _assign(self, params: Mapping[str, Any], block: Block) -> tuple[Array, Array, Array]:
        """Probabilities of the states, log p(x) and entropy of each row."""
        u = jnp.asarray(self.space.pack(params))
        prepared = self.prepared(block)
        rows = [(self.programs.rows(u, arrays(chunk)), chunk.n_rows) for chunk in prepared.chunks]
        q, evidence, entropy = (
            np.concatenate([np.asarray(out[i])[:n] for out, n in rows]) for i in range(3)
        )
        return tuple(_spread(values, prepared.unit) for values in (q, evidence, entropy))  # type: ignore[return-value]

    @double_precision
    def _log_joint(self, params: Mapping[str, Any], block: Block) -> Array:
        """log p(x, z | θ) of every row and state."""
        u = jnp.asarray(self.space.pack(params))
        prepared = self.prepared(block)
        tables = [
            np.asarray(
                self.programs.values(u, self.programs.infer(u, arrays(chunk))[2], arrays(chunk))
            )[: chunk.n_rows]
            for chunk in prepared.chunks
        ]
        return _spread(np.concatenate(tables), prepared.unit)


def _as_blocks(data: Any) -> list[Block]:
    """Blocks of whatever holds rows."""
    if isinstance(data, Block):
        return [data]
    if isinstance(data, Sequence) and len(data) and isinstance(data[0], Block):
        return list(data)
    return [Block(np.asarray(data, float))]


def _spread(values: Array, unit: Any) -> Array:
    """Values of units to the rows they stand for."""
    out = np.full((len(unit), *values.shape[1:]), np.nan)
    used = unit >= 0
    out[used] = values[unit[used]]
    return out
