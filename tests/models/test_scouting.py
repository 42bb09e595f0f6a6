"""Quick climbs against the model's own steps."""

from dataclasses import replace

import numpy as np
import pytest

from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.engine.problem import Problem
from expmax.families.covariance import STRUCTURES
from expmax.families.gaussian import Gaussian
from expmax.models.mixture import Group, MixtureModel
from expmax.models.mixture_starts import MixtureStarts
from expmax.models.scouting import GaussianScout

ALTERNATING = ("VEI", "VEE", "VEV", "EVE", "VVE")  # their quick M-step only ascends
N_COMPONENTS = 3


def data(n_rows=150, seed=0):
    """Three overlapping clusters in three columns."""
    rng = np.random.default_rng(seed)
    shift = rng.integers(3, size=(n_rows, 1)) * np.array([1.5, -1.0, 2.0])
    return shift + rng.standard_normal((n_rows, 3)) * [1.0, 0.5, 2.0]


def setting(structure, x=None, weight=None, penalty=0.0):
    """A scout, its problem and parameters to start from."""
    x = data() if x is None else x
    family = Gaussian(structure, penalty).bind(x)
    marginal = family.estimate(x, weight)
    model = MixtureModel(
        (Group(family, np.arange(N_COMPONENTS)),), N_COMPONENTS, marginal=(marginal,)
    )
    block = Block(x, weight, None, {})
    start = next(MixtureStarts(model, block).starts(iter([np.random.default_rng(1)])))
    return GaussianScout(model, block), Problem(model, [block], Serial()), start.params


@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize("structure", [s for s in STRUCTURES if s not in ALTERNATING])
def test_steps_are_those_of_the_model(structure, penalty):
    scout, problem, params = setting(structure, penalty=penalty)
    camp, lost = scout.walk(scout.begin(params), 7)
    point = problem.at(params)
    for _ in range(7):
        point = problem.at(problem.maximize(point))
    assert not lost
    assert camp.objective == pytest.approx(point.objective, rel=1e-12)
    for name, value in scout.parameters(camp).components[0].items():
        expected = point.params.components[0][name]
        np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("structure", ALTERNATING)
def test_generalised_steps_rise(structure):
    scout, _, params = setting(structure)
    camp = scout.begin(params)
    for _ in range(20):
        new = scout.step(camp)
        assert new.objective >= camp.objective - 1e-10 * abs(camp.objective)
        camp = new


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_climb_ends_near_a_stationary_point_of_the_model(structure):
    scout, problem, params = setting(structure)
    camp, lost = scout.climb(scout.begin(params), -np.inf, 3000)
    point = problem.at(scout.parameters(camp))
    assert not lost
    assert point.objective == pytest.approx(camp.objective, rel=1e-12)
    new = problem.at(problem.maximize(point))
    assert 0 <= new.objective - point.objective + 1e-9 < 1e-3


def test_a_climb_out_of_reach_of_the_floor_is_given_up():
    scout, _, params = setting("VVV")
    begun = scout.begin(params)
    before = scout.n_expect
    _, lost = scout.climb(begun, begun.objective + 1e6, 3000)
    assert lost
    assert scout.n_expect - before < 30


def test_weights_are_copies():
    x = data(60)
    copies = np.tile([1.0, 2.0, 3.0], 20)
    scout, _, params = setting("VEV", x, copies)
    repeated, _, _ = setting("VEV", np.repeat(x, copies.astype(int), axis=0))
    one, _ = scout.walk(scout.begin(params), 5)
    other, _ = repeated.walk(repeated.begin(params), 5)
    assert one.objective == pytest.approx(other.objective, rel=1e-12)
    np.testing.assert_allclose(one.covariances, other.covariances, rtol=1e-9)


def test_a_component_on_one_row_is_lost():
    scout, _, params = setting("VVV")
    r = np.full((150, N_COMPONENTS), 0.5)
    r[:, 0] = 0.0
    r[0] = [1.0, 0.0, 0.0]
    assert scout.maximize(r, params) is None


def test_it_serves_only_free_mixtures_of_complete_rows():
    scout, _, _ = setting("VVI")
    model, block = scout.model, scout.block
    assert GaussianScout.serves(model, block)
    holed = np.array(block.x)
    holed[0, 0] = np.nan
    assert not GaussianScout.serves(model, Block(holed, None, None))
    assert not GaussianScout.serves(replace(model, concentration=2.0), block)
    assert not GaussianScout.serves(replace(model, fixed_weights=np.zeros(3)), block)
