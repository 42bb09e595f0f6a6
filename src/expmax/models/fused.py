"""Compiled steps of mixtures: which kernel serves which family, and from what size on compiling pays.

Every function returns None where no kernel applies; the caller then takes the plain path, which is also the
oracle in tests.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from expmax.contract import Block, Parameters
from expmax.families.base import Family
from expmax.families.exponential_family import ExponentialFamily, MomentStatistics
from expmax.families.gaussian import Gaussian
from expmax.families.gaussian_moments import GaussianStatistics, add_ridge
from expmax.families.precision import precision_cholesky
from expmax.statistics import Additive, Array

__all__ = [
    "cancellation",
    "expect",
    "expected_log_joint",
    "m_step_is_nothing",
    "maximize",
    "pays",
]

WORTH = 100_000  # rows × components × monomials from which on numba's import and compilation pay
NOTHING = 4_000_000  # from which on an E-step takes some fifty times as long as a plain M-step


def pays(n_rows: int, n_columns: int, n_components: int) -> bool:
    """Whether a problem is large enough for compiled kernels, and numba is there."""
    work = _work(n_rows, n_columns, n_components)
    return work >= WORTH and find_spec("numba") is not None


def m_step_is_nothing(n_rows: int, n_columns: int, n_components: int) -> bool:
    """Whether beside the E-step a plain M-step takes no time: compiling it would take a second."""
    return _work(n_rows, n_columns, n_components) >= NOTHING


def _work(n_rows: int, n_columns: int, n_components: int) -> int:
    return n_rows * n_components * (n_columns + 1) * (n_columns + 2) // 2


def expect(
    family: Family, parameters: Parameters, log_weights: Array, block: Block
) -> tuple[Array, Additive, float, float] | None:
    """Counts, statistics, log-likelihood and entropy of one block."""
    if isinstance(family, Gaussian):
        return _expect_gaussian(family, parameters, log_weights, block)
    if isinstance(family, ExponentialFamily):
        return _expect_linear(family, parameters, log_weights, block)
    return None


def _expect_gaussian(
    family: Gaussian, parameters: Parameters, log_weights: Array, block: Block
) -> tuple[Array, Additive, float, float] | None:
    from expmax.inference import kernels

    if family.penalty:
        log_weights = log_weights + family.log_penalty(parameters)
    if family.diagonal:
        scale = 1.0 / np.sqrt(parameters["covariance"])
        sums = kernels.expect_diagonal(
            block.x, block.weight, block.label, log_weights, parameters["mean"], scale
        )
        if np.isnan(
            sums.log_likelihood
        ):  # missing cells; to look for them first costs a tenth more
            return None
        counts = np.repeat(sums.counts[:, None], scale.shape[1], axis=1)
    else:
        sums = kernels.expect_gaussian(
            block.x,
            block.weight,
            block.label,
            log_weights,
            parameters["mean"],
            precision_cholesky(parameters),
        )
        counts = sums.counts
    statistics = GaussianStatistics(counts, sums.reference, sums.first, sums.second)
    return sums.counts, statistics, sums.log_likelihood, sums.entropy


def _expect_linear(
    family: ExponentialFamily, parameters: Parameters, log_weights: Array, block: Block
) -> tuple[Array, Additive, float, float] | None:
    """Any exponential family whose rows are all present and whose natural parameters are finite."""
    natural = family.natural(parameters)
    t, log_base, present = family.moments(block.x, block.memo)
    if present is not None or not np.isfinite(natural).all():
        return None
    from expmax.inference import kernels

    offset = log_weights - family.log_partition(natural)
    if not np.isfinite(log_base).all():
        return None
    sums = kernels.expect_linear(t, log_base, block.weight, block.label, offset, natural)
    base = log_base.sum() if block.weight is None else block.weight @ log_base
    statistics = MomentStatistics(sums.counts, sums.sums, float(base))
    return sums.counts, statistics, sums.log_likelihood, sums.entropy


def maximize(family: Family, statistics: Any) -> Parameters | None:
    """M-step of unrestricted Gaussians."""
    if not isinstance(family, Gaussian) or family.structure != "VVV":
        return None
    from expmax.inference import kernels

    new = kernels.maximize_full(
        statistics.counts, statistics.reference, statistics.first, _with_ridge(family, statistics)
    )
    return {
        "mean": new.means,
        "covariance": new.covariances,
        "precision_cholesky": new.precision_cholesky,
    }


def expected_log_joint(
    family: Family, log_weights: Array, parameters: Parameters, statistics: Any
) -> float | None:
    """Q of a mixture of unrestricted Gaussians."""
    if not isinstance(family, Gaussian) or family.structure != "VVV":
        return None
    from expmax.inference import kernels

    return kernels.expected_full(
        statistics.counts,
        statistics.reference,
        statistics.first,
        _with_ridge(family, statistics),
        log_weights,
        parameters["mean"],
        precision_cholesky(parameters),
    )


_last_ridge: tuple[Any, float, Array] | None = None  # replaced as a whole, hence safe with threads


def _with_ridge(family: Gaussian, statistics: Any) -> Array:
    """Scatter with the penalty's ε on the diagonal, a row; remembered, as it is asked for thrice."""
    global _last_ridge
    if not family.penalty:
        return statistics.second
    last = _last_ridge
    if last is not None and last[0] is statistics and last[1] == family.penalty:
        return last[2]
    second = add_ridge(statistics.second.copy(), family.penalty * statistics.counts)
    _last_ridge = (statistics, family.penalty, second)
    return second


def cancellation(family: Family, parameters: Parameters, log_weights: Array) -> float:
    """By how much the kernels let rounding grow: 1 where they centre about the means."""
    if not isinstance(family, Gaussian):
        return 1.0
    from expmax.inference import kernels

    mean = parameters["mean"]
    if family.diagonal:
        scale = 1.0 / np.sqrt(parameters["covariance"])
    else:
        scale = precision_cholesky(parameters)
    return float(kernels.cancellation(log_weights, mean, scale))
