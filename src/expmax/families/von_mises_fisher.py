"""Directions in space, as unit vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import DataError
from expmax.families import resultant
from expmax.families.degeneracy import collapsed
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import NOT_NEGATIVE, intervals, within
from expmax.families.solvers import concentration_of_resultant
from expmax.families.special import bessel_ratio, log_bessel_i
from expmax.statistics import Array

__all__ = ["VonMisesFisher"]


@final
@dataclass(frozen=True)
class VonMisesFisher(ExponentialFamily):
    """Unit vectors: T(x) = x, η = κμ, A(η) = log[(2π)^(d/2) I_ν(κ)/κ^ν], ν = d/2 − 1, h = 1.

    In d ≥ 2 dimensions. Usual parameters: `mean` direction μ, unit vectors of shape (K, d), and
    `concentration` κ ≥ 0 (0: uniform, whose direction is given as the first axis). The density is
    with respect to surface area. Rows must have length 1 within 1e-6 and are then scaled to it.
    Rounding leaves κ a relative error of 2κ·eps/(d − 1).

    References
    ----------
    Banerjee, Dhillon, Ghosh & Sra (2005), JMLR 6. Mardia & Jupp (2000), Directional Statistics,
    §9.3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import VonMisesFisher
    >>> uniform = {"mean": np.eye(1, 3), "concentration": np.zeros(1)}
    >>> np.exp(VonMisesFisher().log_density(uniform, np.eye(1, 3))) * 4 * np.pi
    array([[1.]])
    """

    accepts_missing = False
    support = "rows of length 1"
    limits = intervals(concentration=NOT_NEGATIVE)

    def in_space(self, parameters: Parameters) -> NDArray[np.bool_]:
        """Concentrations of at least 0 and directions of length 1 within 1e-6."""
        length = np.linalg.norm(parameters["mean"], axis=1)
        return within(parameters, self.limits) & (np.abs(length - 1) <= 1e-6)

    def bind(self, x: NDArray[Any]) -> Any:
        if x.shape[1] < 2:
            raise DataError(
                f"VonMisesFisher needs unit vectors of at least 2 columns; got {x.shape[1]}. "
                "For angles use VonMises()."
            )
        return super().bind(x)

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            inside = np.abs(np.linalg.norm(x, axis=1, keepdims=True) - 1) <= 1e-6
        return np.asarray(np.isfinite(x) & inside)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))

    def log_partition(self, natural: Array) -> Array:
        d = natural.shape[1]
        kappa = np.linalg.norm(natural, axis=1)
        return np.asarray(0.5 * d * np.log(2 * np.pi) + log_bessel_i(0.5 * d - 1, kappa))

    def to_mean(self, natural: Array) -> Array:
        kappa = np.linalg.norm(natural, axis=1)
        length = bessel_ratio(0.5 * natural.shape[1] - 1, kappa)
        return _direction(natural, kappa) * length[:, None]

    def to_natural(self, mean: Array) -> Array:
        length = np.linalg.norm(mean, axis=1)
        kappa = concentration_of_resultant(0.5 * mean.shape[1] - 1, length)
        direction = _direction(mean, length)
        with np.errstate(invalid="ignore"):
            return np.where(direction == 0, 0.0, kappa[:, None] * direction)

    def natural(self, parameters: Parameters) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(parameters["concentration"][:, None] * parameters["mean"])

    def usual(self, natural: Array) -> dict[str, Array]:
        kappa = np.linalg.norm(natural, axis=1)
        first_axis = np.eye(1, natural.shape[1])
        mean = np.where(kappa[:, None] == 0, first_axis, _direction(natural, kappa))
        return {"mean": mean, "concentration": kappa}

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
        return np.asarray(parameters["mean"])

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """A component of equal directions has κ → ∞: judged by 1/κ."""
        with np.errstate(divide="ignore"):
            whole = None if marginal is None else 1 / marginal["concentration"]
            least = self.smallest_count(parameters["mean"].shape[1])
            counts = None if statistics is None else statistics.counts
            return collapsed(
                "1/concentration", 1 / parameters["concentration"], whole, counts, least=least
            )

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        """The cosine by rejection, then a tangent: Wood (1994), Comm. in Statistics B 23(1)."""
        mean, kappa = parameters["mean"][component], parameters["concentration"][component]
        d = len(mean)
        cosine, sine = _draw_cosine(kappa, d, n, rng)
        tangent = rng.standard_normal((n, d))
        tangent -= (tangent @ mean)[:, None] * mean
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        return np.asarray(cosine[:, None] * mean + sine[:, None] * tangent)

    def n_parameters(self, parameters: Parameters) -> int:
        return np.size(parameters["mean"])


def _direction(vector: Array, length: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(vector == 0, 0.0, vector / length[:, None])


def _draw_cosine(kappa: float, d: int, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cosine and sine of the angle to the mean direction; 1 − cosine is kept apart for large κ."""
    b = (d - 1) / (2 * kappa + np.hypot(2 * kappa, d - 1))
    peak = 2 * b / (1 + b)
    versine = np.empty(0)  # 1 − cosine
    while len(versine) < n:
        z = rng.beta(0.5 * (d - 1), 0.5 * (d - 1), 2 * (n - len(versine)) + 8)
        below = 2 * b * z / (1 - (1 - b) * z)
        # log of target over envelope, relative to its maximum, which is at versine = peak
        log_ratio = kappa * (peak - below) + (d - 1) * (
            np.log(peak + (1 - peak) * below) - np.log(peak * (2 - peak))
        )
        versine = np.append(versine, below[np.log(rng.random(len(z))) <= log_ratio])
    versine = versine[:n]
    return 1 - versine, np.sqrt(versine * (2 - versine))
