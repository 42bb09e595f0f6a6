"""Bootstrap standard errors of any model: against closed forms, and what is said instead of a number."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.engine.arguments import LEAST_BOOTSTRAP
from expmax.engine.bootstrap import aligned, bootstrap_errors, drawn_units
from expmax.engine.fit import named_numbers
from expmax.errors import InformationError, ParameterError
from tests.engine.user_models import OneRate, TwoPoissons, TwoPoissonsInOrder

B = 1000  # refits: the spread has a relative error of 1/√(2B) = 2.2 %
NOISE = 0.09  # four of those errors


def counts(n=60, seed=0):
    return np.random.default_rng(seed).poisson(5.0, (n, 1)).astype(float)


def two_groups(n=400, seed=1):
    rng = np.random.default_rng(seed)
    return rng.poisson(np.where(rng.random(n) < 0.4, 2.0, 9.0)).astype(float)[:, None]


START = np.array([0.5, 0.5]), np.array([1.0, 6.0])


def rate_error(data, **options):
    result = em.maximize_likelihood(OneRate(), data, 4.0)
    errors = result.standard_errors("bootstrap", n_bootstrap=B, random_state=0, **options)
    assert errors.notes == ()
    return float(errors.errors["theta"])


# -- numbers ---------------------------------------------------------------------------------------
def test_a_mean_has_the_error_that_everybody_knows():
    x = counts()
    assert rate_error(x) == pytest.approx(x.std() / np.sqrt(len(x)), rel=NOISE)


def test_whole_weights_are_copies_and_others_belong_to_their_row():
    x, rng = counts(), np.random.default_rng(5)
    values, copies = np.unique(x, return_counts=True)
    table = em.Block(values[:, None], weight=copies.astype(float))
    assert rate_error(table) == pytest.approx(x.std() / np.sqrt(len(x)), rel=NOISE)
    w = rng.uniform(0.2, 3.0, len(x))
    mean = w @ x[:, 0] / w.sum()
    sandwich = np.sqrt((w**2 * (x[:, 0] - mean) ** 2).sum()) / w.sum()
    assert rate_error(em.Block(x, weight=w)) == pytest.approx(sandwich, rel=NOISE)


def test_blocks_are_drawn_where_their_rows_belong_together():
    class Groups(OneRate):
        independent_rows = False

    rng = np.random.default_rng(2)
    level = rng.gamma(8.0, 0.6, 80)
    blocks = [em.Block(rng.poisson(one, (5, 1)).astype(float)) for one in level]
    result = em.maximize_likelihood(Groups(), blocks, 4.0)
    errors = result.standard_errors("bootstrap", n_bootstrap=B, random_state=0)
    means = np.array([block.x.mean() for block in blocks])
    assert float(errors.errors["theta"]) == pytest.approx(means.std() / np.sqrt(80), rel=NOISE)
    with pytest.raises(InformationError, match=r"independent_rows = False\); use method"):
        result.standard_errors("sandwich")
    alone = em.maximize_likelihood(Groups(), blocks[0], 4.0)
    with pytest.raises(InformationError, match="there is one block"):
        alone.standard_errors("bootstrap")


def test_a_model_without_coordinates_has_errors_like_one_with_them():
    x = two_groups()
    known = em.maximize_likelihood(TwoPoissonsInOrder(), x, START, random_state=0)
    bare = em.maximize_likelihood(TwoPoissons(), x, START)
    assert known.status == "stationary"
    with pytest.raises(InformationError, match='use method="bootstrap"'):
        bare.standard_errors()
    observed = known.standard_errors().errors
    drawn = bare.standard_errors("bootstrap", n_bootstrap=300, random_state=0).errors
    for name in ("theta0", "theta1"):
        assert_allclose(drawn[name], observed[name], rtol=0.2)  # 4 % of noise, 400 rows


def test_a_mixture_agrees_with_its_observed_information():
    x = two_groups(800)
    model = em.Mixture(em.Poisson(), 2, random_state=0).fit(x)
    observed = model.standard_errors().errors
    drawn = model.standard_errors(method="bootstrap", random_state=0).errors
    for name in ("weights", "rate"):
        assert_allclose(drawn[name], observed[name], rtol=0.2)


@pytest.mark.parametrize("method", ["bootstrap"])
def test_the_number_of_threads_changes_no_bit(method):
    result = em.maximize_likelihood(TwoPoissonsInOrder(), two_groups(100), START)
    one, three = (
        result.standard_errors(method, n_bootstrap=20, random_state=4, n_jobs=n) for n in (1, 3)
    )
    np.testing.assert_array_equal(one.covariance, three.covariance)
    other = result.standard_errors(method, n_bootstrap=20, random_state=5)
    assert (other.covariance != one.covariance).any()


def test_every_row_is_drawn_as_often_as_chance_has_it():
    blocks = [em.Block(counts(7)), em.Block(counts(5, seed=3))]
    draw = drawn_units(OneRate(), blocks)
    rng = np.random.default_rng(0)
    sizes = [[len(block.x) for block in draw(rng)] for _ in range(200)]
    assert {sum(one) for one in sizes} == {12}
    assert {len(one) for one in sizes} <= {1, 2}
    assert np.mean([one[0] for one in sizes if len(one) == 2]) == pytest.approx(7, abs=0.5)


# -- labels ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_labels_come_back(seed):
    rng = np.random.default_rng(seed)
    model = em.Mixture(em.Poisson(), 5, random_state=0)
    x = np.repeat([1.0, 8.0, 20.0, 45.0, 90.0], 20)[:, None] + rng.integers(0, 3, (100, 1))
    fitted = model.fit(x)
    own, params = fitted._model, fitted._parameters
    mixed = own.permute(params, rng.permutation(5))

    def describe(p):
        return {"weights": np.exp(p.log_weights), "rate": p.components[0]["rate"]}

    back = aligned(own, mixed, params, describe, own.exchangeable())
    np.testing.assert_array_equal(describe(back)["rate"], describe(params)["rate"])
    same = aligned(own, mixed, params, describe, [])
    np.testing.assert_array_equal(describe(same)["rate"], describe(mixed)["rate"])


def test_refits_with_exchanged_labels_change_no_error():
    """Half of the refits begin with the labels exchanged, and end so."""
    x = two_groups()
    result = em.maximize_likelihood(TwoPoissonsInOrder(), x, START)
    problem, model, turn = result.problem, TwoPoissonsInOrder(), []

    def climb(again, params):
        from expmax.engine.bootstrap import _climb

        turn.append(None)
        order = np.array([1, 0]) if len(turn) % 2 else np.array([0, 1])
        return _climb(again, model.permute(params, order))

    def errors(climb):
        units, rng = drawn_units(model, problem.blocks), np.random.default_rng(0)
        return bootstrap_errors(
            problem, result.params, named_numbers, units, n_bootstrap=40, rng=rng, climb=climb
        )

    assert_allclose(errors(climb).errors["theta1"], errors(None).errors["theta1"], rtol=0.05)


def test_a_model_aligns_by_its_own_rule():
    class Own(TwoPoissons):
        def align(self, params, reference):
            order = np.argsort(params[1])
            return params[0][order], params[1][order]

    mixed = np.array([0.3, 0.7]), np.array([9.0, 2.0])
    found = aligned(Own(), mixed, mixed, named_numbers, [])
    np.testing.assert_array_equal(found[1], [2.0, 9.0])


# -- what is said instead --------------------------------------------------------------------------
def test_what_no_refit_can_move_has_no_error_and_says_so():
    x = np.random.default_rng(0).poisson(4.0, (200, 1)).astype(float)
    start = {"weights": np.array([0.98, 0.02]), "rate": np.array([x.mean(), 30.0])}
    model = em.Mixture(em.Poisson(), 2, init=start).fit(x)
    assert model.status_ == "boundary"
    with pytest.raises(InformationError, match="errors of the other parameters") as refusal:
        model.standard_errors()
    assert "weight of component 1 is on the boundary" in str(refusal.value)
    errors = model.standard_errors(method="bootstrap", n_bootstrap=B, random_state=0)
    assert np.isnan(errors.errors["weights"]).all()
    assert errors.errors["rate"][0] == pytest.approx(x.std() / np.sqrt(200), rel=NOISE)
    assert np.isnan(errors.errors["rate"][1])
    assert "no standard error of weights[0], weights[1], rate[1]" in errors.notes[0]
    assert f"note: {errors.notes[0]}" in str(errors)


def test_what_the_user_fixed_has_error_0():
    fixed = {"weights": [0.4, 0.6], 0: {"rate": 2.0}}
    model = em.Mixture(em.Poisson(), 2, fixed=fixed).fit(two_groups())
    errors = model.standard_errors(method="bootstrap", n_bootstrap=20, random_state=0)
    assert (errors.errors["weights"] == 0).all()
    assert errors.errors["rate"][0] == 0 < errors.errors["rate"][1]
    assert errors.notes == ()


class Fails(OneRate):
    """Refits whose mean is above a limit fail."""

    def __init__(self, limit):
        self.limit = limit

    def degeneracies(self, rate, sums):
        return [em.contract.Degeneracy(0, "its mean is large")] if rate > self.limit else []


def test_refits_that_fail_are_counted_or_refused():
    x = counts(60)
    estimate, error = x.mean(), x.std() / np.sqrt(60)
    few = em.maximize_likelihood(Fails(estimate + 1.3 * error), x, 4.0)
    errors = few.standard_errors("bootstrap", n_bootstrap=100, random_state=0)
    assert "of 100 refits failed (degenerate) and are left out" in errors.notes[0]
    assert 3 <= int(errors.notes[0].split()[0]) <= 20  # 10 % of a normal distribution lie above
    many = em.maximize_likelihood(Fails(estimate + 1e-9), x, 4.0)
    many.problem.model.limit = estimate - error
    with pytest.raises(InformationError, match="of 100 bootstrap fits failed"):
        many.standard_errors("bootstrap", n_bootstrap=100, random_state=0)


def test_one_row_cannot_be_drawn_from():
    result = em.maximize_likelihood(OneRate(), np.array([[3.0]]), 2.0)
    with pytest.raises(InformationError, match="the data are one row"):
        result.standard_errors("bootstrap")


@pytest.mark.parametrize("n", [0, 2, LEAST_BOOTSTRAP - 1, 20.0, True, "many"])
def test_too_few_refits_are_refused_where_there_are_to_be_any(n):
    x = two_groups(100)
    result = em.maximize_likelihood(TwoPoissonsInOrder(), x, START)
    model = em.Mixture(em.Poisson(), 2, random_state=0).fit(x)
    for fit in (result, model):
        fit.standard_errors(method="observed", n_bootstrap=n)  # has no use for it
        with pytest.raises(ParameterError, match="n_bootstrap must be an integer of at least 10"):
            fit.standard_errors(method="bootstrap", n_bootstrap=n)
    with pytest.raises(ParameterError, match="method must be"):
        result.standard_errors("jackknife")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupt_ends_the_bootstrap(n_jobs):
    calls = []

    class Stops(OneRate):
        def maximize(self, sums, rate):
            calls.append(None)
            if len(calls) == 200:
                raise KeyboardInterrupt
            return super().maximize(sums, rate)

    result = em.maximize_likelihood(Stops(), counts(), 4.0)
    with pytest.raises(KeyboardInterrupt):
        result.standard_errors("bootstrap", n_bootstrap=2000, n_jobs=n_jobs)
    assert len(calls) < 1000


def test_a_singular_information_recommends_nothing_that_does_not_help():
    x = np.random.default_rng(0).binomial(10, 0.5, (200, 1)).astype(float)
    with pytest.warns(em.errors.ConvergenceWarning):
        model = em.Mixture(em.Poisson(), 2, init={"rate": np.full(2, x.mean())}).fit(x)
    with pytest.raises(InformationError, match="not positive definite") as refusal:
        model.standard_errors()
    assert "bootstrap" not in str(refusal.value)
