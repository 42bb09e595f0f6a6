"""The examples run and give the published numbers."""

import importlib
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

import expmax as em

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    """An example as a module: its fits are kept, for all tests and for the pages of docs."""
    return importlib.import_module(f"examples.{name}")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_runs_as_a_script(path, capsys):
    main = getattr(load(path.stem), "main", None)
    if main is None:
        runpy.run_path(str(path), run_name="__main__")
    else:  # what the script does, with the fits of the other tests
        assert path.read_text().endswith('if __name__ == "__main__":\n    main()\n')
        main()
    assert capsys.readouterr().out


def plain_em(result, n=40):
    """A fit continued by EM steps alone, to the last digits of the parameters."""
    options = {"tol": 0, "max_iter": n, "accelerate": None, "certify": False}
    problem = result.problem
    return em.maximize_likelihood(problem.model, problem.blocks, result.params, **options)


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


def test_linkage_from_the_joint_density_alone():
    """The same numbers as above, to the digits printed."""
    example = load("linkage")
    joint = example.fit_joint()
    assert joint.status == "stationary"
    for result in (plain_em(joint), plain_em(example.fit())):
        psi = result.params["psi"] if isinstance(result.params, dict) else result.params
        assert float(psi) == pytest.approx(0.6268214979, abs=5e-11)
    assert_allclose(joint.log_likelihood, example.fit().log_likelihood, rtol=1e-13)
    errors = joint.standard_errors()
    assert errors.errors["psi"] == pytest.approx(0.0514673, abs=5e-8)


@pytest.mark.parametrize(
    ("sample", "published", "tolerance"),
    [
        ("FREQUENCIES", [0.26444431, 0.09316881, 0.64238687], 5e-9),  # Rao (1973), §5g
        # Clarke et al. (1959); Lange (2010), Numerical Analysis for Statisticians, §13.3 prints four digits
        ("CLARKE", [0.213590939086, 0.0501453288662, 0.736263732048], 2e-11),
    ],
)
def test_blood_groups_both_ways(sample, published, tolerance):
    """Published allele frequencies; those of Clarke's sample also by Newton's method, to 11 digits."""
    abo = load("abo")
    frequencies = getattr(abo, sample)
    counting, joint = abo.fit_by_counting(frequencies), abo.fit(frequencies)
    assert joint.status == counting.status == "stationary"
    assert_allclose(plain_em(counting).params, published, rtol=0, atol=tolerance)
    assert_allclose(plain_em(joint).params["alleles"], published, rtol=0, atol=tolerance)
    assert_allclose(joint.log_likelihood, counting.log_likelihood, rtol=1e-13)


def test_the_gene_counting_model_passes_the_check():
    abo = load("abo")
    report = em.check_model(abo.GeneCounting(), abo.blocks(), np.array([0.3, 0.3, 0.4]))
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("q", "log_likelihood", "effects", "variance"),
    [
        (1, -897.039321503, [[1296.87]], 954.5278),
        (2, -875.969672232, [[565.5153, 11.0554], [11.0554, 32.6822]], 654.9410),
    ],
)
def test_mixed_model_of_the_sleep_study(q, log_likelihood, effects, variance):
    """Maximum likelihood by R's lme4 1.1.31: Reaction ~ Days + (1 | Subject), and + (Days | Subject)."""
    example = load("mixed_model")
    closed, joint = example.fit(q=q), example.fit_joint(q)
    for result in (closed, joint):
        assert result.status == "stationary"
        assert_allclose(result.log_likelihood, log_likelihood, rtol=0, atol=1e-9)
    params = joint.params
    assert_allclose(params["beta"], [251.405104848, 10.4672859596], rtol=1e-8)
    assert_allclose(params["covariance"], effects, rtol=1e-4)
    assert_allclose(params["variance"], variance, rtol=1e-5)
    assert_allclose(closed.params.covariance, params["covariance"], rtol=1e-4)
    model, blocks = joint.problem.model, joint.problem.blocks
    assert model.approximation_error(params, blocks) < 1e-9  # the rule is exact here


def test_parameter_expanded_em_needs_fewer_steps():
    """Liu, Rubin & Wu (1998): the same maximum in a fraction of the steps, each of which proves its ascent."""
    example = load("mixed_model")
    for q, share in ((1, 0.5), (2, 0.1)):
        plain = example.fit(example.MixedModel, q, accelerate=None)
        larger = example.fit(example.ExpandedModel, q, accelerate=None)
        assert larger.status == "stationary"
        assert larger.certificate.monotone
        assert_allclose(larger.log_likelihood, plain.log_likelihood, rtol=0, atol=1e-8)
        assert len(larger.history) < share * len(plain.history)
    assert isinstance(larger.params, example.Parameters)
    assert not isinstance(larger.params, example.Expanded)


@pytest.mark.parametrize("name", ["MixedModel", "ExpandedModel"])
def test_the_mixed_models_pass_the_check(name):
    """With drivers measured fewer times, and weights."""
    example = load("mixed_model")
    x = example.read().copy()
    x[3, 7:] = x[5, 2] = np.nan
    rows = em.Block(x, weight=np.linspace(0.5, 2.0, len(x)))
    report = em.check_model(getattr(example, name)(), rows, example.start())
    assert report.ok, str(report)


def test_item_responses_both_ways():
    """R's ltm 1.2.0 with 61 nodes; Bock & Lieberman (1970) for the data."""
    example = load("item_response")
    closed, joint = example.fit(), example.fit_joint()
    for result in (closed, joint):
        assert result.status == "stationary"
        assert_allclose(result.log_likelihood, -2466.6533774, rtol=0, atol=1e-7)
    slope = [0.825659521, 0.722744196, 0.890874535, 0.688367974, 0.656855940]
    intercept = [2.773234398, 0.990201197, 0.249147524, 1.284756926, 2.053270445]
    assert_allclose(joint.params["slope"], slope, rtol=0, atol=1e-5)
    assert_allclose(joint.params["intercept"], intercept, rtol=0, atol=1e-5)
    assert_allclose(closed.params, [slope, intercept], rtol=0, atol=1e-5)
    errors = joint.standard_errors().errors
    both = np.stack([errors["slope"], errors["intercept"]])
    assert_allclose(closed.standard_errors().errors["theta"], both, rtol=1e-5)


def test_the_item_response_model_passes_the_check():
    example = load("item_response")
    rows = example.read()
    x = rows.x.copy()
    x[3, 1] = np.nan
    start = np.stack([np.ones(5), np.linspace(-1.0, 1.0, 5)])
    report = em.check_model(example.ItemResponse(), em.Block(x, weight=rows.weight), start)
    assert report.ok, str(report)


def test_dawid_and_skene_three_ways():
    """The published optimum from their own start (Dawid & Skene 1979), which lies on the boundary."""
    example = load("crowd")
    estimator = example.fit()
    prevalence = [0.399554752882, 0.421983391914, 0.111795188537, 0.0666666666667]
    for result in (example.fit_joint(), example.fit_closed()):
        assert result.status == "boundary"
        assert_allclose(result.log_likelihood, -192.890881214, rtol=0, atol=1e-6)
        assert_allclose(result.params["prevalence"], prevalence, rtol=0, atol=5e-7)
        assert_allclose(result.params["confusion"], estimator.confusion_, rtol=0, atol=2e-5)
    assert_allclose(estimator.log_likelihood_, -192.890881214, rtol=0, atol=1e-6)


def test_fellegi_and_sunter_both_ways():
    example = load("fellegi_sunter")
    joint, estimator = example.fit_joint(), example.fit()
    assert joint.status == "stationary"
    assert_allclose(joint.log_likelihood, estimator.log_likelihood_, rtol=0, atol=2e-3)
    assert_allclose(joint.params["share"], estimator.prevalence_, rtol=1e-4)


def test_censored_weibull_regression():
    """R's survreg (survival 3.5.3), time ~ treat; and the likelihood integrated by hand."""
    example = load("censored_weibull")
    joint, direct = example.fit_joint(), example.search()
    assert joint.status == "stationary"
    assert_allclose(joint.log_likelihood, -106.579491582, rtol=0, atol=2e-9)
    assert_allclose(joint.params["b"], [2.24835235923, 1.2673345873], rtol=2e-6)
    assert_allclose(joint.params["scale"], 0.732194404099, rtol=2e-6)
    at_joint = example.log_likelihood(joint.params["b"], joint.params["scale"])
    assert_allclose(joint.log_likelihood, at_joint, rtol=0, atol=2e-9)
    assert at_joint >= -direct.fun - 1e-8
    errors = joint.standard_errors().errors["b"]
    assert_allclose(errors, [0.165971793525, 0.310639930287], rtol=2e-5)


def test_mixture_of_experts():
    """Constant gate: the best mixture of regressions (as R's flexmix finds). Gate by x: BFGS."""
    example = load("mixture_of_experts")
    joint, closed = example.fit_joint(), example.fit_closed()
    assert joint.status == closed.status == "stationary"
    assert_allclose(joint.log_likelihood, closed.log_likelihood, rtol=0, atol=1e-7)
    assert_allclose(example.fit_joint(False).log_likelihood, -642.532013736, rtol=0, atol=1e-7)
    assert_allclose(closed.log_likelihood, -example.search().fun, rtol=0, atol=1e-7)
    names = ("level", "slope", "coef", "scale")
    direct = example.log_likelihood(*(closed.params[name] for name in names))
    assert_allclose(closed.log_likelihood, direct, rtol=1e-13)


def test_logistic_regression_with_random_intercepts():
    """Fixed effects and deviance by R's lme4, glmer(…, nAGQ = 25), as in its own tests (tests/glmer-1.R)."""
    example = load("random_effects_logistic")
    joint, direct = example.fit_joint(), example.search()
    assert joint.status == "stationary"
    b = joint.params["b"]
    published = [-1.39922533406847, -0.991407294757321, -1.12782184600404, -1.57946627431248]
    assert_allclose([b[0], *(b[1:] - b[0])], published, rtol=2e-5)
    cases, size = np.moveaxis(example.read(), -1, 0)
    saturated = np.nansum(binom.logpmf(cases, size, cases / size))
    assert_allclose(2 * (saturated - joint.log_likelihood), 100.010030538022, rtol=0, atol=1e-6)
    assert_allclose(joint.log_likelihood, -direct.fun, rtol=0, atol=1e-7)
    assert_allclose(
        joint.log_likelihood, example.log_likelihood(b, joint.params["sigma"]), rtol=1e-10
    )
