"""The examples run and give the published numbers."""

import importlib.util
import runpy
from pathlib import Path

import numpy as np
import pytest

import expmax as em

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_runs_as_a_script(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_linkage_gives_the_published_numbers():
    """Dempster, Laird & Rubin (1977), §1: ψ; the information split as in McLachlan & Krishnan (2008), §4.2."""
    result = load("linkage").fit()
    assert result.params == pytest.approx(0.6268214979, abs=2e-7)
    assert result.status == "stationary"
    errors = result.standard_errors()
    assert errors.errors["theta"] == pytest.approx(0.0514673, abs=1e-6)
    # I_complete = 435.318, I_missing = 57.801: EM's rate of convergence is their ratio
    assert result.certificate.rate == pytest.approx(57.801 / 435.318, abs=1e-4)
    naive = 1 / np.sqrt(435.318)
    assert abs(errors.errors["theta"] - naive) > 0.003


def test_murray_leaves_the_saddle_for_the_published_maximum():
    """Murray (1977), J. R. Statist. Soc. B 39, 27-28: a saddle at ρ = 0, maxima at ρ = ±1/2, variances 8/3."""
    result = load("murray").fit()
    assert result.status == "stationary"
    assert result.certificate.saddles == 1
    assert result.log_likelihood == pytest.approx(-29.974286, abs=1e-6)
    ((a, b), (_, c)) = result.params
    assert (a, c) == pytest.approx((8 / 3, 8 / 3), abs=1e-5)
    assert abs(b) / np.sqrt(a * c) == pytest.approx(0.5, abs=1e-6)


def test_the_murray_model_passes_the_check():
    murray = load("murray")
    report = em.check_model(
        murray.NormalWithMissingCells(), murray.PAIRS, np.array([[2.0, 0.5], [0.5, 3.0]])
    )
    assert report.ok, str(report)


def test_the_linkage_model_passes_the_check():
    data = np.array([[125.0, 18.0, 20.0, 34.0]])
    report = em.check_model(load("linkage").Linkage(), data, 0.5)
    assert report.ok, str(report)
