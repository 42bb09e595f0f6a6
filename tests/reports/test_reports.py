"""Reports: what they say, in 80 columns, for every kind of model."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.exceptions import NotFittedError

from expmax import (
    Categorical,
    Gaussian,
    GaussianMixture,
    Mixture,
    PointMass,
    Poisson,
    Product,
    StudentT,
    VonMisesFisher,
)
from expmax.data.files import read_file
from expmax.engine.history import History
from expmax.errors import ConvergenceWarning, DegenerateComponentError
from expmax.reports.comparison import comparison
from expmax.reports.describe import describe
from expmax.reports.history import history_table
from expmax.reports.parameters import parameter_rows
from expmax.reports.summary import STATUS, summary
from expmax.reports.text import aligned
from expmax.selection.candidates import Candidate
from expmax.selection.grid import fit_grid

RNG = np.random.default_rng(0)
WIDE = RNG.normal(size=(300, 30)) + 6.0 * (np.arange(300) % 9)[:, None]
COUNTS = np.concatenate([RNG.poisson(2, 80), RNG.poisson(15, 50), np.zeros(30)])[:, None]
FRAME = pd.DataFrame(
    {
        "visits": RNG.poisson(3, 120),
        "town": RNG.choice([f"town {i}" for i in range(20)], 120),
        "height": RNG.normal(170, 8, 120),
        "weight": RNG.normal(70, 9, 120),
    }
)
MIXED = Product(
    columns={("height", "weight"): Gaussian(), "visits": Poisson(), "town": Categorical()}
)


@cache
def faithful(k: int = 2) -> Any:
    table = read_file("examples/data/faithful.csv")
    return Mixture(Gaussian(), k, random_state=0).fit(table)


def fit(estimator: Any, X: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.set_params(random_state=0, effort="quick").fit(X)


def cells(text: str, start: str) -> list[str]:
    """The words of the first line that starts so."""
    return next(line for line in text.splitlines() if line.strip().startswith(start)).split()


def narrow(text: str) -> bool:
    return all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines())


# ---------------------------------------------------------------------------------------- summary


def test_the_summary_of_old_faithful() -> None:
    text = str(summary(faithful()))
    assert text.startswith("Mixture of 2 components: Gaussian (full)")
    assert cells(text, "weight") == ["weight", "0.356", "0.644"]
    assert cells(text, "eruptions") == ["eruptions", "mean", "2.036", "4.290"]
    assert cells(text, "correlation") == ["correlation", "eruptions,", "waiting", "0.29", "0.38"]
    assert "log-likelihood -1130.26 (11 parameters, 272 rows)" in text
    assert "BIC 2322.19" in text
    assert "converged: an estimated" in text
    assert narrow(text)


def test_the_method_gives_the_summary_and_its_repr() -> None:
    assert repr(faithful().summary()) == str(summary(faithful()))


def test_an_estimator_that_is_not_fitted_has_no_summary() -> None:
    with pytest.raises(NotFittedError):
        summary(Mixture())


def test_categories_go_by_name_and_rare_ones_together() -> None:
    text = str(summary(fit(Mixture(MIXED, 2), FRAME)))
    assert "= town " in text
    assert "8 others" in text
    assert text.index("visits") < text.index("town") < text.index("height")
    assert narrow(text)


def test_every_category_of_few_has_its_probability() -> None:
    frame = pd.DataFrame({"kind": ["a", "b", "b", "b"] * 10})
    text = str(summary(Mixture(Categorical(), 1).fit(frame)))
    assert cells(text, "kind") == ["kind", "=", "a", "0.250"]
    assert cells(text, "= b") == ["=", "b", "0.750"]


def test_components_of_several_families_share_a_table() -> None:
    text = str(summary(fit(Mixture([PointMass(0.0), Poisson(), Poisson()]), COUNTS)))
    assert cells(text, "family") == ["family", "PointMass", "Poisson", "Poisson"]
    assert any("–" in line and "rate" in line for line in text.splitlines())


def test_many_components_are_broken_into_panels() -> None:
    stream = io.StringIO()
    page = summary(fit(Mixture(Gaussian("spherical"), 9), WIDE[:, :3]))
    Console(file=stream, width=50, color_system=None).print(page)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 50
    titles = [line.split()[1:] for line in lines if line.strip().startswith("component")]
    assert len(titles) >= 2
    assert [k for title in titles for k in title] == [str(k) for k in range(9)]


def test_many_columns_show_the_strongest_correlations() -> None:
    text = str(summary(fit(Mixture(Gaussian("tied"), 2), WIDE)))
    assert "strongest of 435" in text
    assert narrow(text)


@pytest.mark.parametrize(
    ("estimator", "X", "words"),
    [
        (Mixture(StudentT(dof=4.0), 1), WIDE[::9, :2], ("dof", "sd", "correlation")),
        (
            Mixture(VonMisesFisher(), 1),
            WIDE[:, :3] / np.linalg.norm(WIDE[:, :3], axis=1, keepdims=True),
            ("column 2", "together", "concentration"),
        ),
        (GaussianMixture(2, covariance_type="tied"), WIDE[:, :2], ("sd", "correlation")),
        (GaussianMixture(2, covariance_type="spherical"), WIDE[:, :2], ("mean", "sd")),
        (Mixture(Poisson(), 2), np.abs(np.round(WIDE[:, :3])), ("rate", "column 2")),
    ],
    ids=["StudentT", "VonMisesFisher", "tied", "spherical", "Poisson"],
)
def test_other_families(estimator: Any, X: Any, words: tuple[str, ...]) -> None:
    text = str(summary(fit(estimator, X)))
    assert all(word in text for word in words)
    assert narrow(text)


def test_standard_deviations_and_correlations_are_those_of_the_covariance() -> None:
    model = faithful()
    rows = {(row.column, row.quantity): row.values for row in parameter_rows(model)}
    covariance = model.params_["covariance"]
    np.testing.assert_allclose(rows["waiting", "sd"], np.sqrt(covariance[:, 1, 1]))
    deviations = np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1])
    np.testing.assert_allclose(
        rows["correlation", "eruptions, waiting"], covariance[:, 0, 1] / deviations
    )


@pytest.mark.parametrize("status", STATUS)
def test_every_status_is_told_in_words(status: str) -> None:
    from sklearn.base import clone

    model = clone(faithful())
    vars(model).update(vars(faithful()))
    model.status_ = status
    model.certificate_ = replace(faithful().certificate_, status=status)
    text = str(summary(model))
    assert ("NOT converged" in text) == (status not in ("stationary", "boundary"))
    assert narrow(text)


# ---------------------------------------------------------------------------------------- history


def test_the_history_table_shows_every_step_of_a_short_run() -> None:
    assert steps_shown(str(history_table(fake(12)))) == list(range(13))
    text = str(history_table(faithful()))
    assert "-1130.263960" in text
    assert narrow(text)


def steps_shown(text: str) -> list[int]:
    rows = (line.split() for line in text.splitlines())
    return [int(row[0]) for row in rows if len(row) > 1 and row[1] in ("em", "end")]


def fake(n: int, penalised: bool = False, step: str = "em") -> Any:
    history = History()
    for t in range(n):
        value = -100.0 - 0.5**t
        prior = -1.0 if penalised else 0.0
        gain = 0.5 ** (t + 2)
        numbers = (value, gain, gain) if step == "em" else (float("nan"),) * 3
        history.append(value, value + prior, *numbers, step)
    nan = float("nan")
    value = -100.0 - 0.5**n
    history.append(value, value + prior, value, nan, nan, "end")

    class Fitted:
        history_ = history

    return Fitted()


def test_long_histories_keep_the_first_some_and_the_last() -> None:
    text = str(history_table(fake(500)))
    shown = steps_shown(text)
    assert shown[:5] == [0, 1, 2, 3, 4]
    assert shown[-4:] == [497, 498, 499, 500]
    assert shown == sorted(set(shown))
    assert len(text.splitlines()) < 35
    assert "⋮" in text


def test_the_sentences_check_the_ascent_anew() -> None:
    assert "20 EM steps" in str(history_table(fake(20)))
    broken = fake(20)
    broken.history_.kl[3] = -0.5
    assert "no ΔQ or KL below -0.5" in str(history_table(broken))


def test_a_prior_adds_the_objective() -> None:
    assert "objective" in str(history_table(fake(5, penalised=True)))
    assert "objective" not in str(history_table(fake(5)))


def test_accelerated_steps_have_no_proof_of_their_own() -> None:
    text = str(history_table(fake(5, step="squarem")))
    assert "squarem" in text
    assert "no plain EM step" in text


# ------------------------------------------------------------------------------------- comparison


def test_candidates_side_by_side_with_the_reasons_of_those_that_failed() -> None:
    grid = fit_grid(COUNTS, {"Poisson": Poisson()}, [1, 2], effort="quick", random_state=0)
    failed = Candidate(
        3, Poisson(), "Poisson", error=DegenerateComponentError("every start collapsed")
    )
    text = str(comparison([*grid.candidates, failed], "aic", grid.best))
    assert "Candidates by AIC" in text
    assert cells(text, "→")[1] == str(grid.best.n_components)
    assert cells(text, "3")[-1] == "collapsed"
    assert "K = 3: every start collapsed" in text
    assert narrow(text)


# ------------------------------------------------------------------------------------ description


def test_the_description_is_strict_json() -> None:
    for model in (faithful(), fit(Mixture([PointMass(0.0), Poisson()]), COUNTS)):
        text = json.dumps(describe(model), allow_nan=False)
        found = json.loads(text)
        assert found["log_likelihood"] == model.log_likelihood_
        assert len(found["starts"]) == len(model.starts_)
        assert found["certificate"]["status"] == model.status_


# ------------------------------------------------------------------------------------------- text


def test_numbers_of_a_row_share_their_decimals() -> None:
    assert aligned([1.23456, 10.0]) == ["1.23", "10.00"]
    assert aligned([272.0, 11.0]) == ["272", "11"]
    assert aligned([0.0, 0.0]) == ["0", "0"]
    assert aligned([1e-9]) == ["1.000e-09"]
    assert aligned([1e12, np.inf, -np.inf, np.nan, None]) == ["1.000e+12", "∞", "-∞", "–", "–"]
    assert aligned([-0.0004, 1.0], 3) == [">-.001", "1.000"]


def test_a_terminal_gets_its_own_width() -> None:
    stream = io.StringIO()
    Console(file=stream, width=40, color_system=None).print(summary(faithful()))
    assert max(map(len, stream.getvalue().splitlines())) <= 40


def test_a_bound_is_called_one() -> None:
    x = np.random.default_rng(0).poisson(np.repeat([2.0, 9.0], 60))[:, None]
    model = Mixture(Poisson(), 2, inference="variational", random_state=0).fit(x)
    text = str(model.summary())
    assert f"bound on log p(X) {model.lower_bound_:.2f}" in text
    assert f"log-likelihood at the posterior means {model.log_likelihood_:.2f}" in text
    assert model.lower_bound_ < model.log_likelihood_
    history = str(history_table(model))
    assert "How the bound rose" in history
    assert f"{model.lower_bound_:.6f}" in history
    assert "bound" not in str(Mixture(Poisson(), 2, random_state=0).fit(x).summary())
