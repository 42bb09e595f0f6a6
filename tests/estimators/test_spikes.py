"""Components that a few rows, or repeated values, hold up."""

import numpy as np
import pytest

import expmax as em


@pytest.fixture
def recorded_in_steps():
    """A column of whole numbers beside a continuous one; 12 of 150 rows share a value of the first."""
    rng = np.random.default_rng(0)
    x = np.column_stack([np.round(rng.normal(20.0, 4.0, 150)), rng.normal(0.0, 1.0, 150)])
    x[:12, 0] = 31.0
    return x


def held(variance):
    """The second component held on the shared value, with this variance along it."""
    return {1: {"mean": np.array([31.0, 0.0]), "covariance": np.diag([variance, 1.0])}}


@pytest.mark.parametrize(("variance", "named"), [(1e-3, True), (0.5, False)])
def test_a_component_on_one_repeated_value_is_named(recorded_in_steps, variance, named):
    x = recorded_in_steps
    model = em.Mixture(em.Gaussian(), 2, fixed=held(variance), random_state=0).fit(x)
    found = model.certificate_.near_degenerate
    expected = ("component 1 sits on one value of column 0",) if named else ()
    assert found == expected
    assert ("near-degenerate: component 1" in str(model.certificate_)) == named
    assert ("component 1 sits on one" in str(model.summary())) == named


def test_a_column_without_repeated_values_pins_nothing(recorded_in_steps):
    x = recorded_in_steps + np.random.default_rng(1).uniform(-0.5, 0.5, (150, 2))
    model = em.Mixture(em.Gaussian(), 2, fixed=held(1e-3), random_state=0).fit(x)
    assert not any("one value" in reason for reason in model.certificate_.near_degenerate)


def test_few_rows_are_named():
    x = np.concatenate([np.linspace(-3.0, 3.0, 80), [40.0, 41.0, 43.0]])[:, None]
    model = em.Mixture(em.Gaussian(), 2, random_state=0).fit(x)
    assert model.status_ == "stationary"
    (reason,) = model.certificate_.near_degenerate
    assert reason.endswith("rests on 3.0 rows")


def test_the_search_prefers_what_is_to_be_believed():
    """Old Faithful's waiting times are whole minutes: VEV with K = 7 has maxima on a single one of them."""
    x = np.loadtxt("examples/data/faithful.csv", delimiter=",", skiprows=1)
    model = em.Mixture(em.Gaussian("VEV"), 7, random_state=0).fit(x)
    assert model.certificate_.near_degenerate == ()


def test_the_certificate_calls_components_what_the_attributes_do():
    """Only one of two components has a probability at its edge, whichever the search numbered first."""
    rng = np.random.default_rng(0)
    x = rng.random((200, 5)) < np.repeat(
        [[0.8, 0.2, 0.8, 0.2, 0.2], [0.1, 0.9, 0.1, 0.9, 0.9]], 100, 0
    )
    x[100:, 0] = False
    named = set()
    for seed in range(4):
        model = em.Mixture(em.Bernoulli(), 2, random_state=seed).fit(x.astype(int))
        on_edge = np.flatnonzero((model.params_["probability"] == 0.0).any(axis=1))
        expected = tuple(f"probability of component {k}" for k in on_edge)
        assert model.certificate_.boundary == expected
        named.add(expected)
    assert named != {()}
