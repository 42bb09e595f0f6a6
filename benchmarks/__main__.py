"""Run the benchmarks: `python -m benchmarks [small]`; the others are modules of their own (README.md)."""

import sys

from benchmarks import mixtures

mixtures.main(sys.argv[1:])
