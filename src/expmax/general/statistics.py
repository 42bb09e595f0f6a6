"""What an E-step of a user's model leaves behind: q on the blocks seen, from which Q(θ; S) is taken.

No finite statistics are known of a density that somebody wrote, so S is the sum itself, written down: which
rows were seen and at which θ. q is kept where the block keeps its memo and is small, and found again, to the
same bits, where not: memory stays that of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

from expmax.general.backend import double_precision, jnp
from expmax.general.chunks import Chunk, Prepared
from expmax.general.programs import Programs, arrays
from expmax.statistics import Additive, Array

__all__ = ["JointStatistics", "Part"]

REMEMBERED = 32  # points at which Q is known


@dataclass(frozen=True)
class Part:
    """A block, the parameters its posterior was taken at, and how often it counts."""

    u: Array  # packed θ
    factor: float
    prepared: Prepared
    kept: tuple[Any, ...] | None  # q of each chunk
    programs: Programs = field(compare=False, repr=False)
    beta: float = 1.0  # q ∝ p(z | x)^β: below 1 in annealed starts

    def units(self) -> Iterator[tuple[Any, Chunk]]:
        """q and rows, chunk by chunk."""
        for i, chunk in enumerate(self.prepared.chunks):
            if self.kept is not None:
                yield self.kept[i], chunk
            elif self.beta != 1.0:
                yield self.programs.infer_tempered(self.u, arrays(chunk), self.beta), chunk
            else:
                yield self.programs.infer(jnp.asarray(self.u), arrays(chunk))[2], chunk


@dataclass(frozen=True)
class JointStatistics(Additive):
    """A formal sum of parts; adding puts them side by side, and what cancels is dropped."""

    parts: tuple[Part, ...]
    weight: float  # Σ w
    # Q and ∇Q at the packed parameters where they were asked for last
    seen: dict[bytes, tuple[float, Array]] = field(default_factory=dict, compare=False, repr=False)

    def remember(self, u: Array, value: float, gradient: Array) -> None:
        """Keep Q and ∇Q at u: the engine asks for both where the M-step has been."""
        if len(self.seen) >= REMEMBERED:
            self.seen.clear()
        self.seen.setdefault(u.tobytes(), (value, gradient))

    def __add__(self, other: Self) -> Self:
        return type(self)(_gathered([*self.parts, *other.parts]), self.weight + other.weight)

    def __sub__(self, other: Self) -> Self:
        return self + other * -1.0

    def __mul__(self, factor: float) -> Self:
        parts = [_scaled(part, factor) for part in self.parts]
        return type(self)(_gathered(parts), self.weight * factor)

    __rmul__ = __mul__

    def zero(self) -> Self:
        """No parts."""
        return type(self)((), 0.0)

    @double_precision
    def total(self, function: Callable[[Any, Chunk], Any]) -> Any:
        """Σ factor · function(q, chunk), for a function that returns a tuple of arrays."""
        total: Any = None
        for part in self.parts:
            for q, chunk in part.units():
                terms = function(q, chunk)
                scaled = terms if part.factor == 1.0 else [part.factor * term for term in terms]
                total = (
                    scaled if total is None else [a + b for a, b in zip(total, scaled, strict=True)]
                )
        return total


def _scaled(part: Part, factor: float) -> Part:
    return replace(part, factor=part.factor * factor)


def _gathered(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The same block at the same θ once, with the factors added; none where they cancel."""
    found: dict[Any, Part] = {}
    for part in parts:
        key = (id(part.prepared), part.u.tobytes(), part.beta)
        if key in found:
            part = _scaled(part, (part.factor + found[key].factor) / part.factor)
        found[key] = part
    return tuple(part for part in found.values() if part.factor != 0.0)
