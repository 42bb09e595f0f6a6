"""The edge of a model's space: parameters on it, scales that vanish, values that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Degeneracy
from expmax.general.backend import jnp
from expmax.general.programs import arrays
from expmax.general.statistics import JointStatistics
from expmax.statistics import Array

__all__ = ["boundary", "degeneracies", "explain", "snap"]

NEAR_EDGE = 0.05  # relative distance below which a parameter is tried on the edge
ROUNDING = 32 * float(np.finfo(float).eps)
RISE = 2.0  # nats; as a scale falls by 100, or a variance, one row in a spike gives 4.6, or 2.3


def _edges(model: Any, params: Mapping[str, Any]) -> Iterator[tuple[str, str, float, Array]]:
    for name, constraint in model.space.constraints.items():
        for text, distance, moved in constraint.edges(np.asarray(params[name], float)):
            yield name, f"{name}{text}", distance, moved


def boundary(model: Any, params: Mapping[str, Any]) -> list[str]:
    """Names of the parameters on the edge of their space."""
    return [text for _, text, distance, _ in _edges(model, params) if distance == 0.0]


def snap(model: Any, params: Mapping[str, Any], statistics: JointStatistics) -> Any:
    """Put on the edge whatever is near it and loses nothing there; None where nothing moved."""
    if model.bound_posterior.random:
        return None

    def objective(theta: Mapping[str, Any]) -> float:
        return float(model.log_likelihood(theta, statistics)) + model.log_prior(theta)

    theta, changed = dict(params), False
    best = objective(theta)
    slack = ROUNDING * (abs(best) + statistics.weight)
    while True:
        for name, _, distance, moved in _edges(model, theta):
            if not 0.0 < distance < NEAR_EDGE:
                continue
            trial = {**theta, name: moved}
            value = objective(trial)
            if np.isfinite(value) and best - slack <= value < best + RISE:
                theta, best, changed = trial, max(best, value), True
                break
        else:
            return theta if changed else None


def degeneracies(
    model: Any, params: Mapping[str, Any], statistics: JointStatistics
) -> list[Degeneracy]:
    """Scales that collapsed while the likelihood rose without bound."""
    found: list[Degeneracy] = []
    for name, constraint in model.space.constraints.items():
        for at, small, smaller in constraint.collapses(np.asarray(params[name], float)):
            values = [
                model.log_likelihood({**params, name: scale}, statistics)
                for scale in (small, smaller)
            ]
            if np.isfinite(values).all() and values[1] - values[0] > RISE:
                reason = f"{name}{at} runs to 0, where the likelihood is unbounded"
                found.append(Degeneracy(len(found), reason))
    return found


def explain(model: Any, params: Mapping[str, Any], blocks: Sequence[Block]) -> str | None:
    """Which row and state make the log-likelihood no number, in words; None where it is one."""
    u = jnp.asarray(model.space.pack(params))
    before = 0
    for block in blocks:
        prepared = model.prepared(block)
        start = 0
        for chunk in prepared.chunks:
            rows = before + prepared.first[start : start + chunk.n_rows]
            text = _explain_chunk(model, u, chunk, rows)
            if text is not None:
                return text
            start += chunk.n_rows
        before += len(block.x)
    return None


def _explain_chunk(model: Any, u: Any, chunk: Any, rows: NDArray[np.intp]) -> str | None:
    out = model.programs.rows(u, arrays(chunk))
    log_likelihood = np.asarray(out.log_likelihood)[: chunk.n_rows]
    bad = np.flatnonzero(~np.isfinite(log_likelihood))
    if not len(bad):
        return None
    row = int(bad[0])
    table = np.asarray(model.programs.values(u, out.q, arrays(chunk)))[row]
    if np.isnan(table).any() or np.isposinf(table).any():
        index = int(np.flatnonzero(np.isnan(np.ravel(table)) | np.isposinf(np.ravel(table)))[0])
        value = np.ravel(table)[index]
        name = getattr(model.bound_posterior, "name_state", model.latent.name_state)
        return (
            f"log_joint is {value} at row {rows[row]}, {name(index)}: start elsewhere, or "
            "write the density so that it is a number (or -inf) there, missing cells (NaN) included."
        )
    own = getattr(model.bound_posterior, "explain", None)
    if own is not None:
        return str(own(rows[row]))
    return (
        f"no value of z can produce row {rows[row]}: log_joint is -inf for all of them. Drop the row, or start "
        "from parameters that allow it."
    )
