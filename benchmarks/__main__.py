"""Run the benchmarks: `python -m benchmarks [small]`."""

import sys

from benchmarks import mixtures

mixtures.main(sys.argv[1:])
