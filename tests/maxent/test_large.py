"""Many features: no Hessian, no dense copy, and an honest end."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array, random_array

from expmax import maximum_entropy
from expmax.errors import InfeasibleMomentsError
from expmax.maxent.feasibility import possible_points, separate
from expmax.maxent.large import Budget, _conjugate_residuals


def tilted(f: csr_array, rng: np.random.Generator) -> np.ndarray:
    weight = np.exp(0.3 * rng.normal(size=f.shape[0]))
    return np.asarray(f.T @ (weight / weight.sum()))


def test_conjugate_residuals_solve_and_never_raise_the_residual() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(40, 30)) * np.geomspace(1, 1e-3, 30)
    matrix, right = root.T @ root, rng.normal(size=30)
    inverse = 1.0 / matrix.diagonal()

    def left(products: int) -> float:
        x = _conjugate_residuals(lambda v: matrix @ v, right, inverse, 0.0, Budget(products))
        r = right - matrix @ x
        return float(r @ (inverse * r))

    ends = [left(products) for products in (2, 4, 8, 16, 32)]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(ends))
    assert ends[-1] < 1e-10 * ends[0]  # exact after 30 products, but for rounding


def test_conjugate_residuals_count_their_products() -> None:
    budget = Budget(7)
    matrix = np.diag(np.geomspace(1, 1e-6, 50))
    _conjugate_residuals(lambda v: matrix @ v, np.ones(50), np.ones(50), 0.0, budget)
    assert budget.left == 0


@pytest.mark.parametrize("n_features", [250, 1500])
def test_agrees_with_the_dense_solution(n_features: int) -> None:
    rng = np.random.default_rng(1)
    f = csr_array(random_array((4000, n_features), density=5 / n_features, rng=rng, format="csr"))
    moments = tilted(f, rng)
    found = maximum_entropy(f, moments)
    assert found.status == "solved"
    assert np.abs(found.residuals).max() < 1e-12
    plain = maximum_entropy(f, moments, method="newton")
    assert_allclose(found.probabilities, plain.probabilities, rtol=1e-7)


def test_rows_of_a_constant_sum_are_solved_without_a_dense_copy() -> None:
    """Frequencies of words: every row sums to 5, columns range from common to seen once."""
    rng = np.random.default_rng(2)
    n = 20_000
    words = np.minimum((rng.pareto(1.0, 5 * n) * 3).astype(int), n - 1)
    f = csr_array((np.ones(5 * n), words, np.arange(0, 5 * n + 1, 5)), shape=(n, n))
    f.sum_duplicates()
    found = maximum_entropy(f, tilted(f, rng))
    assert found.status == "solved"
    assert np.abs(found.residuals).max() < 1e-11


def test_as_many_exact_constraints_as_points_end_honestly() -> None:
    rng = np.random.default_rng(3)
    n = 6000
    f = csr_array(random_array((n, n), density=5 / n, rng=rng, format="csr"))
    moments = tilted(f, rng)
    short = maximum_entropy(f, moments, max_iter=4)
    assert short.status == "max_iter"
    assert "tolerance" in short.reason
    assert "standard deviations" in short.reason
    enough = maximum_entropy(f, moments, tol=1e-4)
    assert enough.status == "solved"
    deviation = np.sqrt(np.asarray(f.multiply(f).mean(axis=0)).ravel()) + 1e-300
    assert (np.abs(enough.residuals) / deviation).max() < 1.1e-4


def test_tolerances_bound_the_distance_from_the_optimum() -> None:
    """The gap is ½ Σ (residual/σ + σ λ)², whatever the optimum; here it is computed afresh."""
    rng = np.random.default_rng(4)
    n = 3000
    f = csr_array(random_array((n, n), density=5 / n, rng=rng, format="csr"))
    moments = tilted(f, rng)
    tolerance = np.sqrt(np.asarray(f.multiply(f).mean(axis=0)).ravel() / n) + 1e-9
    found = maximum_entropy(f, moments, tolerance=tolerance)
    assert found.status == "solved"
    mean = np.asarray(f.T @ found.probabilities)
    gap = 0.5 * (((mean - moments) / tolerance + tolerance * found.natural) ** 2).sum()
    assert gap < 1e-9
    assert_allclose(found.gap, gap, rtol=1e-3, atol=1e-14)


def test_gap_of_mixed_constraints_vanishes() -> None:
    x = np.random.default_rng(5).normal(size=(300, 4))
    asked = [0.1, (0.2, 0.3), 0.05, (-0.2, 0.4)]
    found = maximum_entropy(x, asked, tolerance=[0, 0, 0.1, 0.2])
    assert found.status == "solved"
    assert found.gap < 1e-12


def test_a_centre_kept_apart_changes_no_program() -> None:
    rng = np.random.default_rng(6)
    f = rng.integers(0, 3, size=(30, 4)).astype(float)
    for centre in (f.mean(axis=0), f[0], f.max(axis=0) + 0.1, 0.5 * (f[0] + f[1])):
        for half in (np.zeros(4), np.array([0.0, 0.1, 0.0, 0.05])):
            one = separate(f - centre, half)
            other = separate(csr_array(f), half, centre)
            assert (one is None) == (other is None)
            if one is None:
                faces = (
                    possible_points(f - centre, half),
                    possible_points(csr_array(f), half, centre),
                )
                assert np.array_equal(*faces)


def test_infeasible_sparse_moments_are_proved() -> None:
    rng = np.random.default_rng(7)
    f = csr_array(random_array((3000, 1200), density=5 / 1200, rng=rng, format="csr"))
    moments = tilted(f, rng)
    moments[7] = f.max(axis=0).toarray().ravel()[7] * 1.01
    with pytest.raises(InfeasibleMomentsError) as caught:
        maximum_entropy(f, moments)
    assert caught.value.conflicts == ["f7"]
    assert (f @ caught.value.direction - moments @ caught.value.direction).max() < 0
