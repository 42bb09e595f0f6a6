"""Directions in the plane, as angles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from expmax.contract import Degeneracy, Parameters
from expmax.families import resultant
from expmax.families.degeneracy import collapsed
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import NOT_NEGATIVE, intervals
from expmax.families.solvers import concentration_of_resultant
from expmax.families.special import bessel_ratio, log_bessel_i
from expmax.statistics import Array

__all__ = ["VonMises"]


@final
@dataclass(frozen=True)
class VonMises(ExponentialFamily):
    """Angles: T(x) = (cos x, sin x), η = κ(cos μ, sin μ), A(η) = log 2πI₀(κ), h = 1 on a full turn.

    Usual parameters: `mean` direction μ in (−π, π] and `concentration` κ ≥ 0 (0: uniform). x in
    radians; angles that differ by full turns are the same. 1 − R, R = ‖E[T]‖, is rounded to eps,
    which leaves κ a relative error of about 2κ·eps.

    References
    ----------
    Mardia & Jupp (2000), Directional Statistics, §3.5.4 and §5.3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import VonMises
    >>> VonMises().estimate(np.array([[0.5], [1.0], [1.5]]))["mean"]
    array([1.])
    """

    scalar = True
    support = "angles in radians, finite"
    limits = intervals(concentration=NOT_NEGATIVE)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.hstack([np.cos(x), np.sin(x)])

    def log_partition(self, natural: Array) -> Array:
        return np.asarray(
            np.log(2 * np.pi) + log_bessel_i(0.0, np.hypot(natural[:, 0], natural[:, 1]))
        )

    def to_mean(self, natural: Array) -> Array:
        kappa = np.hypot(natural[:, 0], natural[:, 1])[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            direction = np.where(kappa == 0, 0.0, natural / kappa)
        return direction * bessel_ratio(0.0, kappa[:, 0])[:, None]

    def to_natural(self, mean: Array) -> Array:
        length = np.hypot(mean[:, 0], mean[:, 1])
        kappa = concentration_of_resultant(0.0, length)
        with np.errstate(divide="ignore", invalid="ignore"):
            direction = np.where(mean == 0, 0.0, mean / length[:, None])
            return np.where(direction == 0, 0.0, kappa[:, None] * direction)

    def natural(self, parameters: Parameters) -> Array:
        mean, kappa = parameters["mean"], parameters["concentration"]
        with np.errstate(invalid="ignore"):
            return np.asarray(kappa[:, None] * np.stack([np.cos(mean), np.sin(mean)], axis=1))

    def usual(self, natural: Array) -> dict[str, Array]:
        angle = np.arctan2(natural[:, 1], natural[:, 0])
        angle = np.where(np.isinf(natural).all(axis=1), np.nan, angle)
        return {
            "mean": np.where(angle == -np.pi, np.pi, angle),
            "concentration": np.hypot(natural[:, 0], natural[:, 1]),
        }

    def retract(self, parameters: Parameters, weights: Array) -> Parameters:
        """The same η with the direction in its own form."""
        return (
            self.usual(self.natural(parameters))
            if (parameters["concentration"] >= 0).all()
            else parameters
        )

    def to_free(self, parameters: Parameters) -> Array:
        return resultant.to_free(self.natural(parameters))

    def from_free(self, free: Array) -> dict[str, Array]:
        return self.usual(resultant.from_free(free))

    def free_slopes(self, parameters: Parameters) -> Array:
        return resultant.slopes(self.natural(parameters))

    def free_information(self, parameters: Parameters) -> Array:
        return resultant.information(self.natural(parameters))

    def location(self, parameters: Parameters) -> Array:
        return np.asarray(parameters["mean"][:, None])

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """A component of equal angles has κ → ∞: judged by 1/κ, its variance."""
        with np.errstate(divide="ignore"):
            whole = None if marginal is None else 1 / marginal["concentration"]
            least = self.smallest_count(1)
            counts = None if statistics is None else statistics.counts
            return collapsed(
                "circular variance", 1 / parameters["concentration"], whole, counts, least=least
            )

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        mean, kappa = parameters["mean"][component], parameters["concentration"][component]
        return rng.vonmises(mean, kappa, (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * np.size(parameters["mean"])
