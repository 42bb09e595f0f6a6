"""`maximize_likelihood`: the entry for models that somebody wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block, Compute
from expmax.engine.acceleration import accelerators
from expmax.engine.arguments import (
    bootstrap_size,
    check_checkpoint,
    check_compute,
    check_flag,
    check_model_contract,
    check_progress,
    n_workers,
    positive_integer,
    read_blocks,
    read_starts,
    refuse_tolerance,
    seed_sequence,
)
from expmax.engine.bootstrap import MAX_ITER, TOL, bootstrap_errors, drawn_units
from expmax.engine.certificate import Certificate
from expmax.engine.history import History
from expmax.engine.information import StandardErrors, information_errors
from expmax.engine.loop import Moment, Run, ascend, certificate_of
from expmax.engine.problem import Problem
from expmax.engine.progress import Reporter
from expmax.engine.resumption import Diary
from expmax.engine.starts import StartRecord, outcome_of
from expmax.engine.stochastic import StochasticRun, ascend_stochastic
from expmax.errors import InformationError, NotFiniteError, parameter_error
from expmax.statistics import Array

__all__ = ["FitResult", "maximize_likelihood"]

P = TypeVar("P")
RandomState = int | np.random.SeedSequence | np.random.RandomState | np.random.Generator | None


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

    def standard_errors(
        self,
        method: str = "observed",
        *,
        n_bootstrap: int = 200,
        random_state: RandomState = None,
        n_jobs: int | None = None,
    ) -> StandardErrors:
        """Standard errors of the parameters.

        Parameters
        ----------
        method : {"observed", "sandwich", "bootstrap"}
            Inverse observed information, from 2p E-steps; its robust form (rows one by one); or the spread of
            refits, from the estimate, to rows drawn with replacement, which any model allows. Weights that are
            whole numbers count copies of a row; other weights are drawn with their row. Of a model with
            `independent_rows = False` whole blocks are drawn.
        n_bootstrap : int
            Refits, at least 10.
        random_state : int, SeedSequence, RandomState or Generator, optional
            Of the bootstrap.
        n_jobs : int, optional
            Threads of the bootstrap; the result does not depend on their number.

        Returns
        -------
        StandardErrors
            `notes` says what became of refits that failed, and which parameters sit on an edge that no refit
            can leave: those have no standard error (NaN).

        Raises
        ------
        InformationError
            A boundary, a singular information, or a model without `chart` and `space` (the bootstrap needs
            neither); a bootstrap of which half the refits fail, or of a single unit.

        Notes
        -----
        Components are relabelled to match the estimate by the model's `align(params, reference)`, or by its
        `permute(params, order)` with `n_components` and `exchangeable()`. Of a model with neither, refits keep
        the labels that they end with; since they begin at the estimate, these are its own unless components
        overlap so much that the likelihood hardly tells them apart.

        References
        ----------
        Louis (1982), J. R. Statist. Soc. B 44(2). White (1982), Econometrica 50(1). Efron & Tibshirani (1993),
        An Introduction to the Bootstrap, ch. 6.
        """
        assert self.problem is not None
        problem = self.problem
        if method == "bootstrap":
            return bootstrap_errors(
                problem,
                self.params,
                named_numbers,
                drawn_units(problem.model, problem.blocks),
                n_bootstrap=bootstrap_size(n_bootstrap),
                rng=np.random.default_rng(seed_sequence(random_state)),
                workers=n_workers(n_jobs),
                climb=_climb_drawing if _draws(problem.model) else None,
            )
        if method == "sandwich" and not getattr(problem.model, "independent_rows", True):
            raise InformationError(
                "the sandwich takes rows one by one, and rows of a block belong together in this model "
                '(independent_rows = False); use method="bootstrap".'
            )
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


def maximize_likelihood(
    model: Any,
    data: NDArray[Any] | Block | Sequence[Block],
    start: P | list[P] | Iterator[P] | None = None,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    accelerate: str | None = "auto",
    certify: bool = True,
    compute: Compute | None = None,
    random_state: RandomState = None,
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
    start : parameters, or a list or iterator of them
        Several are all run and the best kept. Anything but a list or an iterator (such as a generator) is the
        parameters of one start. Default: the model's own `starts`.
    tol : float
        Nats of the total objective that may be left to gain; 0 makes all `max_iter` updates.
    max_iter : int
        Parameter updates of each start, at least 1.
    accelerate : {"auto", "lbfgs", "squarem", "anderson", None}
    certify : bool
        False skips the certificate: the status is then `uncertified`, and the certificate says why.
    compute : Compute, optional
        Who sums the blocks; default: one after another.
    random_state : int, SeedSequence, RandomState or Generator, optional
    progress : bool or callable, optional
        Called as progress(iteration, objective, seconds) after each step; with a fourth argument, the
        estimated seconds left of the present start (NaN while unknown), where the callable takes four. True
        keeps a live line on standard error. A KeyboardInterrupt raised in it ends the fit like Ctrl-C.
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
        A bad argument, named. A checkpoint of another model, other data, another start or other options; the
        message names which.
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
    check_model_contract(model)
    refuse_tolerance(tol)
    positive_integer("max_iter", max_iter)
    check_flag("certify", certify)
    check_progress(progress)
    check_checkpoint(checkpoint)
    accelerator = accelerators(accelerate)
    seeds = seed_sequence(random_state)
    blocks = read_blocks(data)
    problem = Problem(model, blocks, check_compute(compute))
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
    todo = read_starts(model, blocks, start, rng)
    runs = [] if diary is None else diary.open([params for params, _ in todo], rng)
    reporter = Reporter(progress, tol) if progress is not None and progress is not False else None

    def watch(moment: Moment) -> None:
        if reporter is not None and moment.n_rows:
            reporter.report(moment.n_rows, moment.point.objective, moment.remaining)
        if diary is not None:
            diary.saw(moment)

    drawing = _draws(model)
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
            accelerator=accelerator,
            certifier=rng if certify else None,
            watch=None if reporter is None and diary is None else watch,
            history=history,
            resume=state,
        )

    runs, interrupted = _run_all(climb, [params for params, _ in todo], runs, reporter, diary)
    if not any(run.point.finite for run in runs):
        _refuse(model, runs[0].point.params, blocks)
    best = max(runs, key=lambda run: (run.status not in _BROKEN, run.point.objective))
    if interrupted:
        best = replace(best, status="interrupted")
    error = best.error if isinstance(best, StochasticRun) else 0.0
    near = max(1e-3, 3.0 * error)
    same = [abs(run.point.objective - best.point.objective) < near for run in runs]
    records = [
        StartRecord(kind, i, run.point.objective, outcome_of(run), agrees)
        for i, (run, agrees, (_, kind)) in enumerate(zip(runs, same, todo, strict=False))
    ]
    certificate = certificate_of(problem, best, len(runs), sum(same))
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


def _draws(model: Any) -> bool:
    """Whether a model's posterior is drawn at random."""
    return getattr(model, "stochastic", None) is not None


def _climb_drawing(problem: Problem, params: Any) -> Run:
    """A refit by Monte Carlo EM: its noise is part of the spread."""
    return ascend_stochastic(problem, params, tol=TOL, max_iter=MAX_ITER)


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
