"""What a family of distributions is: the interface, and the exponential families that need only formulas.

A *family* describes p(x | θ) for one component of a model and knows nothing of latent variables. The
parameters of K components are a mapping of named arrays whose first axis is the component.

An exponential family p(x | η) = h(x) exp(η·T(x) − A(η)) is written by its formulas alone
(`sufficient_statistics`, `log_base_measure`, `log_partition`, `to_mean`, `to_natural`, and the usual
parameters); densities, expected statistics, moment matching, KL divergence and entropy follow here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Degeneracy, Parameters
from expmax.errors import DataError, ImpossibleDataError
from expmax.families.charts import FamilyChart, NaturalChart
from expmax.families.parameters import put
from expmax.statistics import Additive, Array

if TYPE_CHECKING:
    from expmax.families.toolkit import Distribution, Estimate, Summary

__all__ = ["ExponentialFamily", "Family", "MomentStatistics", "masked_dot"]

VANISHING = 1e-2  # expected events below which a parameter is tried at 0
Memo = dict[Any, Any] | None


def masked_dot(statistics: Array, natural: Array) -> Array:
    """statistics @ natural.T with 0·(−∞) = 0 and t·(−∞) = −∞ for t > 0: shape (n, K).

    A natural coordinate is −∞ on the boundary of a family (a zero rate or probability).
    """
    infinite = np.isneginf(natural)
    with np.errstate(invalid="ignore"):  # a collapsed component has a coordinate of +∞: NaN
        if not infinite.any():
            return statistics @ natural.T
        out = statistics @ np.where(infinite, 0.0, natural).T
    out[(statistics > 0).astype(float) @ infinite.T.astype(float) > 0] = -np.inf
    return out


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
        for _ in range(200):  # closed forms stop at once; local and augmented families iterate
            statistics = family.statistics(parameters, x, ones)
            before = family.expected_log_density(parameters, statistics)
            update = family.maximize(statistics, parameters)
            gain = family.expected_log_density(update, statistics) - before
            parameters = update
            if not gain > 1e-13 * abs(before):
                break
        return parameters

    # -- the toolkit (families/toolkit.py) ---------------------------------------------------------
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
        from expmax.families.toolkit import estimate_with_errors

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
        from expmax.families.toolkit import summarize

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
        from expmax.families.toolkit import at

        return at(self, parameters, named)


@dataclass(frozen=True, slots=True)
class MomentStatistics(Additive):
    """Weighted sums of T(x): all that an exponential family needs of the data."""

    counts: Array  # Σ_i r_ik over rows present, shape (K,)
    sums: Array  # Σ_i r_ik T(x_i), shape (K, dim)
    log_base: float  # Σ_i Σ_k r_ik log h(x_i), nats


class ExponentialFamily(Family):
    """p(x | η) = h(x) exp(η·T(x) − A(η)): moment matching is maximum likelihood."""

    accepts_missing = True
    counts: ClassVar[bool] = False  # T(x) ≥ 0 counts events, and a mean of 0 is on the boundary

    # -- the formulas a family writes --------------------------------------------------------------
    @abstractmethod
    def sufficient_statistics(self, x: Array) -> Array:
        """T(x): shape (n, dim)."""

    def log_base_measure(self, x: Array) -> Array:
        """log h(x): shape (n,)."""
        return np.zeros(len(x))

    @abstractmethod
    def log_partition(self, natural: Array) -> Array:
        """A(η), nats: shape (K,)."""

    @abstractmethod
    def to_mean(self, natural: Array) -> Array:
        """μ = ∇A(η) = E[T(x)]: shape (K, dim)."""

    @abstractmethod
    def to_natural(self, mean: Array) -> Array:
        """η with ∇A(η) = μ: shape (K, dim)."""

    @abstractmethod
    def natural(self, parameters: Parameters) -> Array:
        """η of the usual parameters: shape (K, dim)."""

    @abstractmethod
    def usual(self, natural: Array) -> dict[str, Array]:
        """The usual parameters of η."""

    def expected_log_base_measure(self, natural: Array) -> Array:
        """E[log h(x)], nats: shape (K,). Zero unless a family says otherwise."""
        return np.zeros(len(natural))

    def fisher_information(self, natural: Array) -> Array:
        """∇²A(η) = Cov[T(x)]: shape (K, dim, dim); central differences of ∇A unless a family knows it."""
        step = 1e-5 * np.maximum(np.abs(natural), 1e-3)
        columns = []
        for j in range(natural.shape[1]):
            shift = np.zeros_like(natural)
            shift[:, j] = step[:, j]
            with np.errstate(all="ignore"):  # a component on the boundary has none: NaN says so
                rise = self.to_mean(natural + shift) - self.to_mean(natural - shift)
            columns.append(rise / (2.0 * step[:, j : j + 1]))
        matrix = np.stack(columns, axis=2)
        return 0.5 * (matrix + matrix.swapaxes(1, 2))

    def chart(self, parameters: Parameters, statistics: Any) -> FamilyChart | None:
        return NaturalChart(self, parameters, statistics)

    def boundary(self, parameters: Parameters) -> list[tuple[int, str]]:
        with np.errstate(all="ignore"):
            edge = ~np.isfinite(self.natural(parameters)).all(axis=1)
        name = next(iter(self.named_parameters(parameters)))
        return [(int(k), name) for k in np.flatnonzero(edge)]

    def snap(self, parameters: Parameters, statistics: MomentStatistics) -> Parameters | None:
        """Where T counts something, an expected count below `VANISHING` is put to 0."""
        if not self.counts:
            return None
        vanishing = (statistics.sums < VANISHING) & (statistics.sums > 0)
        vanishing &= (statistics.counts > 1.0)[:, None]
        if not vanishing.any():
            return None
        sums = np.where(vanishing, 0.0, statistics.sums)
        new = self.maximize(MomentStatistics(statistics.counts, sums, 0.0), parameters)
        return put(parameters, new, np.asarray(vanishing.any(axis=1)))

    # -- what follows from them --------------------------------------------------------------------
    def entropy(self, natural: Array) -> Array:
        """H = A(η) − η·∇A(η) − E[log h(x)], nats: shape (K,)."""
        products = _xdot(natural, self.to_mean(natural))
        return self.log_partition(natural) - products - self.expected_log_base_measure(natural)

    def convex_conjugate(self, mean: Array) -> Array:
        """A*(μ) = sup_η η·μ − A(η), at η(μ): −H − E[log h], nats: shape (K,)."""
        natural = self.to_natural(mean)
        return _xdot(natural, mean) - self.log_partition(natural)

    def kl_divergence(self, natural: Array, other: Array) -> Array:
        """KL(p_η ‖ p_η') = A(η') − A(η) − (η' − η)·∇A(η), a Bregman divergence, nats: shape (K,)."""
        mean = self.to_mean(natural)
        gap = self.log_partition(other) - self.log_partition(natural)
        return gap - _xdot(other, mean) + _xdot(natural, mean)

    def log_density(self, parameters: Parameters, x: Array, memo: Memo = None) -> Array:
        t, log_base, present = self.moments(x, memo)
        natural = self.natural(parameters)
        out = masked_dot(t, natural)
        partition = self.log_partition(natural)
        with np.errstate(invalid="ignore"):
            out += log_base[:, None] - (
                partition if present is None else present[:, None] * partition
            )
        return out

    def moments(self, x: Array, memo: Memo = None) -> tuple[Array, Array, Array | None]:
        """T(x), log h(x) and the rows present (None: all); rows with a missing cell are zero."""
        if memo is not None and "moments" in memo:
            return memo["moments"]
        x = np.asarray(x, float)
        missing: NDArray[np.bool_] = np.asarray(np.isnan(x).any(axis=1))
        if missing.any():
            result = self._moments_with_missing(x, missing)
        else:
            result = self.sufficient_statistics(x), self.log_base_measure(x), None
        if memo is not None:
            memo["moments"] = result
        return result

    def _moments_with_missing(
        self, x: Array, missing: NDArray[np.bool_]
    ) -> tuple[Array, Array, Array | None]:
        seen = x[~missing]
        t = np.zeros((len(x), self.sufficient_statistics(seen).shape[1]))
        log_base = np.zeros(len(x))
        t[~missing] = self.sufficient_statistics(seen)
        log_base[~missing] = self.log_base_measure(seen)
        return t, log_base, (~missing).astype(float)

    def statistics(
        self, parameters: Parameters, x: Array, responsibilities: Array, memo: Memo = None
    ) -> MomentStatistics:
        t, log_base, present = self.moments(x, memo)
        rows = responsibilities if present is None else responsibilities * present[:, None]
        return MomentStatistics(rows.sum(axis=0), rows.T @ t, float(log_base @ rows.sum(axis=1)))

    def initialize(self, x: Array, responsibilities: Array, memo: Memo = None) -> Parameters:
        return self.maximize(self.statistics({}, x, responsibilities, memo), None)

    def maximize(
        self, statistics: MomentStatistics, parameters: Parameters | None
    ) -> dict[str, Array]:
        """Moment matching: ∇A(η) = Σ r T(x) / Σ r."""
        with np.errstate(invalid="ignore"):
            mean = statistics.sums / statistics.counts[:, None]
        return self.usual(self.to_natural(mean))

    def expected_log_density(self, parameters: Parameters, statistics: MomentStatistics) -> float:
        natural = self.natural(parameters)
        used = statistics.counts > 0
        linear = _xdot(natural[used], statistics.sums[used]).sum()
        partition = statistics.counts[used] @ self.log_partition(natural[used])
        with np.errstate(invalid="ignore"):
            return float(linear - partition + statistics.log_base)

    def magnitude(self, parameters: Parameters, statistics: MomentStatistics) -> float:
        natural = self.natural(parameters)
        used = statistics.counts > 0
        linear = _xdot(np.abs(natural[used]), np.abs(statistics.sums[used])).sum()
        partition = statistics.counts[used] @ np.abs(self.log_partition(natural[used]))
        return float(linear + partition + abs(statistics.log_base))

    def pseudo_statistics(self, count: Array, parameters: Parameters) -> MomentStatistics:
        mean = self.to_mean(self.natural(parameters))
        return MomentStatistics(count, count[:, None] * mean, 0.0)

    def location(self, parameters: Parameters) -> Array:
        return self.to_mean(self.natural(parameters))

    def binding(self, **changes: Any) -> Self:
        """A copy with some constants resolved."""
        from dataclasses import replace

        return replace(self, **changes)  # type: ignore[type-var]


def _xdot(natural: Array, mean: Array) -> Array:
    """Row-wise η·μ with 0·(±∞) = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(mean == 0, 0.0, natural * mean).sum(axis=-1)


def _column(column: int, names: Sequence[str] | None) -> str:
    return f"column {column}" if names is None else f"column {names[column]!r}"


def impossible(row: int) -> ImpossibleDataError:
    """The error for a row to which every component gives probability zero."""
    return ImpossibleDataError(
        f"row {row} has probability zero under every component; drop it, or add a component "
        "(for example Uniform()) that can emit it."
    )
