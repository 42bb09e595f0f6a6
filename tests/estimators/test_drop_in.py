"""scikit-learn's own tests of its GaussianMixture, run with ours in its place.

The installed module `sklearn.mixture.tests.test_gaussian_mixture` is loaded a second time under another
name, its `GaussianMixture` is replaced, and its tests are collected here. `DIFFERENCES` names every test
that is not run, or is run in another form, with the reason; `docs/drop-in.md` holds the same for readers.
"""

import importlib.util
import inspect
import warnings

import numpy as np
import pytest
import sklearn.mixture
import sklearn.mixture.tests.test_gaussian_mixture as theirs
from numpy.testing import assert_allclose

from expmax import GaussianMixture

TYPES = ["full", "tied", "diag", "spherical"]

# Tests of scikit-learn's private functions and methods: they never reach the public class.
PRIVATE = {
    "test_suffstat_sk_full": "_estimate_gaussian_covariances_full",
    "test_suffstat_sk_tied": "_estimate_gaussian_covariances_tied",
    "test_suffstat_sk_diag": "_estimate_gaussian_covariances_diag",
    "test_gaussian_suffstat_sk_spherical": "_estimate_gaussian_covariances_spherical",
    "test_compute_log_det_cholesky": "_compute_log_det_cholesky",
    "test_gaussian_mixture_log_probabilities": "_estimate_log_gaussian_prob",
    "test_gaussian_mixture_precisions_init": "GaussianMixture._initialize and ._set_parameters",
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": (
        "counts the calls of _estimate_gaussian_parameters"
    ),
}

DIFFERENCES = {}


def load():
    spec = importlib.util.spec_from_file_location("drop_in_of_scikit_learn", theirs.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.GaussianMixture = GaussianMixture
    return module


ours = load()
QUIET = pytest.mark.filterwarnings("default::UserWarning", "default::RuntimeWarning")
THEIRS = {
    name: test for name, test in inspect.getmembers(ours, inspect.isfunction)
    if name.startswith("test_") and test.__module__ == ours.__name__
}


def collected(test):
    """The test as this pytest takes it: parameters in a list, not in a generator."""
    for i, mark in enumerate(getattr(test, "pytestmark", [])):
        if mark.name == "parametrize" and not isinstance(mark.args[1], list | tuple):
            names, values = mark.args
            test.pytestmark[i] = pytest.mark.parametrize(names, list(values)).mark
    return QUIET(test)


for _name in THEIRS.keys() - PRIVATE.keys() - DIFFERENCES.keys():
    globals()[_name] = collected(THEIRS[_name])


@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request):
    return request.param


@pytest.fixture(params=[42])
def global_random_seed(request):
    return request.param
