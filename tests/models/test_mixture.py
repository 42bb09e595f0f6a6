"""What is true of every mixture: sums, invariances, the chain of ascent, oracles."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import expmax as em
from expmax.compute.reduce import Serial, tree_sum
from expmax.contract import Block
from expmax.engine.history import History
from expmax.engine.loop import em_step
from expmax.engine.problem import Problem
from expmax.errors import DegenerateComponentError, ParameterError
from expmax.families.parameters import take
from expmax.models.mixture import MixtureParameters
from tests import oracles
from tests.models.cases import BY_NAME, CASES, assert_identical, assert_same, flat

every_model = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def one_step(case, block, model=None, params=None):
    """The E-step on a block and the M-step on its sums."""
    model, params = model or case.model, params or case.params
    expectation = model.expect(params, block)
    return expectation, model.maximize(expectation.statistics, params)


def assert_same_step(case, actual, expected):
    (a, new_a), (b, new_b) = actual, expected
    assert_same(new_a, new_b, case.exact)
    assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-12)
    assert_allclose(a.entropy, b.entropy, rtol=1e-12)
    assert_allclose(a.weight, b.weight, rtol=1e-13)
    assert_same(a.statistics.counts, b.statistics.counts)


def select(block, rows):
    return Block(block.x[rows], block.weight[rows], block.label[rows])


# ------------------------------------------------------------------------------ sums over the rows


@every_model
@pytest.mark.parametrize("rows", [1, 17, 64])
def test_blocks_sum_to_the_whole(case, rows):
    parts = [case.model.expect(case.params, block) for block in case.blocks(rows)]
    total = tree_sum(parts)
    new = case.model.maximize(total.statistics, case.params)
    assert_same_step(case, (total, new), one_step(case, case.block()))


@every_model
def test_a_memo_changes_nothing(case):
    block = replace(case.block(), memo={})
    first, again = one_step(case, block), one_step(case, block)
    assert_identical(again[0].statistics, first[0].statistics)
    assert_same_step(case, first, one_step(case, case.block()))


@every_model
def test_the_order_of_rows_does_not_matter(case):
    order = np.random.default_rng(5).permutation(len(case.x))
    block = case.block()
    assert_same_step(case, one_step(case, select(block, order)), one_step(case, block))


@every_model
def test_weight_k_is_k_copies(case):
    times = np.random.default_rng(6).integers(1, 4, len(case.x))
    block = case.block()
    copies = np.repeat(np.arange(len(case.x)), times)
    assert_same_step(
        case,
        one_step(case, Block(block.x, times.astype(float), block.label)),
        one_step(case, Block(block.x[copies], None, block.label[copies])),
    )


@every_model
def test_weight_0_is_no_row(case):
    rng = np.random.default_rng(7)
    block = case.block()
    weight = np.where(rng.random(len(case.x)) < 0.3, 0.0, block.weight)
    kept = weight > 0
    assert_same_step(
        case,
        one_step(case, Block(block.x, weight, block.label)),
        one_step(case, select(block, kept)),
    )


@every_model
def test_labels_of_components_do_not_matter(case):
    """Components of a group in reverse: the same step, in reverse."""
    order = np.arange(case.k)
    for group in case.model.groups:
        order[group.index] = group.index[::-1]
    model = case.model
    if model.fixed_mask is not None:
        fixed = {
            g: take(part, np.argsort(order[model.groups[g].index]))
            for g, part in model.fixed.items()
        }
        model = replace(model, fixed=fixed, fixed_mask=model.fixed_mask[order])
    if model.fixed_weights is not None:
        model = replace(model, fixed_weights=model.fixed_weights[order])
    block = case.block()
    label = np.where(block.label >= 0, np.argsort(order)[block.label], -1)
    expectation, new = one_step(
        case, replace(block, label=label), model, model.permute(case.params, order)
    )
    expected, expected_new = one_step(case, block)
    assert_same(new, model.permute(expected_new, order), max(case.exact, 1e-12))
    assert_allclose(expectation.log_likelihood, expected.log_likelihood, rtol=1e-12)
    assert_allclose(expectation.statistics.counts, expected.statistics.counts[order], rtol=1e-11)


# ------------------------------------------------------------------------------------ the oracles


@every_model
@pytest.mark.parametrize("extras", [True, False], ids=["weights and labels", "plain"])
def test_log_likelihood_entropy_and_counts_equal_the_oracle(case, extras):
    block = case.block(extras)
    joint = oracles.log_joint(case.model, case.params, case.x)
    for group, part in zip(case.model.groups, case.params.components, strict=True):
        if getattr(group.family, "penalty", 0.0):  # part of the objective, in no table of densities
            joint[:, group.index] += group.family.log_penalty(part)
    r, evidence, entropy = oracles.posterior(joint, block.label)
    weight = np.ones(len(case.x)) if block.weight is None else block.weight
    actual = case.model.expect(case.params, block)
    assert_allclose(actual.log_likelihood, weight @ evidence, rtol=1e-12)
    assert_allclose(actual.statistics.counts, weight @ r, rtol=1e-9)
    assert_allclose(actual.statistics.counts.sum(), weight.sum(), rtol=1e-13)
    if not case.own_latent:
        assert_allclose(actual.entropy, weight @ entropy, rtol=1e-9)
    ours, log_evidence, entropies = case.model.assign(case.params, block)
    assert_allclose(ours, r, rtol=1e-8, atol=1e-12)
    assert_allclose(log_evidence, evidence, rtol=1e-10, atol=1e-12)
    assert_allclose(entropies, entropy, rtol=1e-8, atol=1e-12)
    assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-14)


@every_model
def test_q_and_entropy_meet_the_log_likelihood(case):
    """KL = 0 at the parameters of the E-step: ℓ = Q + H."""
    expectation = case.model.expect(case.params, case.block())
    q = case.model.expected_log_joint(case.params, expectation.statistics)
    assert_allclose(q + expectation.entropy, expectation.log_likelihood, rtol=1e-12)


# ---------------------------------------------------------------------------------- chain of ascent


def kl_of_responsibilities(case, old, new, block):
    """Σ w_i Σ_k r_ik log(r_ik / r'_ik): what the E-step gains, from the posteriors themselves."""
    r = case.model.assign(old, block)[0]
    s = case.model.assign(new, block)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(r > 0, r * (np.log(r) - np.log(s)), 0.0)
    return float(block.weight @ terms.sum(axis=1))


@every_model
def test_the_chain_of_ascent_holds_at_every_iteration(case):
    problem = Problem(case.model, case.blocks(50), Serial())
    point, history, params = problem.at(case.params), History(), [case.params]
    for _ in range(12):
        point, breach = em_step(problem, point, history)
        assert breach is None
        params.append(point.params)
    columns = history.as_arrays()
    objective = np.append(columns["objective"], point.objective)
    log_likelihood = np.append(columns["log_likelihood"], point.expectation.log_likelihood)
    rounding = 1e-12 * np.abs(log_likelihood).max() + 1e-12 * point.expectation.weight
    assert_allclose(columns["elbo"], columns["log_likelihood"], atol=rounding, rtol=0)
    assert (columns["delta_q"] >= -rounding).all()
    assert (columns["kl"] >= -rounding).all()
    assert_allclose(columns["delta_q"] + columns["kl"], np.diff(objective), atol=rounding, rtol=0)
    assert (np.diff(objective) >= -rounding).all()
    assert objective[-1] > objective[0]  # the start was no maximum
    for t in (0, 5, 11):
        kl = kl_of_responsibilities(case, params[t], params[t + 1], case.block())
        if case.own_latent:  # the family's own latent variables add their own divergence
            assert columns["kl"][t] >= kl - rounding
        else:
            assert_allclose(columns["kl"][t], kl, rtol=1e-6, atol=10 * rounding)


@every_model
def test_the_m_step_is_a_maximum_of_q(case):
    """Nowhere near the new parameters is Q + log prior higher."""
    model, block = case.model, case.block()
    expectation, new = one_step(case, block)
    chart = model.chart(new, expectation.statistics)
    if chart is None:
        pytest.skip("no coordinates")

    def objective(params):
        return model.expected_log_joint(params, expectation.statistics) + model.log_prior(params)

    best = objective(new)
    rng = np.random.default_rng(8)
    for _ in range(20):
        away = rng.normal(size=len(chart.scale)) * 0.03 * chart.scale
        assert objective(chart.from_vector(away)) < best


# ------------------------------------------------------------------------------------ complete data


@every_model
def test_complete_data_are_fitted_in_one_step(case):
    """All components known: the posterior is certain, and one M-step is the maximum."""
    block = replace(case.block(), label=case.truth)
    expectation, new = one_step(case, block)
    assert expectation.statistics.counts == pytest.approx(
        np.bincount(case.truth, block.weight, case.k), rel=1e-12
    )
    if not case.own_latent:
        assert_allclose(expectation.entropy, 0.0, atol=1e-12)
    if not case.closed_form:
        return
    again = one_step(case, block, params=new)[1]
    # an iterative M-step restarts from its own end
    assert_same(again, new, 1e-10 if case.exact <= 1e-12 else 1e-6)
    joint = oracles.log_joint(case.model, new, case.x)[np.arange(len(case.x)), case.truth]
    if not any(getattr(group.family, "penalty", 0.0) for group in case.model.groups):
        assert_allclose(
            case.model.expect(new, block).log_likelihood, block.weight @ joint, rtol=1e-12
        )


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.closed_form and c.prior is None and c.fixed is None],
    ids=lambda case: case.name,
)
def test_complete_data_give_each_components_own_estimate(case):
    """Weights are shares; a family that shares nothing between components has its own maximum."""
    block = replace(case.block(), label=case.truth)
    new = one_step(case, block)[1]
    total = block.weight.sum()
    shares = np.bincount(case.truth, block.weight, case.k) / total
    assert_allclose(np.exp(new.log_weights), shares, rtol=1e-12)
    structure = getattr(case.model.groups[0].family, "structure", "VVV")
    if "E" in structure:
        return
    for group, part in zip(case.model.groups, new.components, strict=True):
        for i, k in enumerate(group.index):
            rows = case.truth == k
            own = group.family.estimate(case.x[rows], block.weight[rows])
            assert_same(take(part, [i]), own, 1e-10)


# ---------------------------------------------------------------------------------- priors and holds


@pytest.mark.parametrize("name", ["Poisson, prior", "Gaussian, prior", "Gaussian diag, prior"])
def test_a_prior_is_imaginary_rows(name):
    """The M-step under a prior of the data's own moments equals that of rows added with weights."""
    case = BY_NAME[name]
    if np.isnan(case.x).any():
        case = replace(case, x=np.nan_to_num(case.x))
    _, new = one_step(case, case.block(False))
    r = case.model.assign(case.params, case.block(False))[0]
    n = len(case.x)
    count = case.prior.count if hasattr(case.prior, "count") else case.prior
    rows = np.vstack([case.x, case.x])
    r = np.vstack([r, np.full_like(r, count / n)])
    family = case.model.groups[0].family
    statistics = family.statistics(case.params.components[0], rows, r)
    expected = family.maximize(statistics, case.params.components[0])
    assert_same(new.components[0], expected, 1e-11)


def test_concentration_of_weights():
    case = BY_NAME["Poisson, prior"]
    expectation, new = one_step(case, case.block())
    counts = expectation.statistics.counts + 0.5
    assert_allclose(np.exp(new.log_weights), counts / counts.sum(), rtol=1e-14)
    expected = 0.5 * case.params.log_weights.sum()
    assert case.model.log_prior(case.params) != pytest.approx(expected)  # the rates have one too
    alone = replace(case.model, prior=None)
    assert alone.log_prior(case.params) == pytest.approx(expected)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.fixed is not None], ids=lambda case: case.name
)
def test_what_is_held_stays(case):
    model = case.model
    held = model.hold(case.params)
    params = held
    for _ in range(5):
        params = one_step(case, case.block(), params=params)[1]
    if model.fixed_weights is not None:
        assert_array_equal(params.log_weights, model.fixed_weights)
    for g, group in enumerate(model.groups):
        if g in model.fixed:
            mask = model.fixed_mask[group.index]
            assert mask.any()
            assert_identical(take(params.components[g], mask), take(model.fixed[g], mask))
            if not mask.all():
                moved = flat(take(params.components[g], ~mask))
                before = flat(take(held.components[g], ~mask))
                assert any((moved[name] != before[name]).any() for name in moved)
    expectation = model.expect(params, case.block())
    chart = model.chart(params, expectation.statistics)
    if chart is not None:
        assert len(chart.scale) == model.n_parameters(params)
        away = chart.from_vector(0.1 * chart.scale)
        assert_identical(model.hold(away), away)


@pytest.mark.parametrize("family", [em.Weibull(), em.NegativeBinomial()], ids=repr)
def test_a_family_without_conjugate_prior_refuses_one(family):
    x = np.random.default_rng(0).poisson(4, (60, 1)) + 1.0
    with pytest.raises(ParameterError, match="prior"):
        em.Mixture(family, 2, prior=2.0, random_state=0).fit(x)


# ---------------------------------------------------------------------------- parameters and charts


@every_model
def test_the_number_of_parameters_is_the_number_of_coordinates(case):
    expectation, new = one_step(case, case.block())
    chart = case.model.chart(new, expectation.statistics)
    if chart is None:
        pytest.skip("no coordinates")
    assert len(chart.scale) == case.model.n_parameters(new)


@every_model
def test_samples_follow_the_model(case):
    """The mean log-density of draws is that of other draws: −H within four standard errors."""
    if np.isnan(case.x).any():
        pytest.skip("missing cells are not drawn")
    draws = [
        case.model.sample(case.params, 1500, np.random.default_rng(seed))[0] for seed in (0, 1)
    ]
    assert draws[0].shape == (1500, case.x.shape[1])
    a, b = (case.model.assign(case.params, Block(x))[1] for x in draws)
    assert np.isfinite(a).all()
    error = np.sqrt((a.var() + b.var()) / 1500)
    assert abs(a.mean() - b.mean()) < 4 * error + 1e-12
    x, z = case.model.sample(case.params, 4000, np.random.default_rng(2))
    r = case.model.assign(case.params, Block(x))[0]
    shares = np.exp(case.params.log_weights)
    assert_allclose(np.bincount(z, minlength=case.k) / 4000, shares, atol=0.04)
    # E[r_k] = w_k under the model itself: a test of the density against the sampler
    assert_allclose(r.mean(axis=0), shares, atol=0.05)


@every_model
def test_canonical_order_sorts_by_location(case):
    ordered = case.model.permute(case.params, case.model.canonical_order(case.params))
    assert_array_equal(case.model.canonical_order(ordered), np.arange(case.k))
    for group, part in zip(case.model.groups, ordered.components, strict=True):
        first = group.family.location(part)[:, 0]
        assert (np.diff(first) >= 0).all()


def test_a_component_without_rows_keeps_its_parameters():
    case = BY_NAME["Gaussian VVV"]
    log_weights = np.log([0.5, 0.5, 1.0]) - np.log(2)
    log_weights[2] = -np.inf
    params = MixtureParameters(log_weights, case.params.components)
    expectation, new = one_step(case, case.block(False), params=params)
    assert expectation.statistics.counts[2] == 0
    assert_identical(take(new.components[0], [2]), take(params.components[0], [2]))
    assert np.isneginf(new.log_weights[2])
    assert case.model.degeneracies(new, expectation.statistics) == []


# --------------------------------------------------------------------------------- degenerate data


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical", "VVE", "VEI", "EEV", "VVV"])
def test_a_collapsed_component_is_named(covariance):
    """Twenty equal rows far from the rest: the likelihood is unbounded there."""
    x = np.vstack([np.random.default_rng(0).normal(size=(40, 2)), np.full((20, 2), 9.0)])
    truth = np.repeat([0, 1], [40, 20])
    estimator = em.Mixture(em.Gaussian(covariance), 2)
    rows, _, _ = estimator._read_training(x, None, None)
    model = estimator._build(rows, None)
    from expmax.models.mixture_starts import initial_parameters

    soft = 0.9 * np.eye(2)[truth] + 0.05
    params = initial_parameters(model, Block(x), soft)
    found = []
    with np.errstate(all="ignore"):
        for _ in range(200):
            expectation = model.expect(params, Block(x))
            found = model.degeneracies(params, expectation.statistics)
            if found or not np.isfinite(expectation.log_likelihood):
                break
            params = model.maximize(expectation.statistics, params)
        found = model.degeneracies(params, expectation.statistics)
    if covariance == "EEV":  # equal volume and shape: bounded
        assert found == []
        return
    assert [one.component for one in found] == [1]
    assert "varia" in found[0].reason or "rows" in found[0].reason


def test_a_fit_in_which_every_start_collapses_says_what_to_do():
    x = np.repeat([[0.0], [1.0], [5.0]], 30, axis=0)
    with pytest.raises(DegenerateComponentError, match=r"prior.*fewer components"):
        em.Mixture(em.Gaussian(), 3, random_state=0).fit(x)


def test_a_prior_cures_a_collapse():
    x = np.repeat([[0.0], [1.0], [5.0]], 30, axis=0)
    prior = em.ConjugatePrior(0.1, {"mean": [2.0], "covariance": [0.01]})
    model = em.Mixture(em.Gaussian(), 3, prior=prior, random_state=0).fit(x)
    assert model.converged_
    expected = np.array([0.2, 30.2, 150.2]) / 30.1  # 30 rows of one value, a tenth of a row at 2
    assert_allclose(np.sort(model.params_["mean"].ravel()), expected, atol=2e-3)
