"""check_model holds for models that are right, and names what is wrong with models that are not."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

import expmax as em
from examples.linkage import Linkage
from expmax.contract import Block
from expmax.engine.check import IDENTITIES
from expmax.engine.checks.setting import Setting
from tests.models.cases import BY_NAME

# ------------------------------------------------------------------------------ models that are right

RIGHT = [
    "Poisson",
    "NegativeBinomial",
    "Weibull",
    "Gaussian VVV",
    "Gaussian EEE",
    "Gaussian VVE",
    "Gaussian diag, missing cells",
    "StudentT",
    "StudentT, prior",
    "StudentT and Gaussian",
    "Product of mixed columns",
    "zero-inflated Poisson",
    "Gaussians and noise",
    "Categorical, prior",
    "Gaussian, prior",
    "Poisson, weights held",
    "Gaussian, one component held",
]


def inapplicable(report):
    return {row.name for row in report.rows if row.verdict == "does not apply"}


@pytest.mark.parametrize("name", RIGHT)
def test_every_identity_holds_for_our_models(name):
    case = BY_NAME[name]
    report = em.check_model(case.model, case.blocks(70), case.params)
    assert report.ok, f"\n{report}"
    assert len(report.rows) == len(IDENTITIES)
    if name in ("Gaussian VVV", "Gaussian EEE", "Gaussian VVE"):
        assert not inapplicable(report)
    if name == "Poisson":
        assert inapplicable(report) == {"affine change"}


def test_every_identity_holds_for_the_compiled_step():
    case = BY_NAME["Gaussian VVV"]
    model = replace(case.model, compiled=True)
    report = em.check_model(model, case.block(), case.params)
    assert report.ok, f"\n{report}"
    assert inapplicable(report) <= {"memo"}


def test_far_from_the_origin_rounding_is_no_failure():
    case = BY_NAME["Gaussian VVV"]
    shift = np.full(3, 1e5)
    far = case.model.rescale(case.params, shift, 1.0)
    report = em.check_model(case.model, replace(case.block(), x=case.x + shift), far)
    assert report.ok, f"\n{report}"


COUNTS = np.array([[125.0, 18.0, 20.0, 34.0]])


class LinkageWithoutWeights(Linkage):
    supports_weights = False


def test_the_smallest_user_model():
    report = em.check_model(LinkageWithoutWeights(), COUNTS, 0.5)
    assert report.ok, f"\n{report}"
    held = {row.name for row in report.rows if row.verdict == "holds"}
    assert held >= {
        "tightness",
        "KL at least 0",
        "M-step stationary",
        "Fisher's identity",
        "score at fixed point",
        "rate of convergence",
        "missing information",
    }


def test_the_jacobian_of_the_linkage_data():
    """Dempster, Laird & Rubin (1977): I_missing / I_complete = 57.801 / 435.318 at 0.6268214979."""
    setting = Setting(Linkage(), [Block(COUNTS)], 0.5)
    fixed = setting.fixed_point
    assert fixed.point.params == pytest.approx(0.6268214979, abs=1e-10)
    values, errors = fixed.jacobian
    assert values.item() == pytest.approx(57.801 / 435.318, rel=1e-5)
    assert errors.item() < 1e-8


def test_a_model_that_ignores_weights_without_saying_so():
    if hasattr(Linkage, "supports_weights"):
        pytest.skip("it says so now")
    report = em.check_model(Linkage(), COUNTS, 0.5)
    assert [row.name for row in report.failures] == ["weights as copies", "weight zero"]


# ----------------------------------------------------------------- a model by hand, with all there is


@dataclass(frozen=True)
class Sums(em.Additive):
    counts: np.ndarray
    totals: np.ndarray
    log_base: float


@dataclass(frozen=True)
class Rates:
    log_weights: np.ndarray
    rates: np.ndarray


class Space:
    def pack(self, params):
        logits = params.log_weights[1:] - params.log_weights[0]
        return np.concatenate([logits, np.log(params.rates)])

    def unpack(self, vector):
        k = (len(vector) + 1) // 2
        logits = np.concatenate([[0.0], vector[: k - 1]])
        return Rates(logits - logsumexp(logits), np.exp(vector[k - 1 :]))


class PoissonMixture:
    """Two Poisson rates under Gamma priors of shape 3, rate 1; ready to be broken in many ways."""

    space = Space()
    n_components = 2
    shape = np.array([3.0, 3.0])

    def log_joint(self, params, block):
        x = block.x[:, :1]
        density = x * np.log(params.rates) - params.rates - gammaln(x + 1)
        return params.log_weights + density

    def assign(self, params, block):
        table = self.log_joint(params, block)
        if block.label is not None:
            other = np.arange(2) != block.label[:, None]
            table[(block.label >= 0)[:, None] & other] = -np.inf
        evidence = logsumexp(table, axis=1)
        r = np.exp(table - evidence[:, None])
        entropy = -np.where(r > 0, r * np.log(np.where(r > 0, r, 1.0)), 0.0).sum(axis=1)
        return r, evidence, entropy

    def weight(self, block):
        return np.ones(len(block.x)) if block.weight is None else block.weight

    def expect(self, params, block):
        r, evidence, entropy = self.assign(params, block)
        weight = self.weight(block)
        r = r * weight[:, None]
        base = -float(weight @ gammaln(block.x[:, 0] + 1))
        sums = Sums(r.sum(axis=0), r.T @ block.x[:, 0], base)
        return em.Expectation(
            sums, float(weight @ evidence), float(weight @ entropy), float(weight.sum())
        )

    def maximize(self, sums, params):
        rates = (sums.totals + self.shape - 1) / (sums.counts + 1)
        return Rates(np.log(sums.counts / sums.counts.sum()), rates)

    def expected_log_joint(self, params, sums):
        own = sums.totals @ np.log(params.rates) - sums.counts @ params.rates
        return float(sums.counts @ params.log_weights + own + sums.log_base)

    def log_prior(self, params):
        return float((self.shape - 1) @ np.log(params.rates) - params.rates.sum())

    def score(self, params, sums):
        weights = np.exp(params.log_weights)
        by_logit = (sums.counts - sums.counts.sum() * weights)[1:]
        by_log_rate = sums.totals + self.shape - 1 - (sums.counts + 1) * params.rates
        return np.concatenate([by_logit, by_log_rate])

    def permute(self, params, order):
        return Rates(params.log_weights[order], params.rates[order])

    def sample(self, params, n, rng):
        z = rng.choice(2, n, p=np.exp(params.log_weights))
        return rng.poisson(params.rates[z])[:, None].astype(float), z


START = Rates(np.log([0.4, 0.6]), np.array([1.5, 5.0]))
DATA = np.concatenate([np.random.default_rng(0).poisson(rate, 40) for rate in (1.2, 4.0)])[:, None]
DATA = DATA.astype(float)


def test_the_model_by_hand_holds():
    report = em.check_model(PoissonMixture(), DATA, START)
    assert report.ok, f"\n{report}"
    assert inapplicable(report) == {"affine change", "memo"}


# ------------------------------------------------------------------------ one bug of each kind planted


class ConstantOfQ(PoissonMixture):
    """Q forgets log x!."""

    def expected_log_joint(self, params, sums):
        return super().expected_log_joint(params, sums) - sums.log_base


class EntropyTooSmall(PoissonMixture):
    """In bits, not nats, the wrong way about."""

    def expect(self, params, block):
        found = super().expect(params, block)
        return replace(found, entropy=found.entropy * np.log(2))


class EntropyTooLarge(PoissonMixture):
    def expect(self, params, block):
        found = super().expect(params, block)
        return replace(found, entropy=found.entropy / np.log(2))


class RatesOnePercentHigh(PoissonMixture):
    def maximize(self, sums, params):
        new = super().maximize(sums, params)
        return replace(new, rates=1.01 * new.rates)


class CountOfTheOtherComponent(PoissonMixture):
    def maximize(self, sums, params):
        new = super().maximize(sums, params)
        return replace(new, rates=(sums.totals + self.shape - 1) / (sums.counts[::-1] + 1))


class PriorForgotten(PoissonMixture):
    def maximize(self, sums, params):
        new = super().maximize(sums, params)
        return replace(new, rates=sums.totals / sums.counts)


class Damped(PoissonMixture):
    """Goes 99 % of the way."""

    def maximize(self, sums, params):
        new = super().maximize(sums, params)
        return replace(new, rates=0.99 * new.rates + 0.01 * params.rates)


class NoStep(PoissonMixture):
    def maximize(self, sums, params):
        return params


class OldLogLikelihood(PoissonMixture):
    """ℓ belongs to the parameters before the last M-step."""

    def __init__(self):
        self.old = START

    def maximize(self, sums, params):
        self.old = params
        return super().maximize(sums, params)

    def expect(self, params, block):
        found = super().expect(params, block)
        return replace(found, log_likelihood=super().expect(self.old, block).log_likelihood)


class MeansNotSums(PoissonMixture):
    shape = np.array([1.0, 1.0])
    log_prior = score = None

    def maximize(self, sums, params):
        return Rates(np.log(sums.counts / sums.counts.sum()), sums.totals / sums.counts)

    def expect(self, params, block):
        found = super().expect(params, block)
        n = found.weight
        return em.Expectation(
            found.statistics * (1 / n), found.log_likelihood / n, found.entropy / n, n
        )


class WeightIgnored(PoissonMixture):
    def weight(self, block):
        return np.ones(len(block.x))


class FirstRowTwice(PoissonMixture):
    def weight(self, block):
        weight = super().weight(block).copy()
        weight[0] *= 2
        return weight


class WrongSign(PoissonMixture):
    def score(self, params, sums):
        return -super().score(params, sums)


class WrongLogLikelihood(PoissonMixture):
    """ℓ has a term that depends on the parameters and that Q does not have."""

    def expect(self, params, block):
        found = super().expect(params, block)
        return replace(found, log_likelihood=found.log_likelihood + 0.3 * float(params.rates[0]))


class AsymmetricPrior(PoissonMixture):
    shape = np.array([3.0, 4.0])


class SharedScratch(PoissonMixture):
    """Threads overwrite each other's block."""

    def assign(self, params, block):
        self.scratch = block
        time.sleep(1e-4)
        return super().assign(params, self.scratch)

    def expect(self, params, block):
        self.assign(params, block)
        return super().expect(params, self.scratch)


class Noisy(PoissonMixture):
    """Its sums come in another order each time."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def expect(self, params, block):
        order = self.rng.permutation(len(block.x))
        parts = [None if part is None else part[order] for part in (block.weight, block.label)]
        return super().expect(params, Block(block.x[order], *parts))


class SharpPosteriors(PoissonMixture):
    """`assign` answers for another temperature than the E-step."""

    def assign(self, params, block):
        r, evidence, _ = super().assign(params, block)
        r = r**2 / (r**2).sum(axis=1, keepdims=True)
        return r, evidence, -np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0.0).sum(axis=1)

    def expect(self, params, block):
        return PoissonMixture().expect(params, block)


class SharpEStep(PoissonMixture):
    """The E-step is of another temperature than ℓ."""

    def expect(self, params, block):
        return PoissonMixture.expect(SharpPosteriors(), params, block)


class StaleMemo(PoissonMixture):
    """Keeps responsibilities in the memo and forgets that they depend on the parameters."""

    def assign(self, params, block):
        if block.memo is None:
            return super().assign(params, block)
        if "r" not in block.memo:
            block.memo["r"] = super().assign(params, block)
        return block.memo["r"]


class LabelsIgnored(PoissonMixture):
    def assign(self, params, block):
        return super().assign(params, Block(block.x, block.weight))


class SwappedDraws(PoissonMixture):
    def sample(self, params, n, rng):
        x, z = super().sample(params, n, rng)
        return x, 1 - z


class CrookedSpace(Space):
    def unpack(self, vector):
        params = super().unpack(vector)
        return replace(params, rates=params.rates * 1.02)


class Crooked(PoissonMixture):
    """unpack is not the inverse of pack."""

    space = CrookedSpace()
    score = None


class BrokenSpace(PoissonMixture):
    """pack raises."""

    space = Space


class Crashing(PoissonMixture):
    def permute(self, params, order):
        raise KeyError("rates")


class Wrapper:
    """A Gaussian mixture with one method replaced."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)


class AbsoluteFloor(Wrapper):
    """Adds 0.01 to every variance, in whatever unit they are."""

    def maximize(self, statistics, params):
        new = self.model.maximize(statistics, params)
        parts = tuple({**p, "covariance": p["covariance"] + 0.01} for p in new.components)
        return replace(new, components=parts)


STEP = {"M-step stationary", "M-step optimal", "score at fixed point", "missing information"}
OF_THE_E_STEP = {"tightness", "ELBO + KL", "cross-entropy", "posterior", "enumeration"}

PLANTED = {
    ConstantOfQ: {"tightness", "KL at least 0", "ELBO + KL", "cross-entropy", "enumeration"},
    EntropyTooSmall: {"tightness", "ELBO + KL", "posterior"},
    EntropyTooLarge: {
        *("tightness", "KL at least 0", "ELBO + KL", "Gibbs' inequality", "posterior"),
    },
    RatesOnePercentHigh: STEP | {"M-step rises", "ascent"},
    PriorForgotten: STEP | {"M-step rises", "ascent"},
    CountOfTheOtherComponent: STEP,
    NoStep: STEP | {"complete data"},
    Damped: STEP - {"score at fixed point"} | {"complete data"},
    OldLogLikelihood: OF_THE_E_STEP
    | {
        *("repeatability", "KL at least 0", "ascent", "Fisher's identity"),
        *("score at fixed point", "component labels"),
    },
    WrongLogLikelihood: OF_THE_E_STEP
    | {
        *("Fisher's identity", "score at fixed point", "additivity", "weights as copies"),
        "component labels",
    },
    SharpEStep: OF_THE_E_STEP | {"ascent", "Fisher's identity"},
    SharpPosteriors: {
        *("ELBO + KL", "cross-entropy", "Gibbs' inequality", "posterior", "calibration"),
    },
    MeansNotSums: {
        *("additivity", "weights as copies"),
        *("ELBO + KL", "cross-entropy", "posterior", "enumeration"),
    },
    FirstRowTwice: {
        *("additivity", "row order", "weights as copies"),
        *("ELBO + KL", "cross-entropy", "Gibbs' inequality", "posterior", "enumeration"),
    },
    WeightIgnored: {"weights as copies", "weight zero"},
    WrongSign: {"score", "missing information"},
    AsymmetricPrior: {"component labels"},
    Crashing: {"component labels"},
    SharedScratch: {"workers"},
    Noisy: {"repeatability", "workers"},
    StaleMemo: {"memo"},
    LabelsIgnored: {"complete data"},
    SwappedDraws: {"calibration"},
    Crooked: {
        *("coordinates", "M-step stationary", "Fisher's identity", "fixed point"),
        *("score at fixed point", "rate of convergence", "missing information"),
    },
}


@pytest.mark.parametrize("broken", PLANTED, ids=lambda model: model.__name__)
def test_a_planted_bug_fails_exactly_the_rows_it_breaks(broken):
    report = em.check_model(broken(), DATA, START)
    assert {row.name for row in report.failures} == PLANTED[broken], f"\n{report}"
    assert not report.ok


def test_an_absolute_floor_is_found():
    """A ridge added in the M-step is in no objective, and knows the unit of the data."""
    case = BY_NAME["Gaussian, one column"]
    report = em.check_model(AbsoluteFloor(case.model), case.block(), case.params)
    assert {row.name for row in report.failures} == STEP | {"affine change"}


def test_every_identity_is_broken_by_some_bug():
    broken = set.union(*PLANTED.values()) | {"affine change"}
    assert broken == set(IDENTITIES)


def test_broken_coordinates_leave_the_other_rows():
    report = em.check_model(BrokenSpace(), DATA, START)
    assert report["coordinates"].verdict == "fails"
    assert "raised TypeError" in str(report["coordinates"])
    assert report["tightness"].verdict == "holds"
    assert report["additivity"].verdict == "holds"


# -------------------------------------------------------------------------- declarations and the report


class Declares(PoissonMixture):
    supports_weights = False
    supports_labels = False
    exact_m_step = False
    inner_latent = True
    independent_rows = False


def test_what_a_model_declares_does_not_apply():
    report = em.check_model(Declares(), DATA, START)
    assert report.ok, f"\n{report}"
    assert inapplicable(report) == {
        *("affine change", "memo"),  # the model has neither
        *("weights as copies", "weight zero"),
        *("complete data", "M-step stationary", "M-step optimal", "missing information"),
        *("ELBO + KL", "cross-entropy", "Gibbs' inequality"),
        *("additivity", "row order", "workers"),
    }
    assert "declares" in report["additivity"].reason


class Bound(PoissonMixture):
    def expect(self, params, block):
        return replace(super().expect(params, block), kind="bound")


def test_a_bound_is_no_log_likelihood():
    report = em.check_model(Bound(), DATA, START)
    assert report["tightness"].verdict == "holds"
    assert report["ascent"].verdict == "holds"
    assert report["Fisher's identity"].verdict == "does not apply"
    assert "'bound'" in report["Fisher's identity"].reason


class Minimal:
    """The three methods and nothing else."""

    def __init__(self):
        self.own = PoissonMixture()
        self.expect, self.maximize = self.own.expect, self.own.maximize
        self.expected_log_joint, self.log_prior = self.own.expected_log_joint, self.own.log_prior


def test_the_three_methods_are_enough():
    report = em.check_model(Minimal(), DATA, START)
    assert report.ok, f"\n{report}"
    held = {row.name for row in report.rows if row.verdict == "holds"}
    assert held == {
        *("repeatability", "tightness", "KL at least 0", "M-step rises", "M-step optimal"),
        *("ascent", "fixed point", "additivity", "row order", "weights as copies", "weight zero"),
        "workers",
    }


@pytest.mark.parametrize("model", [PoissonMixture, WrongLogLikelihood, Crashing, BrokenSpace])
def test_the_report_fits_80_columns(model):
    report = em.check_model(model(), DATA, START)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"check_model of {model.__name__}: 80 rows in 1 block"
    n_failures = len(report.failures)
    assert f" {n_failures} fail," in lines[-1]
    for row in report.failures:
        assert f"FAILS  {row.name}" in str(report)
    with pytest.raises(KeyError, match="no row 'tightnes'"):
        report["tightnes"]


def test_the_report_is_reproducible():
    first, again, other = (
        em.check_model(PoissonMixture(), DATA, START, random_state=seed) for seed in (3, 3, 4)
    )
    assert str(first) == str(again) != str(other)


def test_parameters_of_probability_zero_are_refused():
    with pytest.raises(em.errors.ParameterError, match="finite log-likelihood"):
        em.check_model(PoissonMixture(), DATA, Rates(START.log_weights, np.array([0.0, 0.0])))
