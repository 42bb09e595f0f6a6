"""The arguments of record linkage: probabilities held, imaginary pairs, the share of matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expmax.data.patterns import Levels
from expmax.errors import DataError, parameter_error
from expmax.models.answers import AnswerParameters
from expmax.models.record_linkage import RecordLinkageModel
from expmax.statistics import Array

__all__ = ["build_linkage", "held_probabilities", "imaginary_pairs", "refuse_too_few_fields"]


def build_linkage(estimator: Any, levels: Levels) -> RecordLinkageModel:
    """The model of the arguments `u`, `m`, `prevalence` and `prior`."""
    held = np.concatenate(
        [
            value
            for name in ("u", "m")
            for value in held_probabilities(
                getattr(estimator, name), levels, name, probability=True
            )
        ]
    )
    pairs, cells = imaginary_pairs(estimator.prior, levels)
    return RecordLinkageModel(
        2,
        pseudo_weights=pairs,
        pseudo_answers=cells,
        fixed_weights=_held_prevalence(estimator.prevalence),
        fixed_answers=None if np.isnan(held).all() else held,
        levels=levels.sizes,
    )


def _held_prevalence(share: Any) -> Array | None:
    """Log weights of non-matches and matches; None where they are free."""
    if share is None:
        return None
    if not (isinstance(share, float | np.floating) and 0 < share < 1):
        raise parameter_error("prevalence", "a number between 0 and 1", share)
    return np.log(np.array([1.0 - share, share]))


def refuse_too_few_fields(model: RecordLinkageModel, *, labelled: bool) -> None:
    """Without prior and known pairs, the frequencies of the patterns are all there is."""
    if model.pseudo_answers is not None or labelled:
        return
    empty = AnswerParameters(np.zeros(2), np.zeros(len(model.segment)))
    n_free = model.n_parameters(empty)
    n_known = int(np.prod([float(size) for size in model.levels])) - 1
    if n_free > n_known:
        raise DataError(
            f"{len(model.levels)} fields have {n_known} independent frequencies of patterns, fewer than "
            f"the {n_free} parameters: no data can tell them. Compare more fields, hold u or "
            "prevalence, give labels or a prior."
        )


def held_probabilities(
    given: Any, levels: Levels, name: str, *, probability: bool, default: float = np.nan
) -> list[Array]:
    """One array of numbers a field, `default` where nothing is given."""
    n_fields = len(levels.sizes)
    values: list[Any] = [None] * n_fields
    if isinstance(given, Mapping):
        names = list(range(n_fields)) if levels.names is None else list(levels.names)
        for key, value in given.items():
            if key not in names:
                raise parameter_error(name, f"a mapping whose keys are fields of {names}", key)
            values[names.index(key)] = value
    elif given is not None:
        values = [given] if _is_number(given) else list(given)
        if len(values) != n_fields:
            raise parameter_error(name, f"one entry for each of {n_fields} fields", given)
    return [
        np.full(size, default) if value is None else _of_field(value, size, name, probability)
        for value, size in zip(values, levels.sizes, strict=True)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _of_field(value: Any, size: int, name: str, probability: bool) -> Array:
    array = _numbers(value)
    if probability and array.ndim == 0 and size == 2:
        array = np.array([1.0 - array, array])
    if not probability:
        array = np.broadcast_to(array, (size,)) if array.ndim == 0 else array
    good = array.shape == (size,) and np.isfinite(array).all() and (array >= 0).all()
    if probability and not (good and np.isclose(array.sum(), 1.0)):
        rule = f"a probability of agreement, or {size} probabilities that sum to 1, for each field"
        raise parameter_error(name, rule, value)
    if not good:
        raise parameter_error("prior", f"a number, or {size} of at least 0, for each field", value)
    return array


def _numbers(value: Any) -> Array:
    """An array of numbers; of NaN, which no rule allows, where there are others."""
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        return np.full(np.shape(value), np.nan)


def imaginary_pairs(prior: Any, levels: Levels) -> tuple[Array | None, Array | None]:
    """Imaginary pairs of each class, and comparisons of each level in each."""
    if prior is None:
        return None, None
    given = prior
    if not isinstance(prior, Mapping):
        given = {"prevalence": prior, "m": prior, "u": prior}
    if set(given) - {"prevalence", "m", "u"}:
        raise parameter_error("prior", 'a mapping of "m", "u" and "prevalence"', prior)
    parts = []
    for name in ("u", "m"):
        value = given.get(name, 0.0)
        whole = [value] * len(levels.sizes) if _is_number(value) else value
        parts += held_probabilities(whole, levels, "prior", probability=False, default=0.0)
    pairs = _numbers(given.get("prevalence", 0.0))
    if pairs.shape not in ((), (2,)) or not (np.isfinite(pairs).all() and (pairs >= 0).all()):
        rule = "a number of at least 0, or two (non-matches, matches), for prevalence"
        raise parameter_error("prior", rule, given["prevalence"])
    cells, both = np.concatenate(parts), np.broadcast_to(pairs, (2,)).astype(float)
    return (both if both.any() else None), (cells if cells.any() else None)
