"""Set before NumPy is imported: BLAS threads of several test processes would only wait for each other."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
