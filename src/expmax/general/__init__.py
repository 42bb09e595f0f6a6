"""Generalised EM: a latent-variable model from its joint density alone."""

from expmax.general.chain import ForwardBackward
from expmax.general.constraint_arrays import CholeskyCorrelation, Ordered, PositiveDefinite, Simplex
from expmax.general.constraints import Interval, Positive, Real
from expmax.general.enumeration import Enumeration
from expmax.general.laplace import Laplace
from expmax.general.latent import Finite, Finites, Gaussian, Markov
from expmax.general.mean_field import MeanField
from expmax.general.model import JointModel
from expmax.general.monte_carlo import MonteCarlo
from expmax.general.quadrature import Quadrature
from expmax.general.variational import GaussianVariational

__all__ = [
    "CholeskyCorrelation",
    "Enumeration",
    "Finite",
    "Finites",
    "ForwardBackward",
    "Gaussian",
    "GaussianVariational",
    "Interval",
    "JointModel",
    "Laplace",
    "Markov",
    "MeanField",
    "MonteCarlo",
    "Ordered",
    "Positive",
    "PositiveDefinite",
    "Quadrature",
    "Real",
    "Simplex",
]
