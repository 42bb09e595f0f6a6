"""Words of a person turned into columns, families and numbers of components."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from expmax.data.tables import Table
from expmax.errors import ParameterError, parameter_error
from expmax.families.base import Family
from expmax.families.covariance import STRUCTURES
from expmax.families.registry import family_names, find_family
from expmax.selection.columns import Choice, choose_family
from expmax.statistics import Array

__all__ = ["Request", "choices", "components", "find_columns"]

MOST_COMPONENTS = 1000
ALIASES = ("full", "tied", "diag", "spherical")


@dataclass(frozen=True, slots=True)
class Request:
    """Families as asked for in words."""

    family: str = "auto"  # "auto", a name, or "column=name,…" where "a+b" is a joint family
    covariance: str | None = None  # None, "all", or names with commas between
    columns: list[int] | None = None  # the columns asked for, by position


def components(words: str | None) -> list[int] | None:
    """Numbers of components from "3", "1,2,5" or "1:9"; None stays None.

    Examples
    --------
    >>> components("1:3,6")
    [1, 2, 3, 6]
    """
    if words is None:
        return None
    numbers: set[int] = set()
    for part in words.split(","):
        first, colon, last = part.partition(":")
        try:
            low = int(first)
            high = int(last) if colon else low
        except ValueError:
            low, high = 0, 0
        if not 1 <= low <= high <= MOST_COMPONENTS:
            raise parameter_error(
                "--components", 'like 3, "1,2,5" or 1:9, each at least 1 and rising', words
            )
        numbers.update(range(low, high + 1))
    return sorted(numbers)


def find_columns(
    words: str, table: Table, *, what: str = "--columns", many: bool = True
) -> list[int]:
    """Positions of columns from names or positions with commas between.

    Examples
    --------
    >>> from expmax.data import read_table
    >>> find_columns("2,0", read_table([[1, 2, 3]]))
    [2, 0]
    """
    parts = [part.strip() for part in words.split(",")] if many else [words.strip()]
    return [_position(part, table, what) for part in parts]


def _position(word: str, table: Table, what: str) -> int:
    if not word:
        raise ParameterError(f"{what} holds an empty name; separate names by single commas.")
    is_name = table.names is not None and word in table.names
    digits = word.lstrip("-").isdecimal()
    return table.position(int(word) if digits and not is_name else word)


def choices(table: Table, weight: Array | None, request: Request) -> dict[str, Choice]:
    """What to fit, by label: one family, or one for each covariance structure asked for."""
    structures = _structures(request.covariance)
    found = {structure: _choose(table, weight, request, structure) for structure in structures}
    if structures != [None]:
        _require_covariance(next(iter(found.values())).family, request)
    if len(found) == 1:
        choice = next(iter(found.values()))
        return {type(choice.family).__name__: choice}
    return {str(structure): choice for structure, choice in found.items()}


def _structures(words: str | None) -> list[str | None]:
    if words is None:
        return [None]
    if words.strip().lower() == "all":
        return list(STRUCTURES)
    names = [part.strip() for part in words.split(",")]
    for name in names:
        if name not in (*ALIASES, *STRUCTURES):
            known = ", ".join((*ALIASES, *STRUCTURES))
            raise parameter_error("--covariance", f"among {known}, or all", name)
    return list(dict.fromkeys(names))


def _choose(table: Table, weight: Array | None, request: Request, covariance: str | None) -> Choice:
    """The choice for one covariance structure."""
    columns = request.columns
    given: dict[tuple[int, ...], Family] = {}
    if "=" in request.family:
        given = _assigned(request.family, table, covariance)
        named = sorted(column for key in given for column in key)
        columns = named if columns is None else list(dict.fromkeys([*columns, *named]))
    elif request.family != "auto":
        columns = list(range(table.n_columns)) if columns is None else columns
        given = {tuple(columns): make_family(request.family, covariance)}
    if columns is None:
        return choose_family(table, weight, covariance=covariance)
    place = {column: i for i, column in enumerate(columns)}
    return choose_family(
        table.select(columns),
        weight,
        covariance=covariance,
        given={tuple(place[column] for column in key): family for key, family in given.items()},
        keep=range(len(columns)),
    )


def _assigned(words: str, table: Table, covariance: str | None) -> dict[tuple[int, ...], Family]:
    """Families by column from "age=gaussian,height+weight=gaussian"."""
    given: dict[tuple[int, ...], Family] = {}
    used: set[int] = set()
    for part in words.split(","):
        key, equals, name = part.partition("=")
        if not (equals and key.strip() and name.strip()):
            raise parameter_error(
                "--family", 'auto, a family, or like "age=gaussian,visits=poisson"', words
            )
        whole = table.names is not None and key.strip() in table.names
        keys = [key.strip()] if whole else [word.strip() for word in key.split("+")]
        positions = tuple(_position(word, table, "--family") for word in keys)
        if used & set(positions) or len(set(positions)) < len(positions):
            raise ParameterError(f"--family names a column twice; got {words!r}.")
        used.update(positions)
        given[positions] = make_family(name.strip(), covariance)
    return given


def make_family(name: str, covariance: str | None = None) -> Family:
    """The family of a name, with its defaults.

    Examples
    --------
    >>> make_family("gaussian", "tied")
    Gaussian(covariance='tied')
    """
    family = find_family(name)
    names = _offered()
    if family is None or family.__name__ not in names:
        near = difflib.get_close_matches(name.lower(), [known.lower() for known in names], n=1)
        remedy = f"Did you mean {near[0]}?" if near else ""
        raise parameter_error("--family", f"auto or one of {', '.join(names)}", name, remedy)
    settings: dict[str, Any] = {}
    if covariance is not None and _has_covariance(family):
        settings["covariance"] = covariance
    return family(**settings)


def _offered() -> Collection[str]:
    """Families that need no arguments, as `expmax` exports them."""
    import expmax

    return [name for name in family_names() if name in expmax.__all__ and name != "Product"]


def _has_covariance(family: type[Family] | Family) -> bool:
    return is_dataclass(family) and "covariance" in {field.name for field in fields(family)}


def _require_covariance(family: Family, request: Request) -> None:
    parts = getattr(family, "families", (family,))
    if not any(_has_covariance(part) for part in parts):
        raise ParameterError(
            f"--covariance={request.covariance} needs a Gaussian or Student t family; the columns "
            f"have {family!r}. Leave it out, or choose --family gaussian."
        )
