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
from expmax.families.gaussian import with_precision
from expmax.statistics import Additive

__all__ = ["ConjugatePrior", "as_prior"]


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
        out["precision_cholesky"] = with_precision(out["mean"], matrices)["precision_cholesky"]
    return out


def as_prior(prior: ConjugatePrior | float | None) -> ConjugatePrior | None:
    """A prior, from a prior or a number of imaginary rows."""
    if prior is None or isinstance(prior, ConjugatePrior):
        return prior
    if isinstance(prior, int | float) and not isinstance(prior, bool):
        return ConjugatePrior(float(prior))
    raise parameter_error("prior", "a ConjugatePrior, a number of imaginary rows, or None", prior)
