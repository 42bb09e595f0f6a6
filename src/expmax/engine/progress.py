"""What a run tells while it lasts: objective, gain still to come, and for how long."""

from __future__ import annotations

import inspect
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from expmax.engine.arguments import check_progress

__all__ = ["Reporter"]

WINDOW = 30  # steps from which the pace is judged
EVERY = 0.2  # seconds between live lines


class Reporter:
    """Calls somebody after every step, or writes a live line.

    The estimate of the time left supposes that the remaining gain goes on falling at the pace of the last
    steps, by the same factor a second; it is NaN where the gain does not fall or cannot be estimated yet.
    """

    def __init__(self, progress: bool | Callable[..., None], tol: float) -> None:
        check_progress(progress)
        self.live = not callable(progress)
        self.call: Callable[..., None] = progress if callable(progress) else self._line
        self.takes_left = self.live or _takes_four(self.call)
        self.tol = tol
        self.begun = time.perf_counter()
        self.shown = -math.inf
        self.seen: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def begin_run(self) -> None:
        """Another start: its pace is its own."""
        self.seen.clear()

    def report(self, iteration: int, objective: float, remaining: float) -> None:
        """Tell of one step; `remaining` is the estimated gain still to come, nats."""
        seconds = time.perf_counter() - self.begun
        arguments: tuple[float, ...] = (iteration, objective, seconds)
        if self.takes_left:
            if 0 < remaining < math.inf:
                self.seen.append((seconds, math.log(remaining)))
            arguments += (self.seconds_left(),)
        self.call(*arguments)

    def seconds_left(self) -> float:
        """Until the remaining gain is half of tol, at the pace of the last steps."""
        if len(self.seen) < 3 or not self.tol > 0:
            return math.nan
        at, logs = np.array(self.seen).T
        at = at - at.mean()
        pace = -float(at @ logs) / max(float(at @ at), 1e-300)  # factors of e a second
        if not pace > 0:
            return math.nan
        return max(0.0, float(logs[-1]) - math.log(0.5 * self.tol)) / pace

    def close(self) -> None:
        """End the live line."""
        if self.live and self.shown > -math.inf:
            sys.stderr.write("\n")

    def _line(self, iteration: int, objective: float, seconds: float, left: float) -> None:
        if seconds - self.shown < EVERY:
            return
        self.shown = seconds
        wait = "" if math.isnan(left) else f"   about {left:.0f} s left"
        text = f"step {iteration}   objective {objective:.6f}   {seconds:.0f} s{wait}"
        sys.stderr.write(f"\r{text:<79}")
        sys.stderr.flush()


def _takes_four(call: Callable[..., Any]) -> bool:
    """Whether a callback has room for the seconds left."""
    try:
        inspect.signature(call).bind(0, 0.0, 0.0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not tell
        return False
    return True
