"""The types of latent variable: what z is, and what `log_joint` receives as z."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.errors import DataError, parameter_error
from expmax.general.backend import jnp

__all__ = ["Finite", "Finites", "Gaussian", "Latent", "Markov", "Mixed", "count", "make_latent"]


def count(name: str, value: Any, least: int = 1) -> int:
    """An integer that was given, checked."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise parameter_error(name, f"an integer of at least {least}", value)
    return int(value)


class Latent:
    """Base of the latent types."""

    n_states: int = 1  # values of the finite part
    dim: int = 0  # length of the continuous part

    def prepare(self, x: NDArray[Any]) -> Any:
        """Rows as the functions of one unit take them: a pytree of arrays with the rows first."""
        return x

    def state(self, index: Any) -> Any:
        """z of the number of a state (traced)."""
        raise NotImplementedError  # abstract: a continuous z has no states to number

    def name_state(self, index: int) -> str:
        """A state in words."""
        return f"z = {index}"


@dataclass(frozen=True)
class _Numbered(Latent):
    """A state is an integer from 0 to k − 1."""

    k: int

    def __post_init__(self) -> None:
        count("k", self.k)

    @property
    def n_states(self) -> int:  # type: ignore[override]
        """k."""
        return self.k

    def state(self, index: Any) -> Any:
        """The integer itself."""
        return index


@dataclass(frozen=True)
class Finite(_Numbered):
    """z in 0, …, k − 1: `log_joint` receives an integer scalar.

    Parameters
    ----------
    k : int
        Number of values.
    """


@dataclass(frozen=True, init=False)
class Finites(Latent):
    """Several finite variables at once: z is an integer vector, z[j] in 0, …, sizes[j] − 1.

    Parameters
    ----------
    *sizes : int
        Number of values of each.
    """

    sizes: tuple[int, ...]

    def __init__(self, *sizes: int) -> None:
        if not sizes:
            raise parameter_error("sizes", "at least one number of values", sizes)
        object.__setattr__(self, "sizes", tuple(count("sizes", size) for size in sizes))

    @property
    def n_states(self) -> int:  # type: ignore[override]
        """The product of the sizes."""
        return prod(self.sizes)

    def state(self, index: Any) -> Any:
        """Coordinates of the state, the last running fastest."""
        return jnp.stack(jnp.unravel_index(index, self.sizes))

    def name_state(self, index: int) -> str:
        """A state in words."""
        z = ", ".join(str(int(i)) for i in np.unravel_index(index, self.sizes))
        return f"z = ({z})"


@dataclass(frozen=True)
class Gaussian(Latent):
    """z in R^d: `log_joint` receives a vector of length d.

    The posterior is looked for where a Gaussian fits it; the density of z itself is whatever `log_joint` says.

    Parameters
    ----------
    d : int
    """

    d: int

    def __post_init__(self) -> None:
        count("d", self.d)

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.d


@dataclass(frozen=True)
class Mixed(Latent):
    """A finite and a continuous variable: z is a pair (finite z, vector); write `(Finite(k), Gaussian(d))`."""

    finite: Finite | Finites
    gaussian: Gaussian

    @property
    def n_states(self) -> int:  # type: ignore[override]
        """Values of the finite part."""
        return self.finite.n_states

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the continuous part."""
        return self.gaussian.d

    def state(self, index: Any) -> Any:
        """The finite part."""
        return self.finite.state(index)

    def name_state(self, index: int) -> str:
        """A state in words."""
        return self.finite.name_state(index)


@dataclass(frozen=True)
class Markov(_Numbered):
    """A chain z_0, z_1, …, each in 0, …, k − 1: a unit is a sequence.

    Data have shape (n, T) or (n, T, d): row i is a sequence, and steps at its end that are NaN throughout are
    padding, so sequences may differ in length. Any other NaN is a missing value and goes to `log_likelihood` as
    it is. `log_likelihood(theta, x_t, z_t)` receives a scalar x_t for (n, T), a vector (d,) for (n, T, d).

    Parameters
    ----------
    k : int
        Number of states.
    """

    def prepare(self, x: NDArray[Any]) -> Any:
        """Sequences with their lengths; padding is filled with the first step, which nothing reads."""
        if x.ndim < 2:
            raise DataError(
                f"a chain needs data of shape (n, T) or (n, T, d), a sequence in each row; got {x.shape}."
            )
        present = ~np.isnan(x).all(axis=tuple(range(2, x.ndim)))
        length = x.shape[1] - present[:, ::-1].argmax(axis=1)
        empty = np.flatnonzero(~present.any(axis=1))
        if len(empty):
            raise DataError(f"sequence {empty[0]} holds no observation (NaN throughout); drop it.")
        padding = np.arange(x.shape[1]) >= length[:, None]
        filled = x.copy()
        filled[padding] = np.broadcast_to(x[:, :1], x.shape)[padding]
        return {"x": filled, "length": length.astype(np.int64)}


def make_latent(latent: Any) -> Latent:
    """A latent type as given: one of ours, or a pair (finite, Gaussian)."""
    if isinstance(latent, Latent):
        return latent
    if isinstance(latent, tuple) and len(latent) == 2:
        finite, gaussian = latent
        if isinstance(finite, (Finite, Finites)) and isinstance(gaussian, Gaussian):
            return Mixed(finite, gaussian)
    raise parameter_error(
        "latent",
        "Finite(k), Finites(k1, k2, …), Markov(k), Gaussian(d) or (Finite(k), Gaussian(d))",
        latent,
    )
