"""Making conjugate distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax import (
    Gamma,
    Gaussian,
    Geometric,
    NegativeBinomial,
    Poisson,
    Product,
    Weibull,
)
from expmax.errors import ParameterError
from expmax.priors import conjugate
from tests.priors.cases import gaussian


def test_several_components() -> None:
    prior: Any = conjugate(Poisson(), 3, shape=[1.0, 2.0, 3.0], rate=1.0)
    x = np.array([[2.0], [0.0]])
    r = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    posterior = prior.update(Poisson().statistics({}, x, r))
    assert_allclose(posterior.shape, [2.0, 3.0, 3.0])
    assert_allclose(posterior.rate, [1.5, 2.5, 1.0])
    assert_allclose(posterior.take(np.array([2, 0])).shape, [3.0, 2.0])


def test_bad_hyperparameters_are_named() -> None:
    with pytest.raises(ParameterError, match="shape must be positive"):
        conjugate(Poisson(), shape=-1.0, rate=1.0)
    with pytest.raises(ParameterError, match=r"hyperparameters must be shape, rate \(gamma\)"):
        conjugate(Poisson(), a=1.0, b=1.0)
    with pytest.raises(ParameterError, match=r"degrees_of_freedom must be above d − 1 = 2"):
        gaussian("full", nu=1.0)
    with pytest.raises(ParameterError, match="symmetric and positive definite"):
        gaussian("full", scale=-np.eye(3))
    for family in (Gamma(), Weibull(), NegativeBinomial(), Gaussian("VEV"), Product(Gamma())):
        with pytest.raises(ParameterError, match="no conjugate distribution"):
            conjugate(family, shape=1.0, rate=1.0)
    with pytest.raises(ParameterError, match="summary of"):
        conjugate(Poisson(), shape=1.0, rate=1.0).update(Geometric().summarize(np.ones((2, 1))))
