"""All parameters of a model as one vector of unconstrained coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import double_precision, jax, jnp
from expmax.general.constraints import Constraint
from expmax.statistics import Array

__all__ = ["Space"]


class Space:
    """Named parameters ↔ u in R^p, in the order the names were given.

    Parameters
    ----------
    constraints : mapping of str to Constraint
    """

    def __init__(self, constraints: Mapping[str, Constraint]) -> None:
        if not isinstance(constraints, Mapping) or not constraints:
            raise parameter_error("parameters", "a mapping of names to constraints", constraints)
        for name, constraint in constraints.items():
            if not isinstance(constraint, Constraint):
                raise parameter_error(
                    f"parameters[{name!r}]",
                    "a constraint such as Real() or Positive(3)",
                    constraint,
                )
        self.constraints = dict(constraints)
        ends = np.cumsum([constraint.n_free for constraint in self.constraints.values()])
        self.slices = {
            name: slice(int(end) - constraint.n_free, int(end))
            for (name, constraint), end in zip(self.constraints.items(), ends, strict=True)
        }
        self.size = int(ends[-1])
        self.has_unit: NDArray[np.bool_] = np.concatenate(
            [constraint.has_unit() for constraint in self.constraints.values()]
        )
        self._pack: Any = None
        self._unpack: Any = None

    def check(self, params: Mapping[str, Any]) -> dict[str, Array]:
        """Parameters as arrays in their spaces.

        Raises
        ------
        ParameterError
            A name is missing or unknown, or a value breaks its constraint.
        """
        if not isinstance(params, Mapping):
            raise parameter_error("start", f"a dict of {list(self.constraints)}", params)
        wrong = set(self.constraints) ^ set(params)
        if wrong:
            raise ParameterError(
                f"parameters must be named {', '.join(self.constraints)}; "
                f"{sorted(wrong)[0]!r} is {'unknown' if set(params) - set(self.constraints) else 'missing'}."
            )
        return {name: one.check(name, params[name]) for name, one in self.constraints.items()}

    @double_precision
    def pack(self, params: Mapping[str, Any]) -> Array:
        """u of parameters."""
        if self._pack is None:
            self._pack = jax.jit(self.to_free)
        return np.array(self._pack({name: params[name] for name in self.constraints}), float)

    @double_precision
    def unpack(self, vector: Array) -> dict[str, Array]:
        """Parameters at u."""
        if self._unpack is None:
            self._unpack = jax.jit(self.from_free)
        values = self._unpack(np.asarray(vector, float))
        return {name: np.array(values[name]) for name in self.constraints}

    def to_free(self, params: Mapping[str, Any]) -> Any:
        """The same, traceable."""
        return jnp.concatenate(
            [one.to_free(jnp.asarray(params[name])) for name, one in self.constraints.items()]
        )

    def from_free(self, vector: Any) -> dict[str, Any]:
        """The same, traceable."""
        return {
            name: one.from_free(vector[self.slices[name]]) for name, one in self.constraints.items()
        }

    def names(self) -> list[str]:
        """One name for each coordinate, of the parameter it belongs to."""
        return [name for name, one in self.constraints.items() for _ in range(one.n_free)]
