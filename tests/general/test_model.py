"""What JointModel does around the mathematics: blocks, threads, starts, edges, refusals, JAX itself."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.compute.reduce import Threads
from expmax.general import Finite, Finites, Gaussian, Markov, Positive, Real, Simplex
from tests.general import models


def two_groups(n=60, seed=0):
    rng = np.random.default_rng(seed)
    k = rng.random(n) < 0.4
    return np.where(k, rng.normal(0.0, 1.0, n), rng.normal(4.0, 1.5, n))[:, None]


@pytest.fixture(scope="module")
def mixture():
    return models.gaussian_mixture()


def start_of(model):
    return {name: one.start for name, one in model.space.constraints.items()}


# -- sums ------------------------------------------------------------------------------------------
def test_blocks_threads_and_forgetting_change_nothing(mixture):
    x = two_groups(100)
    params = start_of(mixture)
    whole = mixture.expect(params, em.Block(x, memo={}))
    cuts = [em.Block(x[i : i + 30]) for i in range(0, 100, 30)]  # no memo: q is found again
    parts = Threads(2).total(lambda block: mixture.expect(params, block), cuts)
    assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-13)
    assert_allclose(parts.entropy, whole.entropy, rtol=1e-12)
    new = [mixture.maximize(one.statistics, params) for one in (whole, parts)]
    for name in params:
        assert_allclose(new[0][name], new[1][name], rtol=1e-10)


def test_statistics_are_an_additive_group(mixture):
    x = two_groups(40)
    params = start_of(mixture)
    first, second = (mixture.expect(params, em.Block(part, memo={})) for part in (x[:15], x[15:]))
    both = first.statistics + second.statistics
    q = mixture.expected_log_joint
    assert_allclose(
        q(params, both), q(params, first.statistics) + q(params, second.statistics), rtol=1e-13
    )
    assert_allclose(q(params, 0.5 * both), 0.5 * q(params, both), rtol=1e-13)
    assert_allclose(q(params, both - first.statistics), q(params, second.statistics), rtol=1e-13)
    assert q(params, both.zero()) == 0.0
    assert (first.statistics - first.statistics).parts == ()


def test_equal_rows_count_as_one_with_their_weight(mixture):
    x = np.repeat(two_groups(10), 7, axis=0)
    params = start_of(mixture)
    merged = mixture.expect(params, em.Block(x, memo={}))
    plain = mixture.expect(params, em.Block(x))
    assert merged.statistics.parts[0].prepared.chunks[0].n_rows == 10
    assert_allclose(merged.log_likelihood, plain.log_likelihood, rtol=1e-13)
    assert merged.weight == plain.weight == 70


def test_more_rows_than_a_chunk_holds(mixture):
    x = two_groups(5000)
    params = start_of(mixture)
    whole = mixture.expect(params, em.Block(x))
    assert len(whole.statistics.parts[0].prepared.chunks) > 1
    parts = [mixture.expect(params, em.Block(part)).log_likelihood for part in np.split(x, 5)]
    assert_allclose(whole.log_likelihood, sum(parts), rtol=1e-12)


def test_nothing_is_compiled_again_from_one_iteration_to_the_next():
    import jax

    model = models.gaussian_mixture()
    block = em.Block(two_groups(), memo={})
    params = start_of(model)
    for _ in range(2):
        params = model.maximize(model.expect(params, block).statistics, params)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        import logging

        seen = []
        patch.setattr(logging.Logger, "handle", lambda self, record: seen.append(record))
        for _ in range(3):
            statistics = model.expect(params, block).statistics
            params = model.maximize(statistics, params)
            model.expected_log_joint(params, statistics)
    assert seen == []


# -- M-steps ---------------------------------------------------------------------------------------
def test_many_parameters_climb_by_gradients(monkeypatch, mixture):
    params = start_of(mixture)
    statistics = mixture.expect(params, em.Block(two_groups())).statistics
    newton = mixture.maximize(statistics, params)
    monkeypatch.setattr("expmax.general.model.MANY", 0)
    gradient = mixture.maximize(statistics, params)
    for name in params:
        assert_allclose(gradient[name], newton[name], rtol=1e-5)


@pytest.mark.parametrize("accelerate", ["auto", "squarem", None])
def test_every_accelerator_reaches_the_optimum_of_our_mixture(mixture, accelerate):
    x = two_groups()
    result = em.maximize_likelihood(mixture, x, accelerate=accelerate, tol=1e-6, random_state=0)
    other = em.Mixture(em.Gaussian(), n_components=2, tol=1e-6, random_state=0).fit(x)
    assert_allclose(result.log_likelihood, other.log_likelihood_, atol=1e-5)
    assert result.status == "stationary"


# -- starts ----------------------------------------------------------------------------------------
def test_starts_given_random_and_by_function(mixture):
    rng = np.random.default_rng(0)
    block = em.Block(two_groups())
    (given,) = mixture.starts([block], rng)
    assert given.kind == "given"
    assert_allclose(given.params["mean"], [0.0, 4.0], atol=1e-12)
    several = list(models.gaussian_mixture(n_starts=3).starts([block], rng))
    assert [one.kind for one in several] == ["given", "random", "random"]
    assert len(list(models.blood_groups().starts([models.blood_counts()], rng))) == 5

    def start(data, rng):
        return {"w": [0.5, 0.5], "mean": np.quantile(data, [0.2, 0.8]), "scale": data.std()}

    (one,) = models.gaussian_mixture(start=start).starts([block], rng)
    assert_allclose(one.params["mean"], np.quantile(block.x, [0.2, 0.8]))
    assert one.params["scale"].shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": [0.5, 0.6]}, "w must be probabilities that sum to 1"),
        ({"other": 1.0}, "'other' is unknown"),
        ({"scale": -1.0}, "scale must be"),
    ],
)
def test_a_start_outside_the_parameters_is_refused(mixture, change, message):
    """Neither normalised nor clipped into them."""
    with pytest.raises(em.errors.ParameterError, match=message):
        em.maximize_likelihood(mixture, two_groups(), start=start_of(mixture) | change)
    missing = {name: value for name, value in start_of(mixture).items() if name != "mean"}
    with pytest.raises(em.errors.ParameterError, match="'mean' is missing"):
        em.maximize_likelihood(mixture, two_groups(), start=[start_of(mixture), missing])


# -- edges -----------------------------------------------------------------------------------------
def test_a_weight_that_vanishes_ends_on_the_boundary():
    import jax.numpy as jnp
    from jax.scipy.stats import norm

    def log_joint(theta, x, z):
        return jnp.log(theta["w"][z]) + norm.logpdf(x[0], jnp.array([0.0, 5.0])[z], 1.0)

    model = em.JointModel(log_joint, latent=Finite(2), parameters={"w": Simplex(2)})
    x = np.random.default_rng(0).normal(-1.0, 1.0, (100, 1))
    result = em.maximize_likelihood(model, x, random_state=0)
    assert result.status == "boundary"
    assert result.certificate.boundary == ("w[1] at 0",)
    assert_allclose(result.log_likelihood, -0.5 * (x**2).sum() - 50 * np.log(2 * np.pi), rtol=1e-12)


def test_a_spike_is_named_as_degenerate(mixture):
    x = two_groups()
    start = {
        "w": np.array([0.02, 0.98]),
        "mean": np.array([x[0, 0], 2.0]),
        "scale": np.array([1e-3, 2.0]),
    }
    result = em.maximize_likelihood(mixture, x, start, random_state=0)
    assert result.status == "degenerate"
    assert "scale[0]" in result.certificate.degenerate[0]


def test_a_parameter_that_the_data_do_not_know_has_no_standard_error():
    import jax.numpy as jnp
    from jax.scipy.stats import norm

    def log_joint(theta, x, z):
        return jnp.log(0.5) + norm.logpdf(x[0], theta["a"] + theta["b"], 1.0)

    model = em.JointModel(
        log_joint, latent=Finite(2), parameters={"a": Real(start=0.0), "b": Real(start=0.0)}
    )
    result = em.maximize_likelihood(model, two_groups(), random_state=0)
    assert_allclose(result.params["a"] + result.params["b"], two_groups().mean(), atol=1e-4)
    with pytest.raises(em.errors.InformationError, match="do not determine it"):
        result.standard_errors()


# -- refusals --------------------------------------------------------------------------------------
def test_a_density_that_is_no_number_is_told_by_row_and_state(mixture):
    x = two_groups()
    x[7] = np.nan
    with pytest.raises(em.errors.NotFiniteError, match="row 7, z = 0"):
        em.maximize_likelihood(mixture, x, random_state=0)


def test_an_impossible_row_is_told():
    x = np.array([[0.0], [2.0], [9.0]])  # there is no phenotype 9
    with pytest.raises(em.errors.NotFiniteError, match="can produce row 2"):
        em.maximize_likelihood(models.blood_groups(), x, random_state=0)


def test_a_density_without_a_derivative_is_told_by_parameter():
    import jax.numpy as jnp

    def log_joint(theta, x, z):
        safe = jnp.where(x[0] > 0, jnp.sqrt(theta["m"] * jnp.maximum(x[0], 0.0)), 0.0)
        return -((safe - 1.0) ** 2)

    model = em.JointModel(log_joint, latent=Finite(2), parameters={"m": Positive(start=1.0)})
    with pytest.raises(em.errors.NotFiniteError, match=r"no derivative by 'm'.*jnp\.where"):
        em.maximize_likelihood(model, two_groups() - 2.0, random_state=0)


@pytest.mark.parametrize(
    ("log_joint", "message"),
    [
        (lambda theta, x, z: float(x[0]) * theta["m"], "traceable by JAX"),
        (lambda theta, x, z: np.log(theta["m"]), "traceable by JAX"),
        (lambda theta, x, z: theta["m"] if x[0] > 0 else 0.0, "traceable by JAX"),
        (lambda theta, x, z: x * theta["m"], r"one number.*shape \(1,\)"),
        (lambda theta, x, z: theta["scale"], "asks for the parameter 'scale'; the model has m"),
    ],
)
def test_a_function_that_cannot_be_used_is_told_what_to_change(log_joint, message):
    model = em.JointModel(log_joint, latent=Finite(2), parameters={"m": Positive(start=1.0)})
    with pytest.raises(em.errors.ParameterError, match=message):
        em.maximize_likelihood(model, two_groups(), random_state=0)


def log_joint(theta, x, z):
    return 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": Finites(10, 10, 10, 10)}, "10000 values"),
        ({"latent": Gaussian(4)}, "quadrature over 4 dimensions"),
        ({"latent": Gaussian(1), "inference": "exact"}, "Finite or Finites"),
        ({"latent": Finite(2), "inference": "quadrature"}, "Quadrature needs Gaussian"),
        ({"latent": Finite(2), "inference": "magic"}, "inference must be one of"),
        ({"latent": 3}, "latent must be"),
        ({"latent": Markov(2)}, "log_initial, log_transition, log_likelihood; got log_joint"),
        ({"latent": Finite(2), "log_prior": log_joint}, "log_joint alone"),
        ({"latent": Finite(2), "parameters": {"m": 1.0}}, "a constraint such as"),
        ({"latent": Finite(2), "maximize": {"n": log_joint}}, "maximize must be"),
        ({"latent": Finite(2), "start": {"m": 1.0}}, "start must be a function"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(options, message):
    with pytest.raises(em.errors.ParameterError, match=message):
        em.JointModel(log_joint, **{"parameters": {"m": Positive()}, **options})


def test_sequences_that_are_none_are_refused():
    model = models.chain()
    with pytest.raises(em.errors.DataError, match="a sequence in each row"):
        model.expect(start_of(model), em.Block(np.zeros(5)))
    x = np.zeros((3, 4))
    x[1] = np.nan
    with pytest.raises(em.errors.DataError, match="sequence 1 holds no observation"):
        model.expect(start_of(model), em.Block(x))


# -- JAX -------------------------------------------------------------------------------------------
def test_without_jax_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(em.errors.MissingDependencyError, match=r'pip install "expmax\[jax\]"'):
        em.JointModel(log_joint, latent=Finite(2), parameters={"m": Positive(start=2.0)})


def test_importing_expmax_does_not_import_jax():
    code = "import sys; import expmax, expmax.general; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_users_precision_stays_as_it_was(mixture):
    import jax.numpy as jnp

    mixture.expect(start_of(mixture), em.Block(two_groups()))
    assert jnp.ones(2).dtype == jnp.float32
