"""The ascending M-steps of searches against the M-steps that find the maximum."""

import numpy as np
import pytest

from expmax.families.covariance import STRUCTURES, maximize_covariance, objective
from expmax.inference import kernels_structures

SHAPES = [(1, 2), (3, 2), (4, 4), (6, 7)]  # components, columns


def scatters(n_components, n_columns, seed):
    """Counts and covariances within components, of different volume, shape and orientation."""
    rng = np.random.default_rng(seed)
    counts = rng.uniform(10.0, 60.0, n_components)
    rows = rng.standard_normal((n_components, n_columns, 3 * n_columns))
    rows *= rng.uniform(0.3, 3.0, (n_components, n_columns, 1))
    return counts, rows @ rows.swapaxes(1, 2) / (3 * n_columns)


def step(structure, counts, within, old):
    """Covariances, factors and whether all are positive definite."""
    covariances, factors = np.empty_like(old), np.empty_like(old)
    ok = kernels_structures.maximizer(structure)(counts, within, old, covariances, factors)
    return covariances, factors, ok


@pytest.mark.parametrize(("n_components", "n_columns"), SHAPES)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_steps_rise_to_the_maximum(structure, n_components, n_columns):
    counts, within = scatters(n_components, n_columns, 0)
    _, other = scatters(n_components, n_columns, 1)
    scatter = counts[:, None, None] * within
    current = np.ascontiguousarray(
        maximize_covariance(structure, counts, counts[:, None, None] * other)
    )
    best = objective(counts, scatter, maximize_covariance(structure, counts, scatter, current))
    value = objective(counts, scatter, current)
    for _ in range(60):
        current, factors, ok = step(structure, counts, within, current)
        assert ok
        risen = objective(counts, scatter, current)
        assert risen >= value - 1e-10 * abs(value)
        value = risen
    # the common axes of EVE and VVE are a local maximum on both sides
    assert value == pytest.approx(best, abs=1e-6) or (structure[1:] == "VE" and value > best)
    identity = np.broadcast_to(np.eye(n_columns), current.shape)
    np.testing.assert_allclose(
        current @ factors @ factors.swapaxes(1, 2), identity, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_what_comes_out_is_of_the_structure(structure):
    counts, within = scatters(3, 3, 2)
    old = maximize_covariance(structure, counts, counts[:, None, None] * within)
    new, _, _ = step(structure, counts, within, np.ascontiguousarray(old))
    again = maximize_covariance(structure, counts, counts[:, None, None] * new, new)
    np.testing.assert_allclose(again, new, atol=1e-9 * np.abs(new).max(), rtol=0)


@pytest.mark.parametrize("structure", ["EEE", "VEE", "EVV", "VVV", "VVI", "EEI"])
def test_a_component_without_volume_is_told(structure):
    counts, within = scatters(2, 2, 3)
    flat = within.copy()
    flat[:] = np.outer([1.0, 0.0], [1.0, 0.0])
    assert not step(structure, counts, flat, within)[2]
