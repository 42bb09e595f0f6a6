"""Arguments of `maximize_likelihood` and `check_model`: what is refused, by name, and what is taken."""

import warnings

import numpy as np
import pytest

import expmax as em
from expmax.engine.arguments import n_workers, seed_sequence
from expmax.errors import ParameterError
from tests.engine.user_models import Pack, TwoPoissons
from tests.models.cases import BY_NAME

CASE = BY_NAME["Poisson"]
BLOCK = CASE.block()
N = len(BLOCK.x)


def fit(**options):
    return em.maximize_likelihood(CASE.model, BLOCK, CASE.params, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tol": np.nan}, "tol must be a finite number of at least 0; got nan"),
        ({"tol": -1}, "tol must be a finite number of at least 0; got -1"),
        ({"tol": "a"}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be an integer of at least 1; got 0"),
        ({"max_iter": 2.5}, "max_iter must be"),
        ({"random_state": "a"}, "random_state must be"),
        ({"random_state": -1}, "random_state must be"),
        ({"progress": 3}, "progress must be True, False or a callable; got 3"),
        ({"certify": "no"}, "certify must be True or False"),
        ({"accelerate": "rocket"}, "accelerate must be one of"),
        ({"accelerate": []}, "accelerate must be one of"),
        ({"compute": 3}, "compute must be"),
        (
            {"checkpoint": "/no/such/folder/x.json"},
            "checkpoint must be .* Create '/no/such/folder'",
        ),
        ({"checkpoint": 3}, "checkpoint must be"),
    ],
    ids=str,
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ParameterError, match=words):
        fit(**options)


def test_a_checkpoint_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="It is a folder"):
        fit(checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "data must be an array"),
        ([], "data must be an array"),
        ("abc", "data must be an array"),
        ([[1], [2, 3]], "rows of different lengths"),
        ([BLOCK, 3], r"data\[1\] must be a Block"),
        (
            em.Block(BLOCK.x, weight=np.ones(3)),
            r"data.weight must be of shape \(\d+,\); got \(3,\)",
        ),
        (em.Block(BLOCK.x, weight=-np.ones(N)), r"data.weight must be finite .*row 0"),
        (em.Block(BLOCK.x, weight=np.zeros(N)), "positive weight somewhere"),
        (em.Block(BLOCK.x, label=np.zeros(3, int)), "data.label must be of shape"),
        (em.Block(BLOCK.x[:0]), "at least one row"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_data_are_named(data, words):
    with pytest.raises(ParameterError, match=words):
        em.maximize_likelihood(CASE.model, data, CASE.params)


@pytest.mark.parametrize("call", [em.maximize_likelihood, em.check_model])
def test_what_is_no_model_is_named(call):
    with pytest.raises(ParameterError, match=r"model must have .* no expect\(params, block\), max"):
        call(object(), BLOCK, CASE.params)
    with pytest.raises(ParameterError, match="model must be an instance"):
        call(type(CASE.model), BLOCK, CASE.params)

    class Half:
        def expect(self, params, block):
            raise AssertionError("never called")

    with pytest.raises(ParameterError, match=r"a Half has no maximize\(statistics, params\), exp"):
        call(Half(), BLOCK, CASE.params)


def test_check_model_needs_parameters_and_a_seed():
    with pytest.raises(ParameterError, match="params must be parameters of the model; got None"):
        em.check_model(CASE.model, BLOCK, None)
    with pytest.raises(ParameterError, match="random_state must be"):
        em.check_model(CASE.model, BLOCK, CASE.params, random_state="a")


# -- starts ----------------------------------------------------------------------------------------
def test_several_starts_come_as_a_list_or_an_iterator():
    from expmax.contract import Start

    listed = em.maximize_likelihood(CASE.model, BLOCK, [CASE.params, CASE.params], random_state=0)
    given = (one for one in [CASE.params, Start(CASE.params, "mine")])
    drawn = em.maximize_likelihood(CASE.model, BLOCK, given, random_state=0)
    assert drawn.log_likelihood == listed.log_likelihood
    assert [record.kind for record in drawn.starts] == ["given", "mine"]
    assert all(record.agrees for record in drawn.starts)
    assert drawn.certificate.n_agreeing == 2


@pytest.mark.parametrize("start", [[], iter(()), [None]], ids=["list", "iterator", "None"])
def test_no_start_is_named(start):
    with pytest.raises(ParameterError, match="start must be"):
        em.maximize_likelihood(CASE.model, BLOCK, start)


def test_a_model_without_a_start_is_named():
    class Startless:
        def __getattr__(self, name):
            return getattr(CASE.model, name)

        def starts(self, blocks, rng):
            return iter(())

    with pytest.raises(ParameterError, match=r"model\.starts.* gave no start"):
        em.maximize_likelihood(Startless(), BLOCK)


# -- seeds -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make",
    [
        lambda: 3,
        lambda: np.int64(3),
        lambda: np.random.SeedSequence(3),
        lambda: np.random.RandomState(3),
        lambda: np.random.default_rng(3),
    ],
    ids=["int", "int64", "SeedSequence", "RandomState", "Generator"],
)
def test_every_kind_of_seed_repeats_itself(make):
    a, b = seed_sequence(make()), seed_sequence(make())
    assert a.entropy == b.entropy
    assert fit(random_state=make()).certificate == fit(random_state=make()).certificate
    generator = make()
    if isinstance(generator, np.random.RandomState | np.random.Generator):
        assert seed_sequence(generator).entropy != seed_sequence(generator).entropy  # it moves on


def test_workers_are_counted():
    assert (n_workers(None), n_workers(3)) == (1, 3)
    assert n_workers(-1) >= 1
    assert n_workers(-10_000) == 1
    for wrong in (0, 1.5, True, "all"):
        with pytest.raises(ParameterError, match="n_jobs must be"):
            n_workers(wrong)


# -- warnings --------------------------------------------------------------------------------------
@pytest.mark.parametrize("factor", [1.1, 100.0, 1e-8])
def test_a_wrong_unpack_warns_of_nothing_of_ours(factor):
    """Extrapolations from an `unpack` that is no inverse of `pack` go astray, and are not taken."""

    class Wrong(TwoPoissons):
        space = Pack(factor)

    rng = np.random.default_rng(0)
    x = rng.poisson(np.where(rng.random(150) < 0.4, 2, 7)).astype(float)[:, None]
    start = np.array([0.45, 0.55]), np.array([1.5, 6.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = em.maximize_likelihood(Wrong(), x, start, max_iter=200)
    gains = np.diff(result.history.objective)
    assert (gains >= -1e-9).all()
