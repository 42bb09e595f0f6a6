"""Random small problems, many of them on faces or infeasible, against linear programs point by point."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

import expmax as em
from expmax.errors import InfeasibleMomentsError


def random_problem(rng):
    """Points on a small lattice (so that faces are common) or anywhere; Δ inside, on a face or outside."""
    n, m = rng.integers(3, 12), rng.integers(1, 5)
    f = rng.integers(0, 4, (n, m)).astype(float) if rng.random() < 0.7 else rng.normal(size=(n, m))
    if rng.random() < 0.3 and m > 1:
        f[:, -1] = 2 * f[:, 0] + 1  # redundant, or contradictory
    if rng.random() < 0.5:
        some = rng.choice(n, rng.integers(1, n + 1), replace=False)
        target = rng.dirichlet(np.ones(len(some))) @ f[some]
    else:
        target = rng.integers(0, 4, m).astype(float)
    half = np.where(rng.random(m) < 0.3, 0.5, 0.0)
    return f, target - half, target + half


def largest_probabilities(f, low, high):
    """max p_i over the distributions that fit, one program a point; None where none fits."""
    exact = low == high
    constraints = {
        "A_eq": np.vstack([f[:, exact].T, np.ones(len(f))]),
        "b_eq": np.r_[low[exact], 1.0],
        "A_ub": np.vstack([f[:, ~exact].T, -f[:, ~exact].T]),
        "b_ub": np.r_[high[~exact], -low[~exact]],
    }
    if exact.all():
        del constraints["A_ub"], constraints["b_ub"]
    if linprog(np.zeros(len(f)), **constraints).status != 0:
        return None
    return np.array([-linprog(-np.eye(len(f))[i], **constraints).fun for i in range(len(f))])


@pytest.mark.parametrize("seed", range(80))
def test_status_face_and_proof(seed):
    f, low, high = random_problem(np.random.default_rng(seed))
    largest = largest_probabilities(f, low, high)
    moments = np.column_stack([low, high])
    if largest is None:
        with pytest.raises(InfeasibleMomentsError) as caught:
            em.maximum_entropy(f, moments)
        v = caught.value.direction
        worst = np.where(v > 0, low, high)  # the Δ allowed that is best for v
        assert ((f - worst) @ v < 0).all()
        assert caught.value.conflicts == [f"f{j}" for j in np.flatnonzero(v)]
        return
    found = em.maximum_entropy(f, moments)
    assert found.zero_points.tolist() == np.flatnonzero(largest < 1e-8).tolist()
    assert found.status == ("boundary" if len(found.zero_points) else "solved")
    assert np.abs(found.residuals).max() < 1e-9
    assert_allclose(found.probabilities.sum(), 1.0, rtol=1e-13)
    for j in np.flatnonzero(
        (np.abs(found.natural) > 1e-6) & (low < high)
    ):  # complementary slackness
        assert_allclose(found.mean[j], low[j] if found.natural[j] > 0 else high[j], atol=1e-8)
