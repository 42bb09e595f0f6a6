"""What the kernels take from numba, imported as a whole.

Ctrl-C in the middle of numba's import would leave parts of it behind, and every later import in the
process would fail. So it runs in a thread, which Ctrl-C does not reach: it is finished either way.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from threading import Thread

__all__ = ["cgutils", "intrinsic", "njit", "types"]

LOOK = 0.05  # seconds between looks: on some systems a wait without end cannot be interrupted


def _import_whole(name: str) -> None:
    """Import a module in a thread; an error is raised where the module is used."""

    def load() -> None:
        with suppress(Exception):
            import_module(name)

    thread = Thread(target=load, name=f"expmax-import-{name}")
    thread.start()
    while thread.is_alive():
        thread.join(LOOK)


_import_whole("numba")

from numba import njit, types  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.extending import intrinsic  # noqa: E402
