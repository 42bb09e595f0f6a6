"""A checkpoint: an interrupted fit goes on to the same bits, and no other fit may."""

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest

import expmax as em
from expmax.engine.checkpoint import classes_of, decode, encode
from expmax.errors import DataError, ParameterError
from expmax.models.mixture import MixtureModel
from tests.models.cases import BY_NAME

CASE = BY_NAME["Gaussian VVV"]
STARTS = [
    CASE.params,
    replace(CASE.params, log_weights=np.log(np.array([0.2, 0.5, 0.3]))),
]


@dataclass(frozen=True)
class Stops(MixtureModel):
    """Ctrl-C in the middle of one E-step."""

    def expect(self, params, block):
        CALLS.append(params)
        if len(CALLS) == AT[0]:
            raise KeyboardInterrupt
        return super().expect(params, block)


CALLS, AT = [], [0]


def fit(path, at=0, accelerate="auto", start=STARTS, **options):
    CALLS.clear()
    AT[0] = at
    options = {"tol": 1e-9, "random_state": 3} | options
    return em.maximize_likelihood(
        Stops(**vars(CASE.model)),
        CASE.block(),
        list(start),
        accelerate=accelerate,
        checkpoint=path,
        **options,
    )


def same_bits(a, b):
    assert encode(a.params) == encode(b.params)
    assert (a.objective, a.log_likelihood, a.status) == (b.objective, b.log_likelihood, b.status)
    assert encode(vars(a.history)) == encode(vars(b.history))
    assert repr(a.certificate) == repr(b.certificate)
    assert a.starts == b.starts


@pytest.mark.parametrize("accelerate", ["auto", "lbfgs", "squarem", "anderson", None])
def test_an_interrupted_fit_goes_on_to_the_same_bits(accelerate, tmp_path):
    whole = fit(None, accelerate=accelerate)
    n_calls = len(CALLS)
    assert n_calls > 60
    for at in np.linspace(3, n_calls - 1, 7).astype(int):
        path = tmp_path / f"{at}.json"
        first = fit(path, at, accelerate)
        assert first.status == "interrupted"
        again = fit(path, 0, accelerate)
        # a step and a certificate at most are made again
        assert len(CALLS) < n_calls - at + 70
        same_bits(again, whole)
        assert again.n_expect == whole.n_expect


def test_one_that_is_interrupted_again_and_again(tmp_path):
    path = tmp_path / "fit.json"
    whole = fit(None)
    for _ in range(30):
        result = fit(path, at=80)
        if result.status != "interrupted":
            break
    else:
        pytest.fail("it never ends")
    same_bits(result, whole)


def test_a_finished_one_is_returned_at_once(tmp_path):
    path = tmp_path / "fit.json"
    whole = fit(path)
    again = fit(path)
    assert len(CALLS) <= len(STARTS)
    same_bits(again, whole)


def test_a_fit_without_a_seed_goes_on_with_its_own(tmp_path):
    path = tmp_path / "fit.json"
    fit(path, at=40, random_state=None)
    entropy = json.loads(path.read_text())["entropy"]
    resumed = fit(path, random_state=None)
    same_bits(resumed, fit(None, random_state=int(entropy)))


def test_the_best_so_far_in_the_middle_of_several_starts(tmp_path):
    whole = fit(None, start=STARTS[:1])
    n_first = whole.n_expect
    result = fit(tmp_path / "fit.json", at=n_first + 5)
    assert result.status == "interrupted"
    assert not result.converged
    assert [record.status for record in result.starts] == ["stationary", "interrupted"]
    assert result.objective == whole.objective


def test_an_interrupt_between_two_starts_keeps_the_first():
    whole = fit(None, start=STARTS[:1])
    result = fit(None, at=whole.n_expect + 1)
    assert result.status == "interrupted"
    assert result.objective == whole.objective


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"tol": 1e-8}, "tol"),
        ({"max_iter": 500}, "max_iter"),
        ({"accelerate": None}, "accelerate"),
        ({"random_state": 4}, "random_state"),
        ({"start": STARTS[:1]}, "start"),
    ],
)
def test_another_call_is_refused_by_name(change, what, tmp_path):
    path = tmp_path / "fit.json"
    fit(path, at=40)
    with pytest.raises(ParameterError, match=f"belongs to another fit: it differs in {what}"):
        fit(path, **change)


def test_other_data_or_another_model_are_refused_by_name(tmp_path):
    path = tmp_path / "fit.json"
    fit(path, at=40)
    options = {"tol": 1e-9, "random_state": 3, "checkpoint": path}
    model = Stops(**vars(CASE.model))
    block = CASE.block()
    with pytest.raises(ParameterError, match="differs in data"):
        em.maximize_likelihood(model, replace(block, x=block.x + 1e-12), list(STARTS), **options)
    with pytest.raises(ParameterError, match="differs in model"):
        em.maximize_likelihood(CASE.model, block, list(STARTS), **options)
    other = replace(model, concentration=2.0)
    with pytest.raises(ParameterError, match="its objective at the saved parameters was"):
        em.maximize_likelihood(other, block, list(STARTS), **options)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "expmax-model", "version": 1}', "3"])
def test_what_is_no_checkpoint_is_refused(text, tmp_path):
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(DataError, match="cannot be read"):
        fit(path)
    assert path.read_text() == text


def test_parameters_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="a set has no place in a checkpoint"):
        fit(tmp_path / "fit.json", start=[{1, 2}])


class Pair(NamedTuple):
    low: float
    high: np.ndarray


@dataclass(frozen=True)
class Record:
    pair: Pair
    parts: tuple
    kind: str = "plain"


VALUES = [
    0.1 + 0.2,
    float("nan"),
    -float("inf"),
    2**70,
    True,
    None,
    "text",
    [1.5, float("nan")],
    [],
    (),
    {"array": 1},
    {1: "a", (2, 3): None},
    np.float64(1 / 3),
    np.int8(-3),
    np.array(0.1),
    np.zeros((0, 3)),
    np.array([[0.1, np.nan], [-np.inf, 1e-310]]),
    np.asfortranarray(np.arange(6.0).reshape(2, 3) / 7),
    np.array([True, False]),
    Record(Pair(-0.0, np.arange(3)), ({"a": [1, (2.0,)]},)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_to_the_bit(value):
    text = json.dumps(encode(value), allow_nan=False)
    back = decode(json.loads(text), classes_of(value))
    assert type(back) is type(value)
    assert repr(back) == repr(value)
    assert encode(back) == encode(value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert back.strides == value.strides or value.size == 0
        assert back.tobytes() == value.tobytes()


def test_no_other_class_is_built():
    with pytest.raises(ValueError, match="of which the parameters at the start have none"):
        decode(encode(Record(Pair(0.0, np.zeros(1)), ())), {})
