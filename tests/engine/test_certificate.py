"""Whether what the certificate says is true: the gain that is left, the curvature, the rate."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as Theirs

import expmax as em
from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.acceleration import Lbfgs
from expmax.engine.certificate import certify
from expmax.engine.history import History
from expmax.engine.loop import ascend, em_step
from expmax.engine.problem import Problem
from expmax.engine.stopping import remaining_gain
from expmax.errors import ParameterError
from tests.engine.user_models import OneRate
from tests.models.cases import BY_NAME

NAMES = [
    "Poisson",
    "Gaussian VVV",
    "Gaussian VVE",
    "Gamma",
    "Bernoulli",
    "StudentT",
    "noise, prior",
]
some_cases = pytest.mark.parametrize("case", [BY_NAME[n] for n in NAMES], ids=lambda c: c.name)


def problem_of(case):
    return Problem(case.model, [case.block()], Serial())


def climb(problem, params, tol=1e-4, accelerated=True, max_iter=5000):
    return ascend(
        problem,
        problem.at(params),
        tol=tol,
        max_iter=max_iter,
        accelerator=Lbfgs if accelerated else None,
        certifier=np.random.default_rng(0),
    )


def optimum(problem, params):
    """The objective at the top of this hill, by SciPy from here, in the chart's coordinates."""
    top = problem.at(params)
    for _ in range(3):
        chart = problem.chart(top)

        def both(vector, chart=chart):
            point = problem.at(chart.from_vector(vector))
            if not point.finite:
                return np.inf, np.zeros_like(vector)
            return -point.objective, -chart.score(point.params, point.expectation.statistics)

        zero = np.zeros(len(chart.scale))
        found = minimize(
            both, zero, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 0}
        )
        top = problem.at(chart.from_vector(found.x))
    return top.objective


@some_cases
@pytest.mark.parametrize("accelerated", [False, True], ids=["em", "lbfgs"])
@pytest.mark.parametrize("tol", [1e-1, 1e-4, 1e-8])
def test_less_than_tol_is_left(case, accelerated, tol):
    problem = problem_of(case)
    run = climb(problem, case.params, tol, accelerated)
    assert run.status == "stationary"
    left = optimum(problem, run.point.params) - run.point.objective
    assert left < tol
    assert run.remaining <= tol
    # the estimate was made before the last, certified step: it bounds what is left
    assert left <= 2 * run.remaining + 1e-9


@some_cases
def test_the_estimate_is_the_truth_near_the_top(case):
    """½ gᵀH⁻¹g from a point a little below a maximum."""
    problem = problem_of(case)
    run = climb(problem, case.params, 1e-9)
    top = optimum(problem, run.point.params)
    chart = problem.chart(run.point)
    rng = np.random.default_rng(1)
    point = problem.at(chart.from_vector(0.003 * rng.normal(size=len(chart.scale)) * chart.scale))
    trial = certify(problem, point, 1e9, rng)
    left = top - point.objective
    # ten conjugate gradients see less than all of it where there are more coordinates
    assert 0.3 * left < trial.remaining < 1.3 * left
    assert trial.point.objective >= point.objective


@some_cases
def test_the_curvature_is_that_of_the_slowest_direction(case):
    """1 − λ_min of the whitened information is the rate of plain EM (Dempster, Laird & Rubin 1977)."""
    if case.own_latent or case.name == "Gaussian VVE":
        pytest.skip("the M-step is not one plain maximisation: its rate is another")
    problem = problem_of(case)
    run = climb(problem, case.params, 1e-10)
    assert run.status == "stationary"
    chart = problem.chart(run.point)
    rng = np.random.default_rng(2)
    point = problem.at(chart.from_vector(1e-3 * rng.normal(size=len(chart.scale)) * chart.scale))
    lengths = []
    for _ in range(60):
        new = problem.at(problem.maximize(point))
        lengths.append(np.linalg.norm(chart.to_vector(new.params) - chart.to_vector(point.params)))
        point = new
        if lengths[-1] < 1e-7 * lengths[0]:
            break
    rate = (lengths[-1] / lengths[-6]) ** (1 / 5)
    assert 1 - run.curvature == pytest.approx(rate, abs=0.03)


def crawling(seed, n=600):
    """Overlapping clusters on which EM crawls."""
    rng = np.random.default_rng(seed)
    x = np.vstack([rng.normal(m, s, (n // 3, 2)) for m, s in ((0, 1.0), (0.9, 1.3), (1.8, 0.8))])
    return x


@pytest.mark.parametrize("seed", range(4))
def test_where_scikit_learn_stops_early_we_say_what_is_left(seed):
    """From where its default tolerance ends there is more to gain: the climb goes on to the top."""
    x = crawling(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Theirs(3, random_state=0).fit(x)
    assert theirs.converged_
    start = {
        "weights": theirs.weights_ / theirs.weights_.sum(),
        "mean": theirs.means_,
        "covariance": theirs.covariances_,
    }
    ours = em.Mixture(em.Gaussian(), 3, init=start).fit(x)
    assert ours.status_ == "stationary"
    gained = ours.log_likelihood_ - theirs.score_samples(x).sum()
    assert gained > 0.1  # a thousand times the tol of ours
    problem = Problem(replace(ours._model, compiled=False), [Block(x)], Serial())
    left = optimum(problem, ours._parameters) - ours.log_likelihood_
    assert left < 1e-4
    assert ours.certificate_.remaining < 1e-4


def test_a_crawl_is_not_called_the_end():
    """Plain EM where a step gains little and a hundred times as much remains."""
    x = np.random.default_rng(3).poisson(3.0, 4000).astype(float)[:, None]
    model = em.Mixture(em.Poisson(), 2)
    rows, _, _ = model._read_training(x, None, None)
    problem = Problem(model._build(rows, None), [Block(rows)], Serial())
    from tests.engine.test_loop import poisson

    run = climb(problem, poisson([2.0, 4.0]), accelerated=False, max_iter=40)
    gains = np.diff(run.history.objective)
    assert 0 < gains[-2] < 0.01
    assert run.status == "max_iter"  # nothing is certified on the way
    left = optimum(problem, run.point.params) - run.point.objective
    assert left > 5 * gains[-2]


# ---------------------------------------------------------------------------------- cheap estimate


def geometric(total, rate, n, kind="em"):
    """A history that converges linearly from −total to 0."""
    history = History()
    for t in range(n):
        value = -total * rate**t
        history.append(value, value, value, 0.0, 0.0, kind)
    return history, -total * rate**n


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.999])
def test_aitken_knows_linear_convergence(rate):
    history, objective = geometric(5.0, rate, 12)
    assert remaining_gain(history, objective, 1e-13) == pytest.approx(-objective, rel=1e-6)


def test_aitken_waits_for_three_gains():
    for n in range(4):
        history, objective = geometric(5.0, 0.5, n)
        left = remaining_gain(history, objective, 1e-13)
        assert np.isfinite(left) == (n >= 3)


def test_aitken_takes_em_steps_alone():
    history, objective = geometric(5.0, 0.5, 12, kind="lbfgs")
    assert remaining_gain(history, objective, 1e-13) == np.inf


def test_a_lull_is_not_the_end():
    """Small gains that grow: no estimate."""
    history = History()
    for t in range(10):
        value = -1.0 + 1e-6 * 1.5**t
        history.append(value, value, value, 0.0, 0.0, "em")
    assert remaining_gain(history, -1.0 + 1e-6 * 1.5**10, 1e-13) == np.inf


def test_gains_within_rounding_end_the_ascent():
    history, _ = geometric(0.0, 0.5, 12)
    assert remaining_gain(history, 0.0, 1e-10) == 1e-10


def test_rounding_is_small_and_grows_with_the_data():
    case = BY_NAME["Gaussian VVV"]
    one = Problem(case.model, [case.block()], Serial())
    ten = Problem(case.model, [case.block()] * 10, Serial())
    a, b = (problem.rounding(problem.at(case.params)) for problem in (one, ten))
    assert b == pytest.approx(10 * a)
    assert 0 < a < 1e-10 * abs(one.at(case.params).objective)
    history = History()
    point, _ = em_step(one, one.at(case.params), history)
    assert abs(history.elbo[0] - history.log_likelihood[0]) < a
    assert_allclose(point.objective, one.at(point.params).objective, rtol=0)


# ------------------------------------------------------------------------------------------ in words


def two_rates():
    rng = np.random.default_rng(0)
    return np.r_[rng.poisson(2, 60), rng.poisson(9, 60)][:, None].astype(float)


def test_a_certificate_that_was_skipped_says_so():
    case = BY_NAME["Poisson"]
    result = em.maximize_likelihood(case.model, case.block(), case.params, certify=False)
    assert result.status == "uncertified"
    assert "Certification was skipped" in str(result.certificate)
    assert "ridge or a saddle" not in str(result.certificate)
    assert [record.status for record in result.starts] == ["full run"]


@pytest.mark.parametrize(
    "model",
    [
        em.Mixture(em.Poisson(), 2, random_state=0),
        em.Mixture(em.Poisson(), 2, n_init=2, random_state=0),
        em.Mixture(em.Poisson(), 2, init={"rate": [1.0, 5.0]}),
        em.GaussianMixture(2, random_state=0),
        em.GaussianMixture(2, n_init=2, random_state=0),
        em.GaussianMixture(2, means_init=[[1.0], [6.0]], random_state=0),
        em.BayesianGaussianMixture(n_components=2, random_state=0),
    ],
    ids=repr,
)
def test_estimators_skip_it_as_asked_without_a_warning(model):
    x = two_rates()
    certified = clone(model).fit(x)
    bare = clone(model).set_params(certify=False).fit(x)
    assert certified.status_ == "stationary"
    assert (bare.status_, bare.converged_) == ("uncertified", False)
    assert "Certification was skipped" in bare.certificate_.advice
    assert bare.certificate_.remaining < 1e-4
    assert bare.n_expect_ < certified.n_expect_
    assert bare.log_likelihood_ == pytest.approx(certified.log_likelihood_, abs=2e-3)
    with pytest.raises(ParameterError, match="certify must be True or False; got 'maybe'"):
        clone(model).set_params(certify="maybe").fit(x)


def test_a_model_without_coordinates_is_told_that_none_is_possible():
    x = np.random.default_rng(0).poisson(4, (50, 1)).astype(float)
    result = em.maximize_likelihood(OneRate(), x, 2.0)
    assert result.status == "uncertified"
    assert "No certificate is possible: the model has no coordinates" in str(result.certificate)


@pytest.mark.parametrize("options", [{"max_iter": 1}, {"max_iter": 2, "tol": 0}])
def test_a_gain_that_nobody_can_estimate_is_no_number(options):
    x = two_rates()
    with pytest.warns(em.errors.ConvergenceWarning) as told:
        model = em.Mixture(em.Poisson(), 2, init={"rate": [1.0, 4.0]}, **options).fit(x)
    for text in (str(told[0].message), str(model.certificate_), str(model.summary())):
        assert "inf" not in text
    assert "remaining gain: not estimated" in str(model.certificate_)


def test_without_a_tolerance_the_gain_is_estimated_all_the_same():
    x = two_rates()
    start = {"rate": [1.0, 4.0]}
    with pytest.warns(em.errors.ConvergenceWarning, match="an estimated .* nats still to gain"):
        model = em.Mixture(
            em.Poisson(), 2, init=start, tol=0, max_iter=30, accelerate=None, random_state=0
        ).fit(x)
    best = em.Mixture(em.Poisson(), 2, init=start, tol=1e-9, max_iter=5000).fit(x)
    left = best.log_likelihood_ - model.log_likelihood_
    assert 0.1 * left < model.certificate_.remaining < 10 * left
