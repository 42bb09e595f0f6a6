"""From families and data to a mixture model: binding, prior, what is held, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Parameters
from expmax.errors import DataError, DegenerateComponentError, ParameterError
from expmax.estimators.given import held_parameters
from expmax.estimators.preparation import Encoder, bind_family, marginal_fit
from expmax.families.base import Family
from expmax.models import fused
from expmax.models.mixture import Group, MixtureModel
from expmax.priors import as_prior
from expmax.statistics import Array

__all__ = ["bound_groups", "build_mixture"]

SMALLEST, LARGEST = 1e-150, 1e150  # spreads whose square, summed over rows, is a normal number


def bound_groups(
    families: Sequence[Family], x: NDArray[Any], encoder: Encoder
) -> tuple[Group, ...]:
    """Components of equal families together, each family bound to the data."""
    distinct: list[Family] = []
    for family in families:
        if family not in distinct:
            distinct.append(family)
    return tuple(
        Group(
            bind_family(family, x, encoder),
            np.flatnonzero([other == family for other in families]),
        )
        for family in distinct
    )


def build_mixture(
    families: Sequence[Family],
    x: NDArray[Any],
    weight: Array | None,
    encoder: Encoder,
    *,
    prior: Any,
    concentration: float | None,
    fixed: Any,
) -> MixtureModel:
    """The model of a fit by maximum likelihood, with prior and fixed parameters in place.

    Raises
    ------
    ParameterError
        A prior or a fixed parameter that the families cannot take.
    DataError
        Data outside a family's support, or fewer rows than components.
    DegenerateComponentError
        Even one component for all rows has no maximum.
    """
    groups = bound_groups(families, x, encoder)
    _refuse_too_many(families, x)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            marginal = tuple(marginal_fit(group.family, x, weight) for group in groups)
    except np.linalg.LinAlgError:  # no covariance
        _refuse_extreme_scale(x)
        raise
    rows = as_prior(prior)
    pseudo = None
    if rows is not None and rows.count > 0:
        _refuse_prior(groups)
        pseudo = tuple(
            rows.statistics(group.family, marginal[g], len(group.index))
            for g, group in enumerate(groups)
        )
    held = held_parameters(fixed, groups, marginal, len(families))
    if rows is None or rows.parameters is None:
        _refuse_flat_data(groups, marginal, held[2], x)
    if concentration is None:
        concentration = 1.0 if rows is None else float(rows.concentration)
    work = len(x), x.shape[1], len(families)
    fast = fused.pays(*work), fused.m_step_is_nothing(*work)
    return MixtureModel(groups, len(families), float(concentration), pseudo, *held, marginal, *fast)


def _refuse_too_many(families: Sequence[Family], x: NDArray[Any]) -> None:
    n_free = sum(family.is_estimated for family in families)
    if n_free > len(x):
        raise DataError(
            f"n_components={len(families)} needs at least as many rows; got n_samples={len(x)}. "
            "Use fewer components."
        )


def _refuse_prior(groups: Sequence[Group]) -> None:
    for group in groups:
        if not group.family.accepts_prior:
            raise ParameterError(
                f"prior cannot be used with {group.family!r}, whose statistics belong to its current "
                "parameters; leave the prior out, or fix the shape or size."
            )


def _refuse_extreme_scale(x: NDArray[Any]) -> None:
    """Where a column varies, but the square of its spread is no floating-point number, say that."""
    values = np.asarray(x, float)
    for column in range(values.shape[1]):
        cells = values[:, column][~np.isnan(values[:, column])]
        spread = float(cells.max() / 2 - cells.min() / 2) if len(cells) else 0.0
        if spread > 0 and not SMALLEST < spread < LARGEST:
            raise DataError(
                f"column {column} varies by {spread:.2g}, whose square is beyond floating point (which ends at "
                "1e-308 and 1.8e308): no variance can be computed. Rescale the column, to a spread of about 1."
            )


def _refuse_flat_data(
    groups: Sequence[Group],
    marginal: Sequence[Parameters],
    held: NDArray[np.bool_] | None,
    x: NDArray[Any],
) -> None:
    """Where even one component for all rows collapses, no number of them has a maximum."""
    for group, own in zip(groups, marginal, strict=True):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                found = group.family.degeneracies(own, None, own)
        except np.linalg.LinAlgError:  # no covariance
            _refuse_extreme_scale(x)
            raise
        if not found or (held is not None and held[group.index].all()):
            continue
        name = type(group.family).__name__
        _refuse_extreme_scale(x)
        if len(x) == 1:
            raise DataError(
                f"{name} needs at least two rows; got n_samples=1. Add rows, or give a prior with "
                "parameters."
            )
        raise DegenerateComponentError(
            f"{name} has no maximum on these data: {found[0].reason}. Leave out constant and "
            "dependent columns, or give a prior with parameters."
        )
