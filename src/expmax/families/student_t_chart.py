"""Whitened local coordinates of Student t components."""

from __future__ import annotations

import numpy as np

from expmax.contract import Parameters
from expmax.families.gaussian import Gaussian
from expmax.families.gaussian_charts import DiagonalChart, FullChart
from expmax.families.gaussian_moments import GaussianStatistics
from expmax.families.precision import precision_cholesky
from expmax.families.special import log_shape_information
from expmax.families.structured_charts import StructuredChart
from expmax.families.student_t_estep import StudentTStatistics
from expmax.families.student_t_mstep import LARGEST_DOF, SMALLEST_DOF, dof_score, with_factor
from expmax.statistics import Array

__all__ = ["StudentTChart"]


class StudentTChart:
    """The Gaussian's chart of (μ, Σ), and √n a √(ψ'(a) − 1/a) log(ν/ν₀), a = ν₀/2, where ν is free.

    The score is that of the ordinary Q (α = 1), which has the same gradient where the E-step was
    taken. A ν at its bounds or at ∞ has no
    coordinate; v leaves the family where it leaves them.
    """

    def __init__(
        self, structure: str, free_dof: bool, parameters: Parameters, statistics: StudentTStatistics
    ) -> None:
        family, counts = Gaussian(structure), statistics.counts
        self.full = not family.diagonal
        start = self._gaussian(parameters)
        self.moments: FullChart | DiagonalChart | StructuredChart
        if structure in ("VVV", "EEE"):
            self.moments = FullChart(family, start, start["precision_cholesky"], counts)
        elif structure in ("EII", "VII", "EEI", "VVI"):
            self.moments = DiagonalChart(family, start, _per_column(counts, start["mean"]))
        else:
            self.moments = StructuredChart(family, start, self._weighted(parameters, statistics))
        self.dof = parameters["dof"]
        live = (counts > 0) & free_dof
        live &= (self.dof > SMALLEST_DOF) & (self.dof < LARGEST_DOF)
        self.live = np.flatnonzero(live)
        self.root = np.sqrt(counts[live] * log_shape_information(0.5 * self.dof[live]))
        self.scale = np.concatenate([self.moments.scale, np.sqrt(counts[live])])

    def to_vector(self, parameters: Parameters) -> Array:
        log_ratio = np.log(parameters["dof"][self.live] / self.dof[self.live])
        moments = self.moments.to_vector(self._gaussian(parameters))
        return np.concatenate([moments, self.root * log_ratio])

    def from_vector(self, vector: Array) -> Parameters:
        cut = len(self.moments.scale)
        gaussian = self.moments.from_vector(vector[:cut])
        dof = self.dof.copy()
        log_dof = np.log(dof[self.live]) + vector[cut:] / self.root
        with np.errstate(over="ignore"):
            new = np.exp(log_dof)
        sought = (new >= SMALLEST_DOF) & (new <= LARGEST_DOF)
        dof[self.live] = np.where(sought, new, np.nan)
        if not self.full:
            matrices = gaussian["covariance"][:, :, None] * np.eye(gaussian["mean"].shape[1])
            return with_factor(gaussian["mean"], matrices, dof)
        names = {"mean": "mean", "scale": "covariance", "precision_cholesky": "precision_cholesky"}
        return {"dof": dof, **{ours: gaussian[theirs] for ours, theirs in names.items()}}

    def score(self, parameters: Parameters, statistics: StudentTStatistics) -> Array:
        s = statistics
        moments = self.moments.score(self._gaussian(parameters), self._weighted(parameters, s))
        gradient = dof_score(parameters["dof"], s)
        return np.concatenate([moments, gradient[self.live] / self.root])

    def _gaussian(self, parameters: Parameters) -> dict[str, Array]:
        """Parameters as the Gaussian's charts know them."""
        mean = parameters["mean"]
        if self.full:
            factor = precision_cholesky(parameters, "scale")
            return {"mean": mean, "covariance": parameters["scale"], "precision_cholesky": factor}
        return {"mean": mean, "covariance": np.einsum("kii->ki", parameters["scale"])}

    def _weighted(
        self, parameters: Parameters, statistics: StudentTStatistics
    ) -> GaussianStatistics:
        """The moments weighted by E u over plain counts, as the Gaussian's charts know them."""
        m = statistics.moments.about(parameters["mean"])
        counts, second = statistics.counts, m.second
        if not self.full:
            counts = _per_column(counts, m.first)
            second = np.einsum("kii->ki", second)
        return GaussianStatistics(counts, m.reference, m.first, second)


def _per_column(counts: Array, like: Array) -> Array:
    return np.repeat(counts[:, None], like.shape[1], axis=1)
