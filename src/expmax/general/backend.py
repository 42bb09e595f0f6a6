"""JAX, imported when it is first needed, and double precision without touching the user's settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from expmax.errors import MissingDependencyError

__all__ = ["double_precision", "jax", "jnp", "require_jax"]

P = ParamSpec("P")
R = TypeVar("R")


class _OnFirstUse:
    """A module that is imported when one of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        require_jax()
        return getattr(import_module(self._name), attribute)


jax: Any = _OnFirstUse("jax")
jnp: Any = _OnFirstUse("jax.numpy")


def require_jax() -> None:
    """Refuse where JAX is not installed.

    Raises
    ------
    MissingDependencyError
        The message gives the command that installs it.
    """
    try:
        import_module("jax")
    except ImportError as error:
        raise MissingDependencyError(
            'JointModel differentiates log_joint by JAX: pip install "expmax[jax]".'
        ) from error


def double_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with 64-bit JAX in this thread, whatever the user's configuration says."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with _x64():
            return function(*args, **kwargs)

    return inside


def _x64() -> Any:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return import_module("jax.experimental").enable_x64()  # JAX before 0.8
