"""Priors as imaginary rows, and the one called "weak"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax import (
    Bernoulli,
    Categorical,
    ConjugatePrior,
    Exponential,
    Gamma,
    Gaussian,
    LogNormal,
    Mixture,
    Poisson,
    Product,
)
from expmax.errors import ParameterError
from expmax.priors import as_prior, weak_prior
from expmax.statistics import Array
from tests.priors.cases import rng


def test_weak_prior_of_a_gaussian_is_fraley_and_raftery() -> None:
    x = rng().normal([1, 2, 3], [1, 5, 0.1], (50, 3))
    prior: Any = weak_prior(Gaussian(), Gaussian().summarize(x), 4)
    covariance = np.cov(x, rowvar=False, bias=True)
    assert_allclose(prior.mean_precision, 0.01)
    assert_allclose(prior.degrees_of_freedom, 3 + 2.01)
    assert_allclose(prior.scale, np.broadcast_to(covariance / 4 ** (2 / 3), (4, 3, 3)))
    assert_allclose(prior.location, np.broadcast_to(x.mean(axis=0), (4, 3)))
    tied: Any = weak_prior(Gaussian("tied"), Gaussian("tied").summarize(x), 4)
    assert_allclose(tied.scale[0], covariance / 4 ** (2 / 3))
    diag: Any = weak_prior(Gaussian("diag"), Gaussian("diag").summarize(x), 4)
    assert_allclose(diag.scale[0], np.diag(covariance) / 4 ** (2 / 3))


WEAK = [
    (Gaussian(), rng().normal(0, 1, (60, 2)), 1e3),
    (Gaussian("tied"), rng().normal(0, 1, (60, 2)), 1e3),
    (Gaussian("diag"), rng().normal(0, 1, (60, 2)), 1e3),
    (Gaussian("VEV"), rng().normal(0, 1, (60, 2)), 1e3),
    (Exponential(), rng().exponential(1, (60, 1)), 1e3),
    (Gamma(), rng().gamma(2, 1, (60, 1)), 1e3),
    (LogNormal(), rng().lognormal(0, 1, (60, 1)), 1.0),
    (Poisson(), rng().poisson(4, (60, 1)).astype(float), 1.0),
    (Bernoulli(), rng().integers(0, 2, (60, 4)).astype(float), 1.0),
    (Categorical(3), rng().integers(0, 3, (60, 1)).astype(float), 1.0),
    (
        Product(Poisson(), Gaussian("diag")),
        np.column_stack([rng().poisson(3, 60), rng().normal(0, 1, 60)]),
        1.0,
    ),
]


@pytest.mark.parametrize(("family", "x", "scale"), WEAK, ids=[repr(w[0]) for w in WEAK])
def test_weak_prior_in_a_mixture(family: Any, x: Array, scale: float) -> None:
    """MAP by name: the objective rises at every step, and rescaled data give the rescaled fit."""
    init = (x[:, 0] > x[:, 0].mean()).astype(int)
    fits = [
        Mixture(family, 2, prior="weak", init=init, tol=1e-8, accelerate=None, max_iter=4000).fit(
            factor * x
        )
        for factor in {1.0, scale}
    ]
    gains = np.diff(fits[0].history_.objective)
    assert np.all(gains >= -1e-9)
    assert (
        len({round(fit.history_.objective[-1] - fit.history_.objective[0], 4) for fit in fits}) == 1
    )
    assert_allclose(fits[0].weights_, fits[-1].weights_, rtol=1e-3)


def test_weak_prior_saves_collapsing_components() -> None:
    x = np.vstack([np.zeros((5, 2)), rng().normal(5, 1, (40, 2))])
    fit = Mixture(Gaussian(), 2, prior="weak", random_state=0).fit(x)
    assert fit.status_ in ("stationary", "boundary")
    assert_allclose(fit.params_["mean"][0], 0.0, atol=0.05)


def test_priors_by_argument() -> None:
    assert as_prior("weak") == as_prior(as_prior("weak"))
    assert as_prior(2) == ConjugatePrior(2.0)
    with pytest.raises(ParameterError, match='"weak", or None'):
        as_prior("strong")


def test_map_is_the_mode_of_the_posterior() -> None:
    """One component: Mixture(prior=…) climbs to the natural mode of the exact posterior."""
    x = rng().normal([0, 3], [1, 2], (30, 2))
    for family in (Gaussian(), Gaussian("diag"), Gaussian("spherical")):
        fit = Mixture(family, 1, prior="weak").fit(x)
        summary = family.summarize(x)
        mode = weak_prior(family, summary).update(summary).mode("natural")
        for name in ("mean", "covariance"):
            assert_allclose(fit.params_[name], mode[name], rtol=1e-9)
