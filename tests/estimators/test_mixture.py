"""`Mixture`: what a fit publishes is true, odd data are answered, the user's wishes are kept."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import norm

import expmax as em
from expmax.engine.problem import Problem
from expmax.errors import (
    ConvergenceWarning,
    DataError,
    DegenerateComponentError,
    ExpmaxError,
    ImpossibleDataError,
    ParameterError,
)
from expmax.models.mixture import MixtureModel
from tests.models.cases import BY_NAME, CASES, assert_identical, assert_same

FITTED = [
    "Poisson",
    "Binomial",
    "Categorical, two columns",
    "Gamma, prior",
    "Gaussian VVV",
    "Gaussian EEV",
    "Gaussian with a penalty",
    "Gaussian diag, missing cells",
    "StudentT tied",
    "Product of mixed columns, missing cells",
    "zero-inflated Poisson",
    "atom beside Gaussian",
    "Gaussians and noise",
    "StudentT and Gaussian",
    "Poisson, one rate held",
    "Gaussian, one component held",
]
fitted = pytest.mark.parametrize("case", [BY_NAME[name] for name in FITTED], ids=lambda c: c.name)


@pytest.fixture(scope="module")
def fit():
    """Fits are made once."""
    known = {}

    def one(case):
        if case.name not in known:
            estimator = em.Mixture(
                case.family,
                case.n_components,
                prior=case.prior,
                fixed=case.fixed,
                random_state=0,
                effort="quick",
            )
            known[case.name] = estimator.fit(case.x)
        return known[case.name]

    return one


def clusters(seed=0, n=200, d=2):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(2, d)) * 3
    z = rng.integers(2, size=n)
    return centre[z] + rng.normal(size=(n, d)) * np.where(z, 1.0, 0.5)[:, None], z


def two(**options):
    return em.Mixture(em.Gaussian(), 2, **{"random_state": 0} | options)


def same_partition(a, b):
    return np.array_equal(a, b) or np.array_equal(a, 1 - b)


# ------------------------------------------------------------------------- what a fit publishes


@fitted
def test_the_log_likelihood_is_that_of_the_parameters(case, fit):
    model = fit(case)
    assert model.converged_
    log_density = model.score_samples(case.x)
    assert log_density.sum() == pytest.approx(model.log_likelihood_, rel=1e-12)
    assert model.score(case.x) == pytest.approx(model.log_likelihood_ / len(case.x), rel=1e-12)
    assert model.history_.log_likelihood[-1] == pytest.approx(model.log_likelihood_, rel=1e-12)
    assert model.n_iter_ == len(model.history_) - 1


@fitted
def test_responsibilities_are_probabilities(case, fit):
    model = fit(case)
    r = model.predict_proba(case.x)
    assert r.shape == (len(case.x), case.k)
    assert (r >= 0).all()
    assert_allclose(r.sum(axis=1), 1.0, rtol=1e-14)
    assert_array_equal(model.predict(case.x), r.argmax(axis=1))
    assert_array_equal(model.transform(case.x), r)
    assert model.weights_.sum() == pytest.approx(1.0, rel=1e-14)
    if case.fixed is None and case.prior is None:
        # a fixed point of EM: the weights are the mean responsibilities
        assert_allclose(r.mean(axis=0), model.weights_, atol=2e-3)


@fitted
def test_criteria_follow_their_formulas(case, fit):
    model = fit(case)
    p, n = model.n_parameters_, len(case.x)
    assert model.aic() == pytest.approx(-2 * model.log_likelihood_ + 2 * p)
    assert model.bic() == pytest.approx(-2 * model.log_likelihood_ + p * np.log(n))
    hard = np.log(model.predict_proba(case.x).max(axis=1)).sum()
    assert model.icl() == pytest.approx(model.bic() - 2 * hard)
    for name in ("aic", "bic", "icl"):
        assert getattr(model, name)(case.x) == pytest.approx(getattr(model, name)(), rel=1e-10)


@fitted
def test_the_fit_does_not_change_its_data(case):
    x = case.x.copy()
    x.setflags(write=False)
    options = {"prior": case.prior, "fixed": case.fixed, "random_state": 0}
    em.Mixture(case.family, case.n_components, effort="quick", **options).fit(x)
    assert_array_equal(x, case.x)


def test_the_mixture_density_by_hand():
    x, _ = clusters(d=1)
    model = two().fit(x)
    mean, variance = model.params_["mean"][:, 0], model.params_["covariance"].ravel()
    log_joint = np.log(model.weights_) + norm.logpdf(x, mean, np.sqrt(variance))
    assert_allclose(model.score_samples(x), logsumexp(log_joint, axis=1), rtol=1e-12)
    assert_allclose(
        model.predict_proba(x),
        np.exp(log_joint - logsumexp(log_joint, axis=1)[:, None]),
        rtol=1e-10,
    )


def test_components_come_by_their_location():
    x, _ = clusters()
    for seed in range(4):
        mean = two(random_state=seed).fit(x).params_["mean"]
        assert (np.diff(mean[:, 0]) > 0).all()


def test_parameters_are_not_shared_with_the_search():
    x, _ = clusters()
    model = two().fit(x)
    before = model.score_samples(x)
    model.params_["mean"][:] = 99.0
    model.weights_[:] = 0.5
    again = two().fit(x)
    assert_array_equal(again.score_samples(x), before)


# ---------------------------------------------------------------- weights, labels, starts, what holds


def test_weights_are_copies():
    x, _ = clusters()
    times = np.random.default_rng(1).integers(0, 4, len(x))
    start = two().fit(x).params_
    a = two(init=start).fit(x, sample_weight=times)
    b = two(init=start).fit(np.repeat(x, times, axis=0))
    assert a.log_likelihood_ == pytest.approx(b.log_likelihood_, rel=1e-10)
    assert_same(a.params_, b.params_, 1e-6)
    assert a.bic() == pytest.approx(b.bic(), rel=1e-10)


def test_a_weight_of_zero_is_no_row():
    x, _ = clusters()
    far = np.vstack([x, [[1e6, -1e6]]])
    a = two().fit(far, sample_weight=np.append(np.ones(len(x)), 0.0))
    b = two().fit(x)
    assert_same(a.params_, b.params_, 1e-6)


def test_the_unit_of_weights_does_not_matter_to_the_parameters():
    x, _ = clusters()
    weight = np.random.default_rng(2).uniform(0.5, 2, len(x))
    a = two(tol=1e-8).fit(x, sample_weight=weight)
    b = two(tol=1e-8).fit(x, sample_weight=1000 * weight)
    assert_same(b.params_, a.params_, 1e-4)
    assert b.log_likelihood_ == pytest.approx(1000 * a.log_likelihood_, rel=1e-6)


def test_labels_are_kept():
    """Rows of known component: even the wrong ones count where they are told to."""
    x, z = clusters()
    labels = np.full(len(x), -1)
    labels[:40] = 1 - z[:40]
    model = two().fit(x, labels=labels)
    assert model.converged_
    # the criterion is that of the labels: the joint density of known rows
    log_joint = np.log(model.predict_proba(x)) + model.score_samples(x)[:, None]
    known = np.arange(40)
    expected = log_joint[known, labels[:40]].sum() + model.score_samples(x[40:]).sum()
    assert model.log_likelihood_ == pytest.approx(expected, rel=1e-9)


def test_all_labels_known_is_a_closed_form():
    x, z = clusters()
    model = two(init=None).fit(x, labels=z)
    assert model.status_ == "stationary"
    for k in (0, 1):
        assert_allclose(model.params_["mean"][k], x[z == k].mean(axis=0), rtol=1e-10)
        assert_allclose(model.params_["covariance"][k], np.cov(x[z == k].T, bias=True), rtol=1e-9)
    assert_allclose(model.weights_, np.bincount(z) / len(z), rtol=1e-12)


def test_labels_stay_with_their_component():
    """Component k is the one that the labels call k, wherever it lies."""
    x, _ = clusters(3)
    right = x[:, 0] > np.median(x[:, 0])
    labels = np.where(np.arange(len(x)) < 30, np.where(right, 0, 1), -1)
    model = two().fit(x, labels=labels)
    assert model.params_["mean"][0, 0] > model.params_["mean"][1, 0]
    assert (model.predict(x)[:30] == labels[:30]).mean() > 0.8


def test_y_is_ignored():
    x, z = clusters()
    a, b = two().fit(x), two().fit(x, z)
    assert_identical(a.params_, b.params_)


def test_a_start_by_labels():
    x, z = clusters()
    model = two(init=z).fit(x)
    assert [record.kind for record in model.starts_] == ["given"]
    assert (model.predict(x) == z).mean() > 0.8


@fitted
def test_refitting_from_its_own_parameters_stays(case, fit):
    model = fit(case)
    if len(case.model.groups) > 1 or case.fixed or any("." in name for name in model.params_):
        pytest.skip("init by name takes one family, not a product, and nothing held")
    again = em.Mixture(case.family, case.n_components, prior=case.prior, init=model.params_).fit(
        case.x
    )
    assert again.converged_
    assert again.history_.objective[-1] == pytest.approx(model.history_.objective[-1], abs=2e-4)


@pytest.mark.parametrize("case", [c for c in CASES if c.fixed], ids=lambda c: c.name)
def test_what_is_fixed_stays(case, fit):
    model = fit(case)
    for key, value in case.fixed.items():
        if key == "weights":
            assert_allclose(model.weights_, value, rtol=1e-14)
        else:
            for name, number in value.items():
                assert_array_equal(model.components_[key][name], number)


@pytest.mark.parametrize("covariance", ["tied", "VEE"])
def test_a_component_that_shares_its_covariance_cannot_be_held_alone(covariance):
    """The joint M-step does not know that one of its components stays: refuse, or condition on it."""
    case = BY_NAME["Gaussian VVV"]
    held = {0: {"mean": [0, 0, 0], "covariance": np.eye(3)}}
    with pytest.raises(ParameterError, match="fixed"):
        em.Mixture(em.Gaussian(covariance), 3, fixed=held, random_state=0).fit(case.x)


def test_fixed_free_parameters_are_counted():
    x, _ = clusters()
    fixed = {0: {"mean": [0.0, 0.0], "covariance": np.eye(2)}}
    assert two().fit(x).n_parameters_ == 11
    assert two(fixed=fixed).fit(x).n_parameters_ == 6
    assert two(fixed={"weights": [0.5, 0.5]}).fit(x).n_parameters_ == 10


# --------------------------------------------------------------------------------------- interrupts


def interrupt(monkeypatch, at):
    """Ctrl-C in the middle of an E-step."""
    calls = []
    right = MixtureModel.expect

    def expect(self, params, block):
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return right(self, params, block)

    monkeypatch.setattr(MixtureModel, "expect", expect)
    return calls


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("n", [200, 5000])
def test_an_interrupt_returns_the_best_so_far(share, n, monkeypatch):
    """Anywhere in the search; with many rows the search is on a subsample."""
    x, _ = clusters(n=n)
    whole = interrupt(monkeypatch, None)
    two().fit(x)
    monkeypatch.undo()
    at = int(share * len(whole))
    calls = interrupt(monkeypatch, at)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = two().fit(x)
    assert model.status_ == "interrupted"
    assert not model.converged_
    assert len(calls) < at + 20  # it did stop
    monkeypatch.undo()
    assert model.score_samples(x).sum() == pytest.approx(model.log_likelihood_, rel=1e-12)
    assert model.predict(x).shape == (n,)


def test_an_interrupt_before_there_is_anything_to_return(monkeypatch):
    x, _ = clusters()
    interrupt(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        two().fit(x)


# ----------------------------------------------------------------------------------------- odd data


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical", "VEV"])
@pytest.mark.parametrize(
    ("shift", "scale"), [(1e8, 1.0), (-3e5, 1e-3), (0.0, 1e100), (0.0, 1e-100)]
)
def test_shift_and_scale_change_nothing(covariance, shift, scale):
    x, _ = clusters(5)
    plain = em.Mixture(em.Gaussian(covariance), 2, random_state=0).fit(x)
    y = x * scale + shift
    model = em.Mixture(em.Gaussian(covariance), 2, random_state=0).fit(y)
    assert same_partition(model.predict(y), plain.predict(x))
    expected = plain.log_likelihood_ - x.size * np.log(scale)
    # shifted data have lost digits themselves
    assert model.log_likelihood_ == pytest.approx(expected, rel=1e-5 if shift else 1e-9)
    assert_allclose(
        (model.params_["mean"] - shift) / scale, plain.params_["mean"], atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("apart", [1e3, 1e4, 1e6])
@pytest.mark.parametrize("covariance", ["full", "diag", "VVE"])
def test_clusters_far_apart(apart, covariance):
    """Each cluster's own estimate, to ten digits."""
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(size=(90, 2)) + apart * k for k in range(3)])
    model = em.Mixture(em.Gaussian(covariance), 3, init=np.repeat([0, 1, 2], 90)).fit(x)
    assert_allclose(
        model.params_["mean"], [x[90 * k : 90 * k + 90].mean(axis=0) for k in range(3)], rtol=1e-10
    )
    if covariance == "full":
        for k in range(3):
            own = np.cov(x[90 * k : 90 * k + 90].T, bias=True)
            assert_allclose(model.params_["covariance"][k], own, rtol=1e-8)


def test_one_row():
    for family in (em.Poisson(), em.Exponential()):
        model = em.Mixture(family, 1).fit([[3.0]])
        assert model.converged_
    with pytest.raises(DataError, match="n_samples=1"):
        em.Mixture(em.Gaussian(), 1).fit([[3.0, 1.0]])
    with pytest.raises(DataError, match="n_samples=1"):
        em.Mixture(em.Poisson(), 2).fit([[3.0]])


def test_constant_columns():
    x, _ = clusters()
    flat = np.column_stack([x, np.full(len(x), 7.0)])
    with pytest.raises(DegenerateComponentError):
        two().fit(flat)
    with pytest.raises(DegenerateComponentError):
        em.Mixture(em.Gaussian("diag"), 2, random_state=0).fit(flat)
    model = em.Mixture(em.Gaussian("spherical"), 2, random_state=0).fit(flat)
    assert_allclose(model.params_["mean"][:, 2], 7.0)


@pytest.mark.parametrize("family", [em.Gaussian(), em.Gaussian("diag"), em.StudentT()], ids=repr)
@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e170, 1e300])
def test_a_spread_whose_square_is_no_number_is_named(family, scale):
    """The true cause, and not that the rows lie in a subspace."""
    x, _ = clusters()
    with pytest.raises(DataError, match=r"column 0 varies by .* beyond floating point"):
        em.Mixture(family, 2, random_state=0).fit(scale * x)


def test_more_components_than_distinct_rows():
    x = np.repeat([[1.0], [4.0]], 20, axis=0)
    with warnings.catch_warnings():  # a ridge of equal maxima is not certified
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = em.Mixture(em.Poisson(), 4, random_state=0).fit(x)
    best = em.Mixture(em.Poisson(), 1).fit(x).log_likelihood_
    assert model.log_likelihood_ >= best - 1e-6
    with pytest.raises(DegenerateComponentError):
        em.Mixture(em.Gaussian(), 3, random_state=0).fit(x)


def test_more_components_than_the_data_need():
    """Components vanish or coincide: no failure, and no less than fewer components reach."""
    x = np.random.default_rng(0).exponential(2.0, (150, 1))
    reached = []
    for k in (1, 2, 3, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            reached.append(em.Mixture(em.Exponential(), k, random_state=0).fit(x).log_likelihood_)
    assert (np.diff(reached) > -1e-3).all()


def test_a_component_that_vanishes():
    case = BY_NAME["Gamma and Exponential"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = em.Mixture(case.family, random_state=0).fit(case.x)
    alone = em.Mixture(em.Gamma(), 1).fit(case.x)
    assert model.log_likelihood_ >= alone.log_likelihood_ - 1e-3


def test_duplicated_points_in_the_plane():
    x, _ = clusters()
    doubled = np.vstack([x, x])
    a, b = two().fit(x), two().fit(doubled)
    assert b.log_likelihood_ == pytest.approx(2 * a.log_likelihood_, rel=1e-6)
    assert_same(b.params_, a.params_, 1e-2)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.empty((0, 2)), "0"),
        (np.empty((5, 0)), "0"),
        ([[1.0], [np.inf], [2.0]], "row 1"),
        ([[1.0], [-np.inf]], "row 1"),
        ([[1.0, 2.0], [np.nan, 1.0], [3.0, 3.0], [4.0, 1.0]], "NaN"),
        ([["a"], ["b"]], "a"),
        (np.ones(5), "1"),
        (np.ones((2, 2, 2)), "3"),
        ([[1 + 2j], [3j]], "omplex"),
    ],
    ids=["no rows", "no columns", "inf", "-inf", "nan", "text", "1-D", "3-D", "complex"],
)
def test_data_that_cannot_be_used_are_refused(x, words):
    with pytest.raises((ExpmaxError, ValueError), match=words):
        em.Mixture(em.Gaussian(), 1).fit(x)


@pytest.mark.parametrize(
    ("family", "value", "words"),
    [
        (em.Poisson(), -1.0, r"holds -1 \(row 2\).*Poisson"),
        (em.Poisson(), 0.5, r"holds 0.5 \(row 2\)"),
        (em.Exponential(), -2.0, "Exponential"),
        (em.Beta(), 1.5, "Beta"),
        (em.Bernoulli(), 2.0, "0 or 1"),
    ],
    ids=repr,
)
def test_values_outside_the_support_are_named(family, value, words):
    good = 0.5 if isinstance(family, em.Beta) else 1.0
    with pytest.raises(DataError, match=words):
        em.Mixture(family, 1).fit([[good], [good], [value]])


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool, object])
def test_number_types(dtype):
    x = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(dtype)
    model = em.Mixture(em.Bernoulli(), 2, random_state=0).fit(x)
    same = em.Mixture(em.Bernoulli(), 2, random_state=0).fit(x.astype(float))
    assert model.log_likelihood_ == pytest.approx(same.log_likelihood_, rel=1e-12)


def test_layouts_of_memory():
    x, _ = clusters()
    wide = np.zeros((len(x), 7))
    wide[:, ::3][:, :2] = x
    fits = [two().fit(y) for y in (x, np.asfortranarray(x), wide[:, ::3][:, :2], x.tolist())]
    for other in fits[1:]:
        assert_same(other.params_, fits[0].params_, 1e-10)


def test_an_impossible_row_is_named():
    x = np.repeat([[0.0], [2.0]], 30, axis=0)
    zip_model = em.Mixture([em.PointMass(0), em.PointMass(2)]).fit(x)
    assert_allclose(zip_model.weights_, 0.5)
    with pytest.raises(ImpossibleDataError, match="row 1"):
        zip_model.predict_proba([[2.0], [1.0]])
    assert zip_model.score_samples([[2.0], [1.0]])[1] == -np.inf


# ---------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_components": 0}, "n_components.*0"),
        ({"n_components": 2.0}, "n_components"),
        ({"n_components": True}, "n_components"),
        ({"family": "gaussian"}, "family"),
        ({"family": []}, "family"),
        ({"family": [em.Gaussian(), 3]}, "family"),
        ({"family": [em.Gaussian(), em.Uniform()], "n_components": 3}, "n_components"),
        ({"tol": -1.0}, "tol"),
        ({"tol": np.nan}, "tol"),
        ({"tol": "small"}, "tol"),
        ({"max_iter": 0}, "max_iter"),
        ({"n_init": 0}, "n_init"),
        ({"n_init": "many"}, "n_init"),
        ({"effort": "heroic"}, "effort"),
        ({"accelerate": "rocket"}, "accelerate"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"prior": "strong"}, "prior"),
        ({"prior": -1.0}, "prior"),
        ({"fixed": {7: {"mean": [0, 0], "covariance": np.eye(2)}}}, "fixed"),
        ({"fixed": {"weights": [0.5, 0.6]}}, "weights"),
        ({"fixed": {0: {"centre": [0, 0]}}}, "mean"),
        ({"init": "kmeans"}, "init"),
        ({"init": {"mean": [[0, 0], [1, 1]]}}, "covariance"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(options, words):
    x, _ = clusters(n=30)
    arguments = {"family": em.Gaussian(), "n_components": 2} | options
    with pytest.raises(ParameterError, match=words):
        em.Mixture(**arguments).fit(x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample_weight": np.ones(5)}, "sample_weight"),
        ({"sample_weight": -np.ones(30)}, "sample_weight"),
        ({"sample_weight": np.zeros(30)}, "sample_weight"),
        ({"sample_weight": np.full(30, np.nan)}, "sample_weight"),
        ({"labels": np.zeros(5, int)}, "labels"),
        ({"labels": np.full(30, 2)}, "labels"),
        ({"labels": np.full(30, -2)}, "labels"),
        ({"labels": np.full(30, 0.5)}, "labels"),
        ({"labels": np.r_[np.zeros(7), 5, np.ones(22)]}, r"got '5.0 \(row 7\)'"),
        ({"labels": ["a"] * 30}, "labels .*values of dtype"),
        ({"labels": [None] * 30}, "labels .*no numbers"),
        ({"sample_weight": ["a"] * 30}, "sample_weight .*a list that holds something else"),
    ],
    ids=str,
)
def test_wrong_weights_and_labels_are_named(options, words):
    x, _ = clusters(n=30)
    with pytest.raises(ParameterError, match=words):
        two().fit(x, **options)


# ------------------------------------------------------------------------------------------ objective


def test_the_map_objective_rises_and_includes_the_prior():
    case = BY_NAME["Gaussian, prior"]
    model = em.Mixture(case.family, 3, prior=case.prior, random_state=0, accelerate=None)
    model.fit(case.x)
    history = model.history_
    assert (np.diff(history.objective) > -1e-9).all()
    prior = history.objective[-1] - history.log_likelihood[-1]
    assert prior == pytest.approx(model._model.log_prior(model._parameters), rel=1e-10)
    plain = em.Mixture(case.family, 3, random_state=0).fit(case.x)
    assert model.log_likelihood_ < plain.log_likelihood_


def test_a_weak_prior_is_nearly_none_and_a_strong_one_everything():
    x, _ = clusters()
    plain = two().fit(x)
    weak = two(prior=1e-8).fit(x)
    assert weak.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-3)
    strong = two(prior=1e8).fit(x)
    assert_allclose(strong.params_["mean"], np.tile(x.mean(axis=0), (2, 1)), atol=1e-4)


def test_a_fit_counts_its_e_steps(monkeypatch):
    x, _ = clusters()
    count = []
    right = Problem.at
    monkeypatch.setattr(Problem, "at", lambda self, p: (count.append(None), right(self, p))[1])
    model = two().fit(x)
    assert model.n_expect_ == len(count)


def test_a_searched_fit_shows_its_whole_ascent():
    """Compiled climbs find the optimum; the history is the engine's, from the start that led there."""
    x = np.loadtxt("examples/data/faithful.csv", delimiter=",", skiprows=1)
    model = em.Mixture(em.Gaussian("EEE"), 4, random_state=0).fit(x)
    history = model.history_
    assert history.objective[-1] - history.objective[0] > 1.0
    assert np.diff(history.objective).min() > -1e-9
    assert history.step[0] == "em"
    assert history.delta_q[0] > 0
