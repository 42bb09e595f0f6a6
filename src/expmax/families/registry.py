"""Families by name: what a model file and the command line call them."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module

import expmax.families
from expmax.families.base import Family

__all__ = ["family_names", "find_family"]


@cache
def _import_families() -> None:
    for module in pkgutil.iter_modules(expmax.families.__path__):
        if not module.name.startswith("_"):
            import_module(f"expmax.families.{module.name}")


def _concrete(parent: type[Family]) -> Iterator[type[Family]]:
    for child in parent.__subclasses__():
        yield from _concrete(child)
        if not child.__name__.startswith("_") and not getattr(child, "__abstractmethods__", None):
            yield child


def family_names() -> list[str]:
    """Names of all families, those of the user's own imported modules included, sorted."""
    _import_families()
    return sorted({family.__name__ for family in _concrete(Family)})  # type: ignore[type-abstract]


def find_family(name: str) -> type[Family] | None:
    """The family of that name, whatever its capitals and hyphens; None if there is none.

    Examples
    --------
    >>> find_family("student-t")
    <class 'expmax.families.student_t.StudentT'>
    """
    wanted = _plain(name)
    _import_families()
    found = [family for family in _concrete(Family) if _plain(family.__name__) == wanted]  # type: ignore[type-abstract]
    return found[0] if found else None


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").replace(" ", "").lower()
