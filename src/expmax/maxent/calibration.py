"""Weights that meet targets and stay as close to the base weights as entropy allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expmax.errors import ParameterError
from expmax.maxent.arrays import one_thread
from expmax.maxent.bounded import BoundedDual, separate_bounded
from expmax.maxent.dual import Reducer
from expmax.maxent.finite import solve_points
from expmax.maxent.moments import Moments
from expmax.maxent.newton import newton
from expmax.maxent.reduction import Contradiction, Reduced, reduce_features
from expmax.maxent.refusals import refuse, tighten
from expmax.maxent.result import Summary
from expmax.maxent.targets import Targets
from expmax.statistics import Array

__all__ = ["CalibrationResult", "calibrate_rows"]

LP_ROWS = 20_000  # rows up to which a linear program looks for a proof


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationResult:
    """Calibrated weights w_i of the rows, and how uneven they had to become."""

    weights: Array  # w, (n,), in the units of the base weights
    base_weights: Array = field(repr=False)  # d, (n,)
    names: tuple[str, ...]  # of the targets
    lower: Array  # what each target asks, in its own units, (m,)
    upper: Array
    achieved: Array  # weighted mean, share or total of each target, (m,)
    residuals: Array  # achieved less the nearest value asked, in the units of the target, (m,)
    before: Array  # the same under the base weights, (m,)
    natural: Array  # λ of the means, (m,): log(w/d) = ν + λ·f; 0 where redundant
    redundant: tuple[str, ...]
    gap: float  # duality gap, nats
    status: Literal["solved", "boundary", "max_iter"]
    n_iter: int

    @property
    def total(self) -> float:
        """Σ w."""
        return float(self.weights.sum())

    @property
    def ratios(self) -> Array:
        """w_i/d_i: shape (n,); 1 where both are zero."""
        zero = self.base_weights == 0
        return np.where(zero, 1.0, self.weights / np.where(zero, 1.0, self.base_weights))

    @property
    def effective_size(self) -> float:
        """Kish's (Σw)²/Σw²: how many equally weighted rows would be as precise."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    @property
    def largest(self) -> tuple[int, float]:
        """The row with the largest weight, and that weight."""
        row = int(self.weights.argmax())
        return row, float(self.weights[row])

    def summary(self) -> Summary:
        """Targets before and after, and the price in precision, as text."""
        rows = [("target", "asked", "before", "after", "residual")]
        for j, name in enumerate(self.names):
            low, high = self.lower[j], self.upper[j]
            asked = f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g}"
            after = (f"{self.before[j]:.6g}", f"{self.achieved[j]:.6g}", f"{self.residuals[j]:.1e}")
            rows.append((name, asked, *after))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        row, weight = self.largest
        n = len(self.weights)
        share = self.effective_size / n
        lines += [
            "",
            f"status          {self.status}, {self.n_iter} iterations",
            f"effective size  {self.effective_size:.1f} of {n} rows ({share:.1%})",
            f"largest weight  {weight:.6g} (row {row}), {weight * n / self.total:.3g} times the mean",
            f"ratios w/d      {self.ratios.min():.4g} … {self.ratios.max():.4g}",
        ]
        return Summary("\n".join(lines))

    def __repr__(self) -> str:
        return (
            f"<calibration: {len(self.names)} targets, {self.status}, effective size "
            f"{self.effective_size:.1f} of {len(self.weights)}>"
        )


def calibrate_rows(
    targets: Targets,
    base_weights: Array,
    *,
    bounds: tuple[float, float] | None = None,
    max_iter: int = 200,
    compute: Reducer | None = None,
) -> CalibrationResult:
    """Weights of minimal Σ w log(w/d) that meet the targets.

    Parameters
    ----------
    targets : Targets
    base_weights : ndarray, shape (n,)
        d ≥ 0; a row of weight zero keeps it.
    bounds : (low, high), optional
        On w_i/d_i.

    Raises
    ------
    InfeasibleMomentsError
    """
    live = base_weights > 0
    whole = bool(live.all())
    used = np.flatnonzero(targets.used)
    features = targets.features if whole else targets.features[live]
    part = features if len(used) == features.shape[1] else features[:, used]
    moments = targets.moments.take(used)
    d = base_weights if whole else base_weights[live]
    share = d / d.sum()
    if bounds is None:
        solved = solve_points(part, np.log(share), moments, max_iter=max_iter, compute=compute)
        p, natural, gap = np.exp(solved.log_density), solved.natural, solved.gap
        status, n_iter, redundant = solved.status, solved.n_iter, solved.redundant
    else:
        low, high = _ratio_bounds(bounds, targets.total / float(d.sum()))
        finite = moments.within(part.min(axis=0), part.max(axis=0))
        face = np.ones(len(part), bool)
        if low == 0:  # rows that single targets leave no weight
            face = tighten(part, finite, face)
        rows = slice(None) if face.all() else np.flatnonzero(face)
        with one_thread(part.size):
            inside, natural, gap, status, n_iter, redundant = _bounded(
                part[rows], share[rows], finite, low, high, max_iter
            )
        p = np.zeros(len(part))
        p[rows] = inside
        status = "boundary" if status == "solved" and not face.all() else status
    weights = np.zeros(len(base_weights))
    weights[live] = targets.total * p
    mean = p @ features
    multipliers = np.zeros(len(targets.moments))
    multipliers[used] = natural
    return CalibrationResult(
        weights=weights,
        base_weights=base_weights,
        names=targets.moments.names,
        lower=targets.moments.lower * targets.unit,
        upper=targets.moments.upper * targets.unit,
        achieved=mean * targets.unit,
        residuals=targets.moments.distance(mean) * targets.unit,
        before=(share @ features) * targets.unit,
        natural=multipliers,
        redundant=tuple(moments.names[j] for j in redundant),
        gap=gap,
        status=status,
        n_iter=n_iter,
    )


def _ratio_bounds(bounds: Any, growth: float) -> tuple[float, float]:
    """Bounds on w/d as bounds on the ratio of shares, (w/Σw)/(d/Σd)."""
    low, high = float(bounds[0]), float(bounds[1])
    if not 0 <= low < growth < high:
        raise ParameterError(
            f"bounds on w/d must be at least 0 and lie around Σw/Σd = {growth:.6g}; got ({low:.6g}, "
            f"{high:.6g}). Widen them, or rescale the base weights."
        )
    return low / growth, high / growth


def _bounded(
    features: Array, share: Array, moments: Moments, low: float, high: float, max_iter: int
) -> tuple[Array, Array, float, Literal["solved", "max_iter"], int, NDArray[np.intp]]:
    reduced = reduce_features(features, moments)
    if isinstance(reduced, Contradiction):
        refuse(reduced.direction, moments, "these targets depend on each other linearly")
    dual = BoundedDual(reduced.features, share, low, high)
    path = newton(
        dual, _with_constant(reduced), np.zeros(dual.features.shape[1] + 1), max_iter=max_iter
    )
    if path.outcome != "solved":
        _prove(dual, reduced, moments, path.natural if path.outcome == "separated" else None)
    p = share * dual.ratios(path.natural)
    penalty = reduced.penalty
    gradient = penalty.gradient(path.natural[1:], path.at.gradient[1:])
    gap = float(path.natural[1:] @ gradient) + float(penalty.halfwidth @ np.abs(path.natural[1:]))
    status: Literal["solved", "max_iter"] = "solved" if path.outcome == "solved" else "max_iter"
    natural = reduced.natural(path.natural[1:], len(moments))
    return p, natural, abs(gap), status, path.n_iter, reduced.redundant


def _with_constant(reduced: Reduced) -> Any:
    """The penalty of (ν, λ): none on ν."""
    from expmax.maxent.newton import Penalty

    variance = reduced.penalty.variance
    if variance is not None:
        full = np.zeros((len(variance) + 1, len(variance) + 1))
        full[1:, 1:] = np.diag(variance) if variance.ndim == 1 else variance
        variance = full
    return Penalty(np.concatenate([[0.0], reduced.penalty.halfwidth]), variance)


def _prove(dual: BoundedDual, reduced: Reduced, moments: Moments, natural: Array | None) -> None:
    """Raise with a proof, where one is found."""
    if reduced.penalty.variance is not None:
        return
    found = None
    if len(dual.share) <= LP_ROWS:
        found = separate_bounded(dual, reduced.penalty.halfwidth)
    direction = found.direction if found is not None else natural
    if direction is not None:
        refuse(
            reduced.natural(direction[1:], len(moments)),
            moments,
            "within the bounds on the weights",
            bounded=True,
        )
