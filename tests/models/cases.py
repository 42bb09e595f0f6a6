"""The registry of models: every one here runs through every identity of tests/models.

A `Case` is a mixture: a list of families with data, weights and partial labels; what it lacks (a chart, a
compiled kernel, closed forms) is told by the model, not by name. A `ModelCase` is any other model of the
contract: append one to `MODELS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import expmax as em
from expmax.contract import Block, make_blocks
from expmax.families.base import Family
from expmax.models.dawid_skene import STRUCTURES as STRUCTURES_OF_CROWDS
from expmax.models.dawid_skene import DawidSkeneModel, DawidSkeneStarts
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.models.mixture_starts import initial_parameters
from expmax.models.record_linkage import RecordLinkageModel, RecordLinkageStarts

Array = np.ndarray
STRUCTURES = [
    "EII",
    "VII",
    "EEI",
    "VEI",
    "EVI",
    "VVI",
    "EEE",
    "VEE",
    "EVE",
    "VVE",
    "EEV",
    "VEV",
    "EVV",
    "VVV",
]


@dataclass(frozen=True)
class Case:
    """A mixture, data, and where to take the first step from."""

    name: str
    family: Family | Sequence[Family]
    x: Array
    truth: Array  # the component that drew each row
    n_components: int | None = None
    prior: Any = None
    fixed: Any = None
    closed_form: bool = True  # the M-step of complete data is the maximum: no iteration
    exact: float = 1e-12  # to which two orders of summation agree on one step, relative
    own_latent: bool = False  # the family has latent variables beside the component
    blur: float = 0.4  # share of noise in the responsibilities that the first step starts from

    @property
    def k(self) -> int:
        return self.n_components or len(self.family)

    @property
    def estimator(self) -> em.Mixture:
        return em.Mixture(self.family, self.n_components, prior=self.prior, fixed=self.fixed)

    def block(self, extras: bool = True) -> Block:
        """All rows, with weights and a fifth of the labels, or without either."""
        return Block(self.x, self.weight if extras else None, self.label if extras else None)

    def blocks(self, rows: int, extras: bool = True) -> Sequence[Block]:
        whole = self.block(extras)
        return make_blocks(whole.x, whole.weight, whole.label, rows)

    @cached_property
    def weight(self) -> Array:
        return np.random.default_rng(1).uniform(0.3, 2.5, len(self.x))

    @cached_property
    def label(self) -> Array:
        known = np.random.default_rng(2).random(len(self.x)) < 0.2
        return np.where(known, self.truth, -1)

    @cached_property
    def model(self) -> MixtureModel:
        """As a fit makes it: families bound, prior and what is held in place."""
        estimator = self.estimator
        x, weight, _ = estimator._read_training(self.x, None, None)
        return replace(estimator._build(x, weight), compiled=False)

    @cached_property
    def params(self) -> MixtureParameters:
        """Not a maximum of anything: blurred clusters, unequal weights."""
        rng = np.random.default_rng(3)
        soft = rng.dirichlet(np.ones(self.k), len(self.x))
        hard = np.eye(self.k)[self.truth]
        r = (self.blur * soft + (1 - self.blur) * hard) * rng.uniform(0.5, 1.5, self.k)
        params = initial_parameters(replace(self.model, marginal=None), self.block(False), r)
        assert params is not None
        return params


def draws(sampler: Any, *sizes: int, seed: int = 0) -> tuple[Array, Array]:
    """Rows of components 0, 1, … and which component each is of, shuffled."""
    rng = np.random.default_rng(seed)
    parts = [np.asarray(sampler(rng, k, n), float).reshape(n, -1) for k, n in enumerate(sizes)]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = rng.permutation(len(truth))
    return np.vstack(parts)[order], truth[order]


def each(*choices: Any) -> Any:
    """A sampler whose component k draws by choices[k]."""
    return lambda rng, k, n: choices[k](rng, n)


def with_gaps(x: Array, share: float = 0.15, columns: Any = slice(None)) -> Array:
    """The same rows with missing cells, some rows wholly so."""
    out = x.copy()
    part = out[:, columns]
    part[np.random.default_rng(4).random(part.shape) < share] = np.nan
    out[:, columns] = part
    return out


# -- data ------------------------------------------------------------------------------------------
def gaussians(rng: Any, k: int, n: int, d: int = 3) -> Array:
    """Overlapping clusters whose covariances differ in volume, shape and orientation."""
    own = np.random.default_rng(20 + k)
    factor = np.eye(d) * (1 + 0.5 * k) + 0.4 * own.normal(size=(d, d))
    return own.normal(size=d) * 1.5 + rng.normal(size=(n, d)) @ factor.T


def fisher(rng: Any, axis: Sequence[float], n: int) -> Array:
    """Directions about an axis."""
    rows = np.asarray(axis) + 0.6 * rng.normal(size=(n, len(axis)))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mixed(rng: Any, k: int, n: int) -> Array:
    """Two joint measurements, a count, a category, two answers."""
    pair = gaussians(rng, k, n, 2)
    count = rng.poisson([1.0, 4.0, 9.0][k], (n, 1))
    kind = rng.choice(3, (n, 1), p=[[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]][k])
    answers = rng.random((n, 2)) < [[0.2, 0.7], [0.6, 0.6], [0.9, 0.2]][k]
    return np.hstack([pair, count, kind, answers])


CLOUD = draws(gaussians, 50, 70, 60)
FLAT = draws(lambda rng, k, n: gaussians(rng, k, n, 2), 60, 80)
LINE = draws(each(lambda r, n: r.normal(0, 1, n), lambda r, n: r.normal(2.5, 2, n)), 60, 90)
COUNTS = draws(each(lambda r, n: r.poisson(2, n), lambda r, n: r.poisson(6, n)), 80, 100)
WIDE = draws(
    each(lambda r, n: r.negative_binomial(3, 0.5, n), lambda r, n: r.negative_binomial(5, 0.3, n)),
    *(90, 110),
)
POSITIVE = draws(each(lambda r, n: r.gamma(2, 1, n), lambda r, n: r.gamma(6, 1.2, n)), 80, 90)
SHARES = draws(each(lambda r, n: r.beta(2, 5, n), lambda r, n: r.beta(6, 3, n)), 80, 90)
ANSWERS = draws(lambda r, k, n: r.random((n, 4)) < [[0.2] * 4, [0.7, 0.5, 0.8, 0.4]][k], 90, 110)
KINDS = draws(
    lambda r, k, n: np.stack(
        [r.choice(3, n, p=p) for p in ([[0.6, 0.3, 0.1]] * 2, [[0.1, 0.3, 0.6]] * 2)[k]], 1
    ),
    *(90, 110),
)
TRIALS = draws(each(lambda r, n: r.binomial(8, 0.3, n), lambda r, n: r.binomial(8, 0.6, n)), 80, 90)
BALLOTS = draws(lambda r, k, n: r.multinomial(7, [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]][k], n), 70, 90)
SIMPLEX = draws(lambda r, k, n: r.dirichlet([[2, 3, 4], [5, 2, 1.5]][k], n), 70, 90)
ANGLES = draws(each(lambda r, n: r.vonmises(0, 2, n), lambda r, n: r.vonmises(2, 4, n)), 80, 90)
SPHERE = draws(
    each(lambda r, n: fisher(r, (1, 0, 0), n), lambda r, n: fisher(r, (0, 1, 0.5), n)), 70, 90
)
HEAVY = draws(
    each(lambda r, n: r.standard_t(3, n), lambda r, n: 4 + 2 * r.standard_t(6, n)), 90, 110
)
HEAVY_FLAT = draws(
    each(lambda r, n: r.standard_t(4, (n, 2)), lambda r, n: 3 + r.standard_t(5, (n, 2))), 90, 110
)
MIXED = draws(mixed, 60, 70, 60)
ZEROS = draws(each(lambda r, n: np.zeros(n), lambda r, n: r.poisson(2.5, n)), 40, 120)
ATOM = draws(each(lambda r, n: np.zeros(n), lambda r, n: r.normal(0.5, 1.5, n)), 40, 120)
NOISY = draws(
    lambda r, k, n: r.uniform(-8, 10, (n, 2)) if k == 2 else gaussians(r, k, n, 2), 70, 80, 30
)

MIXED_FAMILY = em.Product(
    columns={
        (0, 1): em.Gaussian(),
        2: em.Poisson(),
        3: em.Categorical(3),
        (4, 5): em.Bernoulli(),
    }
)

CASES = [
    # -- one family: exponential families of one column, then of several
    Case("Poisson", em.Poisson(), *COUNTS, 2),
    Case("Geometric", em.Geometric(), *COUNTS, 2),
    Case("NegativeBinomial", em.NegativeBinomial(), *WIDE, 2, closed_form=False, exact=1e-10),
    Case("NegativeBinomial(3)", em.NegativeBinomial(3.0), *WIDE, 2),
    Case("Binomial", em.Binomial(8), *TRIALS, 2),
    Case("Bernoulli", em.Bernoulli(), *ANSWERS, 2),
    Case("Categorical, two columns", em.Categorical(3), *KINDS, 2),
    Case("Multinomial", em.Multinomial(), *BALLOTS, 2),
    Case("Exponential", em.Exponential(), *POSITIVE, 2),
    Case("Gamma", em.Gamma(), *POSITIVE, 2),
    Case("InverseGaussian", em.InverseGaussian(), *POSITIVE, 2),
    Case("LogNormal", em.LogNormal(), *POSITIVE, 2),
    Case("Weibull", em.Weibull(), *POSITIVE, 2, closed_form=False, exact=1e-10),
    Case("Beta", em.Beta(), *SHARES, 2),
    Case("Dirichlet", em.Dirichlet(), *SIMPLEX, 2),
    Case("VonMises", em.VonMises(), *ANGLES, 2),
    Case("VonMisesFisher", em.VonMisesFisher(), *SPHERE, 2),
    Case("StudentT", em.StudentT(), *HEAVY, 2, closed_form=False, own_latent=True, exact=1e-11),
    Case("StudentT(dof=4)", em.StudentT(dof=4.0), *HEAVY, 2, closed_form=False, own_latent=True),
    *[
        Case(
            f"StudentT {name}",
            em.StudentT(name),
            *HEAVY_FLAT,
            2,
            closed_form=False,
            own_latent=True,
            exact=1e-10,
        )
        for name in ("full", "tied", "diag", "EII", "VEV")
    ],
    # -- Gaussians
    Case("Gaussian, one column", em.Gaussian(), *LINE, 2),
    Case("Gaussian tied, one column", em.Gaussian("tied"), *LINE, 2),
    *[
        Case(
            f"Gaussian {name}",
            em.Gaussian(name),
            *CLOUD,
            3,
            exact=1e-9 if name in ("EVE", "VVE") else 1e-12,
        )
        for name in STRUCTURES
    ],
    Case("Gaussian with a penalty", em.Gaussian("full", penalty=0.05), *FLAT, 2),
    Case("Gaussian diag with a penalty", em.Gaussian("diag", penalty=0.05), *FLAT, 2),
    # -- products and missing cells
    Case("Product of mixed columns", MIXED_FAMILY, *MIXED, 3),
    Case(
        "Product of mixed columns, missing cells",
        MIXED_FAMILY,
        with_gaps(MIXED[0], columns=slice(2, 6)),
        MIXED[1],
        3,
    ),
    Case("Gaussian diag, missing cells", em.Gaussian("diag"), with_gaps(CLOUD[0]), CLOUD[1], 3),
    Case("Gaussian VII, missing cells", em.Gaussian("VII"), with_gaps(CLOUD[0]), CLOUD[1], 3),
    Case("Gaussian EEI, missing cells", em.Gaussian("EEI"), with_gaps(CLOUD[0]), CLOUD[1], 3),
    Case("Poisson, missing cells", em.Poisson(), with_gaps(COUNTS[0]), COUNTS[1], 2),
    Case("Bernoulli, missing cells", em.Bernoulli(), with_gaps(ANSWERS[0]), ANSWERS[1], 2),
    Case("Categorical, missing cells", em.Categorical(3), with_gaps(KINDS[0]), KINDS[1], 2),
    Case(
        "Gamma, two columns, missing cells",
        em.Gamma(),
        with_gaps(np.abs(FLAT[0]) + 0.1),
        FLAT[1],
        2,
    ),
    Case(
        "StudentT, missing cells",
        em.StudentT(),
        with_gaps(HEAVY[0]),
        HEAVY[1],
        2,
        closed_form=False,
        own_latent=True,
        exact=1e-11,
    ),
    # -- components of different kinds
    Case("zero-inflated Poisson", [em.PointMass(0), em.Poisson()], *ZEROS),
    Case("atom beside Gaussian", [em.PointMass(0), em.Gaussian()], *ATOM),
    Case("Gaussians and noise", [em.Gaussian(), em.Gaussian(), em.Uniform()], *NOISY),
    Case(
        "tied Gaussians and noise", [em.Gaussian("tied"), em.Gaussian("tied"), em.Uniform()], *NOISY
    ),
    Case(
        "StudentT and Gaussian",
        [em.StudentT(dof=4.0), em.Gaussian()],
        *HEAVY,
        closed_form=False,
        own_latent=True,
    ),
    Case("Gamma and Exponential", [em.Exponential(), em.Gamma()], *POSITIVE),
    # -- priors
    Case(
        "Poisson, prior", em.Poisson(), *COUNTS, 2, prior=em.ConjugatePrior(2.0, concentration=1.5)
    ),
    Case("Categorical, prior", em.Categorical(3), *KINDS, 2, prior=1.0),
    Case("Gamma, prior", em.Gamma(), *POSITIVE, 2, prior=3.0),
    Case(
        "Gaussian, prior", em.Gaussian(), *CLOUD, 3, prior=em.ConjugatePrior(4.0, concentration=2.0)
    ),
    Case("Gaussian tied, prior", em.Gaussian("tied"), *CLOUD, 3, prior=2.0),
    Case("Gaussian VEE, prior", em.Gaussian("VEE"), *CLOUD, 3, prior=2.0),
    Case("Gaussian diag, prior", em.Gaussian("diag"), with_gaps(CLOUD[0]), CLOUD[1], 3, prior=2.0),
    Case(
        "StudentT, prior",
        em.StudentT(),
        *HEAVY,
        2,
        prior=3.0,
        closed_form=False,
        own_latent=True,
        exact=1e-11,
    ),
    Case(
        "Product, prior", MIXED_FAMILY, *MIXED, 3, prior=em.ConjugatePrior(1.0, concentration=1.2)
    ),
    Case("noise, prior", [em.Gaussian(), em.Gaussian(), em.Uniform()], *NOISY, prior=2.0),
    Case("zero inflation, prior", [em.PointMass(0), em.Poisson()], *ZEROS, prior=2.0),
    # -- what is held
    Case("Poisson, weights held", em.Poisson(), *COUNTS, 2, fixed={"weights": [0.3, 0.7]}),
    Case("Poisson, one rate held", em.Poisson(), *COUNTS, 2, fixed={1: {"rate": 5.0}}),
    Case(
        "Gaussian, one component held",
        em.Gaussian(),
        *CLOUD,
        3,
        fixed={2: {"mean": [0.0, 1.0, -1.0], "covariance": np.eye(3) * 3.0}},
    ),
    Case(
        "Gaussian, weights and two components held",
        em.Gaussian("diag"),
        *CLOUD,
        3,
        fixed={
            "weights": [0.2, 0.3, 0.5],
            0: {"mean": [0.0, 1.0, -1.0], "covariance": [1.0, 2.0, 3.0]},
            1: {"mean": [2.0, 0.0, 0.0], "covariance": [3.0, 1.0, 3.0]},
        },
    ),
    Case(
        "zero inflation, rate held",
        [em.PointMass(0), em.Poisson()],
        *ZEROS,
        fixed={1: {"rate": 2.0}},
    ),
]

BY_NAME = {case.name: case for case in CASES}


def flat(value: Any, path: str = "") -> dict[str, Array]:
    """The numbers of parameters or of an additive record, by name."""
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    elif hasattr(value, "__slots__") and hasattr(value, "__dataclass_fields__"):
        items = ((name, getattr(value, name)) for name in value.__dataclass_fields__)
    else:
        return {path: np.asarray(value)}
    out: dict[str, Array] = {}
    for name, part in items:
        if name != "precision_cholesky":
            out |= flat(part, f"{path}.{name}")
    return out


def assert_same(actual: Any, expected: Any, rtol: float = 1e-12) -> None:
    """Numbers agree to rtol of the largest of their array; infinities exactly."""
    a, b = flat(actual), flat(expected)
    assert a.keys() == b.keys()
    for name in b:
        finite = np.isfinite(b[name])
        scale = np.abs(b[name][finite]).max(initial=0.0)
        np.testing.assert_allclose(
            a[name], b[name], rtol=0, atol=rtol * scale, err_msg=name, equal_nan=False
        )


def assert_identical(actual: Any, expected: Any) -> None:
    """Bit for bit."""
    a, b = flat(actual), flat(expected)
    assert a.keys() == b.keys()
    for name in b:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# -- models that are no mixtures of families --------------------------------------------------------
@dataclass(frozen=True)
class ModelCase:
    """Any model of the contract, data, and where to take the first step from (no maximum)."""

    name: str
    model: Any
    block: Block  # with weights and partial labels where the model takes them
    params: Any


def crowd(structure: str, prior: float = 0.0) -> ModelCase:
    """Items labelled by some of four workers, one of them twice at times."""
    rng = np.random.default_rng(5)
    k, n_workers, n = 3, 4, 90
    model = DawidSkeneModel(k, n_workers=n_workers, structure=structure)
    if prior:
        labels = model.imaginary(prior * (np.eye(k) + 0.5))
        model = replace(model, pseudo_weights=np.full(k, prior), pseudo_answers=labels)
    truth = rng.integers(k, size=n)
    x = np.full((n, n_workers + 1), -1)
    for i in range(n):
        workers = rng.choice(n_workers, rng.integers(1, n_workers + 1), replace=False)
        workers = np.append(workers, workers[:1]) if rng.random() < 0.3 else workers
        right = rng.random(len(workers)) < 0.65
        labels = np.where(right, truth[i], rng.integers(k, size=len(workers)))
        x[i, : len(workers)] = workers * k + labels
    block = Block(x, rng.uniform(0.3, 2.5, n), np.where(rng.random(n) < 0.2, truth, -1))
    start = next(DawidSkeneStarts(model, [block]).starts(iter([np.random.default_rng(3)])))
    return ModelCase(
        f"Dawid-Skene {structure}{', prior' * bool(prior)}", model, block, start.params
    )


def linkage(name: str, **options: Any) -> ModelCase:
    """Pairs compared on four fields of two to four levels, with missing comparisons."""
    rng = np.random.default_rng(6)
    levels = (2, 3, 2, 4)
    plain = RecordLinkageModel(2, levels=levels)
    m = [np.array(p) for p in ([0.2, 0.8], [0.1, 0.3, 0.6], [0.3, 0.7], [0.1, 0.2, 0.2, 0.5])]
    u = [np.array(p) for p in ([0.7, 0.3], [0.5, 0.3, 0.2], [0.6, 0.4], [0.4, 0.3, 0.2, 0.1])]
    x, truth = plain.sample(plain.join(0.3, m, u), 220, rng)
    x[rng.random(x.shape) < 0.1] = np.nan
    known = np.where(rng.random(len(x)) < 0.2, truth, -1)
    block = Block(x, rng.uniform(0.3, 2.5, len(x)), known)
    model = RecordLinkageModel(2, levels=levels, **options)
    start = list(RecordLinkageStarts(model, [block]).usual())[3]
    return ModelCase(f"record linkage{name}", model, block, start.params)


HELD_U = np.array([0.7, 0.3, 0.5, 0.3, 0.2, 0.6, 0.4, 0.4, 0.3, 0.2, 0.1])
MODELS = [
    *[crowd(structure) for structure in STRUCTURES_OF_CROWDS],
    *[crowd(structure, 0.7) for structure in STRUCTURES_OF_CROWDS],
    linkage(""),
    linkage(", prior", pseudo_weights=np.array([2.0, 1.0]), pseudo_answers=np.full(22, 0.5)),
    linkage(", prevalence held", fixed_weights=np.log([0.8, 0.2])),
    linkage(", u held", fixed_answers=np.concatenate([HELD_U, np.full(11, np.nan)])),
]
