"""What a moment problem gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from expmax.errors import ParameterError
from expmax.maxent.domains import BoxDomain, Domain, PointDomain
from expmax.maxent.family import MaximumEntropyFamily
from expmax.maxent.moments import Moments
from expmax.statistics import Array

__all__ = ["MaximumEntropyResult", "Status", "Summary"]

Status = Literal["solved", "boundary", "max_iter", "not_attained"]
SENTENCES = {
    "solved": "every constraint met, multipliers finite",
    "boundary": "solved on a face: some points have probability zero",
    "max_iter": "NOT solved: the moments are not met as closely as asked",
    "not_attained": "no density attains the maximum",
}


class Summary(str):
    """Text that shows itself as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, eq=False, repr=False)
class MaximumEntropyResult:
    """The distribution of maximum entropy under moment constraints, and the proof that it is.

    p(x) = b(x) exp(λ·f(x) − A(λ)) with base measure b; −∫ p log(p/b) is the objective.
    """

    names: tuple[str, ...]  # of the constraints
    natural: Array  # λ, the multipliers, (m,); 0 where redundant
    log_partition: float  # A(λ), nats
    entropy: float  # −Σ p log p, or −∫ p log p, nats
    kl_to_base: float  # KL(p ‖ b normalised), nats; −∫ p log(b/p) where b has no finite total
    mean: Array  # E[f], (m,)
    residuals: Array  # E[f] less the nearest value asked, (m,)
    gap: float  # primal less dual objective, nats
    error: float  # estimated error of the quadrature, relative to the spread of f; 0 for points
    status: Status
    reason: str  # why it is not attained, or not solved
    redundant: tuple[str, ...]  # constraints that follow from the others
    zero_points: NDArray[np.intp]  # points of probability zero by the constraints
    n_iter: int
    family: MaximumEntropyFamily = field(repr=False)  # the same distribution as a family
    domain: Domain = field(repr=False)
    moments: Moments = field(repr=False)
    log_probabilities: Array | None = field(default=None, repr=False)  # of the points, nats
    shape: tuple[int, ...] | None = None  # of a contingency table
    total: float = 1.0  # what the table sums to

    # -- the distribution --------------------------------------------------------------------------
    @property
    def probabilities(self) -> Array:
        """p of each point: shape (n,), or that of the table."""
        if self.log_probabilities is None:
            raise ParameterError("a density has no probabilities of points; use density(x).")
        p = np.exp(self.log_probabilities)
        return p if self.shape is None else p.reshape(self.shape)

    @property
    def table(self) -> Array:
        """The fitted contingency table, in the units of its margins."""
        return self.total * self.probabilities

    def log_density(self, x: ArrayLike) -> Array:
        """log p(x), nats: shape (n,); −∞ off the support. Rows of shape (n, d), or numbers."""
        rows = np.asarray(x, float).reshape(-1, self.domain.n_columns)
        inside = self.domain.contains(rows)
        out = np.full(len(rows), -np.inf)
        part = rows[inside]
        scores = self.domain.statistics(part) @ self.natural + self.domain.log_base(part)
        out[inside] = scores - self.log_partition
        return out

    def density(self, x: ArrayLike) -> Array:
        """p(x): shape (n,)."""
        return np.exp(self.log_density(x))

    def sample(self, n: int, random_state: Any = None) -> Array:
        """n draws: shape (n,), or (n, d)."""
        rng = np.random.default_rng(random_state)
        rows = self.domain.sample(self.natural, n, rng)
        return rows[:, 0] if rows.shape[1] == 1 else rows

    @property
    def parameters(self) -> dict[str, Array]:
        """Parameters of `family` at which it is this distribution."""
        kept = [self.names.index(name) for name in self.family.names]
        return {"natural": self.natural[None, kept]}

    # -- what follows from it ----------------------------------------------------------------------
    @property
    def sensitivities(self) -> Array:
        """d(objective)/dΔ = −λ, nats per unit of each moment: shape (m,).

        The objective is −∫ p log(p/b): the entropy itself where the base measure is 1.
        """
        return -self.natural

    @property
    def covariance(self) -> Array:
        """Cov[f]: shape (m, m); the inverse of dλ/dΔ."""
        return self.domain.integrals(self.natural).covariance

    @property
    def effective_size(self) -> float:
        """1/Σ p², the number of equally probable points that would be as uneven."""
        return float(np.exp(-logsumexp(2.0 * self.probabilities_log)))

    @property
    def probabilities_log(self) -> Array:
        """log p of each point: shape (n,)."""
        if self.log_probabilities is None:
            raise ParameterError("a density has no probabilities of points; use log_density(x).")
        return self.log_probabilities

    # -- to be read --------------------------------------------------------------------------------
    def summary(self) -> Summary:
        """Constraints, multipliers and how it ended, as text."""
        rows = [("constraint", "asked", "E[f]", "residual", "λ")]
        for j, name in enumerate(self.names[:MOST]):
            rows.append(
                (
                    name + (" (redundant)" if name in self.redundant else ""),
                    _asked(self.moments, j),
                    f"{self.mean[j]:.6g}",
                    f"{self.residuals[j]:.1e}",
                    f"{self.natural[j]:.6g}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        if len(self.names) > MOST:
            lines.append(f"… and {len(self.names) - MOST} more")
        lines += ["", f"status   {self.status}: {SENTENCES[self.status]}"]
        if self.reason:
            lines.append(f"         {self.reason}")
        lines.append(f"entropy  {self.entropy:.6f} nats   KL to the base {self.kl_to_base:.6f}")
        lines.append(f"gap      {self.gap:.1e} nats   quadrature error {self.error:.1e}")
        if len(self.zero_points):
            shown = ", ".join(str(i) for i in self.zero_points[:10])
            more = ", …" if len(self.zero_points) > 10 else ""
            lines.append(f"probability zero at points {shown}{more}")
        return Summary("\n".join(lines))

    def __repr__(self) -> str:
        return (
            f"<maximum entropy: {len(self.names)} constraints, {self.status}, "
            f"entropy {self.entropy:.6f} nats>"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the probabilities, or the density of an interval; return the axes."""
        import matplotlib.pyplot as plt

        axes = plt.subplots()[1] if ax is None else ax
        if isinstance(self.domain, PointDomain) and self.log_probabilities is not None:
            values = self.domain.values
            p = np.exp(self.log_probabilities)
            one = values.shape[1] == 1 and len(values) == len(p)
            axes.vlines(values[:, 0] if one else np.arange(len(p)), 0.0, p)
            axes.set_ylabel("probability")
        elif isinstance(self.domain, BoxDomain) and self.domain.n_columns == 1:
            grid = self.domain.grid(self.natural)
            if grid is None:
                raise ParameterError("there is no density to draw; see `reason`.")
            t = np.sort(grid.points(grid.low, grid.high).ravel())
            x = grid.to_x(t[:, None])[0][:, 0]
            p = self.density(x)
            shown = p > 1e-4 * p.max()
            axes.plot(x[shown], p[shown])
            axes.set_ylabel("density")
        else:
            raise ParameterError("plot() draws points and intervals; for a box use density(x).")
        axes.set_title(f"maximum entropy, {self.entropy:.4f} nats")
        return axes


MOST = 40  # constraints shown


def _asked(moments: Moments, j: int) -> str:
    low, high, spread = moments.lower[j], moments.upper[j], moments.tolerance[j]
    text = f"{low:.6g}" if low == high else f"{low:.6g} … {high:.6g}"
    return text if spread == 0 else f"{text} ± {spread:.2g}"
