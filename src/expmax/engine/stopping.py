"""How much is left to gain, estimated from the gains so far."""

from __future__ import annotations

from itertools import pairwise

from expmax.engine.history import History

__all__ = ["remaining_gain"]

WINDOW = 8  # ratios looked at: the largest counts, so a lull is not taken for the end


def remaining_gain(history: History, objective: float, rounding: float) -> float:
    """Aitken's projection of the gain still to come, nats; infinite until enough EM steps are seen.

    Linear convergence at rate ρ leaves gain · ρ / (1 − ρ) after a gain; ρ is the largest of the last
    ratios of successive gains. A gain within rounding ends the ascent: no more can be seen.

    References
    ----------
    Böhning, Dietz, Schaub, Schlattmann & Lindsay (1994), Ann. Inst. Statist. Math. 46, 373-388.
    """
    steps = 0
    for kind in reversed(history.step):
        if kind != "em" or steps > WINDOW:
            break
        steps += 1
    values = [*history.objective[len(history) - steps :], objective]
    gains = [b - a for a, b in pairwise(values)]
    if len(gains) >= 2 and max(gains[-2:]) <= rounding:
        return rounding
    if len(gains) < 3:
        return float("inf")
    ratios = [b / a if a > rounding else 1.0 for a, b in pairwise(gains)]
    if gains[-1] <= rounding:
        ratios = ratios[:-1]
    rate = max(ratios)
    if not rate < 1:
        return float("inf")
    return max(gains[-1] * rate / (1 - rate), rounding)
