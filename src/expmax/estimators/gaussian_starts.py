"""scikit-learn's starts of a Gaussian mixture, and the model where only reg_covar holds components up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_random_state

from expmax.compute.reduce import tree_sum
from expmax.contract import Degeneracy, Start
from expmax.engine.problem import Problem
from expmax.estimators.training import Training
from expmax.families.gaussian import Gaussian
from expmax.families.parameters import all_finite
from expmax.families.precision import with_precision
from expmax.models.mixture import MixtureModel, MixtureParameters
from expmax.models.mixture_starts import BLENDS
from expmax.statistics import Array

__all__ = ["RECIPES", "LenientMixture", "RecipeStarts"]

RECIPES = ("kmeans", "k-means++", "random", "random_from_data")
CLOSED = ("VVV", "EEE", "VVI", "VII", "EII", "EEI")  # their M-step needs no start


class LenientMixture(MixtureModel):
    """The mixture where only reg_covar holds some component up: nothing is refused."""

    @classmethod
    def of(cls, model: MixtureModel) -> LenientMixture:
        """The same model, lenient."""
        return cls(**{field.name: getattr(model, field.name) for field in fields(model)})

    def degeneracies(self, params: Any, statistics: Any) -> list[Degeneracy]:
        """None is named."""
        return []

    def is_regular(self, params: MixtureParameters) -> bool:
        """Whether every parameter is a number."""
        return all(all_finite(part) for part in params.components)


@dataclass
class RecipeStarts:
    """scikit-learn's starts: responsibilities by `init_params`, an M-step, then what was given."""

    estimator: Any  # GaussianMixture or BayesianGaussianMixture
    problem: Problem
    given: dict[str, Array]
    x: NDArray[Any]
    weight: Array | None
    label: NDArray[np.int64] | None

    @classmethod
    def of(
        cls, estimator: Any, training: Training, given: Mapping[str, Array] | None = None
    ) -> RecipeStarts:
        """For the rows of a fit."""
        rows = training.rows
        return cls(estimator, training.problem, dict(given or {}), rows.x, rows.weight, rows.label)

    def __post_init__(self) -> None:
        self.random_state = check_random_state(self.estimator.random_state)

    @cached_property
    def points(self) -> NDArray[Any]:
        """Rows as k-means takes them; not made where every parameter was given."""
        return _complete(self.x)

    def starts(self, rngs: Iterator[np.random.Generator]) -> Iterator[Start[MixtureParameters]]:
        """One start for each generator; the recipes draw from scikit-learn's own random state."""
        for _ in rngs:
            if len(self.given) == 3:
                params: MixtureParameters | None = self._merge(None)
            else:
                params = self._from_recipe()
            if params is None:
                return
            yield Start(params, "given" if self.given else self.estimator.init_params)

    def moves(
        self, params: MixtureParameters, rngs: Iterator[np.random.Generator]
    ) -> Iterator[Start[MixtureParameters]]:
        """None: a number of starts is that many starts."""
        return iter(())

    def _from_recipe(self) -> MixtureParameters | None:
        r, seeds = self.responsibilities()
        if self.label is not None:
            known = np.flatnonzero(self.label >= 0)
            r[known] = 0.0
            r[known, self.label[known]] = 1.0
        k = r.shape[1]
        for share in BLENDS:
            params = self._estimate((1 - share) * r + share / k)
            if params is not None and self.problem.model.is_regular(params):
                if seeds is not None and self.estimator.max_iter == 0:
                    params.components[0]["mean"][:] = seeds
                return self._merge(params)
        return None

    def responsibilities(self) -> tuple[Array, Array | None]:
        """One row of responsibilities a row, and the seeds where the recipe picks rows."""
        from sklearn.cluster import KMeans, kmeans_plusplus
        from sklearn.exceptions import ConvergenceWarning as FewDistinctRows

        recipe, k, n = self.estimator.init_params, self.problem.model.n_components, len(self.x)
        if recipe == "random":
            r = self.random_state.uniform(size=(n, k))
            return r / r.sum(axis=1, keepdims=True), None
        seeds: Array | None = None
        if recipe == "kmeans" and n >= k:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FewDistinctRows)
                means = KMeans(k, n_init=1, random_state=self.random_state)
                part = means.fit(self.points, sample_weight=self.weight).labels_
        else:
            if recipe == "k-means++" and n >= k:
                seeds, _ = kmeans_plusplus(
                    self.points, k, sample_weight=self.weight, random_state=self.random_state
                )
            else:
                seeds = self.points[self.random_state.choice(n, k, replace=n < k)]
            part = _nearest(self.points, seeds)
        r = np.zeros((n, k))
        r[np.arange(n), part] = 1.0
        return r, seeds

    def _estimate(self, r: Array) -> MixtureParameters | None:
        """The M-step, block by block; None where a component has no rows."""
        model: MixtureModel = self.problem.model
        assert model.marginal is not None
        family, marginal = model.groups[0].family, model.marginal[0]
        if self.weight is not None:
            r = r * self.weight[:, None]
        counts = r.sum(axis=0)
        if not counts.min() > 0:
            return None
        mean = np.repeat(marginal["mean"], len(counts), axis=0)
        total: Any = None
        for _ in range(2):  # the second time about the means themselves, so that nothing cancels
            ends = np.cumsum([len(block.x) for block in self.problem.blocks])
            total = tree_sum(
                [
                    family.statistics({"mean": mean}, np.asarray(block.x, float), rows)
                    for block, rows in zip(self.problem.blocks, np.split(r, ends[:-1]), strict=True)
                ]
            )
            present = total.counts if total.counts.ndim == 2 else total.counts[:, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = mean + total.first / present
        part = family.maximize(total, None)
        return model.hold(MixtureParameters(np.log(counts / counts.sum()), (part,)))

    def _merge(self, params: MixtureParameters | None) -> MixtureParameters:
        """Put the given weights, means and precisions in place."""
        model: MixtureModel = self.problem.model
        given, part = self.given, None if params is None else params.components[0]
        if params is None or "weights" in given:
            with np.errstate(divide="ignore"):
                log_weights = np.log(given["weights"])
        else:
            log_weights = params.log_weights
        mean = given["means"] if part is None or "means" in given else part["mean"]
        covariance = (
            given["covariances"] if part is None or "covariances" in given else part["covariance"]
        )
        if covariance.ndim == 3:
            new = with_precision(mean, covariance)
        else:
            new = {"mean": mean, "covariance": np.array(covariance)}
        start = model.hold(MixtureParameters(log_weights, (new,)))
        if (
            "covariances" in given
            and Gaussian(self.estimator.covariance_type).structure not in CLOSED
        ):
            # what was given need not have the structure: one EM step finds a member
            point = self.problem.at(start)
            start = model.maximize(point.expectation.statistics, None)
        return start


def _complete(x: NDArray[Any]) -> NDArray[Any]:
    """Rows as k-means takes them: no missing cells, no sizes whose squares overflow."""
    missing = np.isnan(x)
    if missing.any():
        mean = np.where(missing, 0.0, x).sum(axis=0) / np.maximum((~missing).sum(axis=0), 1)
        x = np.where(missing, mean, x)
    size = max(float(x.max()), -float(x.min()))  # no copy of the data
    if size > 0 and not 1e-60 < size < 1e60:
        return np.asarray(np.ldexp(x.astype(float), -int(np.frexp(size)[1])))
    return x


def _nearest(points: NDArray[Any], seeds: NDArray[Any]) -> NDArray[np.intp]:
    centre = points.mean(axis=0)
    a, b = (points - centre).astype(float), (seeds - centre).astype(float)
    return np.asarray(np.argmin((b**2).sum(axis=1) - 2.0 * (a @ b.T), axis=1))
