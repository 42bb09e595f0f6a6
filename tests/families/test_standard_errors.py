"""Standard errors: textbooks, the numerical Hessian, the spread of estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.errors import InformationError
from expmax.families.bernoulli import Bernoulli
from expmax.families.categorical import Categorical
from expmax.families.exponential import Exponential
from expmax.families.gamma import Gamma
from expmax.families.gaussian import Gaussian
from expmax.families.poisson import Poisson
from expmax.families.student_t import StudentT
from expmax.statistics import Array
from tests.cases import CASES, Case, over


def test_standard_errors_of_textbooks() -> None:
    rng = np.random.default_rng(0)
    n = 400
    x = rng.poisson(4, (n, 1)).astype(float)
    fit = Poisson().estimate_with_errors(x)
    assert_allclose(fit.standard_errors["rate"], np.sqrt(x.mean() / n), rtol=1e-6)
    x = rng.exponential(2, (n, 1))
    fit = Exponential().estimate_with_errors(x)
    assert_allclose(fit.standard_errors["rate"], 1 / x.mean() / np.sqrt(n), rtol=1e-6)
    x = (rng.random((n, 2)) < [0.2, 0.6]).astype(float)
    fit = Bernoulli().estimate_with_errors(x)
    p = x.mean(axis=0)
    assert_allclose(fit.standard_errors["probability"], np.sqrt(p * (1 - p) / n), rtol=1e-6)
    x = rng.integers(0, 3, (n, 1)).astype(float)
    fit = Categorical(3).estimate_with_errors(x)
    p = fit.estimates["probability"]
    assert_allclose(fit.covariance, (np.diag(p) - np.outer(p, p)) / n, rtol=1e-5, atol=1e-12)
    x = rng.multivariate_normal([0, 1], [[2, 0.5], [0.5, 1]], n)
    fit = Gaussian().estimate_with_errors(x)
    s = fit.estimates["covariance"]
    assert_allclose(fit.standard_errors["mean"], np.sqrt(np.diag(s) / n), rtol=1e-6)
    variance = (s**2 + np.outer(np.diag(s), np.diag(s))) / n  # Anderson (2003), §3.4
    assert_allclose(fit.standard_errors["covariance"], np.sqrt(variance), rtol=1e-5)
    low, high = fit.interval(0.9)["mean"]
    assert np.all(low < fit.estimates["mean"])
    assert np.all(high > fit.estimates["mean"])
    assert "std. error" in str(fit)


@over([c for c in CASES if c.quadrature is not None and c.family.scalar and not c.over_complete])
def test_standard_errors_are_those_of_the_numerical_hessian(case: Case) -> None:
    """Observed information by second differences of the log-likelihood itself."""
    family = case.family
    x = family.sample(case.parameters, 1, 400, np.random.default_rng(3))
    weight = np.random.default_rng(4).integers(1, 3, len(x)).astype(float)
    fit = family.estimate_with_errors(x, weight)
    names = [name for name in fit.estimates if fit.standard_errors[name] > 0]
    size = [float(fit.estimates[name]) for name in names]
    steps = [2e-3 * max(abs(v), 0.1) for v in size]

    def value(shift: Array) -> float:
        theta: dict[str, Any] = {name: np.asarray(v)[None] for name, v in fit.estimates.items()}
        for name, centre, h, s in zip(names, size, steps, shift, strict=True):
            theta[name] = np.array([centre + h * s])
        return float(weight @ family.log_density(theta, x)[:, 0])

    m = len(names)
    hessian = np.empty((m, m))
    for i, a in enumerate(np.eye(m)):
        for j, b in enumerate(np.eye(m)):
            corners = value(a + b) - value(a - b) - value(b - a) + value(-a - b)
            hessian[i, j] = corners / (4 * steps[i] * steps[j])
    expected = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    got = [float(fit.standard_errors[name]) for name in names]
    assert_allclose(got, expected, rtol=2e-2 if case.name == "VonMises" else 1e-2)


def test_standard_errors_of_a_student_t_cover() -> None:
    """Observed information of the location, not the complete-data one: SE = σ√((ν+3)/(ν+1)/n)."""
    n, nu = 4000, 4.0
    x = np.random.default_rng(0).standard_t(nu, (n, 1))
    fit = StudentT().estimate_with_errors(x)
    theory = np.sqrt((nu + 3) / (nu + 1) / n)
    assert_allclose(fit.standard_errors["mean"], theory, rtol=0.1)


def test_standard_errors_are_the_spread_of_estimates() -> None:
    """Gamma: 500 samples of 200 rows."""
    rng = np.random.default_rng(0)
    theta = [
        (float(f["shape"][0]), float(f["rate"][0]))
        for f in (Gamma().summarize(rng.gamma(3.0, 0.5, (200, 1))).fit() for _ in range(500))
    ]
    fit = Gamma().at(shape=3.0, rate=2.0)
    sample = Gamma().summarize(rng.gamma(3.0, 0.5, (200_000, 1))).estimate()
    spread = np.std(theta, axis=0)
    errors = np.array([sample.standard_errors["shape"], sample.standard_errors["rate"]])
    assert_allclose(spread, errors * np.sqrt(1000), rtol=0.15)
    assert_allclose(np.linalg.inv(fit.fisher_information[0])[0, 0] / 200, spread[0] ** 2, rtol=0.3)


def test_no_standard_errors_on_the_boundary() -> None:
    with pytest.raises(InformationError, match="boundary"):
        Poisson().estimate_with_errors(np.zeros((5, 1)))
