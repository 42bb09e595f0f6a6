"""What joins the layers: data in blocks, expectations that add, models that map sums to parameters.

A *model* is whatever turns a block of rows into expected sufficient statistics (`expect`), sums of those
into parameters (`maximize`), and knows Q(θ; S) = E_q log p(x, z | θ) as a function of the sums alone
(`expected_log_joint`). The engine knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from expmax.statistics import Additive, Array

__all__ = [
    "Array",
    "Block",
    "Chart",
    "Compute",
    "Degeneracy",
    "Expectation",
    "Kind",
    "LatentModel",
    "ParameterSpace",
    "Parameters",
    "Start",
]

Kind = Literal["exact", "bound", "approximate", "monte_carlo"]
# Parameters of K components by name: arrays whose first axis is the component. Those of a Product are
# nested (the label of a factor, then its own names), hence Any.
Parameters = Mapping[str, Any]

P = TypeVar("P")
S = TypeVar("S", bound=Additive)
Seen = TypeVar("Seen", bound=Additive, contravariant=True)


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole rows of the data.

    `memo` is a scratch pad that lives as long as the block: models keep what depends on the rows alone
    (sufficient statistics, masks) there. It is None where the data are too large to keep anything.
    """

    x: NDArray[Any]  # (n, d) values; NaN marks a missing cell
    weight: Array | None = None  # (n,) weights, or None for ones
    label: NDArray[np.int64] | None = None  # (n,) known component, -1 unknown
    memo: dict[Any, Any] | None = field(default=None, compare=False)

    @property
    def total_weight(self) -> float:
        """Σ w_i."""
        return float(len(self.x)) if self.weight is None else float(self.weight.sum())


@dataclass(frozen=True, slots=True)
class Expectation(Generic[S]):
    """What one E-step learns from a block; the sum over blocks is what it learns from the data."""

    statistics: S
    log_likelihood: float  # Σ w_i log p(x_i | θ), nats; or the bound, or an approximation
    entropy: float  # Σ w_i H[q_i], nats, computed from q itself
    weight: float  # Σ w_i
    kind: Kind = "exact"

    def __add__(self, other: Expectation[S]) -> Expectation[S]:
        return Expectation(
            self.statistics + other.statistics,
            self.log_likelihood + other.log_likelihood,
            self.entropy + other.entropy,
            self.weight + other.weight,
            self.kind,
        )


@dataclass(frozen=True, slots=True)
class Degeneracy:
    """A component whose likelihood is unbounded or that no data support."""

    component: int
    reason: str

    def __str__(self) -> str:
        return f"component {self.component} collapsed: {self.reason}"


@dataclass(frozen=True, slots=True)
class Start(Generic[P]):
    """Where a run begins: parameters and the kind of recipe that made them."""

    params: P
    kind: str


class Compute(Protocol):
    """Who sums the blocks."""

    def total(
        self, function: Callable[[Block], Expectation[Any]], blocks: Sequence[Block]
    ) -> Expectation[Any]:
        """The sum of function(block) over the blocks, in an order that never changes."""
        ...


class Chart(Protocol[P, Seen]):
    """Local unconstrained coordinates v in which the complete-data information is the identity.

    v = 0 is the reference. In these coordinates the score of the log-likelihood equals, to first order,
    the EM step.
    """

    scale: Array  # √count behind each coordinate: v/scale is a change in units of one observation

    def to_vector(self, params: P) -> Array:
        """v of parameters."""
        ...

    def from_vector(self, vector: Array) -> P:
        """Parameters at v; not finite where v leaves their space."""
        ...

    def score(self, params: P, statistics: Seen) -> Array:
        """∂(Q(θ; S) + log prior)/∂v at the parameters θ: by Fisher's identity the score of the objective.

        The statistics must be those of an E-step at the same θ. Sums of an augmented family (`StudentT`,
        `NegativeBinomial`) depend on θ even for given responsibilities, and with those of another θ this is
        no gradient of anything.
        """
        ...


class ParameterSpace(Protocol[P]):
    """Parameters as unconstrained numbers: all that a model needs to offer to be accelerated.

    It may offer `check(params)`, which returns a user's start as parameters or says what is wrong with it.
    """

    def pack(self, params: P) -> Array:
        """The numbers of parameters."""
        ...

    def unpack(self, vector: Array) -> P:
        """The parameters of numbers."""
        ...


class LatentModel(Protocol[P, S]):
    """The contract of every model: three methods.

    What a model offers besides is found by name, and what is absent is derived or refused: `log_prior(params)`;
    `space` (a `ParameterSpace`) or `chart(params, statistics)` (a `Chart`) for acceleration, certificate and
    standard errors; `score(params, statistics)` = ∂Q/∂pack(θ); `degeneracies(params, statistics)`;
    `boundary(params)`, names of parameters on the edge of their space; `starts(blocks, rng)`;
    `coincident(params, statistics)`, pairs of components that are one; `magnitude(params, statistics)`, the
    size of the terms that Q sums; `information(params, blocks)`,
    −∇²(ℓ + log prior) at pack(θ), or None; `approximation_error(params, statistics)`, nats, of kind
    "approximate"; `gap(params, blocks)`, nats, of kind "bound"; `stochastic`, with what `engine/stochastic.py`
    lists, for Monte Carlo EM; `explain_not_finite(params, blocks)`, in words; `reduce(params)`, for
    parameter-expanded EM (Liu, Rubin & Wu 1998, Biometrika 85(4)): `maximize` may then return parameters of a
    larger model, at which `expected_log_joint` is taken to prove the ascent, and `reduce` maps them to ordinary
    ones of the same likelihood and log prior, which are all that anything else sees. Ordinary parameters reduce
    to themselves.
    """

    def expect(self, params: P, block: Block) -> Expectation[S]:
        """E-step on one block: expected sufficient statistics, log-likelihood, entropy of q."""
        ...

    def maximize(self, statistics: S, params: P) -> P:
        """M-step: argmax over θ of Q(θ; S) (+ log prior), or any ascent of it from `params`."""
        ...

    def expected_log_joint(self, params: P, statistics: S) -> float:
        """Q(θ; S) = E_q log p(x, z | θ), nats, from the statistics alone."""
        ...


def iterate_rows(n_rows: int, rows_per_block: int) -> Iterator[slice]:
    """Fixed cuts of n_rows into blocks: they depend on nothing but the two numbers."""
    for start in range(0, n_rows, rows_per_block):
        yield slice(start, min(start + rows_per_block, n_rows))


def make_blocks(
    x: NDArray[Any],
    weight: Array | None,
    label: NDArray[np.int64] | None,
    rows_per_block: int,
    memo_limit: int = 1 << 18,
) -> Sequence[Block]:
    """Cut rows into blocks; small data get a memo."""
    keep = x.size <= memo_limit
    return [
        Block(
            x[rows],
            None if weight is None else weight[rows],
            None if label is None else label[rows],
            {} if keep else None,
        )
        for rows in iterate_rows(len(x), rows_per_block)
    ]
