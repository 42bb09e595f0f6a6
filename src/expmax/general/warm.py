"""Posteriors found by an ascent of their own begin where the last one ended, so that no E-step loses ground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expmax.general.programs import Programs
from expmax.general.statistics import JointStatistics

__all__ = ["Followed", "last_posteriors"]


class Followed(dict[str, Any]):
    """Parameters that remember the statistics they came from; in all else, and when pickled, a dict."""

    def __init__(self, values: Mapping[str, Any], origin: JointStatistics) -> None:
        super().__init__(values)
        self.origin = origin

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def last_posteriors(
    params: Mapping[str, Any], source: Any, programs: Programs
) -> tuple[Any, ...] | None:
    """q of each chunk of these rows where the parameters came from; None where there is none."""
    if isinstance(params, Followed):
        for part in params.origin.parts:
            same = part.programs is programs and part.prepared.source == source
            if same and part.kept is not None:
                return part.kept
    return None
