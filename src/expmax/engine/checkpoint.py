"""How far a fit has come, in a file from which it goes on to the same bits.

The file is JSON, written in one step, so that an interrupted write leaves the old one. Numbers are written so
that they read back exactly; "inf", "-inf" and "nan" stand for those. Objects with one of the keys `number`,
`numbers`, `array`, `scalar`, `tuple`, `mapping` or `class` stand for what JSON lacks. Nothing is built on
reading but arrays and records of the classes that the parameters at the start are made of.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expmax.contract import Block
from expmax.errors import DataError, ParameterError

__all__ = ["Checkpoint", "classes_of", "decode", "digest", "encode"]

FORMAT = "expmax-checkpoint"
VERSION = 1


class Checkpoint:
    """A file that holds the state of one fit, and what fit that is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def entropy(self) -> str | None:
        """The seed of the fit; None where there is no file."""
        document = self._document()
        return None if document is None else str(document["entropy"])

    def read(self, classes: Mapping[str, type], asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was written last; None where there is no file.

        Raises
        ------
        DataError
            The file is no checkpoint, damaged, or of another format.
        ParameterError
            The file belongs to another fit than the one asked for.
        """
        document = self._document()
        if document is None:
            return None
        saved = document["asked"]
        different = [name for name in asked if saved.get(name) != asked[name]]
        if different:
            raise self.another(f"it differs in {', '.join(different)}")
        try:
            state: dict[str, Any] = decode(document["state"], classes)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(error) from None
        return state

    def write(self, asked: Mapping[str, Any], entropy: str, state: Mapping[str, Any]) -> None:
        """Replace the file in one step."""
        document = {"format": FORMAT, "version": VERSION, "asked": dict(asked), "entropy": entropy}
        text = json.dumps(document | {"state": encode(state)})
        scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(self.path)
        finally:
            scratch.unlink(missing_ok=True)

    def _document(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            document: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            if (document["format"], document["version"]) != (FORMAT, VERSION):
                raise ValueError(f"its format is {document['format']!r} {document['version']!r}")
            document["asked"], document["entropy"], document["state"]
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._unreadable(error) from None
        return document

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"checkpoint {str(self.path)!r} cannot be read ({type(error).__name__}: {error}); delete it "
            "to begin anew, or give another path."
        )

    def another(self, why: str) -> ParameterError:
        """The refusal of a file of another fit."""
        return ParameterError(
            f"checkpoint {str(self.path)!r} belongs to another fit: {why}. Give another path, or "
            "delete the file to begin anew."
        )


def digest(blocks: Sequence[Block]) -> str:
    """A fingerprint of the data."""
    sha = hashlib.sha256()
    for block in blocks:
        for part in (block.x, block.weight, block.label):
            if part is None:
                sha.update(b"none")
                continue
            array = np.ascontiguousarray(part)
            sha.update(f"{array.shape}{array.dtype.str}".encode())
            sha.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return sha.hexdigest()


# ---------------------------------------------------------------------------------------- values


def classes_of(value: Any) -> dict[str, type]:
    """The record classes that a value is made of, by name."""
    return {_name(kind): kind for kind in _kinds(value)}


def _kinds(value: Any) -> Iterator[type]:
    if _is_record(value):
        yield type(value)
        value = _parts(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _kinds(item)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_record(value: Any) -> bool:
    named = isinstance(value, tuple) and hasattr(value, "_fields")
    return named or (is_dataclass(value) and not isinstance(value, type))


def _parts(record: Any) -> dict[str, Any]:
    if isinstance(record, tuple):
        return dict(zip(record._fields, record, strict=True))  # type: ignore[attr-defined]
    return {field.name: getattr(record, field.name) for field in fields(record)}


def encode(value: Any) -> Any:
    """A value as what JSON has, with marked objects for the rest.

    Raises
    ------
    ParameterError
        Something other than numbers, strings, arrays, lists, tuples, mappings, dataclasses and named tuples.

    Examples
    --------
    >>> encode({"rate": np.array([0.5, np.inf]), "size": (1, None)})
    {'rate': {'array': [0.5, 'inf'], 'dtype': '<f8', 'shape': [2]}, 'size': {'tuple': [1, None]}}
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"number": repr(value)}
    if isinstance(value, np.generic):
        return {"scalar": encode(value.item()), "dtype": value.dtype.str}
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if _is_record(value):
        parts = {name: encode(part) for name, part in _parts(value).items()}
        return {"class": _name(type(value)), "fields": parts}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        if value and all(type(item) is float for item in value):
            return {"numbers": [_spell(item) for item in value]}
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not _DECODERS.keys() & value.keys():
            return {key: encode(item) for key, item in value.items()}
        return {"mapping": [[encode(key), encode(item)] for key, item in value.items()]}
    raise ParameterError(
        f"a {type(value).__name__} has no place in a checkpoint; make the parameters of numbers, arrays, "
        "lists, tuples, mappings and dataclasses."
    )


def _spell(number: float) -> float | str:
    return number if math.isfinite(number) else repr(number)


def _encode_array(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Its numbers in the order of memory, and the order of the axes: sums round as arrays are laid out."""
    if array.dtype.kind not in "biufU":
        raise ParameterError(f"an array of dtype {array.dtype} has no place in a checkpoint.")
    axes = list(range(array.ndim))
    if not array.flags.c_contiguous:
        axes.sort(key=lambda axis: (array.shape[axis] > 1, -abs(array.strides[axis])))
    plain = array.transpose(axes)
    values = plain.ravel().tolist()
    if array.dtype.kind == "f":
        values = [_spell(item) for item in values]
    out = {"array": values, "dtype": array.dtype.str, "shape": list(plain.shape)}
    return out | ({"axes": axes} if axes != sorted(axes) else {})


def decode(value: Any, classes: Mapping[str, type]) -> Any:
    """The value that `encode` wrote.

    Examples
    --------
    >>> decode(encode({2: (1.5, float("-inf"))}), {})
    {2: (1.5, -inf)}
    """
    if isinstance(value, list):
        return [decode(item, classes) for item in value]
    if not isinstance(value, dict):
        return value
    for mark, decoder in _DECODERS.items():
        if mark in value:
            return decoder(value, classes)
    return {key: decode(item, classes) for key, item in value.items()}


def _decode_array(value: dict[str, Any], classes: Mapping[str, type]) -> np.ndarray[Any, Any]:
    array = np.array(value["array"], dtype=np.dtype(value["dtype"])).reshape(value["shape"])
    return array.transpose(np.argsort(value["axes"])) if "axes" in value else array


def _decode_record(value: dict[str, Any], classes: Mapping[str, type]) -> Any:
    kind: Any = classes.get(value["class"])
    if kind is None:
        raise ValueError(
            f"it holds a {value['class']}, of which the parameters at the start have none"
        )
    own = {name: decode(part, classes) for name, part in value["fields"].items()}
    if not is_dataclass(kind):
        return kind(**own)
    record: Any = object.__new__(classes[value["class"]])
    for name, part in own.items():
        object.__setattr__(record, name, part)
    return record


_DECODERS: dict[str, Any] = {
    "array": _decode_array,
    "class": _decode_record,
    "number": lambda value, classes: float(value["number"]),
    "numbers": lambda value, classes: [float(item) for item in value["numbers"]],
    "scalar": lambda value, classes: np.dtype(value["dtype"]).type(
        decode(value["scalar"], classes)
    ),
    "tuple": lambda value, classes: tuple(decode(item, classes) for item in value["tuple"]),
    "mapping": lambda value, classes: {
        decode(key, classes): decode(item, classes) for key, item in value["mapping"]
    },
}
