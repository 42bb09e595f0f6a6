"""What happened at each iteration, kept as the proof of convergence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expmax.statistics import Array

__all__ = ["History"]


@dataclass
class History:
    """One row a step: the quantities of log p(x|θ) = ELBO + KL, in nats.

    Row t describes the step from θ_t to θ_{t+1}. For an EM step the three columns prove the ascent:
    `log_likelihood[t+1] − log_likelihood[t] = delta_q[t] + kl[t]`, both at least zero (with a prior,
    `objective` in place of `log_likelihood`). An accelerated step has NaN there and only may not lower
    the objective.
    """

    log_likelihood: list[float] = field(default_factory=list)  # ℓ(θ_t)
    objective: list[float] = field(default_factory=list)  # ℓ(θ_t) + log prior(θ_t)
    elbo: list[float] = field(
        default_factory=list
    )  # Q(θ_t; S_t) + H_t: equals ℓ(θ_t) when q is exact
    delta_q: list[float] = field(default_factory=list)  # gain of the M-step
    kl: list[float] = field(default_factory=list)  # KL(q_t ‖ p(z|x, θ_{t+1})): gain of the E-step
    step: list[str] = field(default_factory=list)  # "em", or the accelerator's name

    def __len__(self) -> int:
        return len(self.log_likelihood)

    def append(
        self,
        log_likelihood: float,
        objective: float,
        elbo: float,
        delta_q: float,
        kl: float,
        step: str,
    ) -> None:
        """Record one step."""
        self.log_likelihood.append(log_likelihood)
        self.objective.append(objective)
        self.elbo.append(elbo)
        self.delta_q.append(delta_q)
        self.kl.append(kl)
        self.step.append(step)

    def reopen(self) -> History:
        """The same history without its closing row, for a run that goes on."""
        columns = vars(self).values()
        end = len(self) - (bool(self.step) and self.step[-1] == "end")
        return History(*(list(column[:end]) for column in columns))

    def plot(self, axes: Any = None) -> Any:
        """Draw log-likelihood, ELBO, ΔQ and KL step by step; returns the axes (needs matplotlib)."""
        from expmax.reports.figures import plot_history

        return plot_history(self, axes)

    def as_arrays(self) -> dict[str, Array]:
        """The numeric columns as arrays."""
        names = ("log_likelihood", "objective", "elbo", "delta_q", "kl")
        return {name: np.asarray(getattr(self, name)) for name in names}
