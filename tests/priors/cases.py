"""Conjugate distributions of every family, each with rows of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from expmax import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    Gamma,
    Gaussian,
    Geometric,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    Poisson,
    Product,
)
from expmax.priors import Conjugate, conjugate
from expmax.statistics import Array


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@dataclass(frozen=True)
class Case:
    name: str
    prior: Conjugate
    x: Array  # rows of data


SCALE = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 1.5]])
ROWS = rng(7).normal([1.0, -2.0, 0.5], [1.0, 2.0, 0.5], (12, 3))


def gaussian(structure: str, d: int = 3, nu: float = 6.0, **more: Any) -> Conjugate:
    full = structure in ("full", "tied")
    scale: Any = SCALE[:d, :d] if full else np.diag(SCALE)[:d] if structure == "diag" else 1.3
    given = {"location": np.arange(d) - 0.5, "mean_precision": 0.7, "degrees_of_freedom": nu}
    return conjugate(Gaussian(structure), **{**given, "scale": scale, **more})


MIXED = Product(Poisson(), Gaussian("diag"), Bernoulli()).bind(np.array([[1.0, 0.3, 1.0]]))
CASES = [
    Case("Poisson", conjugate(Poisson(), shape=2.5, rate=0.8), rng().poisson(4, (9, 1))),
    Case("Exponential", conjugate(Exponential(), shape=2.5, rate=3.0), rng().gamma(1, 2, (9, 1))),
    Case(
        "Gamma of known shape",
        conjugate(Gamma(2.5), shape=3.5, rate=1.3),
        rng().gamma(2.5, 0.7, (9, 1)),
    ),
    Case(
        "Bernoulli",
        conjugate(Bernoulli(), a=[0.5, 2.0], b=[1.5, 3.0]),
        rng().integers(0, 2, (9, 2)),
    ),
    Case("Binomial", conjugate(Binomial(7), a=1.5, b=2.0), rng().binomial(7, 0.3, (9, 1))),
    Case("Geometric", conjugate(Geometric(), a=2.5, b=1.3), rng().geometric(0.3, (9, 1)) - 1),
    Case(
        "NegativeBinomial",
        conjugate(NegativeBinomial(2.5), a=3.5, b=1.3),
        rng().negative_binomial(2.5, 0.4, (9, 1)),
    ),
    Case(
        "Categorical",
        conjugate(Categorical(3), concentration=[0.5, 1.5, 2.0]),
        rng().integers(0, 3, (9, 1)),
    ),
    Case(
        "Multinomial",
        conjugate(Multinomial(4), concentration=[0.5, 1.5, 2.0]),
        rng().multinomial(4, [0.2, 0.3, 0.5], 9),
    ),
    Case("Gaussian full", gaussian("full"), ROWS),
    Case("Gaussian tied", gaussian("tied"), ROWS),
    Case("Gaussian diag", gaussian("diag"), ROWS),
    Case("Gaussian spherical", gaussian("spherical"), ROWS),
    Case("Gaussian EEI", gaussian("EEI"), ROWS),
    Case(
        "LogNormal",
        conjugate(LogNormal(), location=0.3, mean_precision=0.7, degrees_of_freedom=6.0, scale=1.3),
        rng().lognormal(1, 0.5, (9, 1)),
    ),
    Case(
        "Product",
        conjugate(
            MIXED,
            parts=[
                conjugate(Poisson(), shape=2.5, rate=0.8),
                gaussian("diag", 1, scale=1.3, nu=6.0),
                conjugate(Bernoulli(), a=[0.5], b=[1.5]),
            ],
        ),
        np.column_stack([rng().poisson(4, 9), ROWS[:9, 0], rng().integers(0, 2, 9)]),
    ),
]
CASES = [Case(c.name, c.prior, np.asarray(c.x, float)) for c in CASES]
LEAVES = [c for c in CASES if c.name != "Product"]
