"""The arguments of a topic model: what is refused, and what they make: model, starts, schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.errors import ParameterError, parameter_error
from expmax.estimators import preparation as prepare
from expmax.estimators.shared import check_run, number
from expmax.estimators.topic_fit import Schedule
from expmax.models.topics import TopicParameters, Topics
from expmax.statistics import Array

__all__ = [
    "build",
    "certifiers",
    "check_arguments",
    "document_lengths",
    "passes",
    "refuse_other_topics",
    "schedule_of",
    "starts",
    "word_names",
]

ITERATIONS = {"batch": 1000, "online": 10}
WORTH = 4  # documents from which on numba's import pays: a pass takes about 1 ms each without
CHOICES: dict[str, tuple[Any, ...]] = {
    "learning": ("batch", "online"),
    "topics": ("distribution", "point"),
    "learn_document_prior": (False, True, "symmetric"),
    "learn_topic_prior": (False, True),
    "certify": ("auto", True, False),
}


def check_arguments(estimator: Any, *, online: bool) -> None:
    """Refuse bad arguments by name; `online`: whether mini-batches are to be learned from."""
    prepare.positive_integer("n_topics", estimator.n_topics)
    prepare.positive_integer("batch_size", estimator.batch_size)
    prepare.positive_integer("max_document_iter", estimator.max_document_iter)
    prepare.refuse_tolerance(estimator.document_tol, "document_tol")
    for name, allowed in CHOICES.items():
        value = getattr(estimator, name)
        if not (isinstance(value, bool | np.bool_ | str) and value in allowed):
            raise parameter_error(name, f"one of {allowed}", value)
    check_run(
        tol=0.0 if estimator.tol is None else estimator.tol,
        max_iter=0 if estimator.max_iter is None else estimator.max_iter,
        n_init=estimator.n_init,
        random_state=estimator.random_state,
        least_iter=0,
        automatic=False,
    )
    number("learning_decay", estimator.learning_decay, "above 0.5 and at most 1", 0.5, 1.0)
    below_one = np.nextafter(1.0, 0.0)
    number("learning_offset", estimator.learning_offset, "at least 1", below_one)
    if estimator.total_documents is not None:
        number("total_documents", estimator.total_documents, "positive, or None", 0.0)
    if estimator.learn_topic_prior and estimator.topics == "point":
        raise parameter_error("learn_topic_prior", 'False with topics="point"', True)
    if online and (estimator.learn_document_prior or estimator.learn_topic_prior):
        rule = 'False with learning="online" and in partial_fit'
        raise parameter_error("learn_document_prior and learn_topic_prior", rule, True)


def refuse_other_topics(estimator: Any, params: TopicParameters) -> None:
    """`partial_fit` cannot go on with another number or kind of topics."""
    now = {
        "n_topics": params.pseudo_counts.shape[1],
        "topics": "point" if params.point else "distribution",
    }
    for name, value in now.items():
        if getattr(estimator, name) != value:
            rule = f"{value!r}, as in the topics so far (`fit` begins anew)"
            raise parameter_error(name, rule, getattr(estimator, name))


def build(estimator: Any, n_words: int) -> Topics:
    """The model of the arguments."""
    learn: Any = estimator.learn_document_prior
    if not isinstance(learn, str):
        learn = "vector" if learn else False
    return Topics(
        int(estimator.n_topics),
        n_words,
        max_rounds=int(estimator.max_document_iter),
        document_tol=float(estimator.document_tol),
        learn_document_prior=learn,
        learn_topic_prior=bool(estimator.learn_topic_prior),
    )


def passes(estimator: Any) -> int:
    """Passes over the documents at most."""
    given = estimator.max_iter
    return ITERATIONS[estimator.learning] if given is None else int(given)


def certifiers(
    estimator: Any, may_keep: bool, seeds: np.random.SeedSequence, n: int
) -> list[np.random.Generator | None]:
    """For each of n starts the random directions of its certificate; None where there is to be none."""
    wanted = may_keep if isinstance(estimator.certify, str) else estimator.certify
    learned = estimator.learn_document_prior or estimator.learn_topic_prior
    if not wanted or learned or estimator.topics == "point":
        return [None] * n
    return [np.random.default_rng(seed) for seed in seeds.spawn(n)]


def schedule_of(estimator: Any) -> Schedule:
    """The steps of online learning."""
    return Schedule(
        int(estimator.batch_size),
        float(estimator.learning_offset),
        float(estimator.learning_decay),
    )


def starts(
    estimator: Any, n_documents: int, n_words: int, seeds: np.random.SeedSequence
) -> list[TopicParameters]:
    """Parameters to start from: the given one, or random ones."""
    shape = (int(estimator.n_topics), n_words)
    default = 1.0 / shape[0]
    alpha = _prior("document_prior", estimator.document_prior, default, shape[0])
    point = estimator.topics == "point"
    eta = _prior("topic_prior", estimator.topic_prior, 0.0 if point else default, n_words, point)
    if estimator.init is None:
        rngs = [np.random.default_rng(seed) for seed in seeds.spawn(int(estimator.n_init))]
        tables = [rng.gamma(100.0, 0.01, shape[::-1]) for rng in rngs]
    else:
        tables = [np.ascontiguousarray(_given_topics(estimator.init, shape).T)]
    compiled = n_documents >= WORTH
    return [TopicParameters(table, alpha, eta, point, compiled) for table in tables]


def _given_topics(init: Any, shape: tuple[int, int]) -> Array:
    given = np.asarray(init)
    rule = f"positive numbers of shape {shape}"
    if given.dtype.kind not in "iuf" or given.shape != shape:
        raise parameter_error("init", rule, f"shape {given.shape}, dtype {given.dtype}")
    if not ((given > 0) & np.isfinite(given)).all():
        raise parameter_error("init", rule, given.min())
    return given.astype(float)


def _prior(name: str, given: Any, default: float, size: int, zero: bool = False) -> Array:
    """A number or a vector as a vector of positive numbers (or zeros, if allowed)."""
    value = np.asarray(default if given is None else given)
    rule = f"{'at least 0' if zero else 'positive'}: a number, or an array of shape ({size},)"
    if value.dtype.kind not in "iuf" or value.shape not in ((), (size,)):
        raise parameter_error(name, rule, given)
    if not (np.isfinite(value) & ((value >= 0) if zero else (value > 0))).all():
        raise parameter_error(name, rule, given)
    return np.array(np.broadcast_to(value.astype(float), (size,)))


def document_lengths(n_samples: int | None, lengths: Any) -> NDArray[np.int64]:
    """Words of each of the documents to be drawn."""
    n = None if n_samples is None else prepare.positive_integer("n_samples", n_samples)
    value = np.asarray(lengths)
    rule = "a whole number of at least 0, or one for each document"
    if value.dtype.kind not in "iuf" or value.ndim > 1 or not value.size:
        raise parameter_error("lengths", rule, lengths)
    if not ((value >= 0) & (value == np.floor(value)) & np.isfinite(value)).all():
        raise parameter_error("lengths", rule, lengths)
    if value.ndim == 1 and n is not None and n != len(value):
        raise ParameterError(
            f"lengths must hold one number for each of n_samples={n} documents; got {len(value)}."
        )
    n = n if n is not None else max(value.size, 1)
    return np.broadcast_to(value.astype(np.int64), (n,))


def word_names(given: Any, n_words: int) -> NDArray[Any]:
    """A name for every word."""
    names = np.asarray(given)
    if names.shape != (n_words,):
        raise parameter_error("feature_names", f"of length {n_words}", names.shape)
    return names
