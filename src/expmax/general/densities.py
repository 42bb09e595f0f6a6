"""The user's densities: put together from their parts, and looked at before they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from expmax.errors import ParameterError, parameter_error
from expmax.general.backend import jax, jnp
from expmax.general.latent import Latent, Markov
from expmax.general.rules import Joint

__all__ = ["make_joint", "traced"]

CHAIN = ("log_initial", "log_transition", "log_likelihood")


def make_joint(
    latent: Latent,
    log_joint: Callable[..., Any] | None,
    parts: Mapping[str, Callable[..., Any] | None],
    posterior: Callable[..., Any] | None,
) -> Joint:
    """The joint density of one unit from what was given.

    Raises
    ------
    ParameterError
        Too little, too much, or parts that belong to another latent type.
    """
    given = {name: part for name, part in parts.items() if part is not None}
    given = {name: _scalar(name, part) for name, part in given.items()}
    log_joint = None if log_joint is None else _scalar("log_joint", log_joint)
    if posterior is not None and not callable(posterior):
        raise parameter_error("posterior", "a function", posterior)
    if isinstance(latent, Markov):
        if log_joint is not None or set(given) != set(CHAIN):
            raise ParameterError(
                f"a chain is given by {', '.join(CHAIN)}; got "
                f"{', '.join([*(['log_joint'] if log_joint else []), *given]) or 'nothing'}."
            )
        return Joint(latent, None, posterior, given)
    whole = _whole(log_joint, given)
    return Joint(latent, whole, posterior, given)


def _scalar(name: str, function: Any) -> Callable[..., Any]:
    """The same function, seen to return one number when it is traced."""
    if not callable(function):
        raise parameter_error(name, "a function", function)

    def checked(theta: Any, *args: Any) -> Any:
        try:
            value = function(theta, *args)
        except KeyError as error:
            if error.args and error.args[0] in theta:
                raise
            raise ParameterError(
                f"{name} asks for the parameter {error}; the model has {', '.join(theta)}."
            ) from error
        if jnp.shape(value) != ():
            raise ParameterError(
                f"{name} must return one number, the log density of one unit; got an array of shape "
                f"{jnp.shape(value)}. Index or sum it: x is one row, x[0] its first number."
            )
        return jnp.asarray(value, float)

    return checked


def _whole(
    log_joint: Callable[..., Any] | None, given: dict[str, Callable[..., Any]]
) -> Callable[..., Any]:
    if log_joint is not None and not given:
        return log_joint
    if log_joint is not None or set(given) != {"log_prior", "log_likelihood"}:
        names = [*(["log_joint"] if log_joint else []), *given]
        raise ParameterError(
            "the joint density is given by log_joint alone, or by log_prior(theta, z) and "
            f"log_likelihood(theta, x, z) together; got {', '.join(names) or 'nothing'}."
        )
    prior, likelihood = given["log_prior"], given["log_likelihood"]
    return lambda theta, x, z: prior(theta, z) + likelihood(theta, x, z)


def traced(joint: Joint, program: Callable[..., Any], *args: Any) -> Any:
    """Run a compiled function; an error of JAX's in the user's function is told in our words.

    Raises
    ------
    ParameterError
        The function cannot be traced.
    """
    errors = jax.errors
    try:
        return program(*args)
    except (errors.ConcretizationTypeError, errors.TracerArrayConversionError) as error:
        raise ParameterError(
            "log_joint must be traceable by JAX: use jax.numpy instead of NumPy, jnp.where instead of "
            f"'if', and no float() or int() of values. {str(error).splitlines()[0]}"
        ) from error
