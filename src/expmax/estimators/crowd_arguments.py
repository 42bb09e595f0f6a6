"""The arguments of a crowd's model: weights and known classes by item, imaginary labels, a given start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.data.annotations import Annotations, by_item
from expmax.errors import parameter_error
from expmax.statistics import Array

__all__ = ["distribution", "imaginary_labels", "item_weights", "known_classes"]


def item_weights(given: Any, items: list[Any]) -> ArrayLike | None:
    """Weights of the items, in their order, from a mapping, a series or an array."""
    if given is None or (np.ndim(given) == 0 and not isinstance(given, Mapping)):
        return given
    values = by_item(given, items, "sample_weight")
    if values is not None and any(value is None for value in values):
        missing = items[values.index(None)]
        raise parameter_error("sample_weight", f"given for every item; none for {missing!r}", given)
    return values


def known_classes(labels: Any, data: Annotations) -> NDArray[np.int64] | None:
    """Codes of the known classes, −1 unknown."""
    values = by_item(labels, data.items, "labels")
    if values is None:
        return None
    code = {value: i for i, value in enumerate(data.classes)}
    found = np.full(len(values), -1, np.int64)
    for i, value in enumerate(values):
        plain = value.item() if isinstance(value, np.generic) else value
        if plain in code:
            found[i] = code[plain]
        elif not (plain is None or plain != plain or plain == -1):
            rule = f"made of classes {data.classes}, or None, NaN or -1 where unknown"
            raise parameter_error("labels", rule, value)
    return found


def imaginary_labels(prior: Any, k: int) -> tuple[Array, Array]:
    """Imaginary items of each class (K,), and labels a worker (K true, K given)."""
    given = prior if isinstance(prior, Mapping) else {"prevalence": prior, "confusion": prior}
    if set(given) - {"prevalence", "confusion"}:
        raise parameter_error("prior", 'a mapping of "confusion" and "prevalence"', prior)
    parts = []
    for name, shape in (("prevalence", (k,)), ("confusion", (k, k))):
        try:
            value = np.asarray(given.get(name, 0.0), float)
            value = np.broadcast_to(value, shape)
        except (TypeError, ValueError):
            rule = f"a number, or for {name} an array of shape {shape}"
            raise parameter_error("prior", rule, given.get(name)) from None
        if not (np.isfinite(value).all() and (value >= 0).all()):
            raise parameter_error("prior", "finite and at least 0", given[name])
        parts.append(value.astype(float))
    return parts[0], parts[1]


def distribution(value: Any, shape: tuple[int, ...], name: str) -> Array:
    """Probabilities of a start, or a refusal by name."""
    rule = f"probabilities that sum to 1 for {name}, shape {shape}"
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise parameter_error("start", rule, value) from None
    if array.shape != shape or (array < 0).any() or not np.allclose(array.sum(axis=-1), 1.0):
        raise parameter_error("start", rule, value)
    return array
