"""`maximize_likelihood`: the entry for models that somebody wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Compute, Start
from expmax.engine.acceleration import accelerators
from expmax.engine.certificate import Certificate
from expmax.engine.history import History
from expmax.engine.information import StandardErrors, information_errors
from expmax.engine.loop import Moment, Run, ascend, certificate_of
from expmax.engine.problem import Problem
from expmax.engine.progress import Reporter
from expmax.engine.resumption import Diary
from expmax.engine.starts import StartRecord
from expmax.engine.stochastic import StochasticRun, ascend_stochastic
from expmax.errors import NotFiniteError, parameter_error
from expmax.statistics import Array

__all__ = ["FitResult", "maximize_likelihood"]

P = TypeVar("P")
MEMO_LIMIT = 1 << 18  # numbers in a block that may keep what depends on its rows alone


@dataclass(frozen=True)
class FitResult(Generic[P]):
    """What a fit reached; every number belongs to `params`."""

    params: P
    log_likelihood: float  # at these parameters, nats
    objective: float  # log-likelihood + log prior
    kind: str  # exact, bound, approximate or monte_carlo
    history: History
    certificate: Certificate
    starts: list[StartRecord] = field(default_factory=list)
    n_expect: int = 0
    problem: Problem | None = field(default=None, repr=False, compare=False)
    log_likelihood_error: float = 0.0  # its Monte Carlo standard error, nats

    def gap(self) -> float:
        """log p(x | θ) less the log-likelihood shown, where that is a bound: KL(q ‖ posterior) ≥ 0, nats.

        Raises
        ------
        ParameterError
            The model cannot tell.
        """
        assert self.problem is not None
        if self.kind == "exact":
            return 0.0
        own = getattr(self.problem.model, "gap", None)
        if own is None:
            raise parameter_error("model", "one with a method gap(params, blocks)", "none")
        return float(own(self.params, self.problem.blocks))

    def standard_errors(self, method: str = "observed") -> StandardErrors:
        """Standard errors of the parameters, from 2p E-steps.

        Parameters
        ----------
        method : {"observed", "sandwich"}
            Inverse observed information, or its robust form (rows one by one).

        Raises
        ------
        InformationError
            A boundary, a singular information, or a model without `chart` and `space`.
        """
        assert self.problem is not None
        problem = self.problem
        ones = [np.ones(len(b.x)) if b.weight is None else b.weight**2 for b in problem.blocks]
        return information_errors(problem, problem.at(self.params), method, named_numbers, ones)

    @property
    def status(self) -> str:
        """How the run ended; see `Certificate`."""
        return self.certificate.status

    @property
    def converged(self) -> bool:
        """Whether the remaining gain was verified to be below tol."""
        return self.status in ("stationary", "boundary")


class _OneBlockAfterAnother:
    """The plain sum, for callers that bring no executor."""

    def total(self, function: Callable[[Block], Any], blocks: Sequence[Block]) -> Any:
        total = function(blocks[0])
        for block in blocks[1:]:
            total = total + function(block)
        return total


def maximize_likelihood(
    model: Any,
    data: NDArray[Any] | Block | Sequence[Block],
    start: P | Iterable[P] | None = None,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    accelerate: str | None = "auto",
    certify: bool = True,
    compute: Compute | None = None,
    random_state: int | np.random.SeedSequence | None = None,
    progress: bool | Callable[..., None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> FitResult[P]:
    """Fit any model that follows the contract: `expect`, `maximize`, `expected_log_joint`.

    Maximises ℓ(θ) (+ log prior) by EM steps that prove their ascent, accelerated where the model offers
    coordinates (`chart`, or `space` with `pack` and `unpack`), and certifies the end.

    Parameters
    ----------
    model : LatentModel
        `expect(params, block) -> Expectation`, `maximize(statistics, params) -> params`,
        `expected_log_joint(params, statistics) -> float`; optional: `log_prior(params)`,
        `space.pack/unpack`, `chart`, `score`, `degeneracies`, `boundary`, `starts(blocks, rng)`.
    data : ndarray, Block, or sequence of Block
    start : parameters, or a list of them
        Several are all run and the best kept. Default: the model's own `starts`.
    tol : float
        Nats of the total objective that may be left to gain.
    max_iter : int
        Parameter updates.
    accelerate : {"auto", "lbfgs", "squarem", "anderson", None}
    certify : bool
        False skips the certificate: the status is then `uncertified`.
    compute : Compute, optional
        Who sums the blocks; default: one after another.
    random_state : int or SeedSequence, optional
    progress : bool or callable, optional
        Called as progress(iteration, objective, seconds) after each step; with a fourth argument, the
        estimated seconds left of the present start (NaN while unknown), where the callable takes four. True
        keeps a live line on standard error.
    checkpoint : path, optional
        A JSON file that is replaced every ten seconds, after each start, at the end and on an interrupt. Where
        it exists the fit goes on from it, to the same bits as a fit that was never interrupted. Parameters
        may be numbers, arrays, lists, tuples, mappings and dataclasses of these. The model must be the one that
        wrote it: its objective at the saved parameters is compared. Not for Monte Carlo fits.

    Returns
    -------
    FitResult
        An interrupt (Ctrl-C) returns the best so far with status `interrupted`.

    Raises
    ------
    ParameterError
        A checkpoint of another model, other data, another start or other options; the message names which.
    DataError
        A checkpoint that cannot be read.

    Notes
    -----
    A model whose posterior is drawn at random (`stochastic`, such as `JointModel(inference="monte_carlo")`) is
    fitted by Monte Carlo EM instead: no acceleration, no checkpoint, status `uncertified`, and the Monte Carlo
    standard error of the log-likelihood in `log_likelihood_error`.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Statist. Soc. B 39(1).
    """
    blocks = _blocks(data)
    seeds = (
        random_state
        if isinstance(random_state, np.random.SeedSequence)
        else np.random.SeedSequence(random_state)
    )
    problem = Problem(model, blocks, compute or _OneBlockAfterAnother())
    options = {
        "tol": tol,
        "max_iter": max_iter,
        "accelerate": accelerate,
        "certify": certify,
        "random_state": None if random_state is None else str(seeds),
    }
    diary = None if checkpoint is None else Diary(checkpoint, problem, options)
    if diary is not None:
        seeds = diary.seeds(seeds, random_state is not None)
    rng = np.random.default_rng(seeds.spawn(1)[0])
    todo = _starts(model, blocks, start, rng)
    runs = [] if diary is None else diary.open([params for params, _ in todo], rng)
    reporter = Reporter(progress, tol) if progress is not None and progress is not False else None

    def watch(moment: Moment) -> None:
        if reporter is not None and moment.n_rows:
            reporter.report(moment.n_rows, moment.point.objective, moment.remaining)
        if diary is not None:
            diary.saw(moment)

    drawing = getattr(model, "stochastic", None) is not None
    if drawing and diary is not None:
        raise parameter_error("checkpoint", "None for a Monte Carlo fit", checkpoint)

    def climb(params: Any) -> Run:
        if drawing:
            return ascend_stochastic(
                problem,
                params,
                tol=tol,
                max_iter=max_iter,
                watch=None if reporter is None else watch,
            )
        point, history, state = (
            (problem.at(params), None, None) if diary is None else diary.begin(params)
        )
        return ascend(
            problem,
            point,
            tol=tol,
            max_iter=max_iter,
            accelerator=accelerators(accelerate),
            certifier=rng if certify else None,
            watch=None if reporter is None and diary is None else watch,
            history=history,
            resume=state,
        )

    runs, interrupted = _run_all(climb, [params for params, _ in todo], runs, reporter, diary)
    records = [
        StartRecord(kind, i, run.point.objective, run.status)
        for i, (run, (_, kind)) in enumerate(zip(runs, todo, strict=False))
    ]
    if not any(run.point.finite for run in runs):
        _refuse(model, runs[0].point.params, blocks)
    best = max(runs, key=lambda run: (run.status not in _BROKEN, run.point.objective))
    if interrupted:
        best = replace(best, status="interrupted")
    error = best.error if isinstance(best, StochasticRun) else 0.0
    near = max(1e-3, 3.0 * error)
    same = sum(abs(run.point.objective - best.point.objective) < near for run in runs)
    certificate = certificate_of(problem, best, len(runs), same)
    if isinstance(best, StochasticRun):
        certificate = best.certificate(certificate)
        problem = replace(best.problem or problem, n_expect=problem.n_expect)
    return FitResult(
        params=best.point.params,
        log_likelihood=best.point.expectation.log_likelihood,
        objective=best.point.objective,
        kind=best.point.expectation.kind,
        history=best.history,
        certificate=certificate,
        starts=records,
        n_expect=problem.n_expect,
        problem=problem,
        log_likelihood_error=error,
    )


def _run_all(
    climb: Callable[[Any], Run],
    starts: Sequence[Any],
    runs: list[Run],
    reporter: Reporter | None,
    diary: Diary | None,
) -> tuple[list[Run], bool]:
    """The runs from all starts, the first of which are done; whether an interrupt ended them."""
    try:
        for params in starts[len(runs) :]:
            if reporter is not None:
                reporter.begin_run()
            run = climb(params)
            runs.append(run)
            if diary is not None:
                diary.finished(run)
            if run.status == "interrupted":
                return runs, True
    except KeyboardInterrupt:  # between two runs
        if not runs:
            raise
        return runs, True
    finally:
        if reporter is not None:
            reporter.close()
    return runs, False


_BROKEN = ("degenerate", "not_finite", "decreased")


def _refuse(model: Any, params: Any, blocks: Sequence[Block]) -> None:
    """Raise where a model can say why the data have no finite log-likelihood at any start."""
    explain = getattr(model, "explain_not_finite", None)
    reason = None if explain is None else explain(params, blocks)
    if reason is not None:
        raise NotFiniteError(reason)


def named_numbers(params: Any, name: str = "theta") -> dict[str, Array]:
    """The numbers in parameters of any make, by name: a number, an array, a mapping, a dataclass, a tuple."""
    if is_dataclass(params):
        params = {part.name: getattr(params, part.name) for part in fields(params)}
    elif isinstance(params, tuple):
        params = {f"{name}{i}": part for i, part in enumerate(params)}
    if not isinstance(params, Mapping):
        return {name: np.asarray(params, float)}
    out: dict[str, Array] = {}
    for key, part in params.items():
        for inner, value in named_numbers(part, str(key)).items():
            out[inner if inner == str(key) else f"{key}.{inner}"] = value
    return out


def _blocks(data: Any) -> list[Block]:
    if isinstance(data, Block):
        small = data.memo is None and data.x.size <= MEMO_LIMIT
        return [replace(data, memo={}) if small else data]
    if isinstance(data, Sequence) and len(data) and isinstance(data[0], Block):
        return list(data)
    x = np.asarray(data)
    if x.ndim == 0 or len(x) == 0:
        raise parameter_error("data", "an array with at least one row, or blocks", data)
    return [Block(x, memo={})]


def _starts(
    model: Any, blocks: Sequence[Block], start: Any, rng: np.random.Generator
) -> list[tuple[Any, str]]:
    if start is None:
        own = getattr(model, "starts", None)
        if own is None:
            raise parameter_error("start", "given for a model without its own starts", None)
        return [
            (one.params, one.kind) if isinstance(one, Start) else (one, "model")
            for one in own(blocks, rng)
        ]
    check = getattr(getattr(model, "space", None), "check", lambda params: params)
    return [(check(one), "given") for one in (start if isinstance(start, list) else [start])]
