"""What fitted match weights are good for: probabilities, decisions, error rates, draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from expmax.contract import Block
from expmax.data.patterns import Levels, read_levels
from expmax.errors import ImpossibleDataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.answers import AnswerEstimator
from expmax.estimators.linkage_rule import (
    ErrorRates,
    LinkageRule,
    Patterns,
    Thresholds,
    is_number,
    refuse_cuts,
)
from expmax.estimators.search import seed_of
from expmax.models.record_linkage import RecordLinkageModel
from expmax.statistics import Array

__all__ = ["MATCH", "FittedLinkage"]

MATCH = 1  # the class of the matches


class FittedLinkage(AnswerEstimator):
    """Methods that need fitted m- and u-probabilities; fitting is the subclass's."""

    _model: RecordLinkageModel
    _encoder: Levels

    # -- use ---------------------------------------------------------------------------------------
    def _read(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        x, _ = read_levels(X)
        prepare.validate_features(self, X, reset=False)
        return x

    def _by_pattern(self, X: Any) -> tuple[Array, NDArray[np.intp]]:
        """Distinct patterns of X, and which one each row has."""
        x = self._read(X)
        levels: Levels = self._encoder
        distinct, inverse = _distinct(levels.keys(x), levels.n_keys)
        return levels.rows(distinct), inverse

    def _posterior(self, X: Any) -> tuple[Array, Array, NDArray[np.intp]]:
        """Posterior and log p of the distinct patterns of X, and which one each row has."""
        patterns, inverse = self._by_pattern(X)
        with np.errstate(all="ignore"):
            r, evidence, _ = self._model.assign(self._parameters, Block(patterns))
        return r, evidence, inverse

    def predict_proba(self, X: Any) -> Array:
        """P(non-match | γ_i) and P(match | γ_i): shape (n, 2).

        Raises
        ------
        ImpossibleDataError
            A comparison vector that neither class can show; fit with a prior.
        """
        r, inverse = self._possible(X)
        return r[inverse]

    def match_probability(self, X: Any) -> Array:
        """P(match | γ_i): shape (n,)."""
        r, inverse = self._possible(X)
        return r[:, MATCH][inverse]

    def _assigned(self, X: Any) -> tuple[Array, Array]:
        r, evidence, inverse = self._posterior(X)
        return r[inverse], evidence[inverse]

    def _possible(self, X: Any) -> tuple[Array, NDArray[np.intp]]:
        r, evidence, inverse = self._posterior(X)
        impossible = np.isneginf(evidence)
        if impossible.any():
            row = int(np.argmax(impossible[inverse]))
            raise ImpossibleDataError(
                f"row {row} has probability zero in both classes; drop it, or fit with prior=…."
            )
        return r, inverse

    def match_weight(self, X: Any) -> Array:
        """Σ_g log₂(m_g/u_g) over the comparisons made, bits: shape (n,)."""
        patterns, inverse = self._by_pattern(X)
        return self._rule().weigh(patterns)[inverse]

    def predict(self, X: Any, *, threshold: float = 0.5) -> NDArray[np.int64]:
        """1 where the probability of a match is at least the threshold, else 0: shape (n,)."""
        if not (is_number(threshold) and 0 <= threshold <= 1):
            raise parameter_error("threshold", "a probability", threshold)
        return (self.match_probability(X) >= threshold).astype(np.int64)

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[np.int64]:
        """`fit`, then `predict` on the same pairs."""
        return self.fit(X, y, **fit_params).predict(X)

    def thresholds(
        self, *, false_match_rate: float = 0.01, false_non_match_rate: float = 0.01
    ) -> Thresholds:
        """The decision rule of Fellegi & Sunter: weights from which a pair is a match, or none.

        Among all rules with P(match decided | non-match) ≤ `false_match_rate` and P(non-match decided |
        match) ≤ `false_non_match_rate`, the one that leaves fewest pairs undecided; patterns are never
        split at random, so the rates may fall short of those allowed.

        Returns
        -------
        Thresholds
            `upper`: match weight, bits, at and above which a pair is decided a match; `lower`: at and
            below which a non-match; and the `rates` of that rule.

        References
        ----------
        Fellegi & Sunter (1969), §2, eq. 16-19.
        """
        return self._rule().thresholds(false_match_rate, false_non_match_rate)

    def error_rates(self, *, upper: float, lower: float | None = None) -> ErrorRates:
        """What a rule does by the fitted model: error rates, precision, share left undecided.

        Parameters
        ----------
        upper, lower : float
            Match weights, bits: a match from `upper` on, a non-match up to `lower` (default: all
            below `upper`).
        """
        return self._rule().rates(upper, lower)

    def decide(
        self,
        X: Any,
        *,
        false_match_rate: float = 0.01,
        false_non_match_rate: float = 0.01,
        upper: float | None = None,
        lower: float | None = None,
    ) -> NDArray[np.str_]:
        """Decide each pair, by `thresholds` or by weights given: "match", "possible" or "non-match"."""
        if (upper is None) != (lower is None):
            raise ParameterError("upper and lower must be given together, or neither.")
        if upper is None or lower is None:
            found = self.thresholds(
                false_match_rate=false_match_rate, false_non_match_rate=false_non_match_rate
            )
            upper, lower = found.upper, found.lower
        refuse_cuts(upper, lower)
        weight = self.match_weight(X)
        return np.where(
            weight >= upper, "match", np.where(weight <= lower, "non-match", "possible")
        )

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw comparison vectors, and whether each is of a match."""
        check_is_fitted(self)
        prepare.positive_integer("n_samples", n_samples)
        rng = np.random.default_rng(seed_of(self.random_state))
        return self._model.sample(self._parameters, n_samples, rng)

    def _rule(self) -> LinkageRule:
        check_is_fitted(self, "_model")
        model: RecordLinkageModel = self._model
        m, u = model.fields(self._parameters.probability)
        return LinkageRule(Patterns(m, u), float(np.exp(self._parameters.log_weights[MATCH])))


def _distinct(keys: NDArray[np.int64], n_keys: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Distinct keys, and the number of each row's: by a table where there are few."""
    if n_keys > max(len(keys), 1 << 16):  # a table would be longer than the keys
        distinct, inverse = np.unique(keys, return_inverse=True)
        return distinct, inverse
    seen = np.zeros(n_keys, bool)
    seen[keys] = True
    number = np.cumsum(seen) - 1
    return np.flatnonzero(seen), number[keys]
