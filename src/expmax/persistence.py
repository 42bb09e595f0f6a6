"""Model files: a fitted estimator as versioned JSON, and back to the bit; no pickle.

A file holds what the estimator was asked (`constructor`), the bound model (`model`), the encoding of
the columns (`encoder`) and what the fit found (`fitted`, among it history and starts). Values that JSON
lacks are objects with one of these keys:

========== =========================================================================================
`array`    nested lists, with `dtype`; "inf", "-inf", "nan" stand for those numbers; `shape` where a
           list cannot tell it; `axes` where the axes lie in another order in memory
`numbers`  a list of numbers some of which are infinite or NaN
`number`   one such number
`tuple`    a tuple
`mapping`  key-value pairs, where some key is no string
`class`    a record of expmax or a family, and its `fields`
========== =========================================================================================

Loading builds nothing but arrays, records of expmax, and families that are already imported or ours.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from expmax.errors import DataError, MissingFileError, ParameterError
from expmax.families.base import Family
from expmax.families.product import Product

__all__ = ["FORMAT", "VERSION", "decode", "encode", "load", "save"]

FORMAT = "expmax-model"
VERSION = 1
ESTIMATORS = {  # by the name in the file: where to find the class
    "Mixture": "expmax.estimators.mixture",
    "GaussianMixture": "expmax.estimators.gaussian_mixture",
}
PRIVATE = {"model": "_model", "parameters": "_parameters", "encoder": "_encoder"}
SETTINGS = {"_metadata_request", "_doc_link_module", "progress"}  # of a session, not of a model
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
    constructor = estimator.get_params(deep=False)
    bare = _bare(estimator)
    published = vars(_republished(estimator, bare))
    fitted = {name: value for name, value in bare.items() if name not in PRIVATE.values()}
    return {
        "format": FORMAT,
        "version": VERSION,
        "expmax": expmax.__version__,
        "estimator": kind,
        "constructor": _encode_fields(_portable(constructor), f"parameter of {kind}"),
        **{key: encode(bare[name]) for key, name in PRIVATE.items()},
        "fitted": _encode_fields(
            {name: value for name, value in fitted.items() if name not in published}, "attribute"
        ),
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
        state = {name: decode(document[key]) for key, name in PRIVATE.items()}
        state |= {name: decode(value) for name, value in document["fitted"].items()}
        vars(estimator).update(state)
        estimator._publish()
    except DAMAGED as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{source} is a damaged model file ({detail}); restore it, or fit and save again."
        ) from error
    return estimator


def _bare(estimator: Any) -> dict[str, Any]:
    """Everything that was fitted: the attributes that are no constructor parameters."""
    constructor = estimator.get_params(deep=False)
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in constructor and name not in SETTINGS
    }


def _republished(estimator: Any, bare: Mapping[str, Any]) -> Any:
    """A twin with only the attributes that follow from the parameters and need no place in a file."""
    twin = type(estimator)(**estimator.get_params(deep=False))
    before = {name: bare[name] for name in PRIVATE.values()}
    vars(twin).update(before)
    twin._publish()
    for name in (*before, *estimator.get_params(deep=False)):
        vars(twin).pop(name, None)
    return twin


def _portable(constructor: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in constructor.items()
        if not (name in SETTINGS and not isinstance(value, bool | int | str | None))
    }


def _estimator_class(name: str) -> Any:
    from importlib import import_module

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


# ---------------------------------------------------------------------------------------- encoding


def encode(value: Any) -> Any:
    """A value as what JSON has, with marked objects for the rest.

    Examples
    --------
    >>> encode({"low": float("-inf"), "mean": np.array([0.5, np.nan])})
    {'low': {'number': '-inf'}, 'mean': {'array': [0.5, 'nan'], 'dtype': 'float64'}}
    >>> decode(encode({2: (1, None)}))
    {2: (1, None)}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, int):
        return value
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if np.isfinite(number) else {"number": repr(number)}
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return _encode_list(value)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not _MARKS & set(value):
            return {key: encode(item) for key, item in value.items()}
        return {"mapping": [[encode(key), encode(item)] for key, item in value.items()]}
    return _encode_record(value)


def _encode_list(values: list[Any]) -> Any:
    floats = all(type(item) is float for item in values)
    if floats and not np.isfinite(values).all():
        return {"numbers": [_spell(item) for item in values]}
    return [encode(item) for item in values]


def _spell(number: float) -> float | str:
    return number if np.isfinite(number) else repr(number)


def _encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """Nested lists; the order of the axes in memory counts, for sums round as they are laid out."""
    if array.dtype.kind not in "biufUO" or (
        array.dtype.kind == "O" and not all(isinstance(item, str) for item in array.flat)
    ):
        raise ParameterError(f"an array of dtype {array.dtype} has no place in a model file.")
    axes = list(range(array.ndim))
    if not array.flags.c_contiguous:
        axes.sort(key=lambda axis: -abs(array.strides[axis]))
    plain = array.transpose(axes)
    values = plain.tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        spelt = [_spell(item) for item in plain.ravel().tolist()]
        values = np.array(spelt, dtype=object).reshape(plain.shape).tolist()
    out = {"array": values, "dtype": "str" if array.dtype.kind == "U" else str(array.dtype)}
    if array.size == 0:
        out["shape"] = list(plain.shape)
    if axes != sorted(axes):
        out["axes"] = axes
    return out


def _encode_record(value: Any) -> dict[str, Any]:
    name = type(value).__name__
    if isinstance(value, np.random.RandomState):
        return {"class": "RandomState", "fields": encode(value.get_state(legacy=False))}
    if isinstance(value, Product):
        own = {"keys": value.keys, "families": value.families, "slices": value.slices}
    elif is_dataclass(value) and not isinstance(value, type) and _record_class(name) is type(value):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        raise ParameterError(f"a {name} has no place in a model file.")
    return {"class": name, "fields": {key: encode(item) for key, item in own.items()}}


# ---------------------------------------------------------------------------------------- decoding


def decode(value: Any) -> Any:
    """The value that `encode` turned into JSON."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next((key for key in value if key in _DECODERS), None)
    if mark is None:
        return {key: decode(item) for key, item in value.items()}
    return _DECODERS[mark](value)


def _decode_array(value: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(value["dtype"])
    array = np.array(value["array"], dtype=dtype)  # NumPy reads "nan" and "-inf"
    if "shape" in value:
        array = array.reshape(value["shape"])
    return array.transpose(np.argsort(value["axes"])) if "axes" in value else array


def _decode_record(value: dict[str, Any]) -> Any:
    own = {key: decode(item) for key, item in value["fields"].items()}
    if value["class"] == "RandomState":
        state = np.random.RandomState()
        state.set_state(own)
        return state
    if value["class"] == "Product":
        product = Product(columns=dict(zip(own["keys"], own["families"], strict=True)))
        product.slices = own["slices"]
        return product
    kind = _record_class(value["class"])
    if kind is None:
        raise ValueError(
            f"unknown class {value['class']!r}: if it is a family of your own, import its module first"
        )
    record = kind(**{field.name: own[field.name] for field in fields(kind) if field.init})
    for field in fields(kind):
        if not field.init:
            object.__setattr__(record, field.name, own[field.name])
    return record


_DECODERS = {
    "array": _decode_array,
    "numbers": lambda value: [float(item) for item in value["numbers"]],
    "number": lambda value: float(value["number"]),
    "tuple": lambda value: tuple(decode(item) for item in value["tuple"]),
    "mapping": lambda value: {decode(key): decode(item) for key, item in value["mapping"]},
    "class": _decode_record,
}
_MARKS = set(_DECODERS)


def _record_class(name: str) -> Any:
    """The dataclass of that name among those of expmax and the families; None if there is none."""
    from expmax.families.registry import find_family, family_names

    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("expmax."):
            found = vars(module).get(name)
            if isinstance(found, type) and is_dataclass(found):
                return found
    family = find_family(name) if name in family_names() else None
    return family if family is not None and is_dataclass(family) else None


def _lines(document: Mapping[str, Any]) -> list[str]:
    """JSON that a person can look at: one line an entry, two levels deep."""
    lines = ["{"]
    for key, value in document.items():
        comma = "" if key == list(document)[-1] else ","
        if isinstance(value, dict) and value and key in ("constructor", "fitted"):
            inner = [f"  {_dump(name)}: {_dump(item)}" for name, item in value.items()]
            lines += [f" {_dump(key)}: {{", *(f"{line}," for line in inner[:-1]), inner[-1], f" }}{comma}"]
        else:
            lines.append(f" {_dump(key)}: {_dump(value)}{comma}")
    return [*lines, "}"]


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


