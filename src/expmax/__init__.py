"""expmax: latent-variable models fitted by the EM algorithm, with proof of what was reached."""

from expmax import errors
from expmax.contract import Block, Expectation
from expmax.engine.check import check_model
from expmax.engine.fit import FitResult, maximize_likelihood
from expmax.estimators.bayesian_mixture import BayesianGaussianMixture
from expmax.estimators.dawid_skene import DawidSkene
from expmax.estimators.gaussian_mixture import GaussianMixture
from expmax.estimators.maximum_entropy import MaximumEntropy, calibrate
from expmax.estimators.mixture import Mixture
from expmax.estimators.record_linkage import RecordLinkage
from expmax.estimators.topic_model import TopicModel
from expmax.families.bernoulli import Bernoulli
from expmax.families.beta import Beta
from expmax.families.binomial import Binomial
from expmax.families.categorical import Categorical
from expmax.families.dirichlet import Dirichlet
from expmax.families.exponential import Exponential
from expmax.families.gamma import Gamma
from expmax.families.gaussian import Gaussian
from expmax.families.geometric import Geometric
from expmax.families.inverse_gaussian import InverseGaussian
from expmax.families.log_normal import LogNormal
from expmax.families.multinomial import Multinomial
from expmax.families.negative_binomial import NegativeBinomial
from expmax.families.point_mass import PointMass
from expmax.families.poisson import Poisson
from expmax.families.product import Product
from expmax.families.student_t import StudentT
from expmax.families.uniform import Uniform
from expmax.families.von_mises import VonMises
from expmax.families.von_mises_fisher import VonMisesFisher
from expmax.families.weibull import Weibull
from expmax.general.model import JointModel
from expmax.maxent.solve import maximum_entropy
from expmax.persistence import load
from expmax.priors import ConjugatePrior, conjugate, weak_prior
from expmax.selection.select import select
from expmax.statistics import Additive

__version__ = "0.1.0"

__all__ = [
    "Additive",
    "BayesianGaussianMixture",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Block",
    "Categorical",
    "ConjugatePrior",
    "DawidSkene",
    "Dirichlet",
    "Expectation",
    "Exponential",
    "FitResult",
    "Gamma",
    "Gaussian",
    "GaussianMixture",
    "Geometric",
    "InverseGaussian",
    "JointModel",
    "LogNormal",
    "MaximumEntropy",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "PointMass",
    "Poisson",
    "Product",
    "RecordLinkage",
    "StudentT",
    "TopicModel",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "calibrate",
    "check_model",
    "conjugate",
    "errors",
    "load",
    "maximize_likelihood",
    "maximum_entropy",
    "select",
    "weak_prior",
]
