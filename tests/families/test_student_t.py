"""Student t: SciPy's density, quadrature over u, the ascent chain of expanded EM, known optima."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats
from scipy.special import gammaln

from expmax.errors import DataError, InformationError, ParameterError
from expmax.families.covariance import STRUCTURES
from expmax.families.gaussian import Gaussian
from expmax.families.student_t import StudentT
from expmax.families.student_t_mstep import LARGEST_DOF
from expmax.inference.responsibilities import soft_assign
from expmax.priors import ConjugatePrior

DATA = Path(__file__).parents[2] / "examples" / "data"


# -------------------------------------------------------------------------- problems and the loop


def component(d, dof=4.0, seed=0):
    """Parameters of one component."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d))
    scale = (root @ root.T + 0.3 * np.eye(d))[None]
    return {"mean": rng.standard_normal((1, d)), "scale": scale, "dof": np.array([dof])}


def two_clusters(n=120, d=2, seed=3):
    """Two overlapping t clusters of different shape and tails, and vague responsibilities."""
    rng = np.random.default_rng(seed)
    family, one, two = StudentT(), component(d, 3.0, seed), component(d, 9.0, seed + 1)
    x = np.vstack([family.sample(one, 0, n, rng), family.sample(two, 0, n // 2, rng) + 2.5])
    known = np.arange(len(x)) < n
    return x, np.column_stack([known, ~known]) * 0.8 + 0.1


def galaxies():
    return np.loadtxt(DATA / "galaxies.csv", skiprows=1)[:, None]


def expect(family, params, log_weights, x, weight=None):
    """E-step of a mixture: log-likelihood, entropy, class counts, the family's statistics."""
    r, evidence, entropy = soft_assign(family.log_density(params, x) + log_weights)
    weight = np.ones(len(x)) if weight is None else weight
    r = r * weight[:, None]
    own = family.statistics(params, x, r)
    return weight @ evidence, weight @ entropy + family.latent_entropy(own), r.sum(axis=0), own


def mixture_em(family, params, log_weights, x, weight=None, n_iter=3000, tol=1e-12, plain=False):
    """EM on a mixture; per iteration: log-likelihood, its gap to Q + H, ΔQ, and Q' + H."""
    rows = []
    for _ in range(n_iter):
        log_likelihood, entropy, counts, own = expect(family, params, log_weights, x, weight)
        before = counts @ log_weights + family.expected_log_density(params, own)
        # a claim of imaginary rows holds the expansion at α = 1, which is plain EM
        update = family.maximize(replace(own, imaginary=1.0) if plain else own, params)
        log_weights = np.log(counts / counts.sum())
        after = counts @ log_weights + family.expected_log_density(update, own)
        rows.append(
            (log_likelihood, before + entropy - log_likelihood, after - before, after + entropy)
        )
        params = update
        if len(rows) > 1 and rows[-1][0] - rows[-2][0] < tol:
            break
    return params, log_weights, np.array(rows)


def sums(statistics):
    """The numbers of a record by name."""
    s, moments = statistics, statistics.moments
    named = {"counts": s.counts, "excess": s.excess, "logs": s.logs, "entropy": s.entropy}
    return named | {"u": moments.counts, "first": moments.first, "second": moments.second}


def assert_chain_holds(rows, n, scale=1.0):
    """Tightness, ΔQ ≥ 0, KL ≥ 0 and ascent, to rounding."""
    rounding = 8 * np.finfo(float).eps * max(np.abs(rows[:, 0]).max(), n) * scale
    assert np.abs(rows[:, 1]).max() < rounding
    assert rows[:, 2].min() > -rounding
    assert (rows[1:, 0] - rows[:-1, 3]).min() > -rounding
    assert np.diff(rows[:, 0]).min() > -rounding


# ---------------------------------------------------------------------------------------- density


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("dof", [0.1, 0.7, 1.0, 4.0, 19.5, 40.0])
def test_density_is_scipys(d, dof):
    params = component(d, dof)
    x = 5 * np.random.default_rng(1).standard_cauchy((60, d))
    scipys = stats.multivariate_t(params["mean"][0], params["scale"][0], df=dof).logpdf(x)
    assert_allclose(StudentT().log_density(params, x)[:, 0], scipys, rtol=1e-12)
    if d == 1:
        scipys = stats.t(dof, params["mean"].item(), params["scale"].item() ** 0.5).logpdf(x[:, 0])
        assert_allclose(StudentT().log_density(params, x)[:, 0], scipys, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_density_is_accurate_for_huge_dof(d):
    # log t − log normal = [δ² − 2dδ + d(d − 2)] / 4ν + O(δ³/ν²), the rest below 5e-10 here
    params = component(d, 1e7)
    x = params["mean"] + 3 * np.random.default_rng(2).standard_normal((50, d))
    normal = stats.multivariate_normal(params["mean"][0], params["scale"][0])
    residual = x - params["mean"]
    delta = np.einsum("ij,ij->i", residual @ np.linalg.inv(params["scale"][0]), residual)
    inside = delta < 40
    assert inside.sum() > 15
    first = (delta**2 - 2 * d * delta + d * (d - 2)) / (4 * 1e7)
    got = StudentT().log_density(params, x)[:, 0]
    assert_allclose(got[inside], (normal.logpdf(x) + first)[inside], atol=5e-10, rtol=0)


# ----------------------------------------------------------------------------------------- E-step


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("dof", [0.3, 4.0, 60.0])
def test_expectations_are_those_of_quadrature(d, dof):
    # trapezoids in y = log u, where the integrand and all its derivatives vanish at both ends
    params = component(d, dof)
    x = np.random.default_rng(4).standard_normal((1, d)) * 3
    got = StudentT().statistics(params, x, np.ones((1, 1)))
    log_density = StudentT().log_density(params, x).item()
    mean, scale = params["mean"][0], params["scale"][0]
    y = np.linspace(-90 / (dof + d) - 5, 7, 20001)
    u = np.exp(y)
    log_joint = stats.gamma(dof / 2, scale=2 / dof).logpdf(u) + 0.5 * d * y
    log_joint -= 0.5 * np.linalg.slogdet(2 * np.pi * scale)[1]
    log_joint -= 0.5 * u * ((x[0] - mean) @ np.linalg.solve(scale, x[0] - mean))
    posterior = np.exp(log_joint - log_density + y) * (y[1] - y[0])

    def expectation(values):
        return posterior @ values

    assert_allclose(posterior.sum(), 1.0, rtol=1e-9)
    mean_u, mean_log = expectation(u), expectation(y)
    entropy = expectation(log_density - log_joint)
    residual = x[0] - mean
    assert_allclose(got.counts, 1.0)
    assert_allclose(got.moments.counts, mean_u, rtol=1e-9)
    assert_allclose(got.excess, mean_u - 1, atol=1e-9)
    assert_allclose(got.logs, mean_log, rtol=1e-9)
    assert_allclose(got.moments.first[0], mean_u * residual, rtol=1e-9)
    assert_allclose(got.moments.second[0], mean_u * np.outer(residual, residual), rtol=1e-9)
    assert_allclose(StudentT().latent_entropy(got), entropy, rtol=1e-9, atol=1e-9)
    # and Q itself, with the joint density of the quadrature
    q = StudentT().expected_log_density(params, got)
    assert_allclose(q, expectation(log_joint), rtol=1e-9)


def test_blocks_add_and_move_their_reference():
    x, r = two_clusters()
    family = StudentT()
    params = family.initialize(x, r)
    whole = family.statistics(params, x, r)
    other = {**params, "mean": params["mean"].copy()}  # equal, but another object
    parts = [family.statistics(p, x[s], r[s]) for p, s in _halves(params, other, len(x))]
    for total in (parts[0] + parts[1], whole + parts[0] - parts[0], 0.5 * whole + whole * 0.5):
        for name, want in sums(whole).items():
            assert_allclose(sums(total)[name], want, rtol=1e-10, atol=1e-11)
    moved = whole.about(params["mean"] + 1.0)
    direct = whole.about(params["mean"])
    assert_allclose(moved.about(params["mean"]).moments.second, direct.moments.second, rtol=1e-10)
    nothing = whole.zero()
    assert nothing.entropy == 0
    assert not nothing.moments.second.any()


def _halves(first, second, n):
    return [(first, slice(0, n // 3)), (second, slice(n // 3, n))]


# -------------------------------------------------------------------------- Q and its maximisation


def expanded_q(params, s, alpha):
    """Slow oracle: Σ r E log p(x, u) with u ~ α Γ(ν/2, rate ν/2) and x | u ~ N(μ, αΣ/u)."""
    total, d = 0.0, s.moments.first.shape[1]
    s = s.about(params["mean"])
    for k, a in enumerate(0.5 * params["dof"]):
        scale = alpha[k] * params["scale"][k]
        n, total_u, total_log = s.counts[k], s.moments.counts[k], s.logs[k]
        total -= 0.5 * n * np.linalg.slogdet(2 * np.pi * scale)[1]
        total += 0.5 * d * total_log - 0.5 * np.trace(np.linalg.solve(scale, s.moments.second[k]))
        rate = a / alpha[k]
        total += n * (a * np.log(rate) - gammaln(a))
        total += (a - 1) * total_log - rate * total_u
    return total


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_q_is_the_maximum_over_the_expansion(covariance):
    x, r = two_clusters()
    family = StudentT(covariance)
    params = family.initialize(x, r)
    s = family.statistics(params, x, r)
    assert_allclose(family.expected_log_density(params, s), expanded_q(params, s, [1, 1]))
    other = family.maximize(s, params)
    other = {
        "mean": other["mean"] + 0.3,
        "scale": other["scale"] * np.array([4.0, 1.5])[:, None, None],
        "dof": np.array([1.3, 20.0]),
    }

    def loss(log_alpha):
        return -expanded_q(other, s, np.exp(np.broadcast_to(log_alpha, 2)))

    start = [0.0] if covariance == "tied" else [0.0, 0.0]
    best = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-8})
    assert_allclose(family.expected_log_density(other, s), -best.fun, rtol=1e-11)
    assert family.expected_log_density(other, s) > expanded_q(other, s, [1, 1]) + 1


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("dof", [None, 3.0])
def test_maximize_finds_the_joint_maximum(covariance, dof):
    # at a crude point, so that α̂ is far from 1
    x, r = two_clusters(d=1)
    family = StudentT(covariance, dof)
    start = {
        "mean": np.array([[-1.0], [4.0]]),
        "scale": np.array([[[5.0]], [[5.0]]]),
        "dof": np.full(2, dof or 6.0),
    }
    s = family.statistics(start, x, r)
    best = family.maximize(s, start)

    def unpack(v):
        scales = np.exp(v[2:4] if covariance == "full" else [v[2], v[2]])
        free = np.exp(v[4:6]) if dof is None else np.full(2, dof)
        return {"mean": v[:2, None], "scale": scales[:, None, None], "dof": free}

    pack = [best["mean"][:, 0], np.log(best["scale"][:, 0, 0]), np.log(best["dof"])]
    centre = np.concatenate(pack)
    value = family.expected_log_density(best, s)
    assert_allclose(family.expected_log_density(unpack(centre), s), value)
    rng = np.random.default_rng(5)
    for size in (1e-4, 1e-2, 0.5):
        for _ in range(100):
            other = unpack(centre + size * rng.standard_normal(6))
            assert family.expected_log_density(other, s) <= value + 1e-11 * abs(value)


def test_q_bounds_the_likelihood_from_below_everywhere():
    x, r = two_clusters()
    family = StudentT()
    params = family.initialize(x, r)
    log_weights = np.log([0.5, 0.5])
    _, entropy, counts, own = expect(family, params, log_weights, x)
    rng = np.random.default_rng(6)
    for size in (0.01, 0.1, 1.0, 3.0):
        for _ in range(25):
            change = np.exp(size * rng.standard_normal((2, 2)))
            other = {
                "mean": params["mean"] + size * rng.standard_normal((2, 2)),
                "scale": params["scale"] * change[0][:, None, None],
                "dof": params["dof"] * change[1],
            }
            bound = counts @ log_weights + family.expected_log_density(other, own) + entropy
            exact = expect(family, other, log_weights, x)[0]
            assert bound <= exact + 1e-10 * abs(exact)


@pytest.mark.parametrize("covariance", STRUCTURES)
@pytest.mark.parametrize("dof", [None, 4.0])
def test_chain_holds_in_every_structure(covariance, dof):
    x, r = two_clusters()
    family = StudentT(covariance, dof)
    start = family.initialize(x, r)
    params, _, rows = mixture_em(family, start, np.log([0.5, 0.5]), x, n_iter=60)
    assert_chain_holds(rows, len(x))
    assert rows[-1, 0] > rows[0, 0]
    if covariance[0] == "E":
        volumes = np.linalg.det(params["scale"])
        assert_allclose(volumes, volumes[0], rtol=1e-9)


@pytest.mark.parametrize("dof", [0.1, 1.0, 1e3, 1e6, 1e12])
def test_chain_holds_at_extreme_dof(dof):
    x, r = two_clusters()
    family = StudentT(dof=dof)
    start = family.initialize(x, r)
    _, _, rows = mixture_em(family, start, np.log([0.5, 0.5]), x, n_iter=60)
    assert_chain_holds(rows, len(x))


def test_chain_holds_from_a_start_far_away():
    x = np.random.default_rng(7).standard_t(3, size=(60, 2))
    start = {
        "mean": np.full((1, 2), 1e6),
        "scale": 1e-2 * np.eye(2)[None],
        "dof": np.array([5.0]),
    }
    params, _, rows = mixture_em(StudentT(), start, np.zeros(1), x)
    assert_chain_holds(rows, len(x))
    want = StudentT().estimate(x)
    assert_allclose(params["mean"], want["mean"], atol=1e-4)


def test_light_tails_drive_dof_to_its_bound_without_warning():
    x = np.random.default_rng(8).uniform(size=(100, 1))
    family = StudentT()
    start = family.initialize(x, np.ones((100, 1)))
    assert start["dof"].item() == 30.0
    _, _, rows = mixture_em(family, start, np.zeros(1), x, n_iter=200)
    assert_chain_holds(rows, len(x))
    near = {**start, "dof": np.array([LARGEST_DOF - 0.1])}
    params, _, rows = mixture_em(family, near, np.zeros(1), x, n_iter=5, tol=-1.0)
    assert_chain_holds(rows, len(x))
    assert params["dof"].item() == LARGEST_DOF


# ------------------------------------------------------------------------------------ known optima

# Location-scale t mixtures with ν = 4 of the 82 galaxy velocities (thousand km/s). Recipe, apart
# from EM: L-BFGS on the marginal likelihood over (logit weights, locations, log scales) from 120
# random starts (5 for K = 1), every scale held above 0.25 while searching, then BFGS and Newton
# to a gradient below 1e-8; checked with scipy.stats.t densities at the estimates.
GALAXIES_DOF_4 = {
    1: (-229.823148362, [1.0], [21.1661571794], [2.75717781138]),
    2: (
        -211.323173407,
        [0.0835062804291, 0.916493719571],
        [9.64375492894, 21.3918121086],
        [0.367685722108, 2.10355754187],
    ),
    3: (
        -203.662011383,
        [0.0844701163063, 0.278342164012, 0.637187719682],
        [9.64841452874, 19.7631789573, 22.4290415759],
        [0.370913395888, 0.46602395832, 2.12003262025],
    ),
}


@pytest.mark.parametrize("k", [1, 2, 3])
def test_galaxies_with_four_degrees_of_freedom(k):
    value, weights, location, scale = GALAXIES_DOF_4[k]
    start = {
        "mean": np.round(np.array(location), 1)[:, None],
        "scale": np.round(np.array(scale), 1)[:, None, None] ** 2,
        "dof": np.full(k, 4.0),
    }
    log_weights = np.log(np.round(weights, 2) / np.round(weights, 2).sum())
    family = StudentT(dof=4).bind(galaxies())
    params, log_weights, rows = mixture_em(family, start, log_weights, galaxies())
    assert_chain_holds(rows, 82)
    assert_allclose(rows[-1, 0], value, atol=1e-8)
    assert_allclose(params["mean"][:, 0], location, rtol=1e-5)
    assert_allclose(params["scale"][:, 0, 0] ** 0.5, scale, rtol=1e-5)
    assert_allclose(np.exp(log_weights), weights, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_component_is_direct_maximum_likelihood(weighted):
    x = 2 + 3 * np.random.default_rng(9).standard_t(3, size=(150, 1))
    weight = np.random.default_rng(10).integers(0, 4, 150) if weighted else np.ones(150)

    def loss(v):
        return -weight @ stats.t(np.exp(v[2]), v[0], np.exp(v[1])).logpdf(x[:, 0])

    direct = optimize.minimize(loss, [2.0, 1.0, 1.0], method="BFGS", options={"gtol": 1e-7})
    family = StudentT()
    start = family.initialize(x, weight[:, None].astype(float))
    params, _, rows = mixture_em(family, start, np.zeros(1), x, weight.astype(float))
    assert_chain_holds(rows, len(x))
    assert rows[-1, 0] >= -direct.fun - 1e-9
    got = [
        params["mean"].item(),
        0.5 * np.log(params["scale"].item()),
        np.log(params["dof"].item()),
    ]
    assert_allclose(got, direct.x, atol=1e-4)


def test_one_component_in_two_columns_is_direct_maximum_likelihood():
    x = StudentT().sample(component(2, 3.0), 0, 200, np.random.default_rng(11))

    def loss(v):
        root = np.array([[np.exp(v[2]), 0.0], [v[3], np.exp(v[4])]])
        return -stats.multivariate_t(v[:2], root @ root.T, df=np.exp(v[5])).logpdf(x).sum()

    direct = optimize.minimize(loss, [0, 0, 0, 0, 0, 1.0], method="BFGS", options={"gtol": 1e-5})
    family = StudentT()
    start = family.initialize(x, np.ones((200, 1)))
    params, _, rows = mixture_em(family, start, np.zeros(1), x)
    assert rows[-1, 0] >= -direct.fun - 1e-8
    assert_allclose(rows[-1, 0], -direct.fun, atol=1e-6)
    assert_allclose(params["mean"][0], direct.x[:2], atol=1e-3)
    assert_allclose(np.log(params["dof"]), direct.x[5], atol=1e-3)


@pytest.mark.parametrize("covariance", ["full", "tied"])
def test_expansion_takes_fewer_iterations_than_plain_em(covariance):
    x = StudentT().sample(component(3, 1.0), 0, 100, np.random.default_rng(12))
    family = StudentT(covariance, dof=1.0)
    start = {"mean": np.zeros((1, 3)), "scale": 100 * np.eye(3)[None], "dof": np.ones(1)}
    runs = [mixture_em(family, start, np.zeros(1), x, tol=1e-10, plain=p) for p in (False, True)]
    (_, _, expanded), (_, _, plain) = runs
    assert_allclose(expanded[-1, 0], plain[-1, 0], atol=1e-8)
    assert len(expanded) < 0.5 * len(plain)  # 18 and 76 here


# ------------------------------------------------------------------------- weights and invariances


def test_a_duplicated_row_equals_weight_two():
    x, r = two_clusters()
    family = StudentT()
    params = family.initialize(x, r)
    twice = family.statistics(params, np.vstack([x, x[:7]]), np.vstack([r, r[:7]]))
    double = r * np.where(np.arange(len(x)) < 7, 2.0, 1.0)[:, None]
    weighted = family.statistics(params, x, double)
    for name, want in sums(weighted).items():
        assert_allclose(sums(twice)[name], want, rtol=1e-11, atol=1e-11)
    a = family.initialize(np.vstack([x, x[:7]]), np.vstack([r, r[:7]]))
    b = family.initialize(x, double)
    for name in ("mean", "scale", "dof"):
        assert_allclose(a[name], b[name], rtol=1e-11)


def test_huge_dof_is_gaussian():
    x, r = two_clusters()
    t, gaussian = StudentT(dof=1e9), Gaussian()
    ours, theirs = t.initialize(x, r), gaussian.initialize(x, r)
    assert_allclose(ours["mean"], theirs["mean"], rtol=1e-10)
    assert_allclose(ours["scale"], theirs["covariance"], rtol=1e-8)
    inside = t.log_density(ours, x) > -30
    want = gaussian.log_density(theirs, x)[inside]
    assert_allclose(t.log_density(ours, x)[inside], want, rtol=1e-6)
    update = t.maximize(t.statistics(ours, x, r), ours)
    assert_allclose(update["scale"], theirs["covariance"], rtol=1e-6)


@pytest.mark.parametrize("dof", [None, 4.0])
@pytest.mark.parametrize(
    ("factor", "shift", "tolerance"), [(2.0**40, 0.0, 1e-12), (1.0, 1e8, 2e-6), (1e100, 0.0, 1e-10)]
)
def test_location_and_scale_are_equivariant(dof, factor, shift, tolerance):
    # the shift by 1e8 rounds the data themselves, to 1.5e-8
    x, r = two_clusters()
    family = StudentT(dof=dof)
    ends = []
    for data in (x, factor * x + shift):
        start = family.initialize(data, r)
        ends.append(mixture_em(family, start, np.log([0.5, 0.5]), data, n_iter=40, tol=-np.inf))
    (a, wa, rows), (b, wb, moved) = ends
    if not shift:
        assert_chain_holds(moved, len(x))
    else:
        assert_chain_holds(moved, len(x), scale=4)
    jacobian = len(x) * 2 * np.log(factor)
    assert_allclose(moved[:, 0] + jacobian, rows[:, 0], rtol=tolerance)
    assert_allclose((b["mean"] - shift) / factor, a["mean"], rtol=tolerance, atol=tolerance)
    assert_allclose(b["scale"] / factor**2, a["scale"], rtol=tolerance, atol=tolerance)
    assert_allclose(b["dof"], a["dof"], rtol=tolerance)
    assert_allclose(wb, wa, rtol=tolerance)


def test_affine_maps_are_equivariant():
    x, r = two_clusters()
    matrix = np.array([[2.0, -1.0], [0.5, 3.0]])
    family = StudentT()
    a, b = (family.initialize(y, r) for y in (x, x @ matrix.T + 7))
    a, b = (
        family.maximize(family.statistics(p, y, r), p) for p, y in ((a, x), (b, x @ matrix.T + 7))
    )
    assert_allclose(b["mean"], a["mean"] @ matrix.T + 7, rtol=1e-10)
    assert_allclose(b["scale"], matrix @ a["scale"] @ matrix.T, rtol=1e-10)
    assert_allclose(b["dof"], a["dof"], rtol=1e-10)


# ------------------------------------------------------------------------------------------ priors


@pytest.mark.parametrize("dof", [3.0, 8.0, 1e3])
def test_pseudo_statistics_are_expectations_over_rows(dof):
    # x = μ + σ √ν tan θ makes every integrand smooth; 400 Gauss-Legendre nodes
    family, params = StudentT(), component(1, dof)
    nodes, node_weights = np.polynomial.legendre.leggauss(400)
    theta, spread = nodes * np.pi / 2, params["scale"].item() ** 0.5 * np.sqrt(dof)
    x = params["mean"] + spread * np.tan(theta)[:, None]
    log_jacobian = np.log(spread * np.pi / 2 / np.cos(theta) ** 2)
    r = 5.0 * node_weights * np.exp(family.log_density(params, x)[:, 0] + log_jacobian)
    over_rows = family.statistics(params, x, r[:, None])
    imagined = family.pseudo_statistics(np.array([5.0]), params)
    for name, want in sums(over_rows).items():
        assert_allclose(sums(imagined)[name], want, rtol=1e-8, atol=1e-8)
    total = family.expected_log_density(params, imagined) + family.latent_entropy(imagined)
    entropy = stats.t(dof, scale=params["scale"].item() ** 0.5).entropy()
    assert_allclose(total, -5.0 * entropy, rtol=1e-9)


@pytest.mark.parametrize("covariance", ["full", "tied", "VEE"])
def test_prior_is_reproduced_and_raises_the_posterior(covariance):
    x, r = two_clusters()
    family = StudentT(covariance)
    marginal = family.estimate(x)
    prior = ConjugatePrior(4.0).statistics(family, marginal, 2)
    alone = family.maximize(prior, family.initialize(x, r))
    for name in ("mean", "scale", "dof"):
        assert_allclose(alone[name], np.broadcast_to(marginal[name], alone[name].shape), rtol=1e-6)
    params = family.initialize(x, r)
    log_weights, values = np.log([0.5, 0.5]), []
    for _ in range(60):
        log_likelihood, entropy, counts, own = expect(family, params, log_weights, x)
        before = family.expected_log_density(params, own)
        gap = counts @ log_weights + before + entropy - log_likelihood
        assert abs(gap) < 1e-11
        log_prior = family.expected_log_density(params, prior)
        values.append(log_likelihood + log_prior)
        update = family.maximize(own + prior, params)
        gain = family.expected_log_density(update, own) - before
        assert gain + family.expected_log_density(update, prior) - log_prior > -1e-11
        params, log_weights = update, np.log(counts / counts.sum())
    assert np.diff(values).min() > -1e-11


# ------------------------------------------------------------------------------------- coordinates


@pytest.mark.parametrize("covariance", ["VVV", "EEE", "EII", "VII", "EEI", "VVI"])
@pytest.mark.parametrize("dof", [None, 5.0])
@pytest.mark.parametrize("d", [1, 2])
def test_chart_whitens_the_complete_information(covariance, dof, d):
    x, r = two_clusters(d=d)
    family = StudentT(covariance, dof)
    params = family.initialize(x, r)
    for _ in range(300):  # the responsibilities held, to the fixed point of its own M-step
        params = family.maximize(family.statistics(params, x, r), params)
    own = family.statistics(params, x, r)
    chart = family.chart(params, own)
    n_free = family.n_parameters(params)
    assert chart.scale.shape == (n_free,)
    rng = np.random.default_rng(15)
    v = rng.standard_normal(n_free)
    assert_allclose(chart.to_vector(chart.from_vector(v)), v, rtol=1e-8, atol=1e-8)
    same = chart.from_vector(np.zeros(n_free))
    for name in ("mean", "scale", "dof"):
        assert_allclose(same[name], params[name], rtol=1e-10, atol=1e-12)
    ordinary = replace(own, imaginary=1.0)  # holds α at 1

    def q(v):
        return family.expected_log_density(chart.from_vector(v), ordinary)

    step = 1e-4 * np.eye(n_free)
    for centre in (np.zeros(n_free), v):
        slope = [(q(centre + e) - q(centre - e)) / 2e-4 for e in step]
        assert_allclose(chart.score(chart.from_vector(centre), own), slope, atol=1e-6)
    information = [
        (chart.score(chart.from_vector(-e), own) - chart.score(chart.from_vector(e), own)) / 2e-4
        for e in step
    ]
    # shared volumes leave Σ r E u ≠ Σ r in the single component, which the means' scale neglects
    tolerance = 1e-4 if covariance[0] == "V" else 0.15
    assert_allclose(information, np.eye(n_free), atol=tolerance)


def test_score_is_that_of_the_likelihood():
    x, r = two_clusters()
    family, log_weights = StudentT(), np.log([0.5, 0.5])
    params = family.initialize(x, r)
    own = expect(family, params, log_weights, x)[3]
    chart = family.chart(params, own)
    slope = [
        (
            expect(family, chart.from_vector(e), log_weights, x)[0]
            - expect(family, chart.from_vector(-e), log_weights, x)[0]
        )
        / 2e-4
        for e in 1e-4 * np.eye(len(chart.scale))
    ]
    assert_allclose(chart.score(params, own), slope, atol=1e-5)
    bounded = {**params, "dof": np.array([LARGEST_DOF, 4.0])}
    assert len(family.chart(bounded, own).scale) == len(chart.scale) - 1


# -------------------------------------------------------------------------------------- description


def test_sample_follows_the_density():
    params = component(2, 2.5)
    x = StudentT().sample(params, 0, 20_000, np.random.default_rng(14))
    assert x.shape == (20_000, 2)
    for j in range(2):
        one = stats.t(2.5, params["mean"][0, j], params["scale"][0, j, j] ** 0.5)
        assert stats.kstest(x[:, j], one.cdf).pvalue > 1e-3
    residual = x - params["mean"]
    delta = np.einsum("ij,ij->i", residual @ np.linalg.inv(params["scale"][0]), residual)
    assert stats.kstest(delta / 2, stats.f(2, 2.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("covariance", "dof", "d", "expected"),
    [
        ("full", None, 2, 2 * (2 + 3 + 1)),
        ("full", 4.0, 2, 2 * (2 + 3)),
        ("tied", None, 2, 2 * (2 + 1) + 3),
        ("diag", None, 3, 2 * (3 + 3 + 1)),
        ("spherical", 4.0, 3, 2 * (3 + 1)),
        ("full", None, 1, 2 * 3),
        ("tied", 4.0, 1, 2 + 1),
    ],
)
def test_number_of_parameters(covariance, dof, d, expected):
    x, r = two_clusters(d=d)
    family = StudentT(covariance, dof)
    params = family.initialize(x, r)
    assert family.n_parameters(params) == expected
    assert set(family.named_parameters(params)) == {"mean", "scale", "dof"}
    assert family.location(params).shape == (2, d)
    assert params["scale"].shape == (2, d, d)


@pytest.mark.parametrize("covariance", STRUCTURES)
def test_one_column_knows_only_equal_or_varying_volume(covariance):
    x, r = two_clusters(d=1)
    plain = "tied" if covariance[0] == "E" else "full"
    got, want = (StudentT(c).initialize(x, r) for c in (covariance, plain))
    assert_allclose(got["scale"], want["scale"])


def test_missing_cells_of_one_column_do_not_contribute():
    x = galaxies()
    holes = np.vstack([x, [[np.nan]], [[np.nan]]])
    family = StudentT().bind(holes)
    assert family.accepts_missing
    ones = np.ones((len(x), 1))
    memo = {}
    params = family.initialize(holes, np.ones((len(holes), 1)), memo)
    want = StudentT().initialize(x, ones)
    assert_allclose(params["scale"], want["scale"], rtol=1e-12)
    assert_allclose(family.log_density(params, holes, memo)[-2:], 0.0)
    got = family.statistics(params, holes, np.ones((len(holes), 1)), memo)
    want = family.statistics(params, x, ones)
    for name in ("counts", "excess", "logs", "entropy", "u", "second"):
        assert_allclose(sums(got)[name], sums(want)[name], rtol=1e-12)
    with pytest.raises(DataError, match="StudentT has no rule for missing cells"):
        StudentT().bind(np.array([[1.0, np.nan], [2.0, 3.0]]))
    with pytest.raises(DataError, match="holds inf"):
        StudentT().bind(np.array([[1.0], [np.inf]]))


@pytest.mark.parametrize("covariance", ["full", "tied", "VEE"])
def test_a_component_without_rows_leaves_the_others_alone(covariance):
    x, _ = two_clusters()
    r = np.column_stack([np.ones(len(x)), np.zeros(len(x))])
    family = StudentT(covariance)
    start = {
        "mean": np.array([[0.0, 0.0], [1.0, 1.0]]),
        "scale": np.stack([np.eye(2), np.eye(2)]),
        "dof": np.array([5.0, 6.0]),
    }
    s = family.statistics(start, x, r)
    both = family.maximize(s, start)
    single = {name: value[:1] for name, value in start.items()}
    alone = family.maximize(family.statistics(single, x, r[:, :1]), single)
    for name in ("mean", "scale", "dof"):
        assert_allclose(both[name][0], alone[name][0], rtol=1e-10)
    assert np.isfinite(family.expected_log_density(start, s))


def test_collapsed_components_are_named():
    x, r = two_clusters()
    family = StudentT(dof=3.0)
    marginal = family.estimate(x)
    params = family.initialize(x, r)
    assert family.degeneracies(params, None, marginal) == []
    assert family.degeneracies(params, None, None) == []
    scale = params["scale"].copy()
    assert family.degeneracies({**params, "scale": scale * 1e-12}, None, marginal) == []  # just far
    flat = np.eye(scale.shape[1])
    flat[0, 0] = 1e-6
    scale[1] = 1e-3 * flat @ scale[1] @ flat
    collapsed = {"mean": params["mean"], "scale": scale, "dof": params["dof"]}
    (found,) = family.degeneracies(collapsed, None, marginal)
    assert found.component == 1
    assert "smallest squared scale" in found.reason
    scale[1] = np.nan
    (found,) = family.degeneracies({**collapsed, "scale": scale}, None, marginal)
    assert found.reason == "no rows support it"


def test_bad_arguments_are_refused():
    for dof in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ParameterError, match="dof must be positive and finite"):
            StudentT(dof=dof)
    with pytest.raises(ParameterError, match="covariance must be one of"):
        StudentT("round")


# ------------------------------------------------------------------------ the Gaussian, at ν = ∞
@pytest.mark.parametrize("structure", ["VVV", "EEE", "VVI", "VEE"])
def test_infinite_dof_is_the_gaussian(structure):
    """Density, M-step and bound of the limit, beside SciPy's density and the Gaussian's own M-step."""
    rng = np.random.default_rng(20)
    x, r = rng.standard_normal((60, 2)) @ [[2.0, 0.5], [0.0, 1.0]], rng.dirichlet([1.0, 1.0], 60)
    family = StudentT(structure).bind(x)
    params = family.maximize(family.statistics(family.initialize(x, r), x, r), None)
    params = {**params, "dof": np.full(2, np.inf)}
    log_density = family.log_density(params, x)
    for k in range(2):
        normal = stats.multivariate_normal(params["mean"][k], params["scale"][k])
        assert_allclose(log_density[:, k], normal.logpdf(x), rtol=1e-13)
    statistics = family.statistics(params, x, r)
    elbo = family.expected_log_density(params, statistics) + family.latent_entropy(statistics)
    assert_allclose(elbo, (r * log_density).sum(), rtol=1e-12)
    new = family.maximize(statistics, params)
    assert np.isinf(new["dof"]).all()  # any other ν has a Q of −∞
    gaussian = Gaussian(structure)
    start = {"mean": params["mean"], "covariance": params["scale"]}
    expected = gaussian.maximize(
        gaussian.statistics({"mean": params["mean"]}, x, r),
        start if structure == "VEE" else None,
    )
    scale = new["scale"]
    if structure == "VVI":
        scale = np.einsum("kii->ki", scale)
    assert_allclose(new["mean"], expected["mean"], rtol=1e-12)
    assert_allclose(scale, expected["covariance"], rtol=1e-9)
    assert family.sample(params, 0, 5, rng).shape == (5, 2)


def test_a_common_volume_beside_a_gaussian_component_ascends():
    rng = np.random.default_rng(21)
    x = rng.standard_normal((80, 2))
    r = rng.dirichlet([1.0, 1.0], 80)
    family = StudentT("EEE").bind(x)
    params = {**family.initialize(x, r), "dof": np.array([np.inf, 5.0])}
    for _ in range(5):
        statistics = family.statistics(params, x, r)
        before = (r * family.log_density(params, x)).sum()
        new = family.maximize(statistics, params)
        rise = family.expected_log_density(new, statistics)
        rise -= family.expected_log_density(params, statistics)
        assert rise >= -1e-10
        assert (r * family.log_density(new, x)).sum() >= before - 1e-10
        params = new
    assert np.isinf(params["dof"][0])
    assert np.isfinite(params["dof"][1])


def test_a_dof_that_rises_without_end_is_put_to_infinity_and_named():
    rng = np.random.default_rng(22)
    x = rng.uniform(size=(200, 1))  # lighter tails than a Gaussian's
    fit = StudentT().estimate(x)
    assert np.isinf(fit["dof"]).all()
    assert_allclose(fit["mean"], x.mean(axis=0, keepdims=True), rtol=1e-12)
    assert_allclose(fit["scale"][0], np.cov(x.T, bias=True).reshape(1, 1), rtol=1e-10)
    assert StudentT().boundary(fit) == [(0, "dof")]
    with pytest.raises(InformationError, match="dof is on the boundary"):
        StudentT().estimate_with_errors(x)
    heavy = stats.t(3).rvs((400, 1), random_state=rng)
    fit = StudentT().estimate(heavy)
    assert StudentT().boundary(fit) == []
    statistics = StudentT().bind(heavy).statistics(fit, heavy, np.ones((400, 1)))
    assert StudentT().snap(fit, statistics) is None  # a finite ν is left alone
    assert StudentT(dof=5.0).boundary({**fit, "dof": np.array([5.0])}) == []


def test_a_chart_does_not_go_beyond_the_bounds_of_dof():
    x, r = np.random.default_rng(23).standard_normal((50, 1)), np.ones((50, 1))
    family = StudentT().bind(x)
    params = {**family.initialize(x, r), "dof": np.array([1e3])}
    chart = family.chart(params, family.statistics(params, x, r))
    reached = chart.from_vector(np.r_[0.0, 0.0, 50.0 * chart.scale[-1]])
    assert np.isnan(reached["dof"]).all()  # not put back to the bound in silence


# ------------------------------------------------------------------------------------- rounding
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8, 1e12, 1e15])
@pytest.mark.parametrize("dof", [0.5, 12.0, 1e4])
def test_rounding_is_explained_by_the_terms_that_cancel(condition, dof):
    """Q + H and Σ r log p agree to what `magnitude` allows, and it allows nothing where Σ is regular."""
    rng = np.random.default_rng(24)
    turn = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    x = 3.0 + (rng.standard_normal((40, 2)) * [1.0, condition**-0.5]) @ turn
    r = rng.uniform(size=(40, 1))
    family = StudentT().bind(x)
    params = family.initialize(x, r)
    params = {**params, "dof": np.array([dof])}
    statistics = family.statistics(params, x, r)
    elbo = family.expected_log_density(params, statistics) + family.latent_entropy(statistics)
    gap = abs(elbo - float((r * family.log_density(params, x)).sum()))
    allowed = 32 * np.finfo(float).eps * family.magnitude(params, statistics)
    assert gap <= allowed
    assert allowed <= 1e-9 * max(condition, 10.0)
