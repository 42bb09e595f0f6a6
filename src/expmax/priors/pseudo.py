"""Conjugate priors as pseudo-statistics: imaginary rows that are added to the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expmax.contract import Parameters
from expmax.errors import parameter_error
from expmax.families.base import Family
from expmax.families.gaussian import Gaussian
from expmax.families.log_normal import LogNormal
from expmax.families.precision import precision_factor
from expmax.families.product import Product, ProductStatistics
from expmax.statistics import Additive

__all__ = ["ConjugatePrior", "WeakPrior", "as_prior", "spread"]

WEAK_ROWS = 1.0  # imaginary rows of the weak prior, shared among the components
WEAK_MEAN = 0.01  # imaginary rows behind each mean of a Gaussian (Fraley & Raftery's κ)


@dataclass(frozen=True)
class ConjugatePrior:
    """The conjugate prior exp(ν·(η·χ − A(η))): ν imaginary rows a component with mean statistics χ.

    The maximum a posteriori estimate of an exponential family is its maximum likelihood estimate after ν
    rows distributed as `parameters` are added to each component. The density maximised is that of the
    natural parameters, whose prior is the formula above.

    Parameters
    ----------
    count : float
        ν > 0, imaginary rows a component.
    parameters : mapping, optional
        Usual parameters of the imaginary rows (one component, or one a component); default: the
        one-component fit of the data, which makes the prior free of scale.
    concentration : float
        α ≥ 1 of a symmetric Dirichlet prior on the mixing weights; 1 is flat.

    References
    ----------
    Diaconis & Ylvisaker (1979), Ann. Statist. 7(2), 269-281. Fraley & Raftery (2007), J. Classif. 24(2).

    Examples
    --------
    >>> from expmax.priors import ConjugatePrior
    >>> ConjugatePrior(count=2.0, parameters={"rate": 3.0})
    ConjugatePrior(count=2.0, parameters={'rate': 3.0}, concentration=1.0)
    """

    count: float
    parameters: Mapping[str, ArrayLike] | None = None
    concentration: float = 1.0

    def __post_init__(self) -> None:
        if not self.count >= 0:
            raise parameter_error("prior count", "a number of at least 0", self.count)
        if not self.concentration >= 1:
            raise parameter_error("prior concentration", "at least 1", self.concentration)

    def statistics(self, family: Family, marginal: Parameters, n_components: int) -> Additive:
        """The pseudo-statistics of one group of components."""
        given: Parameters = marginal if self.parameters is None else self.parameters
        count = np.full(n_components, float(self.count))
        return family.pseudo_statistics(count, spread(given, marginal, n_components))


@dataclass(frozen=True)
class WeakPrior:
    """The prior called "weak": the data's own scale, and next to no weight.

    Free of scale: rescaled data give the rescaled fit. Of K components each gets

    - Gaussian of d columns (LogNormal: of log x, d = 1): κ = 0.01 imaginary rows at the mean of all rows,
      with covariance V/(κ K^(2/d)), V that of all rows (its diagonal, where components are axis-parallel).
      As a distribution: normal-inverse-Wishart with κ = 0.01, ν = d + 2.01, scale V/K^(2/d), which is the
      prior of Fraley & Raftery but for ν (d + 2 there) and for the coordinates of the mode: natural ones
      here, so that a component's covariance is (W_k + V/K^(2/d) + …)/(n_k + κ), where mclust divides by
      n_k + 2d + 4. Covariances shared by the components get 1/K of the scale from each.
    - every other family: 1/K of an imaginary row distributed as all rows, as in Latent GOLD: one row in
      all, whatever the K. A probability that is 0 in all rows stays 0.

    The mixing weights get none (concentration 1).

    References
    ----------
    Fraley & Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering,
    J. Classif. 24(2), 155-181. Vermunt & Magidson (2016), Technical Guide for Latent GOLD 5.1, §7.3. Kass &
    Wasserman (1995), J. Am. Statist. Assoc. 90, 928-934: one row's worth of information.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Gaussian, Mixture
    >>> x = np.array([[0.0], [0.0], [0.0], [1.0], [2.0], [3.0]])  # three equal rows: no maximum without
    >>> Mixture(Gaussian(), 2, prior="weak", random_state=0).fit(x).params_["mean"].ravel().round(1)
    array([0., 2.])
    """

    concentration: float = 1.0
    count: float = WEAK_ROWS

    @property
    def parameters(self) -> None:
        """None: the imaginary rows are distributed as the data."""
        return None

    def statistics(self, family: Family, marginal: Parameters, n_components: int) -> Additive:
        """The pseudo-statistics of one group of components."""
        if isinstance(family, Product):
            pairs = zip(family.labels, family.families, strict=True)
            return ProductStatistics(
                tuple(
                    self.statistics(factor, marginal[label], n_components)
                    for label, factor in pairs
                )
            )
        rows = self.count
        if isinstance(family, Gaussian):
            n_columns = marginal["mean"].shape[1]
            shared = n_components if family.shares_parameters else 1
            scale = rows / (WEAK_MEAN * shared * n_components ** (2.0 / n_columns))
            given = {"mean": marginal["mean"], "covariance": scale * marginal["covariance"]}
            count = WEAK_MEAN
        elif isinstance(family, LogNormal):
            deviation = marginal["sigma"] * np.sqrt(rows / WEAK_MEAN) / n_components
            given, count = {"mu": marginal["mu"], "sigma": deviation}, WEAK_MEAN
        else:
            given, count = dict(marginal), rows / n_components
        counts = np.full(n_components, count)
        return family.pseudo_statistics(counts, spread(given, marginal, n_components))


def spread(given: Parameters, like: Parameters, n_components: int) -> dict[str, Any]:
    """Parameters of one component, or of K, as K components shaped like a fitted one."""
    missing = set(like) - set(given) - {"precision_cholesky"}
    unknown = set(given) - set(like)
    if missing or unknown:
        names = [name for name in like if name != "precision_cholesky"]
        raise parameter_error("parameters", f"a mapping with the names {names}", sorted(given))
    out: dict[str, Any] = {}
    for name, pattern in like.items():
        if isinstance(pattern, Mapping):
            out[name] = spread(given[name], pattern, n_components)
        elif name != "precision_cholesky":
            value = np.asarray(given[name], float)
            value = value[None] if value.ndim < pattern.ndim else value
            out[name] = np.broadcast_to(value, (n_components, *pattern.shape[1:])).copy()
    if "precision_cholesky" in like:  # of the covariances, or the scale matrices, just given
        matrices = out["covariance" if "covariance" in out else "scale"]
        out["precision_cholesky"] = precision_factor(matrices)
    return out


def as_prior(prior: Any) -> Any:
    """A prior, from a prior, a number of imaginary rows, or the name "weak"."""
    if prior is None or isinstance(prior, ConjugatePrior | WeakPrior):
        return prior
    if isinstance(prior, str) and prior == "weak":
        return WeakPrior()
    if isinstance(prior, int | float) and not isinstance(prior, bool):
        return ConjugatePrior(float(prior))
    raise parameter_error(
        "prior", 'a ConjugatePrior, a number of imaginary rows, "weak", or None', prior
    )
