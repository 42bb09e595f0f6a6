"""Densities: textbook families come out, SciPy's quadrature agrees, and what has no maximum says so."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import quad
from scipy.special import digamma, polygamma

import expmax as em
from expmax.errors import InfeasibleMomentsError
from expmax.maxent import Box, Interval
from expmax.maxent.quadrature import gauss_kronrod


def x1(x):
    return x


def x2(x):
    return x**2


def x3(x):
    return x**3


def x4(x):
    return x**4


def test_kronrod_rule_is_exact_to_its_degree():
    nodes, kronrod, gauss = gauss_kronrod()
    for degree in range(24):
        exact = 0.0 if degree % 2 else 2 / (degree + 1)
        assert_allclose(kronrod @ nodes**degree, exact, atol=1e-15)
        if degree < 14:
            assert_allclose(gauss @ nodes**degree, exact, atol=1e-15)


TEXTBOOK = [
    ("Gaussian", "line", (x1, x2), (1.0, 5.0), stats.norm(1, 2)),
    ("Gaussian far off", "line", (x1, x2), (1e3, 1e6 + 1), stats.norm(1e3, 1)),
    ("Gaussian, narrow", "line", (x1, x2), (0.0, 1e-8), stats.norm(0, 1e-4)),
    ("exponential", "half-line", (x1,), (3.0,), stats.expon(scale=3)),
    ("exponential below 2", Interval(high=2.0), (x1,), (-3.0,), None),
    ("uniform", Interval(2, 5), (), (), stats.uniform(2, 3)),
    ("gamma", "half-line", (x1, np.log), (6.0, np.log(3) + digamma(2)), stats.gamma(2, scale=3)),
    ("gamma of shape .2", "half-line", (x1, np.log), (0.2, digamma(0.2)), stats.gamma(0.2)),
    (
        "log-normal",
        "half-line",
        (np.log, lambda x: np.log(x) ** 2),
        (9.0, 85.0),
        stats.lognorm(2, scale=np.exp(9)),
    ),
    ("Pareto", Interval(1), (np.log,), (0.5,), stats.pareto(2)),
    ("Laplace", Interval(breaks=(0,)), (np.abs,), (2.0,), stats.laplace(scale=2)),
    ("Cauchy", "line", (lambda x: np.log1p(x * x),), (2 * np.log(2),), stats.cauchy()),
    (
        "Weibull of known shape",
        "half-line",
        (lambda x: x**1.5, np.log),
        (1.0, digamma(1) / 1.5),
        stats.weibull_min(1.5),
    ),
    (
        "beta",
        Interval(0, 1),
        (np.log, lambda x: np.log1p(-x)),
        (digamma(2) - digamma(5), digamma(3) - digamma(5)),
        stats.beta(2, 3),
    ),
]


@pytest.mark.parametrize("case", TEXTBOOK, ids=lambda case: case[0])
def test_textbook_families(case):
    _, support, features, moments, reference = case
    names = [f"f{j}" for j in range(len(features))]
    found = em.maximum_entropy(list(features), list(moments), support=support, names=names)
    assert found.status == "solved"
    assert found.error < 1e-9
    assert found.gap < 1e-12
    if reference is None:
        assert_allclose(found.natural, [0.2], rtol=1e-12)
        return
    x = reference.ppf([0.001, 0.1, 0.5, 0.9, 0.999])
    # a Gaussian a thousand deviations off: x² keeps seven digits less
    rtol = 1e-6 if moments and moments[0] == 1e3 else 1e-9
    assert_allclose(found.density(x), reference.pdf(x), rtol=rtol)
    assert_allclose(found.entropy, reference.entropy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mean", [0.01, 0.3, 0.5, 0.75, 0.999])
def test_truncated_exponential(mean):
    found = em.maximum_entropy(x1, mean, support=Interval(0, 1))
    rate = found.natural[0]
    value = 0.5 if rate == 0 else -1 / np.expm1(-rate) - 1 / rate
    assert_allclose(value, mean, rtol=1e-10)
    total = quad(lambda x: found.density([x])[0], 0, 1, points=[mean])[0]
    assert_allclose(total, 1.0, rtol=1e-9)


def test_scipy_integrates_the_same_moments():
    found = em.maximum_entropy([x1, x2, x3, x4], [0, 1, 0.1, 2.5], support="line")
    assert found.status == "solved"
    density = lambda x: found.density([x])[0]  # noqa: E731
    for power, moment in enumerate([1, 0, 1, 0.1, 2.5]):
        assert_allclose(quad(lambda x, k=power: x**k * density(x), -8, 8)[0], moment, atol=1e-9)
    assert_allclose(
        -quad(lambda x: density(x) * np.log(density(x)), -6, 6)[0], found.entropy, rtol=1e-8
    )


def test_base_measure_and_divergence():
    found = em.maximum_entropy(x1, 1.0, support="line", base_measure=stats.norm().pdf)
    assert_allclose(found.natural, [1.0], rtol=1e-10)  # the Gaussian tilted to mean 1
    assert_allclose(found.kl_to_base, 0.5, rtol=1e-10)
    assert_allclose(found.entropy, stats.norm().entropy(), rtol=1e-10)


def test_sensitivity_by_differences():
    step = 1e-4
    values = [
        em.maximum_entropy(x1, 0.3 + s * step, support=Interval(0, 1)).entropy for s in (1, -1)
    ]
    here = em.maximum_entropy(x1, 0.3, support=Interval(0, 1))
    assert_allclose(here.sensitivities[0], (values[0] - values[1]) / (2 * step), rtol=1e-6)
    assert_allclose(here.sensitivities, -here.natural)


def test_intervals_and_tolerances():
    assert_allclose(em.maximum_entropy(x1, [(1, 2)], support="half-line").mean, [2.0], rtol=1e-10)
    free = em.maximum_entropy(x1, [(0.4, 0.6)], support=Interval(0, 1))
    assert_allclose(free.density([0.1, 0.9]), 1.0, rtol=1e-12)
    soft = em.maximum_entropy(x1, 0.9, support=Interval(0, 1), tolerance=0.01)
    assert_allclose(soft.mean[0] - 0.9, -1e-4 * soft.natural[0], rtol=1e-8)


def test_plane_and_space():
    line = Interval()
    columns = [lambda x, i=i: x[:, i] for i in range(2)]
    squares = [lambda x, i=i: x[:, i] ** 2 for i in range(2)]
    found = em.maximum_entropy(
        [*columns, *squares, lambda x: x[:, 0] * x[:, 1]],
        [0, 0, 1, 1, 0.5],
        support=Box([line, line]),
        names=["x", "y", "xx", "yy", "xy"],
    )
    reference = stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]])
    x = np.array([[0, 0], [1, -1], [2, 1.5]])
    assert_allclose(found.density(x), reference.pdf(x), rtol=1e-8)
    assert_allclose(found.entropy, reference.entropy(), rtol=1e-8)

    coordinates = [lambda x, i=i: x[:, i] for i in range(3)]
    cube = em.maximum_entropy(
        coordinates, [0.4, 6.0, 0.25], support=Box([(0, np.inf)] * 3), names=list("xyz")
    )
    assert_allclose(cube.natural, [-2.5, -1 / 6, -4.0], rtol=1e-7)


def test_infeasible_is_proved():
    with pytest.raises(InfeasibleMomentsError) as caught:
        em.maximum_entropy([x1, x2], [1.0, 0.5], support="line", names=["mean", "second"])
    assert caught.value.conflicts == ["mean", "second"]
    v = caught.value.direction  # v₁ (x − 1) + v₂ (x² − ½) < 0 for all x: a parabola without roots
    assert v[1] < 0
    assert v[0] ** 2 + 4 * v[1] * (v[0] + v[1] / 2) < 0
    with pytest.raises(InfeasibleMomentsError, match="E\\[mean\\] = 2"):
        em.maximum_entropy(x1, 2.0, support=Interval(0, 1), names=["mean"])
    product = [lambda x: x[:, 0], lambda x: x[:, 0] * x[:, 1]]
    with pytest.raises(InfeasibleMomentsError):
        em.maximum_entropy(product, [0.3, 0.35], support=Box([(0, 1)] * 2), names=["x", "xy"])


NOT_ATTAINED = [
    ("third moment", (x1, x2, x3), (0, 1, 0.5), "line", "'x3'"),
    ("kurtosis above the Gaussian's", (x1, x2, x4), (0, 1, 4.0), "line", "'x4'"),
    ("just above", (x1, x2, x4), (0, 1, 3.01), "line", "'x4'"),
    ("no constraint", (), (), "line", "no upper bound"),
    ("mean alone", (x1,), (0.0,), "line", "no upper bound"),
    ("one logarithm", (np.log,), (0.0,), "half-line", "no upper bound"),
    ("end of the interval", (x1,), (1.0,), Interval(0, 1), "measure zero"),
    ("no variance", (x1, x2), (1.0, 1.0), "line", "measure zero"),
    ("two points", (x1, x2, x4), (0.0, 1.0, 1.0), "line", "measure zero"),
]


@pytest.mark.parametrize("case", NOT_ATTAINED, ids=lambda case: case[0])
def test_not_attained_says_why(case):
    _, features, moments, support, words = case
    names = [f.__name__ for f in features]
    found = em.maximum_entropy(list(features), list(moments), support=support, names=names)
    assert found.status == "not_attained"
    assert words in found.reason
    assert "not_attained" in str(found.summary())


def test_the_limit_of_a_supremum_is_returned():
    found = em.maximum_entropy([x1, x2, x4], [0, 1, 4.0], support="line")
    assert_allclose(found.entropy, stats.norm().entropy(), rtol=1e-10)
    assert_allclose(found.residuals, [0, 0, -1], atol=1e-9)


def test_attained_beside_the_border():
    for kurtosis in (2.0, 2.99, 3.0):
        found = em.maximum_entropy([x1, x2, x4], [0, 1, kurtosis], support="line")
        assert found.status == "solved"
        assert_allclose(found.mean, [0, 1, kurtosis], atol=1e-8)
    assert em.maximum_entropy([x1, x2, x3], [0, 1, 0], support="line").status == "solved"


def test_a_face_of_positive_measure():
    found = em.maximum_entropy(
        lambda x: np.maximum(x, 0), 0.0, support=Interval(-1, 1, breaks=(0,))
    )
    assert found.status == "boundary"
    assert_allclose(found.entropy, 0.0, atol=1e-12)  # uniform on [−1, 0]


def test_draws_follow_the_density():
    gauss = em.maximum_entropy([x1, x2], [1.0, 5.0], support="line")
    assert stats.kstest(gauss.sample(20_000, 0), stats.norm(1, 2).cdf).pvalue > 1e-3
    beta = em.maximum_entropy(
        [np.log, lambda x: np.log1p(-x)],
        [digamma(2) - digamma(5), digamma(3) - digamma(5)],
        support=Interval(0, 1),
    )
    assert stats.kstest(beta.sample(20_000, 1), stats.beta(2, 3).cdf).pvalue > 1e-3
    plane = em.maximum_entropy(lambda x: x[:, 0] * x[:, 1], 0.3, support=Box([(0, 1)] * 2))
    xy = plane.sample(40_000, 2)
    spread = np.sqrt(plane.covariance[0, 0] / 40_000)
    assert abs((xy[:, 0] * xy[:, 1]).mean() - 0.3) < 5 * spread


def test_covariance_of_features():
    found = em.maximum_entropy([x1, np.log], [6.0, np.log(3) + digamma(2)], support="half-line")
    expected = [[18.0, 3.0], [3.0, polygamma(1, 2)]]  # Gamma(2, scale 3): Cov(x, log x) = scale
    assert_allclose(found.covariance, expected, rtol=1e-8)


def test_plot_draws_the_density():
    found = em.maximum_entropy([x1, x2], [1.0, 5.0], support="line")
    assert len(found.plot().lines) == 1
