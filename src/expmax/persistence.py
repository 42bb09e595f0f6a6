"""Model files: a fitted estimator as versioned JSON, and back to the bit; no pickle.

A file holds what the estimator was asked (`constructor`), the bound model (`model`) and its
`parameters`, the encoding of the columns (`encoder`) and what the fit found (`fitted`, among it
history and starts), all encoded as `expmax.encoding` describes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from expmax.encoding import decode, encode
from expmax.errors import DataError, MissingFileError, ParameterError

__all__ = ["FORMAT", "VERSION", "from_document", "load", "save", "to_document"]

FORMAT = "expmax-model"
VERSION = 1
ESTIMATORS = {  # by the name in the file: where to find the class
    "Mixture": "expmax.estimators.mixture",
    "GaussianMixture": "expmax.estimators.gaussian_mixture",
    "MaximumEntropy": "expmax.estimators.maximum_entropy",
    "BayesianGaussianMixture": "expmax.estimators.bayesian_mixture",
    "DawidSkene": "expmax.estimators.dawid_skene",
    "RecordLinkage": "expmax.estimators.record_linkage",
    "TopicModel": "expmax.estimators.topic_model",
}
PRIVATE = {"model": "_model", "parameters": "_parameters", "encoder": "_encoder"}
NEEDED = ("status_", "n_features_in_")  # in every file of a fitted model
WITHOUT_LIKELIHOOD = {"TopicModel"}  # the others hold log_likelihood_ too
SETTINGS = {"_sklearn_version", "_metadata_request", "progress"}  # of a session, not of a model
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


def save(estimator: Any, path: str | PathLike[str]) -> None:
    """Write a fitted estimator to a JSON file.

    Parameters
    ----------
    estimator : fitted estimator of expmax
    path : path
        An existing file is replaced, in one step: an interrupted save leaves it as it was.

    Raises
    ------
    ParameterError
        A class that `load` would not know, or a parameter that JSON cannot hold.

    Examples
    --------
    >>> import numpy as np, tempfile, expmax
    >>> model = expmax.Mixture(expmax.Poisson(), 1).fit(np.array([[1.0], [2.0], [6.0]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.json")
    ...     expmax.load(f"{folder}/model.json").params_["rate"]
    array([3.])
    """
    check_is_fitted(estimator)
    text = "\n".join(_lines(to_document(estimator))) + "\n"
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def load(path: str | PathLike[str]) -> Any:
    """Read a fitted estimator from a file that `save` wrote.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        No model file, a damaged one, or one of a newer format.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"there is no file {str(path)!r}; check the path.")
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a directory; give a model file.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name} is not a model file of expmax: it is not JSON ({error}). Give a file "
            "that save or `expmax fit --out` wrote."
        ) from None
    return from_document(document, path.name)


def to_document(estimator: Any) -> dict[str, Any]:
    """The estimator as plain JSON values."""
    import expmax

    kind = type(estimator).__name__
    if kind not in ESTIMATORS:
        raise ParameterError(
            f"estimator must be one of {', '.join(ESTIMATORS)}; got {kind}. Keep other estimators "
            "with pickle, or save the expmax estimator inside."
        )
    constructor, bare = _portable(estimator), _bare(estimator)
    published = _published(estimator, bare)
    fitted = {
        name: value
        for name, value in bare.items()
        if name not in PRIVATE.values()
        and not (name in published and encode(published[name]) == encode(value))
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "expmax": expmax.__version__,
        "estimator": kind,
        "constructor": _encode_fields(constructor, f"parameter of {kind}"),
        **{key: encode(bare.get(name)) for key, name in PRIVATE.items()},
        "fitted": _encode_fields(fitted, f"attribute of {kind}"),
    }


def from_document(document: Any, source: str = "the document") -> Any:
    """The estimator that `to_document` described."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(
            f"{source} is JSON, but not a model file of expmax (it lacks "
            f'"format": "{FORMAT}"). Give a file that save or `expmax fit --out` wrote.'
        )
    version = document.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise DataError(
            f"{source} has format version {version}, newer than the {VERSION} that this expmax "
            "reads; upgrade expmax."
        )
    try:
        estimator = _estimator_class(document["estimator"])(
            **{name: decode(value) for name, value in document["constructor"].items()}
        )
        fitted = {name: decode(value) for name, value in document["fitted"].items()}
        if document["model"] is not None:
            private = {name: decode(document[key]) for key, name in PRIVATE.items()}
            for name in _needed(document["estimator"]):
                _ = fitted[name]  # a KeyError names what is not there
            vars(estimator).update(
                {name: value for name, value in private.items() if value is not None} | fitted
            )
            estimator._publish()
        vars(estimator).update(fitted)
    except DAMAGED as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{source} is a damaged model file ({detail}); restore it, or fit and save again."
        ) from error
    return estimator


def _bare(estimator: Any) -> dict[str, Any]:
    """Everything that was fitted: what a pickle holds, without the constructor parameters."""
    constructor = estimator.get_params(deep=False)
    return {
        name: value
        for name, value in estimator.__getstate__().items()
        if name not in constructor and name not in SETTINGS
    }


def _published(estimator: Any, bare: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that follow from the parameters: they need no place in a file."""
    if "_model" not in bare:  # put together by hand
        return {}
    twin = type(estimator)(**estimator.get_params(deep=False))
    vars(twin).update(bare)
    twin._publish()
    return {name: vars(twin)[name] for name in bare if vars(twin)[name] is not bare[name]}


def _portable(estimator: Any) -> dict[str, Any]:
    """The constructor parameters, but for a progress display of this session."""
    values = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in SETTINGS or isinstance(value, bool | int | str | None)
    }
    own = getattr(estimator, "_portable", None)
    return values if own is None else own(values)


def _needed(kind: str) -> tuple[str, ...]:
    """The attributes that no file of a fitted estimator may lack."""
    return NEEDED if kind in WITHOUT_LIKELIHOOD else ("log_likelihood_", *NEEDED)


def _estimator_class(name: str) -> Any:
    if name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}")
    return getattr(import_module(ESTIMATORS[name]), name)


def _encode_fields(values: Mapping[str, Any], noun: str) -> dict[str, Any]:
    encoded = {}
    for name, value in values.items():
        try:
            encoded[name] = encode(value)
        except ParameterError as error:
            raise ParameterError(f"{noun} {name!r} cannot be saved: {error}") from None
    return encoded


def _lines(document: Mapping[str, Any]) -> list[str]:
    """JSON that a person can look at: one line an entry, two levels deep."""
    lines = ["{"]
    for key, value in document.items():
        comma = "" if key == list(document)[-1] else ","
        if isinstance(value, dict) and value and key in ("constructor", "fitted"):
            inner = [f"  {_dump(name)}: {_dump(item)}" for name, item in value.items()]
            lines += [
                f" {_dump(key)}: {{",
                *(f"{line}," for line in inner[:-1]),
                inner[-1],
                f" }}{comma}",
            ]
        else:
            lines.append(f" {_dump(key)}: {_dump(value)}{comma}")
    return [*lines, "}"]


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
