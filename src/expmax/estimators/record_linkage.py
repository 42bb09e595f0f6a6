"""Probabilistic record linkage, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, check_random_state

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.data.compression import Rows
from expmax.data.patterns import Levels, learn_levels, read_levels
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.errors import DataError, ImpossibleDataError, ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.answers import AnswerEstimator
from expmax.estimators.linkage_rule import ErrorRates, LinkageRule, Patterns, Thresholds
from expmax.models.answers import AnswerParameters
from expmax.models.record_linkage import RecordLinkageModel, RecordLinkageStarts
from expmax.statistics import Array

__all__ = ["RecordLinkage"]

MATCH = 1  # the class of the matches


class RecordLinkage(AnswerEstimator):
    """Which pairs of records are of the same entity, from the agreement of their fields, by EM.

    The comparison γ_g of field g has level l with probability m_gl if the pair is a match and u_gl if it is
    not, independently given that, and a share λ of the pairs are matches:

        p(γ) = λ Π_g m_g(γ_g) + (1 − λ) Π_g u_g(γ_g),  weight(γ) = Σ_g log₂ (m_g(γ_g) / u_g(γ_g)).

    Equal comparison vectors are counted before the first iteration, so a fit costs what its distinct
    patterns cost. A missing comparison (NaN) is left out of its pair's product: missing at random.

    Parameters
    ----------
    n_levels : int or sequence of int, optional
        Levels of the fields; default: one more than the largest found. Level 0 is disagreement, the
        highest is full agreement.
    u, m : sequence or mapping by field, optional
        Probabilities held (u from random pairs, as a rule): of each field a probability of agreement
        (two levels), an array of one for each level, or None where free.
    prevalence : float, optional
        λ held.
    prior : number or mapping, optional
        Imaginary pairs, which make the fit MAP: a number for every level of every field in both classes,
        and for both classes; or {"m": …, "u": …, "prevalence": …}, a number or one for each field
        (prevalence: for non-matches and matches).
    n_init : "auto" or int
        Starts in all: six usual ones, then random ones; 1 is the first of the usual.
    tol : float
        Nats of the total log-likelihood that may be left to gain.
    max_iter : int
        Parameter updates of a run.
    accelerate : {"auto", "lbfgs", "squarem", "anderson", None}
    random_state : int, RandomState or None

    Attributes
    ----------
    prevalence_ : float
        λ, the share of matches.
    m_probabilities_, u_probabilities_, match_weights_ : dict of ndarray
        By field (its name, or its number): m_g, u_g and log₂(m_g/u_g), one number for each level.
    params_ : dict
        "prevalence", "m" and "u".
    log_likelihood_ : float
        Σ w_i log p(γ_i), nats.
    n_patterns_ : int
        Distinct comparison vectors in the data.
    status_, converged_, certificate_, n_iter_, n_expect_, history_, starts_, n_parameters_

    Raises
    ------
    ParameterError, DataError
        A bad argument; cells that are no levels; fewer independent frequencies than parameters.

    Notes
    -----
    The matches are the class of the higher mean level of agreement. EM finds the two groups of pairs
    that explain the dependence between the fields best: where matches are a tiny share, or fields depend
    on each other within a class (surname and household), these need not be matches and others. Fixed u,
    some known pairs (`labels`) or blocking that raises the share of matches keep it to its purpose.

    References
    ----------
    Fellegi & Sunter (1969), J. Amer. Statist. Assoc. 64(328), 1183-1210. Winkler (1988), Proc. Sect. Survey
    Research Methods, ASA, 667-671. Jaro (1989), J. Amer. Statist. Assoc. 84(406), 414-420.

    Examples
    --------
    >>> import numpy as np
    >>> import expmax as em
    >>> patterns = [[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    >>> pairs = np.repeat(patterns, [74, 16, 16, 16, 74, 74, 74, 656], axis=0)
    >>> model = em.RecordLinkage(random_state=0).fit(pairs)
    >>> round(model.prevalence_, 3)
    0.099
    >>> model.match_weights_[0].round(2)
    array([-3.22,  3.17])
    >>> model.predict([[1, 1, 1], [1, 0, 0]])
    array([1, 0])
    """

    _most_starts = 20

    def __init__(
        self,
        *,
        n_levels: int | Sequence[int] | None = None,
        u: Any = None,
        m: Any = None,
        prevalence: float | None = None,
        prior: float | Mapping[str, Any] | None = None,
        n_init: int | str = "auto",
        tol: float = 1e-4,
        max_iter: int = 1000,
        accelerate: str | None = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_levels = n_levels
        self.u = u
        self.m = m
        self.prevalence = prevalence
        self.prior = prior
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.random_state = random_state

    # -- fitting -----------------------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: ArrayLike | None = None,
        labels: ArrayLike | None = None,
    ) -> Self:
        """Fit by EM.

        Parameters
        ----------
        X : array or data frame, shape (n, number of fields)
            A pair a row: levels of agreement (or True and False), NaN where a comparison is missing.
        y : ignored
        sample_weight : array, shape (n,), optional
            Weight k is k copies of a pair, so X may hold patterns and the weights their counts.
        labels : array of int, shape (n,), optional
            1 for a known match, 0 for a known non-match, −1 where unknown.
        """
        self._check_parameters()
        x, names = read_levels(X)
        prepare.validate_features(self, X, reset=True)
        levels = learn_levels(x, names, self.n_levels)
        weight = prepare.check_weights(sample_weight, len(x))
        label = prepare.check_labels(labels, len(x), 2)
        if weight is not None and not weight.all():
            used = weight > 0
            x, weight = x[used], weight[used]
            label = None if label is None else label[used]
        rows = levels.count(x, weight, label)
        model = self._build(levels)
        self._refuse_too_few_fields(model, label)
        self._encoder = levels
        block = Block(rows.x, rows.weight, rows.label, {})
        problem = Problem(model, [block], Serial())
        source = RecordLinkageStarts(model, [block])
        usual = list(source.usual())
        if not isinstance(self.n_init, str):
            usual = usual[: int(self.n_init)]
        n_random = max(self._n_random(rows.x.size) - len(usual) + 1, 0)
        with single_threaded_blas():
            result = self._search(problem, usual, source, n_random)
        if label is None or label.max() < 0:
            _call_agreement_match(problem, result)
        self.n_patterns_ = len(np.unique(rows.x, axis=0, equal_nan=True))
        self._keep(problem, result)
        self._rows: Rows | None = rows if self._training is not None else None
        self._publish()
        return self

    def _build(self, levels: Levels) -> RecordLinkageModel:
        fixed = [
            value
            for name in ("u", "m")
            for value in _held(getattr(self, name), levels, name, probability=True)
        ]
        held = np.concatenate(fixed)
        weights = None
        if self.prevalence is not None:
            share = self.prevalence
            if not (isinstance(share, float | np.floating) and 0 < share < 1):
                raise parameter_error("prevalence", "a number between 0 and 1", share)
            weights = np.log([1.0 - share, share])
        pairs, cells = _imaginary(self.prior, levels)
        return RecordLinkageModel(
            2,
            pseudo_weights=pairs,
            pseudo_answers=cells,
            fixed_weights=weights,
            fixed_answers=None if np.isnan(held).all() else held,
            levels=levels.sizes,
        )

    def _refuse_too_few_fields(
        self, model: RecordLinkageModel, label: NDArray[np.int64] | None
    ) -> None:
        """Without prior and known pairs, the frequencies of the patterns are all there is."""
        if model.pseudo_answers is not None or (label is not None and label.max() >= 0):
            return
        empty = AnswerParameters(np.zeros(2), np.zeros(len(model.segment)))
        n_free, n_known = (
            model.n_parameters(empty),
            int(np.prod([float(s) for s in model.levels])) - 1,
        )
        if n_free > n_known:
            raise DataError(
                f"{len(model.levels)} fields have {n_known} independent frequencies of patterns, fewer than "
                f"the {n_free} parameters: no data can tell them. Compare more fields, hold u or "
                "prevalence, give labels or a prior."
            )

    def _publish(self) -> None:
        model: RecordLinkageModel = self._model
        params, names = self._parameters, self._field_names
        m, u = model.fields(params.probability)
        weights = self._rule().weights
        self.prevalence_ = float(np.exp(params.log_weights[MATCH]))
        self.m_probabilities_ = dict(zip(names, m, strict=True))
        self.u_probabilities_ = dict(zip(names, u, strict=True))
        self.match_weights_ = dict(zip(names, weights, strict=True))
        self.params_ = {
            "prevalence": self.prevalence_,
            "m": self.m_probabilities_,
            "u": self.u_probabilities_,
        }
        self.classes_ = np.array([0, 1])

    @property
    def _field_names(self) -> list[Any]:
        levels: Levels = self._encoder
        return list(range(len(levels.sizes)) if levels.names is None else levels.names)

    def _described(self, params: AnswerParameters) -> dict[str, Array]:
        m, u = self._model.fields(params.probability)
        names = self._field_names
        out = {"prevalence": np.exp(params.log_weights[MATCH])}
        out |= {f"m[{name}]": value for name, value in zip(names, m, strict=True)}
        return out | {f"u[{name}]": value for name, value in zip(names, u, strict=True)}

    def __getstate__(self) -> dict[str, Any]:
        """Pickles hold no data."""
        return super().__getstate__() | {"_rows": None}

    def _units(self, block: Block) -> Array:
        assert self._rows is not None
        return self._rows.count

    def _squares(self, block: Block) -> Array:
        assert self._rows is not None
        return self._rows.square

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
        if not 0 <= threshold <= 1:
            raise parameter_error("threshold", "a probability", threshold)
        return (self.match_probability(X) >= threshold).astype(np.int64)

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[np.int64]:
        """`fit`, then `predict` on the same pairs."""
        return self.fit(X, y, **fit_params).predict(X)

    def score_samples(self, X: Any) -> Array:
        """log p(γ_i), nats: shape (n,); −∞ where a vector is impossible."""
        _, evidence, inverse = self._posterior(X)
        return evidence[inverse]

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
        if lower > upper:
            raise parameter_error("lower", f"at most upper={upper:g}", lower)
        weight = self.match_weight(X)
        return np.where(
            weight >= upper, "match", np.where(weight <= lower, "non-match", "possible")
        )

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw comparison vectors, and whether each is of a match."""
        check_is_fitted(self)
        prepare.positive_integer("n_samples", n_samples)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        rng = np.random.default_rng(seed)
        return self._model.sample(self._parameters, n_samples, rng)

    def _rule(self) -> LinkageRule:
        check_is_fitted(self, "_model")
        model: RecordLinkageModel = self._model
        m, u = model.fields(self._parameters.probability)
        return LinkageRule(Patterns(m, u), float(np.exp(self._parameters.log_weights[MATCH])))


# --------------------------------------------------------------------------------------------------
def _call_agreement_match(problem: Problem, result: Search) -> None:
    """Let the class of the higher agreement be the matches, where nothing else tells."""
    run, model = result.best, problem.model
    if run is None or not model.exchangeable() or not run.point.finite:
        return
    if np.diff(model.agreement(run.point.params)) < 0:
        run.point = problem.at(model.permute(run.point.params, np.array([1, 0])))


def _distinct(keys: NDArray[np.int64], n_keys: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Distinct keys, and the number of each row's: by a table where there are few."""
    if n_keys > max(len(keys), 1 << 16):  # a table would be longer than the keys
        distinct, inverse = np.unique(keys, return_inverse=True)
        return distinct, inverse
    seen = np.zeros(n_keys, bool)
    seen[keys] = True
    number = np.cumsum(seen) - 1
    return np.flatnonzero(seen), number[keys]


def _held(
    given: Any, levels: Levels, name: str, *, probability: bool, default: float = np.nan
) -> list[Array]:
    """One array of numbers a field, `default` where nothing is given."""
    n_fields = len(levels.sizes)
    values: list[Any] = [None] * n_fields
    if isinstance(given, Mapping):
        names = list(range(n_fields)) if levels.names is None else list(levels.names)
        for key, value in given.items():
            if key not in names:
                raise parameter_error(name, f"a mapping whose keys are fields of {names}", key)
            values[names.index(key)] = value
    elif given is not None:
        values = [given] if _is_number(given) else list(given)
        if len(values) != n_fields:
            raise parameter_error(name, f"one entry for each of {n_fields} fields", given)
    return [
        np.full(size, default) if value is None else _of_field(value, size, name, probability)
        for value, size in zip(values, levels.sizes, strict=True)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _of_field(value: Any, size: int, name: str, probability: bool) -> Array:
    array = np.asarray(value, float)
    if probability and array.ndim == 0 and size == 2:
        array = np.array([1.0 - array, array])
    if not probability:
        array = np.broadcast_to(array, (size,)) if array.ndim == 0 else array
    good = array.shape == (size,) and np.isfinite(array).all() and (array >= 0).all()
    if probability and not (good and np.isclose(array.sum(), 1.0)):
        rule = f"a probability of agreement, or {size} probabilities that sum to 1, for each field"
        raise parameter_error(name, rule, value)
    if not good:
        raise parameter_error("prior", f"a number, or {size} of at least 0, for each field", value)
    return array


def _imaginary(prior: Any, levels: Levels) -> tuple[Array | None, Array | None]:
    """Imaginary pairs of each class, and comparisons of each level in each."""
    if prior is None:
        return None, None
    given = prior
    if not isinstance(prior, Mapping):
        given = {"prevalence": prior, "m": prior, "u": prior}
    if set(given) - {"prevalence", "m", "u"}:
        raise parameter_error("prior", 'a mapping of "m", "u" and "prevalence"', prior)
    parts = []
    for name in ("u", "m"):
        value = given.get(name, 0.0)
        whole = [value] * len(levels.sizes) if _is_number(value) else value
        parts += _held(whole, levels, "prior", probability=False, default=0.0)
    pairs = np.asarray(given.get("prevalence", 0.0), float)
    if pairs.shape not in ((), (2,)) or not (np.isfinite(pairs).all() and (pairs >= 0).all()):
        rule = "a number of at least 0, or two (non-matches, matches), for prevalence"
        raise parameter_error("prior", rule, given["prevalence"])
    cells, both = np.concatenate(parts), np.broadcast_to(pairs, (2,)).astype(float)
    return (both if both.any() else None), (cells if cells.any() else None)
