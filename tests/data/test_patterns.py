"""Counting comparison vectors: against np.unique, and back from keys."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from expmax.data.patterns import Levels, learn_levels
from expmax.errors import DataError


@pytest.mark.parametrize("sizes", [(2, 3, 4), (60, 70, 80, 90)])
def test_patterns_are_counted(sizes):
    """Against np.unique, by a table of all patterns and, where they are too many, by sorting."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(size, size=5000) for size in sizes], axis=1).astype(float)
    x[rng.random(x.shape) < 0.1] = np.nan
    weight = rng.uniform(0.5, 2.0, len(x))
    label = rng.integers(-1, 2, len(x))
    rows = Levels(sizes).count(x, weight, label)
    key = np.column_stack([np.nan_to_num(x, nan=-5), label])
    expected, inverse, counts = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    found = np.column_stack([np.nan_to_num(rows.x, nan=-5), rows.label])
    order = np.lexsort(found.T[::-1])
    assert_array_equal(found[order], expected)
    assert_array_equal(rows.count[order], counts)
    assert_allclose(rows.weight[order], np.bincount(inverse, weight), rtol=1e-12)
    assert_allclose(rows.square[order], np.bincount(inverse, weight**2), rtol=1e-12)


def test_keys_and_rows_are_one_to_one():
    levels = Levels((2, 3, 4))
    keys = np.arange(levels.n_keys)
    assert levels.n_keys == 3 * 4 * 5
    assert_array_equal(levels.keys(levels.rows(keys)), keys)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, bool])
def test_any_type_of_numbers_is_read(dtype):
    x = np.random.default_rng(0).integers(2, size=(40_000, 3)).astype(dtype)
    levels = learn_levels(x, None, None)
    assert levels.sizes == (2, 2, 2)
    counts = levels.count(x).count
    assert_array_equal(counts, np.bincount(x.astype(int) @ [4, 2, 1]))


def test_levels_are_learned_field_by_field():
    x = np.array([[0, 5, np.nan], [1, np.nan, np.nan], [0, 1, np.nan]])
    assert learn_levels(x, None, None).sizes == (2, 6, 2)
    assert learn_levels(x, None, [2, 7, 3]).sizes == (2, 7, 3)


def test_too_many_patterns_are_refused():
    with pytest.raises(DataError, match="2⁵³"):
        Levels((100,) * 9).keys(np.zeros((1, 9)))
