"""Model files of maximum entropy: the same numbers back, or a refusal that names the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import expmax as em
from expmax.errors import ParameterError
from expmax.maxent import Box, Interval

ROWS = np.random.default_rng(0).gamma(2.0, 1.0, (60, 2)) + 0.01


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (em.MaximumEntropy([lambda x: x, lambda x: x**2], support=np.arange(1, 7)), [[1.0], [4]]),
        (em.MaximumEntropy(moments=[2.1, 2.2]), ROWS),
        (em.MaximumEntropy([0, np.log], support="half-line", random_state=1), ROWS[:, :1]),
        (em.MaximumEntropy([0, np.square], support=Interval(0, 20, breaks=(1,))), ROWS[:, :1]),
        (em.MaximumEntropy([0, 1], support=Box([(0, 20), (0, np.inf)])), ROWS),
    ],
    ids=["points with lambdas", "rows", "half line", "interval", "box"],
)
def test_a_file_holds_the_distribution(model: Any, rows: Any, tmp_path: Path) -> None:
    rows = np.asarray(rows, float)
    model.set_params(random_state=3).fit(rows).save(tmp_path / "model.json")
    again = em.load(tmp_path / "model.json")
    assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    assert_array_equal(again.sample(5), model.sample(5))
    assert str(again.summary()) == str(model.summary())
    assert_array_equal(again.result_.covariance, model.result_.covariance)
    assert again.bic() == model.bic()


def test_functions_lost_on_the_way_are_asked_for_again(tmp_path: Path) -> None:
    rows = np.arange(1.0, 7.0)[:, None]
    model = em.MaximumEntropy([lambda x: x], [4.5], support=np.arange(1, 7)).fit(rows)
    model.save(tmp_path / "model.json")
    with pytest.raises(ParameterError, match="set_params"):
        em.load(tmp_path / "model.json").fit(rows)


def test_a_lambda_on_the_line_is_refused_with_the_remedy(tmp_path: Path) -> None:
    model = em.MaximumEntropy([0, lambda x: x**2], support="line").fit(ROWS[:, :1])
    with pytest.raises(ParameterError, match=r"np\.log"):
        model.save(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_a_mixture_with_such_a_component(tmp_path: Path) -> None:
    family = em.maximum_entropy([0, np.square], [0, 1], support="line").family
    x = np.r_[np.random.default_rng(1).normal(size=(200, 1)), np.linspace(-9, 9, 50)[:, None]]
    model = em.Mixture([family, em.Uniform()], random_state=0).fit(x)
    model.save(tmp_path / "model.json")
    assert_array_equal(em.load(tmp_path / "model.json").score_samples(x), model.score_samples(x))
