"""Dense or sparse, and one thread for BLAS."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from scipy.sparse import issparse

__all__ = ["is_sparse", "one_thread"]

WORTH = 20_000  # numbers in the features from which on setting the limit pays


def is_sparse(matrix: Any) -> bool:
    """Whether a matrix is one of SciPy's sparse ones."""
    return bool(issparse(matrix))


def one_thread(size: int) -> AbstractContextManager[Any]:
    """Hold BLAS to one thread for features of that many numbers.

    Blocks are what is shared out among threads; the products inside gain nothing from more.
    """
    if size < WORTH:
        return nullcontext()
    limits: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limits


@cache
def _controller() -> Any:
    """The libraries loaded; looking for them takes milliseconds, once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
