"""Conjugate priors: as imaginary rows for MAP, and as full distributions of the parameters."""

from expmax.priors.conjugate import Conjugate
from expmax.priors.make import conjugate, conjugate_of, weak_prior
from expmax.priors.normal_inverse_gamma import NormalInverseGamma
from expmax.priors.normal_inverse_wishart import NormalInverseWishart
from expmax.priors.probabilities import BetaProbability, DirichletProbability
from expmax.priors.product import Independent
from expmax.priors.pseudo import ConjugatePrior, WeakPrior, as_prior, spread
from expmax.priors.rates import GammaRate

__all__ = [
    "BetaProbability",
    "Conjugate",
    "ConjugatePrior",
    "DirichletProbability",
    "GammaRate",
    "Independent",
    "NormalInverseGamma",
    "NormalInverseWishart",
    "WeakPrior",
    "as_prior",
    "conjugate",
    "conjugate_of",
    "spread",
    "weak_prior",
]
