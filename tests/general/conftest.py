"""These tests compile many small functions and run each a few times: JAX need not optimise them."""

import os

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
