"""Variational mixtures as estimators, and `BayesianGaussianMixture` beside scikit-learn's."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture as Theirs

import expmax
from expmax import (
    BayesianGaussianMixture,
    Bernoulli,
    Categorical,
    Gaussian,
    Mixture,
    Poisson,
    Product,
    conjugate,
)
from expmax.contract import Block
from expmax.errors import ParameterError
from expmax.models.variational import VariationalParameters
from expmax.models.variational_weights import WeightDistribution
from expmax.priors import NormalInverseGamma, NormalInverseWishart
from expmax.statistics import Array

RNG = np.random.default_rng(0)
X = np.vstack(
    [
        RNG.normal(0, 1, (100, 2)),
        RNG.normal(5, 1, (80, 2)),
        RNG.normal([0, 6], 0.5, (60, 2)),
    ]
)
COUNTS = np.concatenate([RNG.poisson(2, 100), RNG.poisson(14, 100)]).astype(float)[:, None]
DIRICHLET = "dirichlet_distribution"


def theirs(k: int = 4, kind: str = "full", **more: Any) -> Any:
    options = {"reg_covar": 0.0, "tol": 1e-10, "max_iter": 20_000, "random_state": 0, **more}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Theirs(
            n_components=k,
            covariance_type=kind,
            weight_concentration_prior_type=DIRICHLET,
            **options,
        ).fit(X)


def ours(k: int = 4, kind: str = "full", **more: Any) -> BayesianGaussianMixture:
    options = {"n_init": 1, "random_state": 0, "tol": 1e-8, **more}
    options.setdefault("weight_concentration_prior_type", DIRICHLET)
    return BayesianGaussianMixture(n_components=k, covariance_type=kind, **options).fit(X)


def our_bound(model: BayesianGaussianMixture, their: Any) -> float:
    """Our bound at the q(θ) that scikit-learn ended at."""
    k, d = their.means_.shape
    nu, kappa = their.degrees_of_freedom_, their.mean_precision_
    family = model.posterior_.family
    covariance = their.covariances_
    if their.covariance_type == "full":
        q: Any = NormalInverseWishart(
            family, their.means_, kappa, nu, covariance * nu[:, None, None]
        )
    elif their.covariance_type == "tied":  # with the ν that the data do give
        own = np.atleast_1d(their.degrees_of_freedom_prior_ + len(X))
        q = NormalInverseWishart(family, their.means_, kappa, own, covariance[None] * own)
    else:
        wide = np.repeat(kappa[:, None], d, axis=1)
        nus = nu[:, None] * (np.ones((1, d)) if their.covariance_type == "diag" else float(d))
        scale = covariance.reshape(k, -1) * nus
        q = NormalInverseGamma(family, their.means_, wide, nus, scale)
    prior = model._model.weight_prior
    weights = WeightDistribution(
        prior.kind,
        prior.distribution.with_natural(their.weight_concentration_[None]),
    )
    params = VariationalParameters(weights, (q,))
    bound = model._model.expect(params, Block(X)).log_likelihood
    return float(bound + model._model.log_prior(params))


# -- beside scikit-learn ---------------------------------------------------------------------------
def test_same_parameters_as_scikit_learn_from_the_same_start() -> None:
    """Full covariances, a Dirichlet distribution of weights: the same model, so the same optimum."""
    their, our = theirs(), ours()
    assert our.status_ == "stationary"
    assert_allclose(
        our.weight_concentration_, their.weight_concentration_[order(our, their)], rtol=1e-4
    )
    for name in (
        "weights_",
        "means_",
        "covariances_",
        "precisions_",
        "mean_precision_",
        "degrees_of_freedom_",
        "precisions_cholesky_",
    ):
        got, expected = getattr(our, name), getattr(their, name)[order(our, their)]
        assert got.shape == expected.shape
        assert_allclose(got, expected, rtol=1e-3, atol=1e-4, err_msg=name)
    assert_allclose(our.predict_proba(X), their.predict_proba(X)[:, order(our, their)], atol=1e-4)


def order(our: Any, their: Any) -> Any:
    """Their components in our order: the nearest means, each once."""
    from scipy.optimize import linear_sum_assignment

    cost = ((our.means_[:, None] - their.means_[None]) ** 2).sum(axis=2)
    cost = cost + (our.weights_[:, None] - their.weights_[None]) ** 2
    return linear_sum_assignment(cost)[1]


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_step_by_step_as_scikit_learn(steps: int) -> None:
    """The same number of plain updates from the same k-means start, to 10 digits."""
    their = theirs(max_iter=steps, tol=0.0)
    our = BayesianGaussianMixture(
        n_components=4,
        n_init=1,
        random_state=0,
        max_iter=1000,
        weight_concentration_prior_type=DIRICHLET,
    )
    our._check_parameters()
    from expmax.estimators.variational import variational_model

    x, weight, label = our._read_training(X, None, None)
    model = variational_model(our, x, weight)
    training = our._training_data(model, x, weight, label)  # type: ignore[arg-type]
    params = our._variational_starts(training)[0][0]
    for _ in range(steps):
        block = training.problem.blocks[0]
        params = model.maximize(model.expect(params, block).statistics, params)
    q: Any = params.posteriors[0]
    mean = params.weights.distribution.concentration[0]
    key = np.argsort(mean), np.argsort(their.weight_concentration_)
    assert_allclose(mean[key[0]], their.weight_concentration_[key[1]], rtol=1e-10)
    assert_allclose(q.location[key[0]], their.means_[key[1]], rtol=1e-9, atol=1e-10)
    scale = q.scale / q.degrees_of_freedom[:, None, None]
    assert_allclose(scale[key[0]], their.covariances_[key[1]], rtol=1e-9, atol=1e-10)


def test_their_bound_is_ours_up_to_a_constant() -> None:
    """Full covariances: scikit-learn leaves constants out; differences between fits agree."""
    our = ours(max_iter=1000)
    fits = [theirs(max_iter=steps, tol=1e-300) for steps in (2, 5, 20)]
    # theirs is taken before the last update: compare at the q(θ) one step earlier
    before = [theirs(max_iter=steps - 1, tol=1e-300) for steps in (2, 5, 20)]
    gap = []
    for fit, old in zip(fits, before, strict=True):
        log_r = old._estimate_log_prob_resp(X)[1]
        r = np.exp(log_r)
        rest = -float((r * log_r).sum())
        block = Block(X)
        params = our._model.maximize(
            our._model.statistics(block, r, our._parameters.components), None
        )
        q = our._model.statistics(block, r, params.components)
        mine = our._model.expected_log_joint(params, q) + rest + our._model.log_prior(params)
        gap.append(mine - fit._compute_lower_bound(log_r, 0.0))
    assert_allclose(gap, gap[0], rtol=1e-9)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_our_bound_is_at_least_theirs(kind: str) -> None:
    """Both by our formula: from the same start for the model that is the same; by search for all."""
    their = theirs(kind=kind)
    our = ours(kind=kind)
    reached = our_bound(our, their)
    if kind == "full":
        assert our.lower_bound_ >= reached - 1e-4
    found = BayesianGaussianMixture(
        n_components=4,
        covariance_type=kind,
        weight_concentration_prior_type=DIRICHLET,
        random_state=0,
        effort="quick",
    ).fit(X)
    assert found.lower_bound_ >= max(our.lower_bound_, reached) - 1e-3
    for name in ("means_", "covariances_", "precisions_", "precisions_cholesky_", "weights_"):
        assert getattr(our, name).shape == np.shape(getattr(their, name)), name


def test_stick_breaking() -> None:
    model = BayesianGaussianMixture(n_components=6, random_state=0, effort="quick").fit(X)
    assert model.n_effective_ == 3
    assert_allclose(model.weights_.sum(), 1.0)
    hits, misses = model.weight_concentration_
    assert len(hits) == len(misses) == 6
    assert_allclose(hits[:-1] - 1, model.counts_[:-1], atol=1e-9)
    counts = model.counts_
    assert np.all(np.diff(counts[counts > 0.5]) <= 1e-6)  # broken in order of size
    assert_allclose(counts.sum(), len(X))


def test_priors_by_argument_and_bad_ones() -> None:
    model = ours(
        2,
        mean_prior=[1.0, 1.0],
        mean_precision_prior=0.5,
        degrees_of_freedom_prior=5.0,
        covariance_prior=np.eye(2),
        weight_concentration_prior=3.0,
    )
    prior: Any = model._model.priors[0]
    assert_allclose(prior.location, 1.0)
    assert_allclose(prior.degrees_of_freedom, 5.0)
    assert_allclose(prior.scale[0], np.eye(2))
    assert_allclose(model.weight_concentration_.sum(), len(X) + 6.0)
    for bad, words in (
        ({"degrees_of_freedom_prior": 0.5}, "degrees_of_freedom_prior"),
        ({"mean_prior": [1.0]}, "means"),
        ({"covariance_prior": np.eye(3)}, "covariance_prior"),
        ({"covariance_prior": -np.eye(2)}, "positive definite"),
        ({"mean_precision_prior": 0.0}, "mean_precision"),
        ({"weight_concentration_prior": -1.0}, "concentration"),
        ({"weight_concentration_prior_type": "flat"}, "weight_concentration_prior_type"),
        ({"kind": "VEV"}, "covariance_type"),
    ):
        with pytest.raises(ParameterError, match=words):
            ours(2, **bad)


def test_one_column_and_missing_cells() -> None:
    for kind in ("full", "tied", "diag", "spherical"):
        model = BayesianGaussianMixture(
            n_components=2, covariance_type=kind, random_state=0, n_init=1
        ).fit(X[:, :1])
        theirs_ = Theirs(n_components=2, covariance_type=kind, random_state=0, max_iter=1000).fit(
            X[:, :1]
        )
        assert model.covariances_.shape == theirs_.covariances_.shape
        assert model.precisions_cholesky_.shape == theirs_.precisions_cholesky_.shape
    x = X.copy()
    x[::9, 0] = np.nan
    model = BayesianGaussianMixture(
        n_components=3, covariance_type="diag", random_state=0, n_init=1
    )
    assert model.fit(x).mean_precision_.shape == (3, 2)


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical"])
def test_check_estimator(kind: str) -> None:
    """Every check of scikit-learn's; "full" lacks rank in one (fewer distinct rows than columns)."""
    from sklearn.utils.estimator_checks import check_estimator

    estimator = BayesianGaussianMixture(n_init=1, covariance_type=kind)
    rank = "check_sample_weight_equivalence_on_dense_data"
    expected = {rank: "fewer distinct rows than columns"} if kind == "tied" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(estimator, expected_failed_checks=expected, on_skip=None)


def test_warm_start_goes_on() -> None:
    model = BayesianGaussianMixture(n_components=3, n_init=1, random_state=0, warm_start=True)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model.set_params(max_iter=2, accelerate=None).fit(X)
    first = model.lower_bound_
    model.set_params(max_iter=1000).fit(X)
    assert model.converged_
    assert model.lower_bound_ >= first


# -- Mixture(inference="variational") --------------------------------------------------------------
FITS: list[tuple[Any, Array]] = [
    (Gaussian(), X),
    (Poisson(), COUNTS),
    (
        Bernoulli(),
        (RNG.random((120, 6)) < 0.2 + 0.6 * (np.arange(120) > 60)[:, None]).astype(float),
    ),
    (Categorical(), RNG.integers(0, 3, (60, 1)).astype(float)),
    (
        Product(Poisson(), Gaussian("diag")),
        np.column_stack([COUNTS, np.where(COUNTS > 7, 3.0, 0.0) + RNG.normal(0, 1, (200, 1))]),
    ),
]


@pytest.mark.parametrize(("family", "x"), FITS, ids=[type(f[0]).__name__ for f in FITS])
def test_fit(family: Any, x: Array) -> None:
    model = Mixture(family, 5, inference="variational", effort="quick", random_state=0).fit(x)
    assert model.status_ == "stationary"
    assert model.kind_ == "bound"
    assert model.lower_bound_ == model.history_.objective[-1]
    slack = 1e-9 * abs(model.lower_bound_)
    assert np.all(np.diff(model.history_.objective) >= -slack)
    assert 1 <= model.n_effective_ <= 3
    assert_allclose(model.counts_.sum(), len(x))
    assert_allclose(model.weights_.sum(), 1.0)
    assert_allclose(model.score_samples(x).sum(), model.log_likelihood_)
    assert model.log_likelihood_ > model.lower_bound_
    assert model.predict(x).shape == (len(x),)
    assert_allclose(model.predict_proba(x).sum(axis=1), 1.0)
    drawn, component = model.sample(50)
    assert drawn.shape == (50, x.shape[1])
    assert len(component) == 50
    assert np.isfinite(model.bic())
    assert np.isfinite(model.icl())
    assert "NOT" not in str(model.summary())
    again = pickle.loads(pickle.dumps(model))
    assert_allclose(again.predict_proba(x), model.predict_proba(x))
    clone(model)


def test_list_of_families() -> None:
    model = Mixture([Poisson(), Poisson()], inference="variational", random_state=0, effort="quick")
    assert_allclose(np.sort(model.fit(COUNTS).params_["rate"]), [2, 14], rtol=0.1)


def test_saved_and_loaded(tmp_path: Any) -> None:
    model = Mixture(Gaussian(), 4, inference="variational", effort="quick", random_state=0).fit(X)
    model.save(tmp_path / "model.json")
    loaded = expmax.load(tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.lower_bound_ == model.lower_bound_
    assert_allclose(loaded.posterior_.scale, model.posterior_.scale, rtol=0)


def test_priors_of_every_kind() -> None:
    given = conjugate(Poisson(), shape=1.0, rate=0.1)
    bounds = []
    for prior in (None, "weak", 1.0, expmax.ConjugatePrior(0.5, {"rate": 4.0}), given):
        model = Mixture(
            Poisson(), 2, inference="variational", prior=prior, random_state=0, effort="quick"
        ).fit(COUNTS)
        assert_allclose(np.sort(model.params_["rate"]), [2, 14], rtol=0.1)
        bounds.append(model.lower_bound_)
    assert bounds[0] == bounds[1]
    posterior: Any = model.posterior_
    assert_allclose(posterior.rate - 0.1, model.counts_)


def test_given_partition_and_labels() -> None:
    part = (COUNTS[:, 0] > 7).astype(int)
    model = Mixture(Poisson(), 2, inference="variational", init=part).fit(COUNTS)
    assert model.params_["rate"][0] < model.params_["rate"][1]
    flipped = Mixture(Poisson(), 2, inference="variational", init=1 - part).fit(COUNTS)
    assert_allclose(flipped.lower_bound_, model.lower_bound_, rtol=1e-9)
    label = np.full(200, -1)
    label[:5] = 1
    known = Mixture(Poisson(), 2, inference="variational", random_state=0, effort="quick")
    known.fit(COUNTS, labels=label)
    assert_allclose(known.predict_proba(COUNTS)[:5].sum(axis=1), 1.0)
    assert known.params_["rate"][1] < known.params_["rate"][0]


def test_weights_are_copies() -> None:
    weight = np.arange(200) % 3
    options: Any = {"inference": "variational", "random_state": 0, "effort": "quick"}
    one = Mixture(Poisson(), 2, **options).fit(COUNTS, sample_weight=weight)
    other = Mixture(Poisson(), 2, **options).fit(np.repeat(COUNTS, weight, axis=0))
    assert_allclose(one.lower_bound_, other.lower_bound_, rtol=1e-10)


def test_one_component_gives_the_evidence() -> None:
    prior = conjugate(Poisson(), shape=1.0, rate=0.1)
    model = Mixture(Poisson(), 1, inference="variational", prior=prior).fit(COUNTS)
    evidence = prior.log_marginal_likelihood(Poisson().summarize(COUNTS))[0]
    assert_allclose(model.lower_bound_, evidence, rtol=1e-12)


def test_large_data_are_searched_on_a_subsample() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, (4000, 1)), rng.normal(9, 2, (3000, 1))])
    model = Mixture(Gaussian(), 3, inference="variational", random_state=0, effort="quick").fit(x)
    assert model.converged_
    assert model.n_effective_ == 2
    assert_allclose(model.counts_.sum(), 7000)


def test_refusals() -> None:
    for arguments, words in (
        ({"inference": "magic"}, "inference must be"),
        ({"inference": "variational", "concentration": -1.0}, "concentration must be positive"),
        ({"inference": "variational", "fixed": {"weights": [0.5, 0.5]}}, "fixed must be"),
        ({"inference": "variational", "init": {"rate": [1, 2]}}, "init must be labels"),
        ({"inference": "variational", "prior": 0.0}, "prior count must be positive"),
        (
            {"inference": "variational", "prior": conjugate(Bernoulli(), a=[1.0], b=[1.0])},
            "prior must be a distribution for",
        ),
        ({"concentration": 0.5}, "concentration must be at least 1"),
    ):
        with pytest.raises(ParameterError, match=words):
            Mixture(Poisson(), 2, **arguments).fit(COUNTS)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no conjugate distribution"):
        Mixture(expmax.Gamma(), 2, inference="variational").fit(COUNTS + 1)
    constant = np.zeros((20, 2))
    constant[:10, 0] = 1
    with pytest.raises(ParameterError, match="Leave out constant columns"):
        Mixture(Bernoulli(), 2, inference="variational").fit(constant)
    with pytest.raises(expmax.errors.DataError, match="n_samples=1"):
        BayesianGaussianMixture().fit(X[:1])
    fitted = Mixture(Poisson(), 1, inference="variational").fit(COUNTS)
    with pytest.raises(ParameterError, match="posterior_"):
        fitted.standard_errors()


def test_concentration_of_the_likelihood() -> None:
    """MAP of the weights: (n_k + α − 1)/(n + K(α − 1))."""
    model = Mixture(Poisson(), 2, concentration=50.0, random_state=0).fit(COUNTS)
    r = model.predict_proba(COUNTS).sum(axis=0)
    assert_allclose(model.weights_, (r + 49) / (200 + 98), rtol=1e-4)
