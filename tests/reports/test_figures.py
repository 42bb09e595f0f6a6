"""Pictures show what the history holds."""

import matplotlib as mpl
import numpy as np
import pytest

import expmax as em
from expmax.engine.history import History
from expmax.errors import ParameterError

mpl.use("Agg")


def test_history_plot_shows_every_step_and_gain():
    X = np.loadtxt("examples/data/faithful.csv", delimiter=",", skiprows=1)
    history = em.Mixture(em.Gaussian("tied"), 3, random_state=0).fit(X).history_
    upper, lower = history.plot()
    assert upper.get_ylabel() == "log-likelihood (nats)"
    drawn = sum(len(points.get_offsets()) for points in upper.collections)
    assert drawn == len(history) - 1  # the closing row is no step
    labels = [text.get_text() for text in lower.get_legend().get_texts()]
    assert labels == ["ΔQ (M-step)", "KL (E-step)", "gain"]
    assert lower.get_yscale() == "log"


@pytest.mark.parametrize("axes", [3, (1, 2), "ab", [None]])
def test_what_are_no_axes_is_refused_by_name(axes):
    with pytest.raises(ParameterError, match="axes must be a pair of matplotlib axes"):
        History().plot(axes)
