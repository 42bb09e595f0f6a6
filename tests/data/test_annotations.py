"""Labels by workers: what is read is what was given, in little memory and one order."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from expmax.data.annotations import read_annotations
from expmax.errors import ParameterError


def test_few_labels_of_most_items_and_many_of_some_take_little_memory():
    lengths = np.r_[np.ones(20000, int), 3000, np.full(500, 40)]
    item = np.repeat(np.arange(len(lengths)), lengths)
    rng = np.random.default_rng(0)
    table = np.stack(
        [item, rng.integers(50, size=len(item)), rng.integers(2, size=len(item))], axis=1
    )
    data, _ = read_annotations(table)
    blocks, members = data.blocks()
    assert sum(block.x.size for block in blocks) <= 1.5 * len(table)
    assert_array_equal(np.sort(np.concatenate(members)), np.arange(len(lengths)))
    codes = np.sort(np.concatenate([block.x[block.x >= 0] for block in blocks]))
    assert_array_equal(codes, np.sort(table[:, 1] * 2 + table[:, 2]))


def triples(data):
    return {
        (data.items[i], data.workers[w], data.classes[k])
        for i, w, k in zip(data.item, data.worker, data.label, strict=True)
    }


def test_long_and_wide_say_the_same():
    long = [("x", "ann", "no"), ("y", "bob", "yes"), ("x", "bob", "no")]
    data, reading = read_annotations(long)
    assert triples(data) == set(long)
    assert (data.items, data.workers, data.classes) == (["x", "y"], ["ann", "bob"], ["no", "yes"])
    wide, _ = read_annotations(pd.DataFrame({"ann": ["no", None], "bob": ["no", "yes"]}))
    assert triples(wide) == {(0, "ann", "no"), (1, "bob", "yes"), (0, "bob", "no")}
    again = reading([("z", "bob", "yes")])
    assert (again.workers, again.classes) == (data.workers, data.classes)
    assert again.items == ["z"]


def test_minus_one_is_no_label_in_a_wide_table_unless_it_is_a_class():
    wide = np.array([[1, -1, 1, -1], [1, 1, -1, -1]])
    assert read_annotations(wide, classes=[1, 2])[0].classes == [1, 2]
    assert len(read_annotations(wide)[0].label) == 4
    assert len(read_annotations(wide, classes=[-1, 1])[0].label) == 8
    long = [[0, 0, -1], [0, 1, 1], [1, 7, -1]]
    assert read_annotations(long, "long")[0].classes == [-1, 1]


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(0)
    table = np.stack(
        [rng.integers(40, size=300), rng.integers(7, size=300), rng.integers(3, size=300)], 1
    )
    first, _ = read_annotations(table)
    other, _ = read_annotations(table[rng.permutation(300)])
    for a, b in zip(first.blocks()[0], other.blocks()[0], strict=True):
        assert_array_equal(a.x, b.x)


def test_integers_with_gaps_stay_integers():
    data, _ = read_annotations(pd.DataFrame({"a": [1.0, 2.0, None], "b": [2.0, None, 1.0]}))
    assert [type(value) for value in data.classes] == [int, int]


def test_three_columns_of_the_same_values_may_be_workers():
    with pytest.raises(ParameterError, match="say layout="):
        read_annotations(np.array([[0, 1, 1], [1, 0, 0]]))
    assert len(read_annotations(np.array([[0, 1, 1], [1, 0, 0]]), "wide")[0].label) == 6
    assert len(read_annotations(np.array([[0, 1, 1], [1, 0, 0]]), "long")[0].label) == 2
