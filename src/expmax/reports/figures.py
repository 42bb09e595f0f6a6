"""Pictures of a fit, with matplotlib (the extra `expmax[plot]`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from expmax.errors import MissingDependencyError, parameter_error

__all__ = ["plot_history"]

MARKERS = {"em": "o", "lbfgs": "^", "squarem": "s", "anderson": "D", "newton": "*", "escape": "X"}


def plot_history(history: Any, axes: Any = None) -> Any:
    """Log-likelihood and ELBO above, the gains ΔQ and KL below, step by step.

    Parameters
    ----------
    history : History
    axes : pair of matplotlib axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    The pair of axes.

    Raises
    ------
    ParameterError
        `axes` are no pair of axes.
    """
    upper, lower = _new_axes() if axes is None else _pair(axes)
    kinds = np.array(history.step)
    steps = np.arange(len(kinds))
    columns = history.as_arrays()
    upper.plot(steps, columns["objective"], color="0.75", linewidth=1, zorder=1)
    for kind in dict.fromkeys(kinds[:-1]):
        here = kinds == kind
        marker = MARKERS.get(kind, "P")
        label = "EM step from here" if kind == "em" else f"{kind} step from here"
        upper.scatter(steps[here], columns["objective"][here], s=24, marker=marker, label=label)
    exact = np.isfinite(columns["elbo"])
    upper.plot(steps[exact], columns["elbo"][exact], "k+", markersize=9, label="ELBO")
    upper.set_ylabel("log-likelihood (nats)")
    upper.legend(frameon=False)
    for name, label, marker in (("delta_q", "ΔQ (M-step)", "o"), ("kl", "KL (E-step)", "x")):
        seen = columns[name] > 0
        lower.plot(steps[seen], columns[name][seen], marker, markersize=5, label=label)
    gains = np.diff(columns["objective"])
    lower.step(
        steps[:-1], np.where(gains > 0, gains, np.nan), color="0.6", where="mid", label="gain"
    )
    lower.set_yscale("log")
    lower.set_xlabel("step")
    lower.set_ylabel("gain (nats)")
    lower.legend(frameon=False)
    return upper, lower


def _new_axes() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MissingDependencyError(
            'plots need matplotlib; install it with: pip install "expmax[plot]"'
        ) from None
    _, axes = plt.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
    return axes


def _pair(axes: Any) -> tuple[Any, Any]:
    try:
        upper, lower = axes
    except (TypeError, ValueError):
        upper = lower = None
    if not (hasattr(upper, "scatter") and hasattr(lower, "scatter")):
        raise parameter_error(
            "axes", "a pair of matplotlib axes, or None for a new figure", axes
        ) from None
    return upper, lower
