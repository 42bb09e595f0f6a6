"""Finitely many points: published answers, SciPy on the primal, and proofs checked by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array, random_array

import expmax as em
from expmax.errors import InfeasibleMomentsError, ParameterError
from expmax.maxent.feasibility import possible_points, separate

FACES = np.arange(1, 7)


def die(*moments, functions=(lambda x: x,), **options):
    names = ["mean", "second"][: len(moments)]
    return em.maximum_entropy(list(functions), list(moments), support=FACES, names=names, **options)


MEAN_SECOND = (lambda x: x, lambda x: x**2)

# λ, p and the entropy to 12 digits from a reference run, cross-checked there by SLSQP on the primal
PUBLISHED = [
    (
        die(4.5),
        [0.371048938081],
        [
            0.0543531678265,
            0.0787715456331,
            0.114159977229,
            0.16544680311,
            0.239774440427,
            0.347494065774,
        ],
        1.61358109815,
    ),
    (
        die(4.5, 22.25, functions=MEAN_SECOND),
        [0.868735627846, -0.0631762860156],
        [
            0.0367937318677,
            0.0725687414653,
            0.126139503932,
            0.193231720733,
            0.260874421536,
            0.310391880465,
        ],
        1.60434915837,
    ),
    (
        die(3.0, 12.0, functions=MEAN_SECOND),
        [-0.440365148774, 0.039956445792],
        [
            0.271863636226,
            0.197315662049,
            0.155123546244,
            0.132099026718,
            0.121850478508,
            0.121747650255,
        ],
        1.74366406964,
    ),
    (
        die(0.7, 4.0, functions=(lambda x: x % 2 == 0, lambda x: x)),
        [0.733834795278, 0.113463065109],
        [
            0.0783473399247,
            0.182810459824,
            0.0983053201505,
            0.229379080351,
            0.123347339925,
            0.287810459824,
        ],
        1.69252970992,
    ),
    (
        die(4.0, base_measure=[6, 5, 4, 3, 2, 1]),
        [0.539079414337],
        [
            0.0815920406324,
            0.116569722862,
            0.159880304199,
            0.205577435572,
            0.234965121651,
            0.201415375084,
        ],
        1.73638327366,
    ),
]


@pytest.mark.parametrize("case", range(len(PUBLISHED)))
def test_published_dice(case):
    found, natural, p, entropy = PUBLISHED[case]
    assert found.status == "solved"
    assert_allclose(found.natural, natural, rtol=1e-11)
    assert_allclose(found.probabilities, p, rtol=1e-11)
    assert_allclose(found.entropy, entropy, rtol=1e-11)
    assert found.gap < 1e-14
    assert np.abs(found.residuals).max() < 1e-13


def test_divergence_from_a_base_measure():
    assert_allclose(PUBLISHED[4][0].kl_to_base, 0.363977648469, rtol=1e-11)


def test_jaynes_die_of_mean_three_and_a_half_is_fair():
    found = die(3.5)
    assert_allclose(found.probabilities, 1 / 6, rtol=1e-15)
    assert_allclose(found.kl_to_base, 0.0, atol=1e-15)


@pytest.mark.parametrize("short", [1e-3, 1e-6, 1e-9, 1e-12])
def test_feasible_to_the_edge(short):
    found = die(6.0 - short)
    assert found.status == "solved"
    # two faces carry all: odds p6/p5 = e^λ, and p5 + 2 p4 + … is the shortfall
    shortfall = FACES[::-1] - 1.0
    p = np.exp(-shortfall * found.natural[0])
    assert_allclose(
        (shortfall * p).sum() / p.sum(), 6.0 - (6.0 - short), rtol=1e-3 if short < 1e-10 else 1e-6
    )
    assert found.gap < 1e-14


def test_the_edge_is_solved_on_its_face():
    found = die(6.0)
    assert found.status == "boundary"
    assert found.zero_points.tolist() == [0, 1, 2, 3, 4]
    assert found.probabilities.tolist() == [0, 0, 0, 0, 0, 1]
    assert found.entropy == 0.0
    assert found.redundant == ()


def test_beyond_the_edge_is_refused_by_name():
    with pytest.raises(
        InfeasibleMomentsError, match=r"'mean' asks E\[mean\] = 7.*\[1, 6\]"
    ) as caught:
        die(7.0)
    assert caught.value.conflicts == ["mean"]
    assert (caught.value.direction @ [FACES - 7.0] < 0).all()


def test_joint_boundary_leaves_two_faces():
    found = die(3.5, 18.5, functions=MEAN_SECOND)  # only faces 1 and 6 have x² = 7x − 6
    assert found.status == "boundary"
    assert_allclose(found.probabilities, [0.5, 0, 0, 0, 0, 0.5], atol=1e-12)
    assert found.zero_points.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("second", [12.4, 18.6])
def test_jointly_infeasible_with_proof(second):
    with pytest.raises(InfeasibleMomentsError) as caught:
        die(3.5, second, functions=MEAN_SECOND)
    assert caught.value.conflicts == ["mean", "second"]
    g = np.column_stack([FACES - 3.5, FACES**2 - second])
    assert (g @ caught.value.direction < 0).all()


def test_conflicts_are_irreducible():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    moments = x.mean(axis=0)
    moments[1], moments[3] = x[:, 1].max() - 0.01, x[:, 3].max() - 0.01  # each possible, both not
    with pytest.raises(InfeasibleMomentsError) as caught:
        em.maximum_entropy(x, moments, names=list("abcde"))
    assert set(caught.value.conflicts) <= {"a", "b", "c", "d", "e"}
    chosen = [list("abcde").index(name) for name in caught.value.conflicts]
    assert ((x - moments) @ caught.value.direction < 0).all()
    for j in chosen:
        rest = [i for i in chosen if i != j]
        em.maximum_entropy(x[:, rest], moments[rest])  # any fewer hold together


def test_slsqp_agrees_on_random_problems():
    rng = np.random.default_rng(1)
    for _ in range(3):
        f = rng.normal(size=(12, 3))
        p0 = rng.dirichlet(np.ones(12))
        base = rng.uniform(0.2, 2.0, 12)
        found = em.maximum_entropy(f, p0 @ f, base_measure=base)
        rows = np.vstack([f.T, np.ones(12)])
        primal = minimize(
            lambda p, b=base: (p * np.log(np.maximum(p, 1e-300) / b)).sum(),
            p0,
            jac=lambda p, b=base: np.log(np.maximum(p, 1e-300) / b) + 1,
            bounds=[(0, 1)] * 12,
            constraints={
                "type": "eq",
                "fun": lambda p, r=rows, q=p0: r @ (p - q),
                "jac": lambda p, r=rows: r,
            },
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert_allclose(found.probabilities, primal.x, atol=1e-6)  # what SLSQP reaches


def test_sensitivities_are_derivatives_of_the_entropy():
    step = 1e-5
    for j in range(2):
        moved = [np.array([4.0, 18.0]) + sign * step * np.eye(2)[j] for sign in (1, -1)]
        up, down = (die(*m, functions=MEAN_SECOND) for m in moved)
        slope = (up.entropy - down.entropy) / (2 * step)
        here = die(4.0, 18.0, functions=MEAN_SECOND)
        assert_allclose(here.sensitivities[j], slope, rtol=1e-8)
        change = (up.natural - down.natural) / (2 * step)
        assert_allclose(here.covariance @ change, np.eye(2)[j], atol=1e-7)


def test_redundant_constraints_are_reported():
    x = FACES.astype(float)
    f = np.column_stack([x, 2 * x + 1, np.ones(6)])
    found = em.maximum_entropy(f, [4.5, 10.0, 1.0], names=["x", "line", "one"])
    assert found.redundant == ("line", "one")
    assert_allclose(found.natural, [0.371048938081, 0, 0], rtol=1e-11)
    with pytest.raises(InfeasibleMomentsError) as caught:
        em.maximum_entropy(f, [4.5, 10.001, 1.0], names=["x", "line", "one"])
    assert caught.value.conflicts == ["x", "line"]
    assert ((f - [4.5, 10.001, 1.0]) @ caught.value.direction < 0).all()


def test_scale_and_shift_do_not_matter():
    rng = np.random.default_rng(2)
    f = rng.normal(size=(200, 8))
    target = rng.dirichlet(np.ones(200)) @ f
    plain = em.maximum_entropy(f, target)
    scale = 10.0 ** np.linspace(-8, 8, 8)
    scaled = em.maximum_entropy(f * scale, target * scale)
    assert scaled.status == "solved"
    assert_allclose(scaled.probabilities, plain.probabilities, rtol=1e-9)
    assert_allclose(scaled.natural * scale, plain.natural, rtol=1e-9)
    shifted = em.maximum_entropy(f + 1e6, target + 1e6)
    assert_allclose(
        shifted.probabilities, plain.probabilities, rtol=1e-7
    )  # what 1e6 + f keeps of f


def test_intervals_against_scipy():
    found = die((3.0, 4.0))
    assert_allclose(found.probabilities, 1 / 6)
    assert found.natural[0] == 0.0
    low = die((None, 3.0), (8.0, 9.0), functions=MEAN_SECOND)
    f = np.column_stack([FACES, FACES**2]).astype(float)
    primal = minimize(
        lambda p: (p * np.log(p)).sum(),
        np.full(6, 1 / 6),
        bounds=[(1e-12, 1)] * 6,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: 3.0 - p @ f[:, 0]},
            {"type": "ineq", "fun": lambda p: 9.0 - p @ f[:, 1]},
            {"type": "ineq", "fun": lambda p: p @ f[:, 1] - 8.0},
        ],
        method="SLSQP",
        options={"ftol": 1e-13},
    )
    assert_allclose(low.probabilities, primal.x, atol=1e-6)
    assert low.gap < 1e-13
    assert (low.residuals == 0).all() or np.abs(low.residuals).max() < 1e-13


def test_tolerance_is_the_ridge_dual():
    found = die(7.0, tolerance=0.5)  # outside, but tolerated
    # stationarity: E[f] − Δ + σ² λ = 0
    assert_allclose(found.mean[0] - 7.0 + 0.25 * found.natural[0], 0.0, atol=1e-12)
    assert found.status == "solved"


def test_lbfgs_agrees_with_newton():
    rng = np.random.default_rng(3)
    f = random_array((400, 60), density=0.1, rng=rng, format="csr")
    target = f.T @ rng.dirichlet(np.full(400, 5.0))
    newton = em.maximum_entropy(f, target)
    lbfgs = em.maximum_entropy(f, target, method="lbfgs")
    assert lbfgs.status == newton.status == "solved"
    assert_allclose(lbfgs.probabilities, newton.probabilities, rtol=1e-8)
    boxes = np.column_stack([target - 1e-3, target + 1e-3])
    one = em.maximum_entropy(f, boxes)
    other = em.maximum_entropy(f, boxes, method="lbfgs")
    assert_allclose(other.probabilities, one.probabilities, rtol=1e-6)


def test_many_sparse_features_stay_sparse():
    rng = np.random.default_rng(4)
    f = random_array((20_000, 4000), density=1e-3, rng=rng, format="csr")
    target = f.T @ rng.dirichlet(np.full(20_000, 20.0))
    found = em.maximum_entropy(f, target)
    assert found.status == "solved"
    assert np.abs(found.residuals).max() < 1e-11
    assert found.gap < 1e-10


def test_moments_from_weighted_data():
    rows, weight = np.array([2.0, 6.0]), np.array([3.0, 1.0])
    found = em.maximum_entropy(lambda x: x, support=FACES, data=rows, sample_weight=weight)
    assert_allclose(found.mean, [3.0], rtol=1e-14)


def test_certificates_of_the_linear_programs():
    rng = np.random.default_rng(5)
    for seed in range(20):
        g = rng.normal(size=(30, 4)) + (1.2 if seed % 2 else 0.0)
        half = np.array([0.0, 0.0, 0.1, 0.0])
        plain = linprog(  # oracle: is there a distribution at all?
            np.zeros(30),
            A_eq=np.vstack([g[:, [0, 1, 3]].T, np.ones(30)]),
            b_eq=[0, 0, 0, 1],
            A_ub=np.vstack([g[:, 2], -g[:, 2]]),
            b_ub=[0.1, 0.1],
        )
        found = separate(g, half)
        assert (found is None) == (plain.status == 0)
        if found is not None:
            assert (g @ found.direction).max() + half @ np.abs(found.direction) < 0


def test_possible_points_against_one_program_a_point():
    square = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.0]]) - [0.3, 0.0]
    assert possible_points(square, np.zeros(2)).tolist() == [True, True, False, False, True]
    assert possible_points(csr_array(square + 1.0), np.zeros(2), np.ones(2)).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_arguments_are_refused_by_name():
    for arguments, words in [
        ({"moments": [1, 2]}, "moments must be one a feature"),
        ({"moments": [(2, 1)]}, "low ≤ high"),
        ({"moments": 4.5, "method": "magic"}, "method"),
        ({"moments": 4.5, "base_measure": -np.ones(6)}, "base_measure"),
        ({"moments": 4.5, "tolerance": -1}, "tolerance"),
        ({"moments": {"other": 1}}, "moments"),
        ({}, "moments must be given"),
    ]:
        with pytest.raises(ParameterError, match=words):
            em.maximum_entropy(lambda x: x, support=FACES, names=["x"], **arguments)


def test_result_shows_itself():
    found = die(4.5)
    assert "0.371049" in str(found.summary())
    assert "solved" in repr(found)
    assert_allclose(found.density([1, 6, 7]), [0.0543531678265, 0.347494065774, 0.0], rtol=1e-10)
    draws = found.sample(20_000, 0)
    assert abs(draws.mean() - 4.5) < 5 * np.sqrt(found.covariance[0, 0] / 20_000)
    assert 1 < found.effective_size < 6
    assert len(found.plot().collections) == 1
