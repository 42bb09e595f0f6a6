"""Bootstrap likelihood-ratio tests of K components against more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from expmax.data.reading import read_table
from expmax.data.tables import table_of_columns
from expmax.errors import ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.selection.candidates import Candidate, Combination
from expmax.selection.fitting import fit_combinations
from expmax.selection.workers import workers

__all__ = [
    "LikelihoodRatioTest",
    "check_samples",
    "choose_by_tests",
    "refuse_one_size",
    "whole_weights",
]


@dataclass(frozen=True, slots=True)
class LikelihoodRatioTest:
    """K components against more, in one family."""

    label: str
    null: int  # K of the null hypothesis
    alternative: int
    statistic: float  # 2 (ℓ of the alternative − ℓ of the null), nats
    p_value: float  # (1 + number of bootstrap statistics at least as large) / (B + 1)
    n_bootstrap: int  # B: samples that both could be fitted to
    rejected: bool
    alpha: float  # level

    @property
    def can_reject(self) -> bool:
        """Whether the samples suffice for a p-value as small as the level."""
        return 1.0 / (self.n_bootstrap + 1) <= self.alpha


def choose_by_tests(
    candidates: Sequence[Candidate],
    combinations: Sequence[Combination],
    X: Any,
    seed: np.random.SeedSequence,
    n_bootstrap: int,
    alpha: float,
    *,
    n_jobs: int,
    tests: list[LikelihoodRatioTest],
    report: Callable[[str], None] = lambda what: None,
) -> list[Candidate]:
    """In each family the first K that is not rejected against the next; `tests` takes all tests made.

    The null distribution is that of samples drawn from the fit with K components (the ratio has no
    χ² distribution: the null lies on the boundary of the alternative).

    References
    ----------
    McLachlan (1987), On bootstrapping the likelihood ratio test statistic for the number of
    components in a normal mixture, J. R. Statist. Soc. C 36(3), 318-324.
    """
    chosen: list[Candidate] = []
    labels = list(dict.fromkeys(one.label for one in candidates))
    missing = _missing(X)
    for label, own in zip(labels, seed.spawn(len(labels)), strict=True):
        row = [one for one in candidates if one.label == label and one.estimator is not None]
        sizes = {one.size: one for one in combinations if one.label == label}
        for null, alternative, child in zip(row, row[1:], own.spawn(len(row)), strict=False):
            report(f"{null.name} against {alternative.n_components}")
            pair = (sizes[null.n_components], sizes[alternative.n_components])
            test = _test(null, alternative, pair, missing, child, n_bootstrap, alpha, n_jobs)
            tests.append(test)
            if not test.rejected:
                chosen.append(null)
                break
        else:
            chosen += row[-1:]
    return chosen


def _missing(X: Any) -> Any:
    """Which cells are missing, so that the samples miss the same ones; None where none is."""
    mask = np.column_stack([column.missing for column in read_table(X).columns])
    return mask if mask.any() else None


def _test(
    null: Candidate,
    alternative: Candidate,
    pair: tuple[Combination, Combination],
    missing: Any,
    seed: np.random.SeedSequence,
    n_bootstrap: int,
    alpha: float,
    n_jobs: int,
) -> LikelihoodRatioTest:
    statistic = 2.0 * (alternative.log_likelihood - null.log_likelihood)
    with workers(n_jobs) as work:
        drawn = work(
            lambda own: _replicate(null, pair, missing, own, n_bootstrap), seed.spawn(n_bootstrap)
        )
    known = np.array([value for value in drawn if value is not None])
    p_value = (1 + int((known >= statistic).sum())) / (len(known) + 1)
    return LikelihoodRatioTest(
        null.label,
        null.n_components,
        alternative.n_components,
        statistic,
        p_value,
        len(known),
        p_value <= alpha,
        alpha,
    )


def _replicate(
    null: Candidate,
    pair: tuple[Combination, Combination],
    missing: Any,
    seed: np.random.SeedSequence,
    n_bootstrap: int,
) -> float | None:
    """The statistic of one sample from the null; None where it could not be fitted."""
    drawing, fitting = seed.spawn(2)
    x = _sample(null, np.random.default_rng(drawing))
    if missing is not None and len(missing) == len(x):
        x[missing] = np.nan
    names = getattr(null.estimator, "feature_names_in_", None)
    table = x if names is None else _named(x, [str(name) for name in names])
    unfitted = [replace(one, estimator=clone(one.estimator), group=0) for one in pair]
    params = getattr(null.estimator, "_parameters", None)
    hints = {} if params is None else {0: params}
    fits = fit_combinations(
        unfitted, table, None, fitting, effort="quick", hints=hints, repeats=n_bootstrap
    )
    if fits.interrupted:
        raise KeyboardInterrupt
    fitted = fits.candidates
    if any(one.estimator is None for one in fitted):
        return None
    return 2.0 * (fitted[1].log_likelihood - fitted[0].log_likelihood)


def _sample(null: Candidate, rng: np.random.Generator) -> Any:
    estimator, n = null.estimator, round(null.weight)
    model = getattr(estimator, "_model", None)
    if model is None:
        drawn = clone(estimator)
        drawn.__dict__.update(vars(estimator))
        drawn.random_state = int(rng.integers(2**31))
        return np.asarray(drawn.sample(n)[0], float)
    return np.asarray(model.sample(estimator._parameters, n, rng)[0], float)


def _named(x: Any, names: list[str]) -> Any:
    columns: list[Any] = [("real", column) for column in x.T]
    return table_of_columns(columns, names, n_rows=len(x), source="a sample")


def check_samples(n_bootstrap: Any, alpha: Any) -> None:
    """Refuse a test that could never reject: its smallest p-value is 1/(B + 1)."""
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if not (number and 0 < alpha < 1):
        raise parameter_error("alpha", "a number between 0 and 1", alpha)
    least = fewest_samples(float(alpha))
    if prepare.positive_integer("n_bootstrap", n_bootstrap) < least:
        raise parameter_error(
            "n_bootstrap",
            f"at least {least} for alpha={alpha:g}: the smallest p-value is 1 / (n_bootstrap + 1)",
            n_bootstrap,
        )


def fewest_samples(alpha: float) -> int:
    """The smallest B with 1/(B + 1) ≤ α.

    Examples
    --------
    >>> [fewest_samples(alpha) for alpha in (0.1, 0.05, 0.03, 0.01)]
    [9, 19, 33, 99]
    """
    least = max(1, int(1.0 / alpha) - 2)
    while 1.0 / (least + 1) > alpha:
        least += 1
    return least


def whole_weights(weight: Any) -> None:
    """Refuse weights that are no copies: a sample of half a row cannot be drawn."""
    if weight is not None and not np.array_equal(weight, np.round(weight)):
        raise parameter_error(
            "sample_weight", 'whole numbers (copies) for criterion="lrt"', "fractions"
        )


def refuse_one_size(combinations: Sequence[Combination]) -> None:
    """Refuse a grid in which there is nothing to test."""
    sizes: dict[str, int] = {}
    for one in combinations:
        sizes[one.label] = sizes.get(one.label, 0) + 1
    if max(sizes.values()) < 2 or not all(one.size for one in combinations):
        raise ParameterError(
            'criterion="lrt" tests several numbers of components of one family against each other; '
            "one number only is given. Give more of them, or choose another criterion."
        )
