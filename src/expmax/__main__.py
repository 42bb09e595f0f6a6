"""`python -m expmax` is the command `expmax`."""

import sys

from expmax.cli import main

if __name__ == "__main__":
    sys.exit(main())
