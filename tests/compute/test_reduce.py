"""Sums in a fixed tree."""

import threading
import time

import numpy as np
import pytest

from expmax.compute.reduce import Serial, Threads, make_compute, tree_sum
from expmax.contract import Block, make_blocks
from expmax.errors import ParameterError


class Term:
    """Writes down the tree."""

    def __init__(self, text):
        self.text = text

    def __add__(self, other):
        return Term(f"({self.text}{other.text})")


def blocks(n, rows=1):
    return make_blocks(np.arange(float(n))[:, None], None, None, rows)


@pytest.mark.parametrize(
    ("letters", "tree"),
    [
        ("a", "a"),
        ("ab", "(ab)"),
        ("abc", "((ab)c)"),
        ("abcd", "((ab)(cd))"),
        ("abcde", "(((ab)(cd))e)"),
        ("abcdefg", "(((ab)(cd))((ef)g))"),
    ],
)
def test_neighbours_first(letters, tree):
    assert tree_sum([Term(letter) for letter in letters]).text == tree
    for compute in (Serial(), Threads(3)):
        summed = compute.total(lambda b: Term(letters[int(b.x[0, 0])]), blocks(len(letters)))
        assert summed.text == tree


def test_rounding_grows_slowly():
    """A million tenths: the plain running sum is off by 1e-8, the tree by a few bits."""
    assert tree_sum([0.1] * 2**20) == 0.1 * 2**20


def test_the_tree_does_not_depend_on_who_finishes_first():
    def slow_first(block):
        time.sleep(0.01 if block.x[0, 0] == 0 else 0.0)
        return 10.0 ** -block.x[0, 0]

    expected = Serial().total(slow_first, blocks(13))
    for n_workers in (2, 8):
        assert Threads(n_workers).total(slow_first, blocks(13)) == expected


def test_an_exception_in_a_worker_reaches_the_caller():
    def fail(block):
        raise ZeroDivisionError(int(block.x[0, 0]))

    with pytest.raises(ZeroDivisionError):
        Threads(2).total(fail, blocks(4))


def test_threads_do_the_work():
    names = set()
    barrier = threading.Barrier(2)

    def note(block):
        barrier.wait(timeout=30)  # passes only if two threads are in here at once
        names.add(threading.current_thread().name)
        return 1.0

    assert Threads(2).total(note, blocks(2)) == 2.0
    assert len(names) == 2
    assert threading.current_thread().name not in names


@pytest.mark.parametrize(
    ("n_jobs", "kind"), [(None, Serial), (1, Serial), (2, Threads), (7, Threads)]
)
def test_make_compute(n_jobs, kind):
    assert type(make_compute(n_jobs)) is kind


def test_negative_n_jobs_count_from_the_processors(monkeypatch):
    from expmax.compute import reduce

    monkeypatch.setattr(reduce, "_processors", lambda: 4)
    assert make_compute(-1).n_workers == 4
    assert make_compute(-3).n_workers == 2
    assert type(make_compute(-4)) is Serial
    assert type(make_compute(-99)) is Serial


@pytest.mark.parametrize("n_jobs", [0, 1.5, "two", True])
def test_make_compute_refuses(n_jobs):
    with pytest.raises(ParameterError, match="n_jobs"):
        make_compute(n_jobs)


def test_blocks_cover_the_rows_once_and_in_order():
    x = np.arange(23.0)[:, None]
    weight, label = np.arange(23.0), np.arange(23)
    for rows in (1, 5, 22, 23, 24):
        cut = make_blocks(x, weight, label, rows)
        assert all(len(block.x) <= rows for block in cut)
        np.testing.assert_array_equal(np.vstack([block.x for block in cut]), x)
        np.testing.assert_array_equal(np.concatenate([block.weight for block in cut]), weight)
        np.testing.assert_array_equal(np.concatenate([block.label for block in cut]), label)
    assert all(block.memo == {} for block in make_blocks(x, None, None, 5))
    assert all(block.memo is None for block in make_blocks(x, None, None, 5, memo_limit=10))
    assert Block(x).total_weight == 23.0
    assert Block(x, weight).total_weight == weight.sum()
