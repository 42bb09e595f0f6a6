"""What the commands do, once their arguments are read."""

from __future__ import annotations

import csv
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import expmax
from expmax.data.files import read_file
from expmax.data.tables import Table
from expmax.errors import DataError, ParameterError, parameter_error
from expmax.persistence import load
from expmax.reports.columns import columns_table
from expmax.reports.describe import describe, plain
from expmax.reports.history import history_table
from expmax.reports.text import Report
from expmax.selection.candidates import CRITERIA, Candidate
from expmax.selection.columns import Choice
from expmax.selection.grid import fit_grid
from expmax.selection.judging import ALL_CRITERIA
from expmax.selection.request import Request, choices, components, find_columns
from expmax.selection.result import Selection

__all__ = ["fit", "predict", "show"]

VERSION = 1  # of the JSON documents
PATIENCE = 3  # numbers of components in a row that may be no better
DEFAULT_COMPONENTS = range(1, 10)
INTERRUPTED = 130  # exit status after Ctrl-C
OPTIONS = {"cv": "cv", "n_bootstrap": "lrt", "alpha": "lrt"}  # of a criterion, by argument


# ------------------------------------------------------------------------------------------- fit


def fit(arguments: Namespace) -> int:
    """Read, choose families, fit every candidate, write and print; returns the exit status.

    After Ctrl-C the best so far is written and printed, and the status is 130.
    """
    numbers = components(arguments.components)
    _check(arguments)
    table = read_file(arguments.file)
    table, weight = _split_weights(table, arguments.weights)
    wanted = None if arguments.columns is None else find_columns(arguments.columns, table)
    request = Request(arguments.family, arguments.covariance, wanted)
    found = choices(table, weight, request)
    first = next(iter(found.values()))
    with _progress(arguments) as say:
        chosen = fit_grid(
            first.table,
            {label: choice.family for label, choice in found.items()},
            DEFAULT_COMPONENTS if numbers is None else numbers,
            criterion=arguments.criterion,
            patience=PATIENCE if numbers is None else None,
            sample_weight=weight,
            say=say,
            random_state=arguments.seed,
            effort=arguments.effort,
            n_jobs=arguments.threads,
            **_options(arguments),
        )
    if chosen.interrupted:
        print("expmax: interrupted: this is the best so far", file=sys.stderr)
    choice = found[chosen.best.label]
    if arguments.out is not None:
        chosen.best_estimator_.save(arguments.out)
    if arguments.labels is not None:
        r = chosen.best_estimator_.predict_proba(choice.table)
        _write_csv(arguments.labels, _assignments(r, proba=False))
    if arguments.json:
        _print_json("fit", _fit_document(arguments, table, choice, chosen))
    elif not arguments.quiet:
        _print_fit(arguments, table, choice, chosen)
    return INTERRUPTED if chosen.interrupted else 0


def _options(arguments: Namespace) -> dict[str, Any]:
    """Options of the criterion that were given."""
    given = {name: getattr(arguments, name) for name in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def _check(arguments: Namespace) -> None:
    """Refuse now what would be refused after a long fit."""
    if arguments.criterion not in ALL_CRITERIA:
        known = ", ".join(ALL_CRITERIA)
        raise parameter_error("--criterion", f"one of {known}", arguments.criterion)
    for name in _options(arguments):
        if arguments.criterion != OPTIONS[name]:
            option = f"--{name.replace('_', '-')}"
            raise ParameterError(
                f"{option} belongs to --criterion {OPTIONS[name]}; the criterion is "
                f"{arguments.criterion}. Leave {option} out, or change the criterion."
            )
    if not 0 <= arguments.seed < 2**32:
        raise parameter_error("--seed", "an integer from 0 to 4294967295", arguments.seed)
    if arguments.threads is not None and arguments.threads < 1:
        raise parameter_error("--threads", "an integer of at least 1", arguments.threads)
    for name in ("out", "labels"):
        _check_target(f"--{name}", getattr(arguments, name))


def _check_target(option: str, path: str | None) -> None:
    if path is None:
        return
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise parameter_error(option, "a file in a directory that exists", path)


def _split_weights(table: Table, key: str | None) -> tuple[Table, NDArray[np.float64] | None]:
    """The table without the column of weights, and the weights."""
    if key is None:
        return table, None
    (position,) = find_columns(key, table, what="--weights", many=False)
    column = table.columns[position]
    if column.kind == "text":
        raise DataError(f"{column.label} holds text, and weights are numbers; choose another.")
    missing = column.missing
    if missing.any():
        row = int(missing.argmax())
        raise DataError(f"{column.label} holds no weight in row {row}; give it one, or 0.")
    rest = [i for i in range(table.n_columns) if i != position]
    if not rest:
        raise DataError(f"{table.source} has no column beside the weights, {column.label}.")
    weight = np.asarray(column.cells, float)
    negative = weight < 0
    if negative.any():
        row = int(negative.argmax())
        raise DataError(
            f"{column.label} holds the weight {weight[row]:g} (row {row}); weights are at least 0."
        )
    return table.select(rest), weight


@contextmanager
def _progress(arguments: Namespace) -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done."""
    if arguments.quiet or arguments.json or not sys.stderr.isatty():
        yield lambda words: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda words: progress.update(task, description=words)


def _print_fit(arguments: Namespace, table: Table, choice: Choice, chosen: Selection) -> None:
    best = chosen.best
    rows = f"{table.n_rows} rows"
    title = f"{table.source}: {rows}" + (
        "" if arguments.weights is None else f", weighted by {arguments.weights}"
    )
    _print(columns_table(title, choice.verdicts))
    print()
    _print(chosen.summary())
    if chosen.stopped_after is not None:
        by = "" if chosen.criterion in CRITERIA else " by BIC"
        print(
            f" Stopped after K = {chosen.stopped_after}: {PATIENCE} in a row were no better{by}; "
            "--components 1:9 tries all."
        )
    print()
    _print(best.estimator.summary())
    if arguments.history:
        print()
        _print(history_table(best.estimator))
    written = [("model", arguments.out), ("labels", arguments.labels)]
    if any(path for _, path in written):
        print()
    for what, path in written:
        if path is not None:
            print(f" {what} → {path}")


def _fit_document(
    arguments: Namespace, table: Table, choice: Choice, chosen: Selection
) -> dict[str, Any]:
    best = chosen.best
    return {
        "file": arguments.file,
        "n_rows": table.n_rows,
        "weights": arguments.weights,
        "columns": [
            {
                "column": verdict.name,
                "kind": verdict.kind,
                "family": verdict.family,
                "reason": verdict.reason,
            }
            for verdict in choice.verdicts
        ],
        "criterion": chosen.criterion,
        "chosen_by": chosen.chosen_by,
        "interrupted": chosen.interrupted,
        "candidates": [_candidate_document(one) for one in chosen.candidates],
        "tests": [asdict(test) for test in chosen.tests],
        "stopped_after": chosen.stopped_after,
        "best": chosen.candidates.index(best),
        "model": describe(best.estimator),
    }


def _candidate_document(one: Candidate) -> dict[str, Any]:
    start = {"n_components": one.n_components, "family": one.label}
    if one.error is not None:
        return start | {"error": type(one.error).__name__, "message": str(one.error)}
    return start | {
        "log_likelihood": one.log_likelihood,
        "n_parameters": one.n_parameters,
        **{name: one.value(name) for name in CRITERIA},
        "held_out": one.held_out,
        "held_out_error": one.held_out_error,
        "status": one.status,
        "converged": one.converged,
    }


# ------------------------------------------------------------------------------- predict and show


def predict(arguments: Namespace) -> None:
    """Assign the rows of a file to the components of a saved model."""
    _check_target("--out", arguments.out)
    estimator = load(arguments.model)
    table = _matching(estimator, read_file(arguments.file), arguments.columns)
    r = estimator.predict_proba(table)
    if arguments.out is not None:
        _write_csv(arguments.out, _assignments(r, arguments.proba))
    if arguments.json:
        document = {
            "model": arguments.model,
            "file": arguments.file,
            "n_rows": len(r),
            "component": r.argmax(axis=1),
            "probability": r.max(axis=1),
            "log_density": estimator.score_samples(table),
        }
        _print_json("predict", document | ({"probabilities": r} if arguments.proba else {}))
    elif arguments.out is None:
        _write_rows(sys.stdout, _assignments(r, arguments.proba))
    else:
        counts = np.bincount(r.argmax(axis=1), minlength=r.shape[1])
        print(f"{len(r)} rows → {arguments.out}")
        for component, count in enumerate(counts):
            print(f"  component {component}: {count} rows")


def _matching(estimator: Any, table: Table, columns: str | None) -> Table:
    """The columns that the model was fitted on: those asked for, else by name, else all."""
    if columns is not None:
        return table.select(find_columns(columns, table))
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None and table.names is not None:
        return table.select([str(name) for name in names])
    if table.n_columns != estimator.n_features_in_:
        raise DataError(
            f"{table.source} has {table.n_columns} columns and the model "
            f"{estimator.n_features_in_}, without names to match; choose them with --columns."
        )
    return table


def show(arguments: Namespace) -> None:
    """Print a saved model."""
    estimator = load(arguments.model)
    if arguments.json:
        _print_json("show", describe(estimator))
        return
    _print(estimator.summary())
    if arguments.history:
        print()
        _print(history_table(estimator))


# ---------------------------------------------------------------------------------------- output


def _print(report: Report) -> None:
    """Rich on a terminal, plain text of 80 columns elsewhere."""
    if not sys.stdout.isatty():
        print(report)
        return
    from rich.console import Console

    Console(highlight=False).print(report)


def _print_json(kind: str, document: dict[str, Any]) -> None:
    head = {"format": f"expmax-{kind}", "version": VERSION, "expmax": expmax.__version__}
    json.dump(plain(head | document), sys.stdout, allow_nan=False, ensure_ascii=False)
    print()


def _assignments(r: NDArray[np.float64], proba: bool) -> Iterator[list[str]]:
    """Rows of text: row, component, its probability, and perhaps all of them."""
    names = [f"component_{k}" for k in range(r.shape[1])] if proba else []
    yield ["row", "component", "probability", *names]
    for i, (component, row) in enumerate(zip(r.argmax(axis=1), r, strict=True)):
        every = [f"{p:.9g}" for p in row] if proba else []
        yield [str(i), str(component), f"{row[component]:.9g}", *every]


def _write_csv(path: str, rows: Iterator[list[str]]) -> None:
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        _write_rows(stream, rows)


def _write_rows(stream: Any, rows: Iterator[list[str]]) -> None:
    csv.writer(stream, lineterminator="\n").writerows(rows)
