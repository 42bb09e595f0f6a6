"""Errors: caught both as ours and as the built-in ones, and sent between processes."""

import pickle

import pytest
import sklearn.exceptions

from expmax import errors
from expmax.errors import DecreasedLikelihoodError, ExpmaxError, parameter_error


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ParameterError, ValueError),
        (errors.DataError, ValueError),
        (errors.DataTypeError, ValueError),
        (errors.DataTypeError, TypeError),
        (errors.ImpossibleDataError, ValueError),
        (errors.MissingFileError, FileNotFoundError),
        (errors.DegenerateComponentError, ValueError),
        (errors.NotFiniteError, ArithmeticError),
        (errors.DecreasedLikelihoodError, ArithmeticError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_every_error_is_ours_and_the_builtin_one(error, builtin):
    assert issubclass(error, ExpmaxError)
    assert issubclass(error, builtin)


def test_every_public_error_says_when_it_is_raised():
    for name in errors.__all__:
        assert getattr(errors, name).__doc__


def test_convergence_warning_is_scikit_learns():
    assert issubclass(errors.ConvergenceWarning, sklearn.exceptions.ConvergenceWarning)


@pytest.mark.parametrize("part", ["tightness", "M-step", "E-step"])
def test_decreased_likelihood_names_part_iteration_and_amount(part):
    error = DecreasedLikelihoodError(part, iteration=7, amount=0.25, tolerance=1e-9)
    assert str(error).startswith(f"the {part} broke at iteration 7")
    assert "by 0.25 nats" in str(error)


def test_decreased_likelihood_survives_pickling():
    error = DecreasedLikelihoodError("E-step", iteration=7, amount=0.25, tolerance=1e-9)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_parameter_error_says_argument_rule_value_and_remedy():
    error = parameter_error("n_components", "an integer of at least 1", 0, "Use 1")
    assert str(error) == "n_components must be an integer of at least 1; got 0. Use 1."
