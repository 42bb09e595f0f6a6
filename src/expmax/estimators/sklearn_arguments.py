"""Arguments of the drop-ins, refused in scikit-learn's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expmax.errors import DegenerateComponentError, ParameterError, parameter_error
from expmax.families.gaussian import Gaussian
from expmax.statistics import Array

__all__ = ["check_precisions", "check_weights", "in_their_words", "inverse_of", "one_of", "shaped"]

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the number "
    "of components, increase reg_covar, or scale the input data."
)


def one_of(name: str, value: Any, known: Any) -> None:
    """A string among those known."""
    if not isinstance(value, str) or value not in known:
        raise parameter_error(name, f"one of {', '.join(known)}", value)


@contextmanager
def in_their_words() -> Iterator[None]:
    """scikit-learn's sentence before ours where every start collapsed."""
    try:
        yield
    except DegenerateComponentError as error:
        raise DegenerateComponentError(f"{ILL_DEFINED} Here: {error}") from None


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Finite numbers of this shape, as float64."""
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise parameter_error(name, f"an array of numbers of shape {shape}", value) from None
    if array.shape != shape:
        raise ParameterError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ParameterError(f"The parameter '{name}' should be finite, but holds NaN or infinity.")
    return array


def check_weights(value: ArrayLike, k: int) -> Array:
    """Mixing weights, in [0, 1] with sum 1."""
    weights = shaped("weights", value, (k,))
    if (weights < 0).any() or (weights > 1).any():
        raise ParameterError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    if abs(weights.sum() - 1.0) > 1e-6:
        raise ParameterError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )
    return np.asarray(weights / weights.sum())


def check_precisions(value: ArrayLike, kind: str, shape: tuple[int, ...]) -> Array:
    """Precisions of a covariance type: positive, or symmetric and positive definite."""
    precisions = shaped(f"{kind} precision", value, shape)
    if Gaussian(kind).diagonal:
        if not (precisions > 0).all():
            raise ParameterError(f"'{kind} precision' should be positive")
        return precisions
    symmetric = np.allclose(precisions, precisions.swapaxes(-1, -2))
    if not symmetric or not (np.linalg.eigvalsh(precisions) > 0).all():
        raise ParameterError(f"'{kind} precision' should be symmetric, positive-definite")
    return precisions


def inverse_of(precisions: Array, matrices: bool) -> Array:
    """Covariances of precisions: reciprocals, or inverses made symmetric."""
    if not matrices:
        return np.asarray(1.0 / precisions)
    inverse = np.linalg.inv(precisions)
    return np.asarray(0.5 * (inverse + inverse.swapaxes(-1, -2)))
