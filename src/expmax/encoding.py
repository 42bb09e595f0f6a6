"""Values as JSON, and back to the bit.

Arrays, tuples, records of expmax, families and whatever else JSON lacks become objects with one of
these keys:

========== ====================================================================================
`array`    nested lists, with `dtype`; "inf", "-inf" and "nan" stand for those numbers; `shape`
           where a list cannot tell it; `axes` where the axes lie in another order in memory
`numbers`  a list of numbers some of which are infinite or NaN
`number`   one such number
`tuple`    a tuple
`mapping`  key-value pairs, where some key is no string
`class`    a record of expmax or a family, and its `fields`; a function by its module and name
========== ====================================================================================

Decoding builds nothing but arrays, records of expmax, and families: ours, or already imported. Functions
are looked up among modules already imported, never run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from expmax.errors import ParameterError
from expmax.families.product import Product
from expmax.families.registry import family_names, find_family

__all__ = ["decode", "encode"]

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
        axes.sort(key=lambda axis: (array.shape[axis] > 1, -abs(array.strides[axis])))
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
    if isinstance(value, np.dtype):
        return {"class": "dtype", "fields": {"name": value.str}}
    if callable(value) and not isinstance(value, type) and hasattr(value, "__name__"):
        return {"class": "function", "fields": _name_of_function(value)}
    if issparse(value):
        csr: Any = csr_array(value)  # type: ignore[call-overload]
        parts = {"data": csr.data, "indices": csr.indices, "indptr": csr.indptr}
        fields_of = {key: encode(item) for key, item in {**parts, "shape": csr.shape}.items()}
        return {"class": "csr_array", "fields": fields_of}
    if hasattr(value, "to_fields") and _is_ours(type(value)):
        own = value.to_fields()
    elif isinstance(value, Product):
        own = {"keys": value.keys, "families": value.families, "slices": value.slices}
    elif is_dataclass(value) and not isinstance(value, type) and _record_class(name) is type(value):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        raise ParameterError(f"a {name} has no place in a model file.")
    return {"class": name, "fields": {key: encode(item) for key, item in own.items()}}


def _name_of_function(value: Any) -> dict[str, str]:
    """Module and name of a function that can be found again by them."""
    name = value.__name__
    module = "numpy" if isinstance(value, np.ufunc) else getattr(value, "__module__", None)
    if getattr(sys.modules.get(str(module)), name, None) is not value:
        raise ParameterError(
            f"the function {name} has no place in a model file. Use columns by name or number, functions of "
            "NumPy such as np.log, or functions defined at the top of a module."
        )
    return {"module": str(module), "name": name}


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
    if value["class"] == "function":
        found = getattr(sys.modules.get(own["module"]), own["name"], None)
        if not callable(found):
            raise ValueError(f"no function {own['module']}.{own['name']}; import its module first")
        return found
    if value["class"] == "csr_array":
        return csr_array((own["data"], own["indices"], own["indptr"]), shape=own["shape"])
    if value["class"] == "dtype":
        return np.dtype(own["name"])
    if value["class"] == "Product":
        product = Product(columns=dict(zip(own["keys"], own["families"], strict=True)))
        product.slices = own["slices"]
        return product
    kind: Any = _record_class(value["class"])
    if kind is None:
        raise ValueError(
            f"unknown class {value['class']!r}; import its module first if it is a family of yours"
        )
    if hasattr(kind, "from_fields"):
        return kind.from_fields(own)
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
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("expmax."):
            found = vars(module).get(name)
            if isinstance(found, type) and _is_ours(found) and _is_record(found):
                return found
    family = find_family(name) if name in family_names() else None
    return family if hasattr(family, "__dataclass_fields__") else None


def _is_record(kind: type) -> bool:
    return is_dataclass(kind) or hasattr(kind, "from_fields")


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("expmax.")
