"""Probabilistic record linkage, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expmax.compute.blas import single_threaded_blas
from expmax.compute.reduce import Serial
from expmax.contract import Block
from expmax.data.compression import Rows
from expmax.data.patterns import Levels, learn_levels, read_levels
from expmax.engine.problem import Problem
from expmax.engine.starts import Search
from expmax.estimators import preparation as prepare
from expmax.estimators.answers import AnswerTraining
from expmax.estimators.linkage_arguments import build_linkage, refuse_too_few_fields
from expmax.estimators.linkage_use import MATCH, FittedLinkage
from expmax.models.answers import AnswerParameters
from expmax.models.record_linkage import RecordLinkageModel, RecordLinkageStarts
from expmax.statistics import Array

__all__ = ["RecordLinkage"]


class RecordLinkage(FittedLinkage):
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
    progress : bool or callable
        Called as progress(iteration, objective, seconds) after each step of each run, with a fourth argument,
        if it has room for one, the estimated seconds left (NaN where unknown); True shows a live line on
        standard error.

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
        progress: Any = False,
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
        self.progress = progress

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
        model = build_linkage(self, levels)
        rows = _count(levels, x, sample_weight, labels)
        labelled = rows.label is not None and bool(rows.label.max() >= 0)
        refuse_too_few_fields(model, labelled=labelled)
        self._encoder = levels
        training = _training_data(model, rows)
        source = RecordLinkageStarts(model, training.problem.blocks)
        usual = list(source.usual())
        if not isinstance(self.n_init, str):
            usual = usual[: int(self.n_init)]
        n_random = max(self._n_random(rows.x.size) - len(usual) + 1, 0)
        with single_threaded_blas():
            result = self._search(training.problem, usual, source, n_random)
        if not labelled:
            _call_agreement_match(training.problem, result)
        self.n_patterns_ = len(np.unique(rows.x, axis=0, equal_nan=True))
        self._keep(training, result)
        self._publish()
        return self

    def _read_again(self, X: Any, sample_weight: Any, labels: Any) -> AnswerTraining:
        return _training_data(
            self._model, _count(self._encoder, self._read(X), sample_weight, labels)
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
        levels = self._encoder
        return list(range(len(levels.sizes)) if levels.names is None else levels.names)

    def _described(self, params: AnswerParameters) -> dict[str, Array]:
        m, u = self._model.fields(params.probability)
        names = self._field_names
        out = {"prevalence": np.exp(params.log_weights[MATCH])}
        out |= {f"m[{name}]": value for name, value in zip(names, m, strict=True)}
        return out | {f"u[{name}]": value for name, value in zip(names, u, strict=True)}


def _call_agreement_match(problem: Problem, result: Search) -> None:
    """Let the class of the higher agreement be the matches, where nothing else tells."""
    run, model = result.best, problem.model
    if run is None or not model.exchangeable() or not run.point.finite:
        return
    if np.diff(model.agreement(run.point.params)) < 0:
        run.point = problem.at(model.permute(run.point.params, np.array([1, 0])))


def _count(
    levels: Levels,
    x: NDArray[Any],
    sample_weight: ArrayLike | None,
    labels: ArrayLike | None,
) -> Rows:
    """Distinct patterns with their weights and known classes."""
    weight = prepare.check_weights(sample_weight, len(x))
    label = prepare.check_labels(labels, len(x), 2)
    if weight is not None and not weight.all():
        used = weight > 0
        x, weight = x[used], weight[used]
        label = None if label is None else label[used]
    return levels.count(x, weight, label)


def _training_data(model: RecordLinkageModel, rows: Rows) -> AnswerTraining:
    """One block of counted patterns."""
    block = Block(rows.x, rows.weight, rows.label, {})
    problem = Problem(model, [block], Serial())
    return AnswerTraining(problem, counts=[rows.count], squares=[rows.square])
