"""Finite latents and chains against published estimates, enumeration and our own mixtures."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from tests.general import models

DEATHS = np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])


def test_blood_groups_reach_the_published_frequencies():
    # Rao (1973), Linear Statistical Inference and Its Applications, 2nd ed., §5g: 435 people. The maximum
    # to eight digits is that of gene counting by hand, repeated until nothing moves.
    a, b, o = 0.3, 0.3, 0.4
    for _ in range(200):
        a, b, o = _gene_counting(a, b, o)
    assert_allclose([a, b, o], [0.26444431, 0.09316881, 0.64238687], atol=2e-8)
    result = em.maximize_likelihood(
        models.blood_groups(), models.blood_counts(), tol=1e-12, random_state=0
    )
    assert_allclose(result.params["p"], [a, b, o], atol=3e-8)
    assert result.status == "stationary"


def _gene_counting(a, b, o):
    """One EM step by hand: A (182) splits into AA : AO = a² : 2ao, B (60) likewise, AB (17) has one of each."""
    aa, bb = 182 * a / (a + 2 * o), 60 * b / (b + 2 * o)
    return np.array([182 + aa + 17, 60 + bb + 17, 182 - aa + 60 - bb + 2 * 176]) / (2 * 435)


def test_gene_counting_in_closed_form_takes_the_same_step():
    import jax.numpy as jnp

    def count(theta, expect):
        alleles = expect(lambda x, z: jnp.stack([(z == a).sum() for a in range(3)]))
        return alleles / alleles.sum()

    params = {"p": np.array([0.3, 0.2, 0.5])}
    steps = []
    for model in (models.blood_groups(), models.blood_groups(maximize={"p": count})):
        expectation = model.expect(params, models.blood_counts())
        steps.append(model.maximize(expectation.statistics, params)["p"])
    assert_allclose(steps[0], steps[1], rtol=1e-9)
    assert_allclose(steps[1], _gene_counting(*params["p"]), rtol=1e-12)


def test_linkage_reaches_the_root_of_the_likelihood_equation():
    counts = em.Block(np.arange(4.0)[:, None], weight=np.array([125.0, 18.0, 20.0, 34.0]))
    result = em.maximize_likelihood(models.linkage(), counts, tol=1e-12, random_state=0)
    # 197 ψ² − 15 ψ − 68 = 0 (Dempster, Laird & Rubin 1977, §1)
    root = (15 + np.sqrt(15**2 + 4 * 197 * 68)) / (2 * 197)
    assert_allclose(result.params["psi"], root, rtol=1e-7)
    information = 125 / (2 + root) ** 2 + 38 / (1 - root) ** 2 + 34 / root**2
    errors = result.standard_errors().errors
    assert_allclose(errors["psi"], information**-0.5, rtol=1e-5)


@pytest.fixture(scope="module")
def fitted():
    x = np.arange(10.0)[:, None]
    block = em.Block(x, weight=DEATHS)
    result = em.maximize_likelihood(models.poisson_mixture(), block, tol=1e-10, random_state=0)
    other = em.Mixture(em.Poisson(), n_components=2, tol=1e-10, random_state=0)
    return result, other.fit(x, sample_weight=DEATHS)


def test_a_mixture_from_its_densities_equals_our_mixture(fitted):
    result, other = fitted
    assert_allclose(result.log_likelihood, other.log_likelihood_, rtol=0, atol=1e-8)
    theirs = other.standard_errors()
    ours = result.standard_errors()
    for name, same in (("weight", "weights"), ("rate", "rate")):
        assert_allclose(ours.estimates[name], theirs.estimates[same], rtol=2e-5)
        assert_allclose(ours.errors[name], theirs.errors[same], rtol=1e-4)
    assert ours.names == ("weight[0]", "weight[1]", "rate[0]", "rate[1]")


def test_robust_errors_equal_those_of_our_mixture():
    rows = np.repeat(np.arange(10.0), DEATHS.astype(int) // 5)[:, None]
    ours = em.maximize_likelihood(models.poisson_mixture(), rows, tol=1e-10, random_state=0)
    theirs = em.Mixture(em.Poisson(), n_components=2, tol=1e-10, random_state=0).fit(rows)
    assert_allclose(
        ours.standard_errors("sandwich").errors["rate"],
        theirs.standard_errors(method="sandwich").errors["rate"],
        rtol=1e-3,  # the two fits end 1e-10 nats apart, the ridge is flat
    )


def test_posterior_is_bayes_rule_row_by_row():
    params = {"weight": np.array([0.3, 0.7]), "rate": np.array([1.0, 4.0])}
    from scipy.stats import poisson

    x = np.array([[0.0], [5.0], [2.0], [0.0]])
    joint = params["weight"] * poisson.pmf(x, params["rate"])
    found = models.poisson_mixture().posterior(params, x)["probabilities"]
    assert_allclose(found, joint / joint.sum(axis=1, keepdims=True), rtol=1e-12)


def test_a_chain_equals_the_sum_over_all_paths():
    model = models.chain()
    x, lengths = models.sequences()
    params = {name: one.start for name, one in model.space.constraints.items()}
    expectation = model.expect(params, em.Block(x))
    posterior = model.posterior(params, x)
    log_likelihood = entropy = 0.0
    for i, length in enumerate(lengths):
        joint = dict(models.paths(params, x[i], length))
        total = sum(joint.values())
        log_likelihood += np.log(total)
        p = np.array(list(joint.values())) / total
        entropy -= float(p @ np.log(p))
        state = np.zeros((9, 2))
        for path, q in zip(joint, p, strict=True):
            state[np.arange(length), path] += q
        assert_allclose(posterior["probabilities"][i], state, atol=1e-12)
    assert_allclose(expectation.log_likelihood, log_likelihood, rtol=1e-12)
    assert_allclose(expectation.entropy, entropy, rtol=1e-10)


def test_a_chain_in_closed_form_takes_the_step_of_newton():
    import jax.numpy as jnp

    def initial(theta, expect):
        counts = expect.initial(lambda z: jnp.arange(2) == z)
        return counts / counts.sum()

    def transition(theta, expect):
        counts = expect.transitions(
            lambda z, to: (jnp.arange(2) == z)[:, None] & (jnp.arange(2) == to)
        )
        return counts / counts.sum(axis=1, keepdims=True)

    def rate(theta, expect):
        def sums(x, z):
            there = ~jnp.isnan(x)
            one = (jnp.arange(2) == z) & there
            return one, one * jnp.where(there, x, 0.0)

        n, total = expect(sums)
        return total / n

    closed = {"initial": initial, "transition": transition, "rate": rate}
    x, _ = models.sequences()
    plain, explicit = models.chain(), models.chain(maximize=closed)
    params = {name: one.start for name, one in plain.space.constraints.items()}
    steps = []
    for model in (plain, explicit):
        statistics = model.expect(params, em.Block(x)).statistics
        steps.append(model.maximize(statistics, params))
    for name in closed:
        assert_allclose(steps[0][name], steps[1][name], rtol=1e-7)


def test_an_expectation_may_depend_on_an_earlier_one():
    import jax.numpy as jnp

    def moments(theta, expect):
        one = lambda z: jnp.arange(2) == z  # noqa: E731
        n = expect(lambda x, z: one(z))
        mean = expect(lambda x, z: one(z) * x[0]) / n
        square = expect(lambda x, z: one(z) * (x[0] - mean) ** 2)
        return mean, jnp.sqrt(square / n)

    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, 1, 30), rng.normal(4, 1.5, 20)])[:, None]
    plain = models.gaussian_mixture()
    explicit = models.gaussian_mixture(maximize={("mean", "scale"): moments})
    params = {name: one.start for name, one in plain.space.constraints.items()}
    steps = [
        model.maximize(model.expect(params, em.Block(x)).statistics, params)
        for model in (plain, explicit)
    ]
    for name in params:
        assert_allclose(steps[0][name], steps[1][name], rtol=1e-7)


def test_a_given_posterior_is_used_and_a_wrong_one_is_found():
    import jax
    import jax.numpy as jnp
    from jax.scipy.stats import poisson

    def right(theta, x):
        return jax.nn.softmax(jnp.log(theta["weight"]) + poisson.logpmf(x[0], theta["rate"]))

    x = np.repeat(np.arange(10.0), DEATHS.astype(int))[:, None]
    result = em.maximize_likelihood(
        models.poisson_mixture(posterior=right), x, random_state=0, max_iter=5
    )
    assert result.status == "max_iter"
    wrong = models.poisson_mixture(posterior=lambda theta, x: jnp.array([0.5, 0.5]))
    result = em.maximize_likelihood(wrong, x, random_state=0, max_iter=5)
    assert result.status == "decreased"


def test_a_prior_is_part_of_the_objective():
    import jax.numpy as jnp

    x = np.array([[0.0], [1.0], [6.0], [7.0]])
    model = models.poisson_mixture(prior=lambda theta: jnp.log(theta["weight"]).sum())
    result = em.maximize_likelihood(model, x, tol=1e-9, random_state=0)
    expected = result.log_likelihood + np.log(result.params["weight"]).sum()
    assert_allclose(result.objective, expected, rtol=1e-12)
    # Pseudo-counts of one: weight_k = (n_k + 1) / (n + 2) at the fixed point
    counts = model.posterior(result.params, x)["probabilities"].sum(axis=0)
    assert_allclose(result.params["weight"], (counts + 1) / (len(x) + 2), rtol=1e-4)


@pytest.mark.parametrize("name", ["finite", "finites", "chain"])
def test_every_identity_of_em_holds(name):
    rng = np.random.default_rng(3)
    if name == "finite":
        model = models.poisson_mixture()
        block = em.Block(rng.poisson(2.0, (12, 1)) * 1.0, weight=rng.uniform(0.5, 2.0, 12))
    elif name == "finites":
        model = models.blood_groups()
        block = models.blood_counts()
    else:
        model = models.chain()
        block = em.Block(models.sequences()[0], weight=np.array([1.0, 2.0, 1.0, 3.0]))
    params = {
        k: c.default() if c.start is None else c.start for k, c in model.space.constraints.items()
    }
    if name == "finites":
        params = {"p": np.array([0.3, 0.2, 0.5])}
    report = em.check_model(model, block, params)
    assert report.ok, str(report)
