"""Default fits of every family on data of its own: no false alarm, no spike for a fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_wine

import expmax as em

DATA = {
    "Bernoulli": (em.Bernoulli(), lambda r: r.integers(0, 2, (80, 4))),
    "Binomial": (em.Binomial(6), lambda r: r.binomial(6, 0.3, (80, 2))),
    "Poisson": (em.Poisson(), lambda r: r.poisson(3, (80, 2))),
    "Geometric": (em.Geometric(), lambda r: r.geometric(0.3, (80, 2)) - 1),
    "NegativeBinomial": (em.NegativeBinomial(), lambda r: r.poisson(r.gamma(2, 3, (80, 2)))),
    "Exponential": (em.Exponential(), lambda r: r.exponential(2, (80, 2))),
    "Gamma": (em.Gamma(), lambda r: r.gamma(2, 1, (80, 1))),
    "Gamma, two columns": (em.Gamma(), lambda r: r.gamma(2, 1, (80, 2))),
    "InverseGaussian": (em.InverseGaussian(), lambda r: r.wald(2, 3, (80, 1))),
    "LogNormal": (em.LogNormal(), lambda r: r.lognormal(0, 1, (80, 1))),
    "Weibull": (em.Weibull(), lambda r: r.weibull(1.5, (80, 1))),
    "Beta": (em.Beta(), lambda r: r.beta(2, 3, (80, 1))),
    "Beta, two columns": (em.Beta(), lambda r: r.beta(2, 3, (80, 2))),
    "Dirichlet": (em.Dirichlet(), lambda r: r.dirichlet([1, 2, 3], 80)),
    "VonMises": (em.VonMises(), lambda r: r.vonmises(0, 1, (80, 1))),
    "StudentT": (em.StudentT(), lambda r: r.standard_t(3, (80, 2))),
    "StudentT of gamma": (em.StudentT(), lambda r: r.gamma(2, 1, (80, 2))),
    "Gaussian": (em.Gaussian(), lambda r: r.standard_normal((80, 2))),
}


@pytest.mark.filterwarnings("ignore::expmax.errors.ConvergenceWarning")  # of "uncertified"
@pytest.mark.parametrize("n_components", [2, 3])
@pytest.mark.parametrize("name", DATA)
def test_a_default_fit_on_one_cluster_raises_no_alarm(name, n_components):
    """One cluster split in several is where components starve, run off and meet their boundaries."""
    family, draw = DATA[name]
    for seed in range(3):
        x = draw(np.random.default_rng(seed))
        fit = em.Mixture(family, n_components, random_state=0).fit(x)
        # discrete components may coincide, which is told as "uncertified"
        allowed = ("stationary", "boundary", *(["uncertified"] if family.discrete else []))
        assert fit.status_ in allowed, (seed, fit.certificate_)
        assert np.isfinite(fit.log_likelihood_)


@pytest.mark.filterwarnings("ignore::expmax.errors.ConvergenceWarning")  # plain EM takes long
@pytest.mark.parametrize("seed", range(50, 56))
@pytest.mark.parametrize("accelerate", ["auto", None])
def test_student_t_on_student_t(seed, accelerate):
    x = np.random.default_rng(seed).standard_t(3, (80, 2))
    fit = em.Mixture(em.StudentT(), 3, accelerate=accelerate, random_state=0, n_init=3)
    fit.set_params(max_iter=200).fit(x)
    assert fit.status_ != "decreased"


@pytest.mark.parametrize("accelerate", ["anderson", "squarem"])
@pytest.mark.parametrize("structure", ["VEE", "EEV", "VVE", "VEI", "EVI"])
def test_extrapolation_stays_in_the_structure(structure, accelerate):
    """Covariances of a structure do not add up to one of it: what is extrapolated is led back."""
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.normal(size=(60, 2)) @ [[2, 0], [1, 0.5]], rng.normal(size=(60, 2)) + 4]
    )
    fits = [
        em.Mixture(em.Gaussian(structure), 2, accelerate=a, random_state=0).fit(x)
        for a in (accelerate, "auto")
    ]
    assert fits[0].status_ == "stationary"
    assert_allclose(fits[0].log_likelihood_, fits[1].log_likelihood_, atol=1e-3)


@pytest.mark.parametrize(
    "family", [em.LogNormal(), em.Gamma(), em.InverseGaussian(), em.Weibull()], ids=repr
)
def test_a_spike_on_repeated_values_is_abandoned(family):
    """Six wines have 13.05 % alcohol: a component that narrows onto them raises the likelihood for ever."""
    x = load_wine().data[:, :1]
    fit = em.Mixture(family, 3, random_state=0).fit(x)
    assert fit.status_ == "stationary"
    assert fit.log_likelihood_ < -200
    spread = [x[fit.predict(x) == k].std() for k in range(3) if (fit.predict(x) == k).sum() > 1]
    assert min(spread) > 0.01  # the resolution of the data


# sums of log x hold no curvature of so narrow a Gamma to the digits of a certificate
@pytest.mark.filterwarnings("ignore::expmax.errors.ConvergenceWarning")
@pytest.mark.parametrize("width", [1e-3, 1e-5])
@pytest.mark.parametrize(
    "family",
    [em.LogNormal(), em.Gamma(), em.InverseGaussian(), em.Weibull(), em.Gaussian()],
    ids=repr,
)
def test_tight_clusters_far_apart_stay_fits(family, width):
    """The narrow one is 1e-9 of the data in squared spread or less, but it rests on half the rows."""
    if isinstance(family, em.Gaussian) and width < 1e-3:
        pytest.skip("1e-8 wide among values of 1000: below the resolution of centred moments")
    rng = np.random.default_rng(1)
    narrow = 1e-3 * (1 + width * rng.normal(size=60))
    x = np.concatenate([narrow, 1e3 * (1 + 0.1 * rng.normal(size=60))])
    fit = em.Mixture(family, 2, random_state=0).fit(x[:, None])
    assert fit.status_ in ("stationary", "uncertified")
    assert_allclose(fit.weights_, 0.5, atol=1e-6)


def test_categories_in_several_columns():
    table = pd.DataFrame({"a": list("aabbcc") * 10, "b": list("xyxyxx") * 10})
    given = em.Product(a=em.Categorical(), b=em.Categorical())
    fits = [em.Mixture(f, 2, random_state=0).fit(table) for f in (em.Categorical(), given)]
    assert_allclose(fits[0].log_likelihood_, fits[1].log_likelihood_, atol=1e-3)
    assert fits[0].predict(table).shape == (60,)
