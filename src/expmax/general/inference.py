"""Rules by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expmax.errors import parameter_error
from expmax.general.chain import ForwardBackward
from expmax.general.enumeration import Enumeration
from expmax.general.laplace import Laplace
from expmax.general.latent import Gaussian, Latent, Markov, Mixed
from expmax.general.mean_field import MeanField
from expmax.general.monte_carlo import MonteCarlo
from expmax.general.quadrature import Quadrature
from expmax.general.rules import PosteriorRule
from expmax.general.variational import GaussianVariational

__all__ = ["choose_rule"]


def _exact(latent: Latent) -> PosteriorRule:
    return ForwardBackward() if isinstance(latent, Markov) else Enumeration()


def _auto(latent: Latent) -> PosteriorRule:
    return Quadrature() if isinstance(latent, (Gaussian, Mixed)) else _exact(latent)


RULES: dict[str, Callable[[Latent], PosteriorRule]] = {
    "auto": _auto,
    "exact": _exact,
    "quadrature": lambda latent: Quadrature(),
    "mean_field": lambda latent: MeanField(),
    "laplace": lambda latent: Laplace(),
    "monte_carlo": lambda latent: MonteCarlo(),
    "gaussian": lambda latent: GaussianVariational(),
}


def choose_rule(inference: Any, latent: Latent) -> PosteriorRule:
    """The rule of a name, or the rule given."""
    if isinstance(inference, str) and inference in RULES:
        return RULES[inference](latent)
    if not isinstance(inference, PosteriorRule):
        raise parameter_error(
            "inference",
            f"one of {', '.join(map(repr, RULES))}, or a rule such as Quadrature()",
            inference,
        )
    return inference
