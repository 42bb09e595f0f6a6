"""The command line: `expmax fit`, `expmax predict`, `expmax show`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from expmax.errors import ConvergenceWarning, ExpmaxError, ParameterError

__all__ = ["main"]

INTERRUPTED = 130  # exit status of a process ended by Ctrl-C
BROKEN_PIPE = 141

EPILOG = """\
examples:
  expmax fit faithful.csv --history
  expmax fit deaths.csv --weights freq --family poisson --components 1:4
  expmax fit visits.csv --family "age=gaussian,visits=poisson" --out model.json
  expmax fit faithful.csv --criterion lrt --n-bootstrap 199 --components 1:4
  expmax predict model.json new.csv --proba --out assigned.csv
  expmax show model.json --json
"""

FAMILIES = """\
families that --family auto (the default) chooses, column by column:
  text, true/false    Categorical
  0 and 1             Bernoulli
  counts              Poisson: whole numbers from 0 up whose mean is within 4
                      standard deviations of 0, with a variance of 1/2 to 20
                      times the mean
  codes               Categorical: other whole numbers, at most 7 different
                      ones, each 5 times on average
  measurements        Gaussian: all other numbers, in one joint Gaussian;
                      diagonal where cells are missing, without --covariance
  left out            a column of one value only; names (another text in nearly
                      every row); whole numbers that count the rows. Name them
                      in --columns to keep them

Rows, columns and components count from 0. The JSON of --json has null for a
number that does not exist and "inf", "-inf" for infinite ones.
"""


class _Parser(argparse.ArgumentParser):
    """Errors of usage are errors like all others: one line, no page of usage."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message.rstrip('.')}; see {self.prog} --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; default: those of the process.

    Returns
    -------
    int
        Exit status: 0; 2 after an error, told in one line; 130 after Ctrl-C (`fit` then writes and
        prints the best so far); 141 when the reader of the output has gone.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets question marks
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                status = _run(argv)
            finally:
                _tell(caught)
        sys.stdout.flush()
    except ExpmaxError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename!r}")
    except KeyboardInterrupt:
        print("expmax: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    from expmax import commands

    action: Any = getattr(commands, arguments.command)
    return int(action(arguments) or 0)


def _fail(message: str) -> int:
    print(f"expmax: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _tell(caught: Sequence[warnings.WarningMessage]) -> None:
    """Warnings as one line each; those of convergence stand in the tables."""
    messages = [
        " ".join(str(warning.message).split())
        for warning in caught
        if issubclass(warning.category, UserWarning)
        and not issubclass(warning.category, ConvergenceWarning)
    ]
    for message in dict.fromkeys(messages):
        print(f"expmax: warning: {message}", file=sys.stderr)


def _silence_stdout() -> None:
    """Keep the interpreter from a second complaint when it flushes at exit."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


# ------------------------------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    from expmax import __version__

    parser = _Parser(
        prog="expmax",
        description="Fit mixtures by expectation maximisation, and see how the fit was reached.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"expmax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_predict(commands)
    show = commands.add_parser("show", help="print a saved model")
    show.add_argument("model", metavar="MODEL", help="model file that fit --out wrote")
    show.add_argument("--history", action="store_true", help="print the proof of convergence too")
    _add_json(show)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit a mixture to a CSV or Parquet file",
        description="Fit a mixture to the rows of a CSV or Parquet file.",
        epilog=FAMILIES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fit.add_argument("file", metavar="FILE", help="CSV or Parquet file")
    data = fit.add_argument_group("data")
    data.add_argument("--columns", metavar="A,B", help="columns to use, by name or position")
    data.add_argument("--weights", metavar="COLUMN", help="column of row weights (frequencies)")
    model = fit.add_argument_group("model")
    model.add_argument(
        "--family",
        default="auto",
        metavar="FAMILY",
        help='auto (see below), one family for every column ("poisson"), or one each: '
        '"age=gaussian,visits=poisson"; "height+weight=gaussian" is joint',
    )
    model.add_argument(
        "--covariance",
        metavar="NAMES",
        help="of Gaussian and Student t: full (default), tied, diag, spherical, one of mclust's 14 "
        'names, some of these ("full,tied,EEV"), or all',
    )
    model.add_argument(
        "--components",
        metavar="K",
        help='3, "1,2,5" or 1:9; default: 1, 2, … until three in a row are no better, at most 9',
    )
    _add_criterion(fit)
    search = fit.add_argument_group("search")
    search.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default 0)")
    search.add_argument(
        "--effort", default="default", metavar="NAME", help="quick, default or thorough"
    )
    search.add_argument("--threads", type=int, metavar="N", help="threads; the result is the same")
    output = fit.add_argument_group("output")
    output.add_argument("--out", metavar="MODEL", help="write the model to this JSON file")
    output.add_argument(
        "--labels", metavar="CSV", help="write row, component and its probability to this file"
    )
    output.add_argument("--history", action="store_true", help="print the proof of convergence")
    output.add_argument("--quiet", action="store_true", help="no progress, no tables")
    _add_json(output)


def _add_criterion(fit: Any) -> None:
    group = fit.add_argument_group("choice")
    group.add_argument(
        "--criterion",
        default="bic",
        metavar="NAME",
        help="bic (default), aic, icl, cv (log-likelihood of rows left out) or lrt (bootstrap "
        "likelihood-ratio tests of K against the next K; BIC among families)",
    )
    group.add_argument("--cv", type=int, metavar="N", help="folds of cv (default 5)")
    group.add_argument(
        "--n-bootstrap", type=int, metavar="N", help="samples a test of lrt (default 99)"
    )
    group.add_argument(
        "--alpha", type=float, metavar="P", help="level of the tests of lrt (default 0.05)"
    )


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="assign the rows of a file to the components of a saved model",
        description="Assign each row to its most probable component; CSV to standard output.",
    )
    predict.add_argument("model", metavar="MODEL", help="model file that fit --out wrote")
    predict.add_argument("file", metavar="FILE", help="CSV or Parquet file with the same columns")
    predict.add_argument(
        "--columns", metavar="A,B", help="columns to use; default: those of the fit, by name"
    )
    predict.add_argument("--out", metavar="CSV", help="write to this file")
    predict.add_argument("--proba", action="store_true", help="the probability of every component")
    _add_json(predict)


def _add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
