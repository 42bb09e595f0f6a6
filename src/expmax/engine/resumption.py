"""The diary of one fit: which starts are done, and what moment the present one has reached."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from expmax.contract import Degeneracy
from expmax.engine.checkpoint import Checkpoint, classes_of, digest, encode
from expmax.engine.history import History
from expmax.engine.loop import Breach, Moment, Run
from expmax.engine.problem import Point, Problem

__all__ = ["Diary"]

EVERY = 10.0  # seconds between writes
SCALARS = (
    "status",
    "remaining",
    "curvature",
    "saddles",
    "given_up",
    "degeneracies",
    "breach",
    "twins",
    "cause",
)


class Diary:
    """Keeps a checkpoint of one call and takes up what an earlier, equal call left."""

    def __init__(
        self, path: str | os.PathLike[str], problem: Problem, options: Mapping[str, Any]
    ) -> None:
        self.file = Checkpoint(path)
        self.problem = problem
        self.options = dict(options)
        self.entropy = ""
        self.asked: dict[str, Any] = {}
        self.runs: list[Run] = []
        self.moment: Moment | None = None
        self.current: Mapping[str, Any] | None = None  # of the file: the run to go on with
        self.rng: np.random.Generator | None = None
        self.written = time.monotonic()

    def seeds(self, given: np.random.SeedSequence, chosen: bool) -> np.random.SeedSequence:
        """The seeds of the fit that goes on; where they were chosen, or there is no file, those given."""
        saved = self.file.entropy()
        if saved is not None and not chosen:
            given = np.random.SeedSequence(int(saved))
        self.entropy = str(given.entropy)
        return given

    def open(self, starts: Sequence[Any], rng: np.random.Generator) -> list[Run]:
        """The runs that are done, if there is a file; it must belong to this call.

        Raises
        ------
        ParameterError
            Another model, other data, other starts or options.
        DataError
            The file cannot be read.
        """
        kind = type(self.problem.model)
        self.rng = rng
        self.asked = {
            "model": f"{kind.__module__}.{kind.__qualname__}",
            "data": digest(self.problem.blocks),
            "start": encode(list(starts)),
            **{name: encode(option) for name, option in self.options.items()},
        }
        saved = self.file.read(classes_of([*starts, *_OURS]), self.asked)
        if saved is None:
            return []
        self.runs = [self._run(one) for one in saved["runs"]]
        self.current = saved["current"]
        self.problem.n_expect = saved["n_expect"]
        rng.bit_generator.state = saved["random"]
        return list(self.runs)

    def begin(self, params: Any) -> tuple[Point, History | None, Mapping[str, Any] | None]:
        """Where the next run begins: its point, its history and its state."""
        current, self.current = self.current, None
        if current is None:
            return self.problem.at(params), None, None
        point = self._point(current)
        history = History(**current["history"])
        state = current["state"]
        self.moment = Moment(point, history, len(history), state["remaining"], state)
        return point, history, state

    def saw(self, moment: Moment) -> None:
        """Remember a moment; write it if the last write is long ago."""
        self.moment = moment
        if time.monotonic() - self.written >= EVERY:
            self.write()

    def finished(self, run: Run) -> None:
        """A run ended; one that was interrupted is to go on from its last moment."""
        if run.status != "interrupted":
            self.runs.append(run)
            self.moment = None
        self.write()

    def write(self) -> None:
        """Replace the file."""
        assert self.rng is not None
        moment = self.moment
        current, random, n_expect = None, self.rng.bit_generator.state, self.problem.n_expect
        if moment is not None:
            n_expect = moment.state["n_expect"]
            random = moment.state["random"] or random
            current = _page(moment.point, _rows(moment)) | {"state": moment.state}
        done = [
            _page(run.point, vars(run.history)) | {name: getattr(run, name) for name in SCALARS}
            for run in self.runs
        ]
        state = {"runs": done, "current": current, "random": random, "n_expect": n_expect}
        self.file.write(self.asked, self.entropy, state)
        self.written = time.monotonic()

    def _run(self, saved: Mapping[str, Any]) -> Run:
        own = {name: saved[name] for name in SCALARS if name in saved}  # older files have fewer
        return Run(point=self._point(saved), history=History(**saved["history"]), **own)

    def _point(self, saved: Mapping[str, Any]) -> Point:
        point = self.problem.at(saved["params"])
        old, new = saved["objective"], point.objective
        if not (old == new or (np.isnan(old) and np.isnan(new))):
            raise self.file.another(
                f"its objective at the saved parameters was {old!r} and is {new!r} for this model"
            )
        return point


_OURS = (Degeneracy(0, ""), Breach("M-step", 0, 0.0, 0.0))  # records in the state of a run


def _page(point: Point, history: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "params": point.params,
        "objective": float(point.objective),
        "history": dict(history),
    }


def _rows(moment: Moment) -> dict[str, list[Any]]:
    """The history up to a moment: an interrupt may have come between two columns of a row."""
    own = moment.history
    return {part.name: getattr(own, part.name)[: moment.n_rows] for part in fields(own)}
