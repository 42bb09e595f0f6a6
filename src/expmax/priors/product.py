"""Independent conjugate distributions of the factors of a Product."""
# ruff: noqa: D102 -- the base class `Conjugate` documents the method

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.errors import ParameterError
from expmax.families.product import Product, ProductStatistics
from expmax.priors.conjugate import Conjugate, Coordinates, statistics_of
from expmax.statistics import Array

__all__ = ["Independent"]


@final
@dataclass(frozen=True, eq=False)
class Independent(Conjugate):
    """p(θ) = Π_f p_f(θ_f), factor by factor.

    Parameters
    ----------
    family : Product
        Bound.
    parts : tuple of Conjugate
    """

    family: Product
    parts: tuple[Conjugate, ...]

    classical_name = "product of conjugate distributions"

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.family.families):
            raise ParameterError(
                f"parts must hold one distribution a factor ({len(self.family.families)}); "
                f"got {len(self.parts)}."
            )

    @property
    def n_components(self) -> int:
        return self.parts[0].n_components

    def _named(self, values: list[Any]) -> dict[str, Any]:
        return dict(zip(self.family.labels, values, strict=True))

    def _views(self, x: Array) -> list[Array]:
        x = np.asarray(x, float)
        return [x[:, columns] for columns in self.family.slices]

    # -- leaf by leaf ------------------------------------------------------------------------------
    def leaves(self) -> Iterator[Conjugate]:
        for part in self.parts:
            yield from part.leaves()

    def with_leaves(self, leaves: Iterator[Any]) -> Self:
        return replace(self, parts=tuple(part.with_leaves(leaves) for part in self.parts))

    def natural(self, about: Any = None) -> Array:
        return np.hstack([part.natural() for part in self.parts])

    def with_natural(self, natural: Array, about: Any = None) -> Self:
        cuts = np.cumsum([part.natural().shape[1] for part in self.parts])[:-1]
        pieces = zip(self.parts, np.hsplit(natural, cuts), strict=True)
        return replace(self, parts=tuple(part.with_natural(piece) for part, piece in pieces))

    def expected_statistics(self, about: Any = None) -> Array:
        return np.hstack([part.expected_statistics() for part in self.parts])

    def take(self, order: NDArray[np.intp]) -> Self:
        return replace(self, parts=tuple(part.take(order) for part in self.parts))

    def is_proper(self) -> bool:
        return all(part.is_proper() for part in self.parts)

    def check(self) -> None:
        """Refuse an improper distribution."""
        for part in self.parts:
            part.check()  # type: ignore[attr-defined]

    # -- sums over the factors ---------------------------------------------------------------------
    def log_normalizer(self) -> Array:
        return sum((part.log_normalizer() for part in self.parts), start=np.zeros(1))

    def log_density(self, parameters: Parameters) -> Array:
        pairs = zip(self.parts, self.family.labels, strict=True)
        return sum((p.log_density(parameters[label]) for p, label in pairs), start=np.zeros(1))

    def kl_divergence(self, other: Self) -> Array:
        pairs = zip(self.parts, other.parts, strict=True)
        return sum((a.kl_divergence(b) for a, b in pairs), start=np.zeros(1))

    def log_predictive(self, x: Array) -> Array:
        pairs = zip(self.parts, self._views(x), strict=True)
        return sum((part.log_predictive(view) for part, view in pairs), start=np.zeros(1))

    def expected_log_density(self, x: Array, memo: Any = None) -> Array:
        out: Array = np.zeros(1)
        for i, part in enumerate(self.parts):
            values, own = self.family._view(x, i, memo)
            out = out + part.expected_log_density(values, own)
        return out

    def expected_log_likelihood(self, statistics: ProductStatistics) -> float:
        pairs = zip(self.parts, statistics.factors, strict=True)
        return sum(part.expected_log_likelihood(factor) for part, factor in pairs)

    def log_marginal_likelihood(self, data: Any) -> Array:
        pairs = zip(self.parts, statistics_of(self.family, data).factors, strict=True)
        return sum((p.log_marginal_likelihood(f) for p, f in pairs), start=np.zeros(1))

    # -- factor by factor --------------------------------------------------------------------------
    def update(self, data: Any) -> Self:
        pairs = zip(self.parts, statistics_of(self.family, data).factors, strict=True)
        return replace(self, parts=tuple(part.update(factor) for part, factor in pairs))

    def mean(self) -> dict[str, Any]:
        return self._named([part.mean() for part in self.parts])

    def mode(self, coordinates: Coordinates = "natural") -> dict[str, Any]:
        return self._named([part.mode(coordinates) for part in self.parts])

    def sample(self, component: int, n: int, rng: np.random.Generator) -> dict[str, Any]:
        return self._named([part.sample(component, n, rng) for part in self.parts])

    def sample_predictive(self, component: int, n: int, rng: np.random.Generator) -> Array:
        out = np.empty((n, sum(len(columns) for columns in self.family.slices)))
        for part, columns in zip(self.parts, self.family.slices, strict=True):
            out[:, columns] = part.sample_predictive(component, n, rng)
        return out
