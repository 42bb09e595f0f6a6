"""Maximum entropy: moment problems, their feasibility, and the exponential families they give."""

from expmax.maxent.family import MaximumEntropyFamily
from expmax.maxent.result import MaximumEntropyResult
from expmax.maxent.solve import maximum_entropy
from expmax.maxent.supports import Box, ContingencyTable, Interval

__all__ = [
    "Box",
    "ContingencyTable",
    "Interval",
    "MaximumEntropyFamily",
    "MaximumEntropyResult",
    "maximum_entropy",
]
