"""Responsibilities handed from one number of components to the next."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from expmax.selection.moves import agreement, deletions, merges, splits

RNG = np.random.default_rng(0)
R = RNG.dirichlet(np.ones(3), 40)
POINTS = RNG.normal(size=(40, 2))


@pytest.mark.parametrize("rng", [None, np.random.default_rng(1)])
def test_a_split_parts_one_component_and_leaves_the_others(rng):
    found = list(splits(R, POINTS, rng))
    assert len(found) == 3
    for parent, new in enumerate(found):
        assert new.shape == (40, 4)
        assert_allclose(new[:, parent] + new[:, 3], R[:, parent])
        assert (np.minimum(new[:, parent], new[:, 3]) == 0).all()
        others = [k for k in range(3) if k != parent]
        assert_allclose(new[:, others], R[:, others])
        assert new[:, 3].sum() > 0
        assert new[:, parent].sum() > 0


def test_an_empty_component_is_not_split():
    r = np.column_stack([np.ones(40), np.zeros(40)])
    assert len(list(splits(r, POINTS))) == 1


def test_deletions_and_mergers_remain_distributions():
    assert len(list(deletions(R))) == 3
    assert len(list(merges(R, None, 2))) == 2
    for new in [*deletions(R), *merges(R, np.arange(40.0), 9)]:
        assert new.shape == (40, 2)
        assert_allclose(new.sum(axis=1), 1.0)


def test_rows_of_a_deleted_component_are_shared_out():
    r = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert_allclose(next(deletions(r)), [[0.5, 0.5], [1.0, 0.0]])


def test_the_pair_that_overlaps_most_is_merged_first():
    r = np.array([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    assert_allclose(next(merges(r, None, 1)), [[0.9, 0.1], [0.0, 1.0], [0.0, 1.0]])


def test_agreement_is_up_to_labels_and_weighted():
    one = np.array([0, 0, 1, 2])
    assert agreement(one, (one + 1) % 3, None) == 1.0
    assert agreement(one, np.array([0, 0, 1, 1]), None) == 0.75
    assert agreement(one, np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 1.0, 0.0])) == 1.0
