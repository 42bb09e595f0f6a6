"""What a family of distributions is: the interface.

A *family* describes p(x | θ) for one component of a model and knows nothing of latent variables. The
parameters of K components are a mapping of named arrays whose first axis is the component.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import DataError
from expmax.families.charts import FamilyChart
from expmax.families.parameters import Interval, intervals, within
from expmax.statistics import Additive, Array

if TYPE_CHECKING:
    from expmax.families.distribution import Distribution
    from expmax.families.standard_errors import Estimate
    from expmax.families.summary import Summary

__all__ = ["Family", "Memo"]

Memo = dict[Any, Any] | None


class Family(ABC):
    """One observation model p(x | θ), vectorised over K components.

    Subclasses are immutable descriptions (frozen dataclasses); parameters are passed in.
    """

    scalar: ClassVar[bool] = False  # defined on a single column
    discrete: ClassVar[bool] = False  # a probability mass function
    accepts_missing: ClassVar[bool] = False  # NaN cells simply do not contribute
    shares_parameters: ClassVar[bool] = False  # components have parameters in common
    accepts_prior: ClassVar[bool] = True  # imaginary rows can be added to its statistics
    is_estimated: ClassVar[bool] = True  # has parameters that data determine
    inner_latent: ClassVar[bool] = False  # has latent variables of its own
    local_statistics: ClassVar[bool] = False  # sums that depend on the current parameters
    support: ClassVar[str] = "the real numbers"
    limits: ClassVar[Mapping[str, Interval]] = intervals()  # of parameters; else: finite

    # -- binding to data ---------------------------------------------------------------------------
    def bind(self, x: NDArray[Any]) -> Family:
        """Resolve what depends on the data (number of columns, categories, bounds) and check them.

        A one-column family bound to d > 1 columns becomes the product of d independent ones.

        Raises
        ------
        DataError
            A value outside the support; the message names column, row and value.
        """
        if self.scalar and x.shape[1] != 1:
            from expmax.families.product import Product

            return Product(*[self] * x.shape[1]).bind(x)
        self.check(x)
        return self

    def check(self, x: NDArray[Any], names: Sequence[str] | None = None) -> None:
        """Raise `DataError` unless every present cell lies in the support."""
        missing = np.isnan(x)
        if not self.accepts_missing and missing.any():
            row, column = np.argwhere(missing)[0]
            raise DataError(
                f"{_column(column, names)} holds NaN (row {row}): {type(self).__name__} has no rule "
                "for missing cells; drop the row, impute it, or choose a family that skips missing "
                "cells (one-column families, Product, Gaussian with covariance='diag' or 'spherical')."
            )
        outside = ~(self.in_support(np.asarray(x, float)) | missing)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise DataError(
                f"{_column(column, names)} holds {x[row, column]:.10g} (row {row}), outside the support "
                f"of {type(self).__name__} ({self.support}); drop the row or choose another family."
            )

    def in_support(self, x: Array) -> NDArray[np.bool_]:
        """Whether each cell lies in the support: shape (n, d)."""
        return np.isfinite(x)

    def in_space(self, parameters: Parameters) -> NDArray[np.bool_]:
        """Components whose parameters the family has, its boundary included: shape (K,).

        Elsewhere a formula may still give numbers, which mean nothing: there `log_density` is NaN.

        Examples
        --------
        >>> import numpy as np
        >>> from expmax import Gamma
        >>> Gamma().in_space({"shape": np.array([2.0, -1.6]), "rate": np.array([1.0, 1.0])})
        array([ True, False])
        """
        return within(parameters, self.limits)

    def retract(self, parameters: Parameters, weights: Array) -> Parameters:
        """Parameters of the family near ones that a linear combination may have taken out of it.

        Parameters
        ----------
        weights : ndarray, shape (K,)
            What each component counts where components share parameters.
        """
        return parameters

    def _only_inside(self, parameters: Parameters, values: Array) -> Array:
        """Values of K columns, NaN in those of components outside the parameter space."""
        inside = self.in_space(parameters)
        return values if inside.all() else np.where(inside, values, np.nan)

    # -- density and EM ----------------------------------------------------------------------------
    @abstractmethod
    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        """log p(x_i | θ_k), nats: shape (n, K)."""

    @abstractmethod
    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> Additive:
        """Weighted sums over rows, one set a component, from which `maximize` follows."""

    @abstractmethod
    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        """Parameters from weighted rows alone: the M-step where there is no current estimate."""

    @abstractmethod
    def maximize(self, statistics: Any, parameters: Parameters | None) -> Parameters:
        """argmax over θ of `expected_log_density(θ, statistics)`, or an ascent of it."""

    @abstractmethod
    def expected_log_density(self, parameters: Parameters, statistics: Any) -> float:
        """Σ_i Σ_k r_ik log p(x_i, u_i | θ_k), nats, from the statistics alone (u: own latent, if any)."""

    def magnitude(self, parameters: Parameters, statistics: Any) -> float:
        """Size of the terms that `expected_log_density` sums, nats: rounding grows with it."""
        own = abs(self.latent_entropy(statistics))
        return 4.0 * (abs(self.expected_log_density(parameters, statistics)) + own)

    def latent_entropy(self, statistics: Any) -> float:
        """Entropy of the family's own latent variables under q, nats; 0 without any."""
        return 0.0

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart | None:
        """Whitened local coordinates for acceleration and certificate; None where there are none."""
        return None

    @abstractmethod
    def pseudo_statistics(self, count: Array, parameters: Parameters) -> Additive:
        """Statistics of `count[k]` imaginary rows distributed as component k of `parameters`."""

    # -- description -------------------------------------------------------------------------------
    @abstractmethod
    def sample(
        self, parameters: Parameters, component: int, n: int, rng: np.random.Generator
    ) -> Array:
        """n draws from one component: shape (n, d)."""

    @abstractmethod
    def n_parameters(self, parameters: Parameters) -> int:
        """Number of free parameters of all K components (mixing weights not counted)."""

    @abstractmethod
    def location(self, parameters: Parameters) -> Array:
        """A point of each component, used to order components: shape (K, m)."""

    def degeneracies(
        self, parameters: Parameters, statistics: Any, marginal: Parameters | None
    ) -> list[Degeneracy]:
        """Components at which the likelihood is unbounded, judged against the one-component fit."""
        return []

    def snap(self, parameters: Parameters, statistics: Any) -> Parameters | None:
        """Parameters with those that creep towards 0 put there; None where there are none."""
        return None

    def boundary(self, parameters: Parameters) -> list[tuple[int, str]]:
        """Components with a parameter on the edge of its space, and its name."""
        return []

    def embed(self, x: Array) -> Array:
        """Rows as points of a Euclidean space, for partitions to start from: shape (n, m)."""
        return np.asarray(x, float)

    def smallest_count(self, n_columns: int) -> float:
        """Rows below which a component is more likely a spike than a finding; 0 where none can be."""
        return 0.0 if self.discrete else float(max(n_columns + 1, 5))

    def named_parameters(self, parameters: Parameters) -> dict[str, Array]:
        """The parameters a person wants to read, by name."""
        return {name: np.asarray(value) for name, value in parameters.items()}

    def estimate(self, x: Array, weight: Array | None = None) -> Parameters:
        """Weighted maximum likelihood of a single component (K = 1).

        Parameters
        ----------
        x : ndarray, shape (n, d)
        weight : ndarray, shape (n,), optional

        Examples
        --------
        >>> import numpy as np
        >>> from expmax import Poisson
        >>> Poisson().estimate(np.array([[1.0], [2.0], [6.0]]))
        {'rate': array([3.])}
        """
        ones = np.ones((len(x), 1)) if weight is None else np.asarray(weight, float)[:, None]
        family = self.bind(x)
        parameters = family.initialize(x, ones)
        parameters = _climb(family, parameters, x, ones)
        snapped = family.snap(parameters, family.statistics(parameters, x, ones))
        if snapped is None:
            return parameters
        snapped = _climb(family, snapped, x, ones)
        sizes = [_log_likelihood(family, theta, x, ones) for theta in (parameters, snapped)]
        return snapped if sizes[1] >= sizes[0] else parameters

    # -- what one does with it: standard_errors.py, summary.py, distribution.py --------------------
    def estimate_with_errors(self, x: Array, weight: Array | None = None) -> Estimate:
        """Weighted maximum likelihood of a single component with standard errors.

        The errors are those of the inverse observed information (at the maximum of an exponential family
        the Fisher information), carried to the usual parameters by the delta method. Weights count as
        frequencies; for others, `Mixture(family, 1).standard_errors(method="sandwich")`.

        Parameters
        ----------
        x : ndarray, shape (n, d)
        weight : ndarray, shape (n,), optional

        Raises
        ------
        InformationError
            The estimate lies on the boundary of its space.

        Examples
        --------
        >>> import numpy as np
        >>> from expmax import Poisson
        >>> fit = Poisson().estimate_with_errors(np.array([[1.0], [2.0], [6.0]]))
        >>> round(float(fit.standard_errors["rate"]), 4)  # √(3 / 3)
        1.0
        """
        from expmax.families.standard_errors import estimate_with_errors

        return estimate_with_errors(self, x, weight)

    def summarize(self, x: Array, weight: Array | None = None) -> Summary:
        """The data as sums: fit, likelihood and posterior follow from them without the data.

        Parameters
        ----------
        x : ndarray, shape (n, d)
        weight : ndarray, shape (n,), optional

        Returns
        -------
        Summary
            Additive; `summary.fit()`, `summary.log_likelihood(parameters)`, `summary.estimate()`.

        Raises
        ------
        ParameterError
            No finite sums determine the likelihood (Weibull, StudentT, NegativeBinomial of free size).
        """
        from expmax.families.summary import summarize

        return summarize(self, x, weight)

    def at(self, parameters: Parameters | None = None, **named: Any) -> Distribution:
        """The members of the family with these usual parameters: every coordinate, entropy, divergence.

        Parameters
        ----------
        parameters : mapping, optional
            Arrays whose first axis is the component, or the numbers of one component.
        **named
            The same by keyword.
        """
        from expmax.families.distribution import at

        return at(self, parameters, named)


def _climb(family: Family, parameters: Parameters, x: Array, weight: Array) -> Parameters:
    """M-steps until they gain nothing: closed forms stop at once, local and augmented families iterate."""
    for _ in range(200):
        statistics = family.statistics(parameters, x, weight)
        before = family.expected_log_density(parameters, statistics)
        update = family.maximize(statistics, parameters)
        gain = family.expected_log_density(update, statistics) - before
        parameters = update
        if not gain > 1e-13 * abs(before):
            break
    return parameters


def _log_likelihood(family: Family, parameters: Parameters, x: Array, weight: Array) -> float:
    used = weight[:, 0] > 0
    return float(weight[used, 0] @ family.log_density(parameters, x[used])[:, 0])


def _column(column: int, names: Sequence[str] | None) -> str:
    return f"column {column}" if names is None else f"column {names[column]!r}"
