"""What a user holds or gives of a mixture: `fixed=`, and `init=` by name or by labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.contract import Block, Parameters
from expmax.errors import ParameterError, parameter_error
from expmax.estimators.preparation import check_labels
from expmax.families.parameters import stack, take
from expmax.models.mixture import Group, MixtureModel, MixtureParameters
from expmax.models.mixture_starts import initial_parameters
from expmax.priors import spread
from expmax.statistics import Array

__all__ = ["check_partition", "given_start", "held_parameters", "is_partition"]

Held = tuple[Array | None, dict[int, Parameters], NDArray[np.bool_] | None]


# -- held ------------------------------------------------------------------------------------------
def held_parameters(
    fixed: Any, groups: Sequence[Group], marginal: Sequence[Parameters], k: int
) -> Held:
    """Log weights held, parameters held by group, and which components they are."""
    if not isinstance(fixed, Mapping | None):
        raise parameter_error("fixed", "a mapping, such as {'weights': [...]}", fixed)
    rest = dict(fixed or {})
    log_weights = _log_weights(rest.pop("weights"), k) if "weights" in rest else None
    if not rest:
        return log_weights, {}, None
    mask = np.zeros(k, bool)
    held: dict[int, Parameters] = {}
    for g, group in enumerate(groups):
        parts = []
        for component in group.index:
            given = rest.pop(int(component), None)
            mask[component] = given is not None
            parts.append(_one_component(given, marginal[g]))
        if mask[group.index].any():
            _refuse_half_held(group, mask)
            held[g] = stack(parts)
    if rest:
        raise parameter_error("fixed", f"a mapping with keys 'weights' and 0 … {k - 1}", list(rest))
    return log_weights, held, mask


def _one_component(given: Any, marginal: Parameters) -> Parameters:
    """The fixed parameters of a component, or any where it has none."""
    if given is None:
        return take(marginal, [0])
    if not isinstance(given, Mapping):
        raise parameter_error("fixed", "parameters by name for a component", given)
    try:
        return spread(given, marginal, 1)
    except (TypeError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise parameter_error("fixed", "parameters of a component's shapes", given) from None


def _refuse_half_held(group: Group, mask: NDArray[np.bool_]) -> None:
    if group.family.shares_parameters and not mask[group.index].all():
        raise ParameterError(
            f"fixed holds some components of {group.family!r}, which share parameters with the others; "
            "hold all of them, or use a family without shared parameters."
        )


def _log_weights(weights: ArrayLike, k: int) -> Array:
    try:
        values = np.asarray(weights, float)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (k,) or (values < 0).any() or not np.isclose(values.sum(), 1.0):
        raise parameter_error("weights", f"{k} numbers of at least 0 that sum to 1", weights)
    with np.errstate(divide="ignore"):
        return np.log(values)


# -- starts ----------------------------------------------------------------------------------------
def is_partition(init: Any) -> bool:
    """Whether `init` is neither absent nor parameters: then it is labels."""
    return init is not None and not isinstance(init, Mapping | MixtureParameters)


def check_partition(init: Any, n_rows: int, k: int) -> NDArray[np.int64]:
    """`init` as a component for every row."""
    part = check_labels(init, n_rows, k, "init")
    assert part is not None
    if (part < 0).any():
        raise parameter_error("init", "a component for every row", "-1")
    return part


def given_start(
    init: Any, model: MixtureModel, x: NDArray[Any], weight: Array | None
) -> MixtureParameters | None:
    """The start that `init` describes: parameters or a partition; None without one."""
    if init is None or isinstance(init, MixtureParameters):
        return init
    if isinstance(init, Mapping):
        return _from_names(model, init)
    if isinstance(init, str) or np.ndim(init) != 1:
        raise parameter_error("init", "parameters by name, labels, or None", init)
    return _from_partition(model, check_partition(init, len(x), model.n_components), x, weight)


def _from_names(model: MixtureModel, init: Mapping[str, Any]) -> MixtureParameters:
    assert model.marginal is not None
    given, k = dict(init), model.n_components
    weights = given.pop("weights", np.full(k, 1.0 / k))
    if len(model.groups) > 1:
        raise ParameterError("init by name needs one family for all components; got a list.")
    components = spread(_nested(given, model.marginal[0]), model.marginal[0], k)
    return MixtureParameters(_log_weights(weights, k), (components,))


def _nested(given: Mapping[str, Any], like: Parameters) -> dict[str, Any]:
    """Dotted names, as `params_` has them, put under their factor."""
    out: dict[str, Any] = {}
    for name, value in given.items():
        label, dot, inner = name.rpartition(".")
        if dot and isinstance(like.get(label), Mapping):
            out.setdefault(label, {})[inner] = value
        else:
            out[name] = value
    return out


def _from_partition(
    model: MixtureModel, part: NDArray[np.int64], x: NDArray[Any], weight: Array | None
) -> MixtureParameters:
    r = np.eye(model.n_components)[part]
    if weight is not None:
        r *= weight[:, None]
    params = initial_parameters(model, Block(x), r)
    if params is None:
        raise ParameterError(
            "init leaves a component empty or with rows that do not vary; give each component "
            "at least a few distinct rows."
        )
    return params
