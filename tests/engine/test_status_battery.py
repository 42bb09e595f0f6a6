"""Every way in which a fit can end, and what it says of itself there."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import expmax as em
from expmax.errors import DegenerateComponentError, InformationError
from tests.models.cases import BY_NAME


def example(name):
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ----------------------------------------------------------------------------------------- saddle


MURRAY = example("murray")


@pytest.mark.parametrize("accelerate", ["auto", "lbfgs", None])
@pytest.mark.parametrize("variance", [1.0, 2.5])
def test_the_saddle_of_murray_is_left(accelerate, variance):
    """Murray (1977): ρ = 0 is a saddle, where EM stays; the maxima are at ρ = ±1/2, variances 8/3."""
    result = em.maximize_likelihood(
        MURRAY.NormalWithMissingCells(),
        MURRAY.PAIRS,
        start=variance * np.eye(2),
        accelerate=accelerate,
        tol=1e-10,
        random_state=0,
    )
    assert result.status == "stationary"
    assert result.certificate.saddles == 1
    assert "saddle points met and left: 1" in str(result.certificate)
    assert result.log_likelihood == pytest.approx(-29.974286, abs=1e-6)
    assert np.diagonal(result.params) == pytest.approx([8 / 3, 8 / 3], abs=1e-5)
    assert abs(result.params[0, 1]) == pytest.approx(4 / 3, abs=1e-5)
    assert result.history.step.count("em") > 1
    before = result.history.step.index("escape")
    assert result.history.objective[before] == pytest.approx(-30.033342, abs=1e-6)


# ---------------------------------------------------------------------------------------- plateau


def test_a_plateau_is_not_taken_for_the_top():
    """Components almost alike gain almost nothing a step, for hundreds of steps, and then ten nats."""
    case = BY_NAME["Poisson"]
    mean = case.x.mean()
    start = {"weights": np.array([0.5, 0.5]), "rate": np.array([mean - 1e-4, mean + 1e-4])}
    model = em.Mixture(em.Poisson(), 2, init=start, accelerate=None, max_iter=5000).fit(case.x)
    gains = np.diff(model.history_.objective)
    assert (gains[:3] < 1e-4).all()  # below tol from the first step on
    assert model.status_ == "stationary"
    assert model.log_likelihood_ > model.history_.log_likelihood[0] + 10


# --------------------------------------------------------------------------------------- boundary


def test_a_weight_creeps_to_nought():
    x = np.random.default_rng(0).poisson(4.0, 200).astype(float)[:, None]
    start = {"weights": np.array([0.98, 0.02]), "rate": np.array([x.mean(), 30.0])}
    model = em.Mixture(em.Poisson(), 2, init=start).fit(x)
    assert model.status_ == "boundary"
    assert model.certificate_.boundary == ("weight of component 1",)
    one = em.Mixture(em.Poisson(), 1).fit(x)
    assert model.log_likelihood_ == pytest.approx(one.log_likelihood_, abs=1e-4)
    with pytest.raises(InformationError, match="boundary of its space"):
        model.standard_errors()


# ------------------------------------------------------------------------------------------ spike


def test_a_spike_is_never_a_maximum():
    x = np.concatenate([np.zeros(2), np.random.default_rng(1).normal(5, 1, 50)])[:, None]
    start = {"mean": [[0.0], [5.0]], "covariance": [[0.01], [1.0]]}
    with pytest.raises(DegenerateComponentError, match="component 0 collapsed"):
        em.Mixture(em.Gaussian("diag"), 2, init=start).fit(x)


def test_equal_components_on_two_points_are_no_maximum():
    """The score and all second derivatives along the split vanish; farther on the likelihood is unbounded."""
    x = np.repeat([[0.0], [1.0]], 25, axis=0)
    start = {"mean": [[0.5], [0.5]], "covariance": [[0.25], [0.25]]}
    with pytest.raises(DegenerateComponentError):
        em.Mixture(em.Gaussian(), 2, init=start, random_state=0).fit(x)


# ------------------------------------------------------------------- max_iter, interrupt, formulas


@pytest.mark.parametrize("accelerate", ["auto", "lbfgs", "squarem", "anderson", None])
@pytest.mark.parametrize("family", ["Poisson", "Gaussian VVV"])
def test_no_more_updates_than_max_iter(accelerate, family):
    """Steps of the certificate are updates too."""
    case = BY_NAME[family]
    whole = em.maximize_likelihood(
        case.model, case.block(), case.params, accelerate=accelerate, random_state=0
    )
    n = len(whole.history) - 1
    for max_iter in (1, n - 3, n - 2, n - 1, n):
        result = em.maximize_likelihood(
            case.model,
            case.block(),
            case.params,
            accelerate=accelerate,
            max_iter=max_iter,
            random_state=0,
        )
        assert len(result.history) - 1 <= max_iter
        assert result.status in ("max_iter", "stationary")
        assert result.objective == result.history.objective[-1]
    assert result.objective == whole.objective


class WrongMStep(MURRAY.NormalWithMissingCells):
    """Divides by n + 1."""

    def maximize(self, moments, covariance):
        return moments.products / (moments.n + 1)


def test_a_wrong_m_step_is_named():
    result = em.maximize_likelihood(WrongMStep(), MURRAY.PAIRS, start=8 / 3 * np.eye(2))
    assert result.status == "decreased"
    assert not result.converged
    assert "formulas disagree" in str(result.certificate)
    assert "check_model" in result.certificate.advice
    assert "the M-step broke at iteration" in result.certificate.advice


# --------------------------------------------------------------------------- singular information


def test_components_that_coincide_are_not_certified():
    """Counts that vary less than Poisson counts: the best mixture of two is one component twice."""
    x = np.random.default_rng(0).binomial(10, 0.5, (200, 1)).astype(float)
    rate = np.full(2, x.mean())
    for start in ({"rate": rate}, {"rate": rate, "weights": np.array([0.2, 0.8])}):
        with pytest.warns(em.errors.ConvergenceWarning):
            model = em.Mixture(em.Poisson(), 2, init=start).fit(x)
        assert model.status_ == "uncertified"
        assert "Components 0 and 1 coincide" in model.certificate_.advice
        with pytest.raises(InformationError, match="not positive definite"):
            model.standard_errors()


@dataclass(frozen=True)
class Sums(em.Additive):
    """Σ y and Σ yyᵀ of the unseen y, of n rows; Σ log p(x | y) terms that do not depend on the parameters."""

    n: float
    first: np.ndarray
    second: np.ndarray
    rest: float


class Plane:
    """x ~ N(|μ|, 1) with μ in the plane: only the length of μ matters, its direction is a gauge.

    The unseen datum is y ~ N(μ, I), with x the part of it along μ.
    """

    class Space:
        def pack(self, mean):
            return np.asarray(mean, float)

        def unpack(self, vector):
            return np.array(vector)

    space = Space()

    def expect(self, mean, block):
        x, n = block.x[:, 0], len(block.x)
        length = np.hypot(*mean)
        along = mean / length
        first = x.sum() * along  # E[y | x] = x · along; across it y is N(0, 1), unseen
        across = np.array([-along[1], along[0]])
        second = (x @ x) * np.outer(along, along) + n * np.outer(across, across)
        log_likelihood = -0.5 * ((x - length) ** 2).sum() - 0.5 * n * np.log(2 * np.pi)
        entropy = 0.5 * n * np.log(2 * np.pi * np.e)
        return em.Expectation(Sums(n, first, second, 0.0), log_likelihood, entropy, n)

    def maximize(self, sums, mean):
        return sums.first / sums.n

    def expected_log_joint(self, mean, sums):
        squares = np.trace(sums.second) - 2 * mean @ sums.first + sums.n * mean @ mean
        return float(-0.5 * squares - sums.n * np.log(2 * np.pi))


def test_a_gauge_direction_is_no_obstacle_and_no_error():
    """Rotations change nothing: the top is a circle, certified; there is no standard error along it."""
    x = np.random.default_rng(2).normal(2.0, 1.0, (80, 1))
    result = em.maximize_likelihood(
        Plane(), x, start=np.array([0.3, 0.4]), tol=1e-8, random_state=0
    )
    assert result.status == "stationary"
    assert abs(result.certificate.curvature) < 1e-4
    assert np.hypot(*result.params) == pytest.approx(x.mean(), abs=1e-5)
    best = multivariate_normal(x.mean(), 1.0).logpdf(x[:, 0]).sum()
    assert result.log_likelihood == pytest.approx(best, abs=1e-8)
    with pytest.raises(InformationError, match="not positive definite"):
        result.standard_errors()
