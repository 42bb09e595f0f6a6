"""Which conjugate distribution a family has, and how to make one: by name, from imaginary rows, weakly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expmax.contract import Parameters
from expmax.errors import ParameterError, parameter_error
from expmax.families.base import Family
from expmax.families.bernoulli import Bernoulli
from expmax.families.binomial import Binomial
from expmax.families.categorical import Categorical
from expmax.families.exponential import Exponential
from expmax.families.gamma import Gamma
from expmax.families.gaussian import Gaussian
from expmax.families.geometric import Geometric
from expmax.families.log_normal import LogNormal
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.families.summary import Summary
from expmax.priors.conjugate import Conjugate
from expmax.priors.normal_inverse_gamma import NormalInverseGamma, variance_shape
from expmax.priors.normal_inverse_wishart import NormalInverseWishart
from expmax.priors.probabilities import BetaProbability, DirichletProbability
from expmax.priors.product import Independent
from expmax.priors.pseudo import WeakPrior
from expmax.priors.rates import GammaRate
from expmax.statistics import Array

__all__ = ["conjugate", "conjugate_class", "conjugate_of", "weak_prior"]

MATRICES, VARIANCES = ("VVV", "EEE"), ("VVI", "VII", "EEI", "EII")


def conjugate_class(family: Family) -> Any:
    """The class of a family's conjugate distributions.

    Raises
    ------
    ParameterError
        The family has none that can be normalised in closed form.
    """
    if isinstance(family, Poisson | Exponential):
        return GammaRate
    if isinstance(family, Gamma) and family.shape is not None:
        return GammaRate
    if isinstance(family, Bernoulli | Binomial | Geometric):
        return BetaProbability
    if isinstance(family, NegativeBinomial) and np.isfinite(family.size or np.nan):
        return BetaProbability
    if isinstance(family, Categorical | Multinomial):
        return DirichletProbability
    if isinstance(family, LogNormal):
        return NormalInverseGamma
    if isinstance(family, Gaussian) and not family.penalty:
        if family.structure in MATRICES:
            return NormalInverseWishart
        if family.structure in VARIANCES:
            return NormalInverseGamma
    if isinstance(family, Product):
        for factor in family.families:
            conjugate_class(factor)
        return Independent
    raise ParameterError(
        f"{family!r} has no conjugate distribution in closed form. Imaginary rows "
        "(ConjugatePrior) still give a MAP estimate; families that have one: Poisson, Exponential, "
        "Gamma(shape), Bernoulli, Binomial, Geometric, NegativeBinomial(size), Categorical, Multinomial, "
        "LogNormal, Gaussian (full, tied, diag, spherical, EEI, EII) and Products of these."
    )


def conjugate(family: Family, n_components: int = 1, **hyperparameters: Any) -> Conjugate:
    """A conjugate distribution by its classical hyperparameters.

    Parameters
    ----------
    family : Family
        A Product must be bound, and takes `parts=`, one distribution a factor.
    n_components : int
        K; hyperparameters without a component axis are those of each component.
    **hyperparameters
        Gamma (Poisson, Exponential, Gamma of known shape): `shape`, `rate`. Beta (Bernoulli, Binomial,
        Geometric, NegativeBinomial of known size): `a`, `b`. Dirichlet (Categorical, Multinomial):
        `concentration`. Normal-inverse-gamma and -Wishart (Gaussian, LogNormal): `location`, `mean_precision`,
        `degrees_of_freedom`, `scale`.

    Raises
    ------
    ParameterError
        No such distribution, a wrong name, or values for which it is improper.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Gaussian
    >>> from expmax.priors import conjugate
    >>> prior = conjugate(
    ...     Gaussian(), location=[0.0, 0.0], mean_precision=1.0, degrees_of_freedom=4.0, scale=np.eye(2)
    ... )
    >>> prior.mean()["covariance"]
    array([[[1., 0.],
            [0., 1.]]])
    """
    kind = conjugate_class(family)
    if kind is Independent:
        made = Independent(family, tuple(hyperparameters.get("parts", ())))  # type: ignore[arg-type]
        made.check()
        return made
    names = [name for name in kind.__dataclass_fields__ if name != "family"]
    if set(hyperparameters) != set(names):
        raise parameter_error(
            "hyperparameters", f"{', '.join(names)} ({kind.classical_name})", list(hyperparameters)
        )
    shapes = _shapes(family, n_components, hyperparameters)
    arrays = {
        name: _shaped(name, hyperparameters[name], shape)
        for name, shape in zip(names, shapes, strict=True)
    }
    made = kind(family, **arrays)
    made.check()
    return made


def _shapes(family: Family, k: int, given: dict[str, Any]) -> list[tuple[int, ...]]:
    """The shape of each hyperparameter, in the order of the fields."""
    if isinstance(family, Bernoulli):
        d = max(np.shape(given["a"])[-1:] or (1,), np.shape(given["b"])[-1:] or (1,))[0]
        return [(k, d), (k, d)]
    if isinstance(family, Categorical | Multinomial):
        size = np.shape(given["concentration"])[-1:] or (getattr(family, "n_categories", None),)
        if not size[0]:
            raise parameter_error("concentration", "one number a category", given["concentration"])
        return [(k, int(size[0]))]
    if isinstance(family, Gaussian | LogNormal):
        d = (np.shape(given["location"])[-1:] or (1,))[0]
        if isinstance(family, Gaussian) and not family.diagonal:
            rows = 1 if family.structure == "EEE" else k
            return [(k, d), (k,), (rows,), (rows, d, d)]
        pooled = variance_shape(family, k, d)
        return [(k, d), (k, d), pooled, pooled]
    return [(k,), (k,)]


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    try:
        return np.array(np.broadcast_to(np.asarray(value, float), shape))
    except (TypeError, ValueError):
        raise parameter_error(name, f"numbers of shape {shape}, or less", value) from None


def conjugate_of(family: Family, statistics: Any) -> Conjugate:
    """The conjugate distribution that imaginary rows stand for: exp(ν(η·χ − A(η))), normalised.

    Its mode over the natural parameters is the fit to these rows.

    Parameters
    ----------
    family : Family
    statistics : Additive or Summary
        Such as `family.pseudo_statistics(count, parameters)`, `ConjugatePrior.statistics(…)`, or the
        summary of an earlier data set.

    Raises
    ------
    ParameterError
        None in closed form, or improper, as for a probability of which no imaginary row says anything.
    """
    kind = conjugate_class(family)
    rows = statistics.statistics if isinstance(statistics, Summary) else statistics
    if kind is Independent:
        pairs = zip(family.families, rows.factors, strict=True)  # type: ignore[attr-defined]
        return Independent(family, tuple(conjugate_of(*pair) for pair in pairs))  # type: ignore[arg-type]
    made = kind.of(family, rows)
    made.check()
    return made


def weak_prior(family: Family, data: Parameters | Summary, n_components: int = 1) -> Conjugate:
    """The prior called "weak" (see `WeakPrior`) as a distribution of the parameters.

    Parameters
    ----------
    family : Family
        Bound.
    data : Summary, or usual parameters
        The one-component fit that sets the scale.
    n_components : int
        K, which the imaginary rows are shared among.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Poisson
    >>> from expmax.priors import weak_prior
    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> prior = weak_prior(Poisson(), Poisson().summarize(x))
    >>> prior.shape, prior.rate  # one imaginary row, of the mean of the data
    (array([3.]), array([1.]))
    """
    marginal = data.fit() if isinstance(data, Summary) else data
    return conjugate_of(family, WeakPrior().statistics(family, marginal, n_components))
