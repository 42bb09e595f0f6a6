"""Which family each kind of column gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expmax import Bernoulli, Categorical, Gaussian, Poisson, Product
from expmax.data import read_table
from expmax.data.files import read_file
from expmax.errors import DataError
from expmax.selection.columns import Choice, choose_family

RNG = np.random.default_rng(0)
N = 200
COLUMNS: dict[str, tuple[Any, str | None]] = {
    "real": (RNG.normal(3, 1, N), "Gaussian"),
    "whole numbers far from zero": (RNG.integers(43, 97, N), "Gaussian"),
    "whole numbers below zero": (RNG.integers(-20, 20, N), "Gaussian"),
    "incomes": (np.round(RNG.lognormal(10, 1, N)), "Gaussian"),
    "counts": (RNG.poisson(2, N), "Poisson"),
    "counts with many zeros": (RNG.poisson(RNG.choice([0.2, 9], N)), "Poisson"),
    "counts stored as floats": (RNG.poisson(2, N).astype(float), "Poisson"),
    "negative binomial counts": (RNG.negative_binomial(2, 0.1, N), "Poisson"),
    "answers": (RNG.integers(0, 2, N), "Bernoulli"),
    "ratings": (np.clip(np.round(RNG.normal(4, 0.8, N)), 1, 5), "Categorical"),
    "codes of two": (RNG.integers(1, 3, N), "Categorical"),
    "true or false": (RNG.random(N) < 0.3, "Categorical"),
    "text": (RNG.choice(["red", "green", "blue"], N), "Categorical"),
    "an index": (RNG.permutation(N) + 1, None),
    "years": (np.arange(1800, 1800 + N), None),
    "names": ([f"name {i}" for i in range(N)], None),
    "mostly different texts": ([f"name {i // 2 if i < 80 else i}" for i in range(N)], None),
    "a constant": (np.full(N, 4.5), None),
    "constant text": (["same"] * N, None),
    "nothing": ([None] * N, None),
}


def column(cells: Any) -> Any:
    values = cells.tolist() if isinstance(cells, np.ndarray) else cells
    return [[value, float(i * i % 97) + 0.5] for i, value in enumerate(values)]


@pytest.mark.parametrize("name", COLUMNS)
def test_the_family_of_a_column(name: str) -> None:
    cells, expected = COLUMNS[name]
    verdict = choose_family(read_table(column(cells))).verdicts[0]
    assert verdict.family == expected
    assert verdict.reason


def test_what_is_asked_for_by_name_is_not_left_out() -> None:
    table = read_table(column(COLUMNS["an index"][0]))
    assert choose_family(table, keep=[0]).verdicts[0].family == "Gaussian"
    table = read_table(column(COLUMNS["names"][0]))
    assert choose_family(table, keep=[0]).verdicts[0].family == "Categorical"


def test_with_weights_no_column_is_an_index() -> None:
    table = read_file("examples/data/london_deaths.csv")
    weight = table.column("freq").cells
    choice = choose_family(table.select(["count"]), weight)
    assert choice.family == Poisson()
    assert choose_family(table).verdicts[0].family is None


def test_weights_count_in_the_judgement_and_zero_weight_leaves_a_row_out() -> None:
    table = read_table([[0.0], [1.0], [5.0], [-5.5]])
    assert choose_family(table).family == Gaussian()
    assert choose_family(table, np.array([40.0, 30, 10, 0])).family == Poisson()


def test_gaussian_columns_are_joint_and_the_rest_independent() -> None:
    rows = [
        [float(a), f"{'xy'[b]}", int(c), float(d), int(e)]
        for a, b, c, d, e in zip(
            RNG.normal(size=N),
            RNG.integers(0, 2, N),
            RNG.poisson(3, N),
            RNG.normal(size=N),
            RNG.integers(0, 2, N),
            strict=True,
        )
    ]
    choice = choose_family(read_table(rows))
    assert choice.family == Product(
        columns={(0, 3): Gaussian(), 1: Categorical(), 2: Poisson(), 4: Bernoulli()}
    )


def test_positions_follow_the_columns_that_are_left() -> None:
    rows = [
        [i, float(a), int(c)]
        for i, (a, c) in enumerate(zip(RNG.normal(size=N), RNG.poisson(3, N), strict=True))
    ]
    choice = choose_family(read_table(rows))
    assert choice.table.n_columns == 2
    assert choice.family == Product(columns={0: Gaussian(), 1: Poisson()})


def test_one_kind_of_column_needs_no_product() -> None:
    assert choose_family(read_file("examples/data/faithful.csv")).family == Gaussian()
    assert choose_family(read_file("examples/data/lsat6.csv")).family == Bernoulli()


def missing(covariance: str | None, n_columns: int) -> Choice:
    rows: list[list[Any]] = RNG.normal(size=(N, n_columns)).tolist()
    rows[4][0] = None
    return choose_family(read_table(rows), covariance=covariance)


def test_missing_cells_make_the_gaussian_diagonal_unless_asked_otherwise() -> None:
    choice = missing(None, 2)
    assert choice.family == Gaussian("diag")
    assert choice.verdicts[0].family == "Gaussian (diag)"
    assert "1 cell missing" in choice.verdicts[0].reason
    assert missing("full", 2).family == Gaussian("full")
    assert missing(None, 1).family == Gaussian("full")


def test_nothing_left_is_an_error_that_says_why() -> None:
    with pytest.raises(DataError, match=r"no column of X is left.*column 0: always 1"):
        choose_family(read_table([[1.0], [1.0]]))
