"""Gamma-distributed positive numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, polygamma

from expmax.contract import Degeneracy, Parameters
from expmax.errors import parameter_error
from expmax.families.degeneracy import collapsed
from expmax.families.exponential_family import ExponentialFamily
from expmax.families.parameters import POSITIVE, intervals
from expmax.families.solvers import gamma_shape
from expmax.families.special import log_shape_information
from expmax.statistics import Array

__all__ = ["Gamma"]


@dataclass(frozen=True, repr=False)
class Gamma(ExponentialFamily):
    """Gamma: T(x) = (log x, x), η = (a, −b), A(η) = log Γ(a) − a log b, h(x) = 1/x on x > 0.

    Usual parameters: `shape` a > 0 and `rate` b > 0 (mean a/b). The shape comes from log E[x] −
    E[log x], whose rounding (about eps·|log x|) leaves a relative error of 2·shape times that.

    With the shape given (1: exponential; an integer: Erlang; d/2: a scaled chi-square) T = x, η = −b,
    A(η) = −a log(−η), h(x) = x^(a−1)/Γ(a), and the rate has a conjugate prior.

    Parameters
    ----------
    shape : float, optional
        A fixed shape, the same for every component; default: estimated for each.

    References
    ----------
    Minka (2002), Estimating a Gamma distribution. Johnson, Kotz & Balakrishnan (1994), Continuous
    Univariate Distributions 1, ch. 17.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Gamma
    >>> family = Gamma()
    >>> natural = family.natural({"shape": np.array([3.0]), "rate": np.array([2.0])})
    >>> family.to_mean(natural).round(4)
    array([[0.2296, 1.5   ]])
    >>> Gamma(shape=2.0).estimate(np.array([[1.0], [3.0]]))
    {'shape': array([2.]), 'rate': array([1.])}
    """

    shape: float | None = None

    scalar = True
    support = "x > 0"
    limits = intervals(shape=POSITIVE, rate=POSITIVE)

    def __new__(cls, shape: float | None = None) -> Self:
        """As `pathlib.Path`: the kind of object follows from the argument."""
        kind = cls if shape is None else GammaOfShape
        return object.__new__(kind)  # type: ignore[return-value]

    def __post_init__(self) -> None:
        if self.shape is not None and not (np.isfinite(self.shape) and self.shape > 0):
            raise parameter_error("shape", "positive and finite", self.shape)

    def __repr__(self) -> str:
        return "Gamma()" if self.shape is None else f"Gamma(shape={self.shape})"

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & (x > 0)

    def sufficient_statistics(self, x: Array) -> Array:
        return np.hstack([np.log(x), x])

    def log_base_measure(self, x: Array) -> Array:
        return -np.log(x[:, 0])

    def log_partition(self, natural: Array) -> Array:
        shape, rate = natural[:, 0], -natural[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(gammaln(shape) - shape * np.log(rate))

    def to_mean(self, natural: Array) -> Array:
        shape, rate = natural[:, 0], -natural[:, 1]
        with np.errstate(invalid="ignore"):
            return np.stack([digamma(shape) - np.log(rate), shape / rate], axis=1)

    def to_natural(self, mean: Array) -> Array:
        mean_log, mean_x = mean.T
        with np.errstate(divide="ignore", invalid="ignore"):
            shape = gamma_shape(np.log(mean_x) - mean_log)
            return np.stack([shape, -shape / mean_x], axis=1)

    def fisher_information(self, natural: Array) -> Array:
        shape, rate = natural[:, 0], -natural[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = [polygamma(1, shape), 1 / rate, 1 / rate, shape / rate**2]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def natural(self, parameters: Parameters) -> Array:
        return np.stack([parameters["shape"], -parameters["rate"]], axis=1)

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"shape": natural[:, 0], "rate": -natural[:, 1]}

    def to_free(self, parameters: Parameters) -> Array:
        """(log mean, log shape): their information is diagonal."""
        shape, rate = parameters["shape"], parameters["rate"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([np.log(shape) - np.log(rate), np.log(shape)], axis=1)

    def from_free(self, free: Array) -> dict[str, Array]:
        log_mean, log_shape = free.T
        return {"shape": np.exp(log_shape), "rate": np.exp(log_shape - log_mean)}

    def free_slopes(self, parameters: Parameters) -> Array:
        shape, rate = parameters["shape"], parameters["rate"]
        rows = [np.zeros_like(shape), shape, rate, -rate]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def free_information(self, parameters: Parameters) -> Array:
        """diag(a, a²ψ'(a) − a)."""
        shape = parameters["shape"]
        rows = [shape, np.zeros_like(shape), np.zeros_like(shape), log_shape_information(shape)]
        return np.stack(rows, axis=1).reshape(-1, 2, 2)

    def expected_log_base_measure(self, natural: Array) -> Array:
        return -self.to_mean(natural)[:, 0]

    def location(self, parameters: Parameters) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(parameters["shape"] / parameters["rate"])[:, None]

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """Equal values take the shape to ∞: judged by 1/shape, the squared relative spread."""
        whole = None if marginal is None else 1 / marginal["shape"]
        least = self.smallest_count(1)
        counts = None if statistics is None else statistics.counts
        return collapsed(
            "squared relative spread", 1 / parameters["shape"], whole, counts, least=least
        )

    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        shape, rate = parameters["shape"][component], parameters["rate"][component]
        return rng.gamma(shape, 1.0 / rate, (n, 1))

    def n_parameters(self, parameters: Parameters) -> int:
        return 2 * len(parameters["shape"])


@final
@dataclass(frozen=True, repr=False)
class GammaOfShape(Gamma):
    """Of given shape a: T(x) = x, η = −b, A(η) = −a log(−η), h(x) = x^(a−1)/Γ(a)."""

    @property
    def _a(self) -> float:
        assert self.shape is not None
        return float(self.shape)

    def sufficient_statistics(self, x: Array) -> Array:
        return x

    def log_base_measure(self, x: Array) -> Array:
        return np.asarray((self._a - 1.0) * np.log(x[:, 0]) - gammaln(self._a))

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-self._a * np.log(-natural[:, 0]))

    def to_mean(self, natural: Array) -> Array:
        return np.asarray(-self._a / natural)

    def to_natural(self, mean: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(-self._a / mean)

    def fisher_information(self, natural: Array) -> Array:
        return np.asarray((self._a * natural**-2.0)[:, :, None])

    def natural(self, parameters: Parameters) -> Array:
        return -parameters["rate"][:, None]

    def usual(self, natural: Array) -> dict[str, Array]:
        return {"shape": np.full(len(natural), self._a), "rate": -natural[:, 0]}

    def to_free(self, parameters: Parameters) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(parameters["rate"])[:, None])

    def from_free(self, free: Array) -> dict[str, Array]:
        return self.usual(-np.exp(free))

    def free_slopes(self, parameters: Parameters) -> Array:
        return np.asarray(-parameters["rate"][:, None, None])

    def free_information(self, parameters: Parameters) -> Array:
        return np.full((len(parameters["rate"]), 1, 1), self._a)

    def expected_log_base_measure(self, natural: Array) -> Array:
        mean_log = digamma(self._a) - np.log(-natural[:, 0])
        return np.asarray((self._a - 1.0) * mean_log - gammaln(self._a))

    degeneracies = ExponentialFamily.degeneracies  # the relative spread is given: no spikes

    def smallest_count(self, n_columns: int) -> float:
        return 0.0  # one parameter: a single value is no spike

    def n_parameters(self, parameters: Parameters) -> int:
        return len(parameters["rate"])
