"""A fitted estimator as plain values, for other programs.

NaN (a quantity that does not exist, such as ΔQ of an accelerated step) is None; an infinite number
is the text "inf" or "-inf", for JSON has neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from expmax.reports.parameters import column_names
from expmax.reports.summary import criteria

__all__ = ["describe", "plain"]


def describe(estimator: Any) -> dict[str, Any]:
    """Everything that was fitted, nested in dicts and lists.

    Examples
    --------
    >>> import numpy as np
    >>> from expmax import Mixture, Poisson
    >>> found = describe(Mixture(Poisson(), 1).fit(np.array([[1.0], [2.0], [6.0]])))
    >>> found["components"]
    [{'component': 0, 'weight': 1.0, 'family': 'Poisson()', 'parameters': {'rate': 3.0}}]
    """
    check_is_fitted(estimator)
    encoder, families = estimator._encoder, _bound_families(estimator)
    components = [
        {
            "component": k,
            "weight": float(estimator.weights_[k]),
            "family": repr(families[k]),
            "parameters": plain(parameters),
        }
        for k, parameters in enumerate(estimator.components_)
    ]
    names = column_names(estimator)
    return plain(
        {
            "estimator": type(estimator).__name__,
            "n_components": len(components),
            "columns": names,
            "categories": {names[i]: values for i, values in encoder.categories.items()},
            "components": components,
            "log_likelihood": estimator.log_likelihood_,
            "n_parameters": estimator.n_parameters_,
            "total_weight": estimator._total_weight,
            **criteria(estimator),
            "status": estimator.status_,
            "converged": estimator.converged_,
            "certificate": asdict(estimator.certificate_),
            "n_iter": estimator.n_iter_,
            "n_expect": estimator.n_expect_,
            "history": {**estimator.history_.as_arrays(), "step": estimator.history_.step},
            "starts": [asdict(record) for record in estimator.starts_],
        }
    )


def _bound_families(estimator: Any) -> list[Any]:
    families: list[Any] = [None] * estimator._model.n_components
    for group in estimator._model.groups:
        for k in group.index:
            families[int(k)] = group.family
    return families


def plain(value: Any) -> Any:
    """Arrays as lists, NaN as None, infinity as text.

    Examples
    --------
    >>> plain({"a": np.array([1.0, np.nan, -np.inf])})
    {'a': [1.0, None, '-inf']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else repr(value)
    return value
