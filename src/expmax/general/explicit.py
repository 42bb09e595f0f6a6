"""M-steps that the user knows in closed form, block by block (ECM).

`maximize={"rate": f}` with `f(theta, expect)` returning the new value: `theta` are the current parameters, and
`expect(g)` is Σ_i w_i E_q[g(x_i, z_i)] for a traceable g returning a number, an array or a tuple of these. For
chains `expect(g)` takes g(x_t, z_t), summed over the steps, `expect.initial(g)` takes g(z_0) and
`expect.transitions(g)` takes g(z_t, z_{t+1}).

References
----------
Meng & Rubin (1993), Biometrika 80(2): ECM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.programs import Programs, arrays
from expmax.general.space import Space
from expmax.general.statistics import JointStatistics

__all__ = ["ClosedForm", "Expect", "closed_forms"]


class _FoundError(Exception):
    """Ends the trace of a user's function at the expectation that is wanted."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Expect:
    """Σ w E_q of whatever the user asks: known totals first, then the next one, which ends the trace."""

    def __init__(self, known: tuple[Any, ...], compute: Callable[[Any, str], Any]) -> None:
        self._known = list(known)
        self._compute = compute

    def __call__(self, g: Callable[..., Any]) -> Any:
        """Σ_i w_i E_q[g(x_i, z_i)]; for chains Σ_i w_i Σ_t E_q[g(x_it, z_it)]."""
        return self._next(g, "unit")

    def initial(self, g: Callable[..., Any]) -> Any:
        """Σ_i w_i E_q[g(z_i0)], of chains."""
        return self._next(g, "initial")

    def transitions(self, g: Callable[..., Any]) -> Any:
        """Σ_i w_i Σ_t E_q[g(z_it, z_i,t+1)], of chains."""
        return self._next(g, "transition")

    def _next(self, g: Callable[..., Any], over: str) -> Any:
        if self._known:
            return self._known.pop(0)
        raise _FoundError(self._compute(g, over))


class ClosedForm:
    """One user function, compiled: once for each expectation it asks for, and once for its result.

    An expectation may depend on earlier ones: they enter as arguments, so nothing stale is ever kept.
    """

    def __init__(
        self, names: tuple[str, ...], function: Any, space: Space, programs: Programs
    ) -> None:
        self.names, self.space = names, space

        def stage(theta: Any, known: tuple[Any, ...], q: Any, chunk: Any) -> dict[str, Any]:
            expect = Expect(known, lambda g, over: programs.expected(q, chunk, g, over))
            try:
                return {"value": function(theta, expect)}
            except _FoundError as found:
                return {"found": found.value}

        self._stage = jax.jit(stage)

    def __call__(self, theta: Mapping[str, Any], statistics: JointStatistics) -> dict[str, Any]:
        """New values by name, checked against their constraints."""
        known: tuple[Any, ...] = ()
        while True:
            out = self._run(theta, known, statistics)
            if "value" in out:
                return self._named(out["value"])
            known = (*known, out["found"])

    def _run(
        self, theta: Any, known: tuple[Any, ...], statistics: JointStatistics
    ) -> dict[str, Any]:
        total: Any = None
        for part in statistics.parts:
            for q, chunk in part.units():
                out = self._stage(theta, known, q, arrays(chunk))
                if "value" in out:
                    return out
                scaled = jax.tree.map(lambda a, part=part: part.factor * a, out)
                total = scaled if total is None else jax.tree.map(jnp.add, total, scaled)
        return total

    def _named(self, value: Any) -> dict[str, Any]:
        values = (value,) if len(self.names) == 1 else tuple(value)
        if len(values) != len(self.names):
            raise ParameterError(
                f"maximize[{self.names!r}] must return one value for each of its names; got {len(values)}."
            )
        return {
            name: self.space.constraints[name].check(f"maximize[{name!r}]", np.asarray(new))
            for name, new in zip(self.names, values, strict=True)
        }


def closed_forms(maximize: Any, space: Space, programs: Programs) -> list[ClosedForm]:
    """The user's functions, in order."""
    if maximize is None:
        return []
    if not isinstance(maximize, Mapping):
        raise parameter_error("maximize", "a dict from names to functions", maximize)
    made, seen = [], set()
    for key, function in maximize.items():
        names = (key,) if isinstance(key, str) else tuple(key)
        for name in names:
            if name not in space.constraints or name in seen:
                raise parameter_error(
                    "maximize", f"a dict over {list(space.constraints)}, each once", name
                )
        seen |= set(names)
        made.append(ClosedForm(names, function, space, programs))
    return made
