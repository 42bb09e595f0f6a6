"""What a choice found: every candidate, the best, as a table, a page and a picture."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from expmax.errors import MissingDependencyError, parameter_error
from expmax.families.base import Family
from expmax.selection.bootstrap import LikelihoodRatioTest
from expmax.selection.candidates import CRITERIA, Candidate

__all__ = ["Selection"]

FRAMES = ("pandas", "polars", "pyarrow")


@dataclass(frozen=True, eq=False)
class Selection:
    """The outcome of `select`; print it.

    Attributes
    ----------
    candidates : list of Candidate
        Every combination of the grid, with its fitted estimator or the error that says why there
        is none.
    best : Candidate
        The chosen one.
    best_estimator_ : estimator
        Its fit, to all the data.
    table : list of dict
        A row a candidate: its parameters, log_likelihood (nats), n_parameters, bic, aic, icl,
        with `criterion="cv"` held_out (nats a row) and its standard error, status, seconds, reason.
    tests : list of LikelihoodRatioTest
        With `criterion="lrt"`, in the order in which they were made.
    interrupted : bool
        Whether Ctrl-C ended the work: the best is the best so far.
    chosen_by : str
        The criterion that chose: "bic" where an interrupt left "cv" or "lrt" unfinished.
    stopped_after : int or None
        K after which a family was given no more components, for want of improvement.
    """

    criterion: str
    candidates: list[Candidate]
    best: Candidate
    tests: list[LikelihoodRatioTest] = field(default_factory=list)
    _: KW_ONLY
    chosen_by: str
    interrupted: bool = False
    stopped_after: int | None = None

    @property
    def best_estimator_(self) -> Any:
        """The chosen estimator, fitted to all the data."""
        return self.best.estimator

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row a candidate, in the order of the grid."""
        return [self._row(one) for one in self.candidates]

    def _row(self, one: Candidate) -> dict[str, Any]:
        fitted = one.estimator is not None
        row: dict[str, Any] = dict(one.parameters)
        row["log_likelihood"] = one.log_likelihood if fitted else None
        row["n_parameters"] = one.n_parameters if fitted else None
        row |= {name: one.value(name) if fitted else None for name in CRITERIA}
        if self.criterion == "cv":
            row |= {"held_out": one.held_out, "held_out_error": one.held_out_error}
        reason = None if one.error is None else str(one.error)
        return row | {"status": one.status, "seconds": one.seconds, "reason": reason}

    def to_frame(self, library: str | None = None) -> Any:
        """The table as a data frame.

        Parameters
        ----------
        library : {"pandas", "polars", "pyarrow", "dict"}, optional
            Default: the first of these that is installed; "dict" gives lists by column.
        """
        rows = self.table
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: [_plain(row.get(name)) for row in rows] for name in names}
        for name, values in columns.items():
            kinds = {type(value) for value in values if value is not None}
            if len(kinds) > 1 and not kinds <= {int, float}:
                columns[name] = [None if value is None else str(value) for value in values]
        if library == "dict":
            return columns
        if library is not None and library not in FRAMES:
            raise parameter_error("library", f"one of {', '.join(FRAMES)}, dict", library)
        import narwhals as nw

        for one in FRAMES if library is None else (library,):
            try:
                backend: Any = one
                return nw.from_dict(columns, backend=backend).to_native()
            except ImportError:
                continue
        if library is None:
            return columns
        raise MissingDependencyError(
            f"{library} is not installed; install it by: pip install {library}"
        )

    def summary(self) -> Any:
        """The candidates side by side, the chosen one marked; print it."""
        from expmax.reports.comparison import comparison
        from expmax.reports.text import Report, heading, line

        parts = comparison(self.candidates, self._shown, self.best).parts
        title = self._title()
        if title is not None:
            parts = (heading(title), "", *parts)
        notes = self._notes()
        if notes:
            parts = (*parts, "", *(line(note) for note in notes))
        return Report(parts)

    @property
    def _shown(self) -> str:
        """The criterion that every candidate has a value of."""
        return "bic" if self.chosen_by == "lrt" else self.chosen_by

    def _title(self) -> str | None:
        """What the title of the table does not say."""
        if self.chosen_by == "lrt":
            return f"Chosen by bootstrap likelihood-ratio tests: {self.best.name}"
        if not self.interrupted:
            return None
        left = {"cv": "; cross-validation was not finished", "lrt": "; the tests were not finished"}
        asked = "" if self.chosen_by == self.criterion else left[self.criterion]
        return f"INTERRUPTED: the best so far, by {self.chosen_by.upper()}{asked}"

    def _notes(self) -> list[str]:
        """What the table of candidates has no column for."""
        notes = [_describe(test) for test in self.tests]
        if self.chosen_by == "cv" and self.best.held_out is not None:
            error = self.best.held_out_error
            notes.append(
                f"CV is −2 × the log-likelihood of the rows left out: {self.best.held_out:.4f} nats "
                f"a row for the best{'' if error is None else f', ± {error:.4f}'}."
            )
        if not self.best.converged:
            from expmax.reports.summary import status_sentence

            notes.append(f"The best, {self.best.name}: {status_sentence(self.best.estimator)}")
        size = self._edge()
        if size is not None and not self.interrupted:
            notes.append(f"The best has K = {size}, the most that were tried: try more.")
        return notes

    def _edge(self) -> int | None:
        """The chosen number of components, if it is the largest of several."""
        sizes = {one.n_components for one in self.candidates}
        edge = len(sizes) > 1 and self.best.n_components == max(sizes)
        return self.best.n_components if edge else None

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        left = sum(not one.reached for one in self.candidates)
        failed = sum(one.estimator is None for one in self.candidates) - left
        counts = f"{failed} failed"
        best = f"best: {self.best.name}"
        if self.interrupted:
            counts = f"INTERRUPTED: {left} not fitted, {counts}"
            by = "" if self.chosen_by == self.criterion else f", by {self.chosen_by}"
            best = f"best so far{by}: {self.best.name}"
        if not self.best.converged:
            best += f", NOT converged ({self.best.status})"
        return f"Selection({len(self.candidates)} candidates by {self.criterion}, {counts}; {best})"

    def plot(self, axes: Any = None) -> Any:
        """The criterion against K, one line a family; returns the axes (needs matplotlib)."""
        if axes is not None and not hasattr(axes, "set_xlabel"):
            raise parameter_error("axes", "matplotlib axes, or None for a new figure", axes)
        if axes is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError:
                raise MissingDependencyError(
                    'plots need matplotlib; install it with: pip install "expmax[plot]"'
                ) from None
            _, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        shown = self._shown
        markers = "osD^v<>ph*XPd8"
        for i, label in enumerate(dict.fromkeys(one.label for one in self.candidates)):
            row = [one for one in self.candidates if one.label == label]
            values = np.array([one.value(shown) for one in row])
            axes.plot(
                [one.n_components for one in row],
                np.where(np.isfinite(values), values, np.nan),
                marker=markers[i % len(markers)],
                linewidth=1,
                markersize=4,
                label=label or None,
            )
        axes.plot(
            self.best.n_components,
            self.best.value(shown),
            "o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor="black",
            label=f"chosen: {self.best.name}",
        )
        axes.set_xlabel("number of components")
        axes.set_ylabel(f"{shown.upper()} (smaller is better)")
        axes.legend(frameon=False, fontsize="small", ncols=2)
        return axes


def _describe(test: LikelihoodRatioTest) -> str:
    """One test in words."""
    outcome = ", rejected" if test.rejected else ""
    if not test.can_reject:
        outcome = f", too few samples could be fitted to reject at {test.alpha:g}"
    return (
        f"{test.label + ', ' if test.label else ''}K = {test.null} against {test.alternative}: "
        f"2Δℓ = {test.statistic:.2f}, p = {test.p_value:.3f} ({test.n_bootstrap} samples){outcome}"
    )


def _plain(value: Any) -> Any:
    """A value that every data frame library takes."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Family):
        return repr(value)
    return str(value)
