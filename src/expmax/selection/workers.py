"""Who does the work of a choice: the calling thread, or several that an interrupt reaches too."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from expmax.compute.blas import single_threaded_blas

__all__ = ["Workers", "workers"]

Workers = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
LOOK = 0.1  # seconds between looks: on some systems a wait without end cannot be interrupted


@contextmanager
def workers(n_jobs: int) -> Iterator[Workers]:
    """Apply a function to each item, in the calling thread or in several.

    Ctrl-C reaches the main thread alone; it is passed on to every thread at work, and an error in one
    ends the others, so that no work goes on for a result that nobody will see.
    """
    with single_threaded_blas():
        if n_jobs == 1:
            yield lambda function, items: [function(item) for item in items]
        else:
            yield lambda function, items: _Crew(n_jobs, function, items).results()


class _Crew:
    """Threads that share the items of one list."""

    def __init__(self, size: int, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self._function, self._items = function, items
        self._places = iter(range(len(items)))
        self._found: dict[int, Any] = {}
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._busy: set[int] = set()  # identities of the threads that may be interrupted
        self._over = False
        self._threads = [
            threading.Thread(target=self._labour, name=f"expmax-select-{i}", daemon=True)
            for i in range(min(size, len(items)))
        ]

    def results(self) -> list[Any]:
        """What the function gives for each item, in their order; or the first error."""
        try:
            for thread in self._threads:
                thread.start()
            self._wait()
        except BaseException:
            self._interrupt()
            self._wait()
            raise
        if self._errors:
            raise self._errors[0]
        return [self._found[i] for i in range(len(self._items))]

    def _wait(self) -> None:
        for thread in self._threads:
            while thread.is_alive():
                thread.join(LOOK)

    def _labour(self) -> None:
        try:
            try:
                self._begin()
                while not self._over and (i := self._next()) is not None:
                    self._found[i] = self._function(self._items[i])
            finally:
                self._leave()
        except BaseException as error:  # raised again where the results are asked for
            self._errors.append(error)
            self._interrupt()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._places, None)

    def _begin(self) -> None:
        with self._lock:
            self._busy.add(threading.get_ident())

    def _leave(self) -> None:
        """From here on no interrupt comes, and one that is on its way is called back."""
        me = threading.get_ident()
        with self._lock:
            self._busy.discard(me)
        _raise_in(me, None)

    def _interrupt(self) -> None:
        """Raise KeyboardInterrupt in every thread at work, once."""
        with self._lock:
            if not self._over:
                self._over = True
                for thread in self._busy:
                    _raise_in(thread, KeyboardInterrupt)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception in another thread at its next step in Python; None calls it back."""
    asked = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), asked)
