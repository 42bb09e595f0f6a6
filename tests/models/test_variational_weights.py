"""Distributions of mixing weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.models.variational_weights import WeightDistribution

KINDS = ("dirichlet_distribution", "dirichlet_process")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_averages_over_draws(kind: Any) -> None:
    rng = np.random.default_rng(0)
    q = WeightDistribution.prior(kind, 4, 0.8).update(np.array([5.0, 0.3, 9.0, 2.0]))
    if kind == KINDS[0]:
        w = rng.dirichlet(q.distribution.concentration[0], 40_000)
    else:
        v = rng.beta(q.distribution.a[0], q.distribution.b[0], (40_000, 3))
        rest = np.cumprod(1 - v, axis=1)
        w = np.hstack([v, np.ones((40_000, 1))]) * np.hstack([np.ones((40_000, 1)), rest])
    assert_allclose(w.sum(axis=1), 1.0)
    assert_allclose(q.mean(), w.mean(axis=0), atol=5e-3)
    assert_allclose(q.mean().sum(), 1.0)
    error = np.log(w).std(axis=0) / 200
    assert np.all(np.abs(q.expected_log() - np.log(w).mean(axis=0)) < 5 * error)
