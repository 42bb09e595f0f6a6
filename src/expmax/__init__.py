"""expmax: latent-variable models fitted by the EM algorithm, with proof of what was reached."""

from expmax import errors
from expmax.estimators.mixture import Mixture
from expmax.families.bernoulli import Bernoulli
from expmax.families.categorical import Categorical
from expmax.families.exponential import Exponential
from expmax.families.gaussian import Gaussian
from expmax.families.point_mass import PointMass
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.families.uniform import Uniform
from expmax.priors import ConjugatePrior

__version__ = "0.1.0"

__all__ = [
    "Bernoulli",
    "Categorical",
    "ConjugatePrior",
    "Exponential",
    "Gaussian",
    "Mixture",
    "PointMass",
    "Poisson",
    "Product",
    "Uniform",
    "errors",
]
