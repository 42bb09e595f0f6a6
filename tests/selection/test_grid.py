"""Grids over components and families."""

from __future__ import annotations

import numpy as np
import pytest

from expmax import Exponential, Gaussian, Poisson
from expmax.errors import DataError, ParameterError
from expmax.selection.grid import fit_grid

RNG = np.random.default_rng(0)
COUNTS = np.concatenate([RNG.poisson(1, 90), RNG.poisson(12, 60)])[:, None].astype(float)
QUICK = {"effort": "quick", "random_state": 0}


def test_the_best_has_the_smallest_criterion() -> None:
    families = {"counts": Poisson(), "numbers": Gaussian()}
    grid = fit_grid(COUNTS, families, [2, 1, 2], **QUICK)
    assert [(c.label, c.n_components) for c in grid.candidates] == [
        ("counts", 1),
        ("counts", 2),
        ("numbers", 1),
        ("numbers", 2),
    ]
    assert grid.best is grid.candidates[1]
    assert grid.best.value("bic") == min(c.value("bic") for c in grid.candidates)
    assert grid.best.value("bic") == grid.best.estimator.bic()


def test_patience_stops_after_so_many_in_a_row() -> None:
    grid = fit_grid(COUNTS, {"": Poisson()}, range(1, 10), patience=2, **QUICK)
    assert [c.n_components for c in grid.candidates] == [1, 2, 3, 4]
    assert grid.stopped_after == 4
    every = fit_grid(COUNTS, {"": Poisson()}, range(1, 4), **QUICK)
    assert every.stopped_after is None


def test_a_candidate_without_a_maximum_keeps_its_error() -> None:
    x = np.array([[0.0], [1.0], [4.0]])
    grid = fit_grid(x, {"": Poisson()}, [1, 5], **QUICK)
    assert grid.candidates[1].estimator is None
    assert isinstance(grid.candidates[1].error, DataError)
    assert grid.candidates[1].value("bic") == np.inf
    assert grid.best.n_components == 1


def test_what_no_number_of_components_cures_is_raised_at_once() -> None:
    words: list[str] = []
    with pytest.raises(DataError, match="support of Exponential"):
        fit_grid(
            -COUNTS,
            {"": Exponential()},
            range(1, 9),
            say=words.append,
            **QUICK,
        )
    assert words == []  # the data are read before anything is fitted


def test_nothing_that_can_be_fitted_raises_the_first_error() -> None:
    with pytest.raises(DataError, match="at least as many rows"):
        _ = fit_grid(COUNTS[:3], {"": Poisson()}, [4, 5], **QUICK).best


def test_an_unknown_criterion() -> None:
    with pytest.raises(ParameterError, match="criterion must be one of bic, aic, icl"):
        fit_grid(COUNTS, {"": Poisson()}, [1], criterion="dic")


def test_every_criterion_of_select() -> None:
    grid = fit_grid(COUNTS, {"": Poisson()}, range(1, 9), patience=1, criterion="cv", cv=3, **QUICK)
    assert grid.best.n_components == 2
    assert grid.stopped_after == 3  # one in a row no better, by BIC
    assert [c.n_components for c in grid.candidates] == [1, 2, 3]
    assert grid.best.value("cv") == min(c.value("cv") for c in grid.candidates)
    tested = fit_grid(COUNTS, {"": Poisson()}, [1, 2, 3], criterion="lrt", n_bootstrap=19, **QUICK)
    assert tested.best.n_components == 2
    assert [test.rejected for test in tested.tests] == [True, False]
