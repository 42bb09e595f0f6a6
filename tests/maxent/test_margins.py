"""Contingency tables by margins: published log-linear fits, IPF beside Newton, totals that disagree."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import expmax as em
from expmax.errors import InfeasibleMomentsError
from expmax.maxent import ContingencyTable

DATA = Path(__file__).parents[2] / "examples" / "data" / "hair_eye_color.csv"
TWO_WAY = [("hair", "eye"), ("hair", "sex"), ("eye", "sex")]
METHODS = ["newton", "ipf", "lbfgs"]


@pytest.fixture(scope="module")
def counts():
    rows = pd.read_csv(DATA)
    kinds = [rows[name].unique() for name in ("hair", "eye", "sex")]
    table = rows.set_index(["hair", "eye", "sex"])["freq"]
    return np.array(
        [[[table[h, e, s] for s in kinds[2]] for e in kinds[1]] for h in kinds[0]], float
    )


def fit(counts, margins, **options):
    table = ContingencyTable(counts.shape, names=("hair", "eye", "sex"))
    return em.maximum_entropy(margins, data=counts, support=table, **options)


def deviance(counts, fitted):
    seen = counts > 0
    return 2 * (counts[seen] * np.log(counts[seen] / fitted[seen])).sum()


@pytest.mark.parametrize("method", METHODS)
def test_no_three_way_interaction(counts, method):
    found = fit(counts, TWO_WAY, method=method)
    assert found.status == "solved"
    assert_allclose(found.table.sum(), 592)
    # R: loglin(HairEyeColor, list(c(1, 2), c(1, 3), c(2, 3))): lrt 6.7613, df 9
    assert_allclose(deviance(counts, found.table), 6.7613, atol=5e-5)
    assert_allclose(found.table.sum(axis=2), counts.sum(axis=2), rtol=1e-9)
    assert_allclose(found.table.sum(axis=0), counts.sum(axis=0), rtol=1e-9)


def test_degrees_of_freedom_by_rank(counts):
    found = fit(counts, TWO_WAY)
    n_free = len(found.names) - len(found.redundant)
    assert counts.size - 1 - n_free == 9


def test_ipf_agrees_with_newton(counts):
    newton, ipf = fit(counts, TWO_WAY, method="newton"), fit(counts, TWO_WAY, method="ipf")
    assert_allclose(ipf.table, newton.table, rtol=1e-11)
    assert_allclose(ipf.entropy, newton.entropy, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_independence_in_closed_form(counts, method):
    found = fit(counts, ["hair", "eye", "sex"], method=method)
    expected = (
        np.einsum("i,j,k->ijk", *(counts.sum(axis=a) for a in ((1, 2), (0, 2), (0, 1)))) / 592**2
    )
    assert_allclose(found.table, expected, rtol=1e-9)


@pytest.mark.parametrize("method", ["newton", "ipf"])
def test_zero_margins(counts, method):
    counts = counts.copy()
    counts[0, 0, :] = 0
    found = fit(counts, TWO_WAY, method=method)
    assert found.status == "boundary"
    assert found.zero_points.tolist() == [0, 1]
    assert (found.table[0, 0] == 0).all()
    assert_allclose(found.table.sum(axis=1), counts.sum(axis=1), rtol=1e-9)


@pytest.mark.parametrize("method", ["newton", "ipf"])
def test_structural_zeros_and_a_seed(method):
    base = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 1.0], [1.0, 3.0, 1.0]])
    rows, columns = [30, 20, 50], [40, 35, 25]
    table = ContingencyTable((3, 3))
    found = em.maximum_entropy(
        [0, 1], [rows, columns], support=table, base_measure=base, method=method
    )
    assert found.table[0, 2] == 0
    assert_allclose(found.table.sum(axis=1), rows, rtol=1e-10)
    assert_allclose(found.table.sum(axis=0), columns, rtol=1e-10)
    # odds ratios are those of the seed
    odds = found.table[1, 0] * found.table[2, 1] / (found.table[1, 1] * found.table[2, 0])
    assert_allclose(odds, 6.0, rtol=1e-9)


@pytest.mark.parametrize("method", ["newton", "ipf"])
def test_seed_that_cannot_meet_the_margins_is_proved_so(method):
    base = np.array([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(InfeasibleMomentsError) as caught:
        em.maximum_entropy(
            [0, 1],
            [[7, 3], [5, 5]],
            support=ContingencyTable((2, 2)),
            base_measure=base,
            method=method,
        )
    indicator = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]])
    assert ((indicator - [0.7, 0.3, 0.5, 0.5]) @ caught.value.direction < 0).all()


def test_inconsistent_totals_are_reported():
    with pytest.raises(
        InfeasibleMomentsError, match=r"'hair' and 'eye' disagree.*10 and 11 in total"
    ) as caught:
        em.maximum_entropy(
            ["hair", "eye"],
            [[1, 2, 3, 4], [1, 2, 3, 5]],
            support=ContingencyTable((4, 4), names=("hair", "eye")),
        )
    assert caught.value.conflicts == ["hair", "eye"]
    with pytest.raises(InfeasibleMomentsError, match="at axis1=0"):
        em.maximum_entropy(
            [(0, 1), (1, 2)],
            [[[1, 2], [3, 4]], [[1, 2], [3, 4]]],
            support=ContingencyTable((2, 2, 2)),
        )
