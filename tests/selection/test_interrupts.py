"""Ctrl-C in a choice: wherever it comes, the work ends, and what was fitted so far is kept and labelled."""

import _thread
import threading
import time

import numpy as np
import pytest

import expmax as em
from expmax.selection import bootstrap, fitting, held_out, select, sweep
from expmax.selection.cells import Cell
from expmax.selection.workers import workers

GRID = {"n_components": [1, 2, 3]}


def counts(n=120):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.poisson(1, n // 2), rng.poisson(12, n // 2)])[:, None].astype(float)


def choose(grid=GRID, estimator=None, x=None, **options):
    estimator = em.Mixture(em.Poisson()) if estimator is None else estimator
    return em.select(estimator, counts() if x is None else x, grid, random_state=0, **options)


def interrupt_at(words):
    """A progress callable that ends the work at the first message that begins so; and its messages."""
    said = []

    def progress(message):
        said.append(message)
        if message.startswith(words):
            raise KeyboardInterrupt

    return progress, said


def interrupt_call(monkeypatch, owner, name, number, error=KeyboardInterrupt):
    """The call of that number raises; returns the list that counts the calls."""
    original, calls = getattr(owner, name), []

    def replaced(*args, **kwargs):
        calls.append(threading.current_thread())
        if len(calls) == number:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, replaced)
    return calls


def check_labelled(choice, n_candidates):
    """What every interrupted choice promises."""
    assert choice.interrupted
    assert len(choice.candidates) == len(choice.table) == n_candidates
    assert "INTERRUPTED" in repr(choice)
    assert "INTERRUPTED: the best so far" in str(choice)
    fitted = [c for c in choice.candidates if c.estimator is not None]
    assert choice.best in fitted
    assert choice.best.value(choice.chosen_by) == min(c.value(choice.chosen_by) for c in fitted)
    for candidate, row in zip(choice.candidates, choice.table, strict=True):
        if candidate.estimator is None:
            assert candidate.status == row["status"] == "not fitted"
            assert row["reason"] == "not fitted: interrupted"
    if len(fitted) < n_candidates:
        assert "not fitted: interrupted" in str(choice)


# ------------------------------------------------------------------------------- in the first stage


@pytest.mark.parametrize(
    ("words", "fitted"),
    [("fitting K = 2", 1), ("fitting K = 3", 2), ("learning", 3), ("improving", 3), ("certify", 3)],
)
@pytest.mark.parametrize("criterion", ["bic", "icl", "cv", "lrt"])
def test_in_the_progress_of_any_stage(words, fitted, criterion):
    progress, said = interrupt_at(words)
    choice = choose(criterion=criterion, progress=progress)
    check_labelled(choice, 3)
    assert said[-1].startswith(words)  # nothing more was begun
    statuses = [c.status for c in choice.candidates]
    assert statuses == ["interrupted"] * fitted + ["not fitted"] * (3 - fitted)
    assert choice.chosen_by == (criterion if criterion in ("bic", "icl") else "bic")
    assert choice.best.n_components == min(fitted, 2)
    assert choice.to_frame("dict")["status"] == statuses


def test_before_anything_was_fitted_the_interrupt_goes_on():
    for criterion in ("bic", "cv", "lrt"):
        progress, said = interrupt_at("fitting K = 1")
        with pytest.raises(KeyboardInterrupt):
            choose(criterion=criterion, progress=progress)
        assert len(said) == 1


def test_in_a_step_of_em_the_rest_is_not_begun(monkeypatch):
    """`ascend` keeps what it has when interrupted: the choice must end none the less."""
    from expmax.engine import loop

    calls = interrupt_call(monkeypatch, loop, "_step", 25)
    choice = choose()
    check_labelled(choice, 3)
    assert len(calls) == 25
    assert "interrupted" in {c.status for c in choice.candidates}


def test_what_was_certified_before_stays_so(monkeypatch):
    calls = interrupt_call(monkeypatch, Cell, "_certify", 3)
    choice = choose()
    check_labelled(choice, 3)
    assert [c.status for c in choice.candidates] == ["stationary", "stationary", "interrupted"]
    assert choice.best.converged
    assert "NOT converged" not in repr(choice)
    assert len(calls) == 3


def test_while_a_fit_is_certified_the_others_are_left(monkeypatch):
    """The ascent returns its best, called interrupted: nothing else may be certified after it."""
    from expmax.engine import loop

    calls = interrupt_call(monkeypatch, loop, "certify", 2)
    choice = choose()
    check_labelled(choice, 3)
    assert [c.status for c in choice.candidates] == ["stationary", "interrupted", "interrupted"]
    assert len(calls) == 2


def test_while_results_are_written_down_none_is_lost(monkeypatch):
    interrupt_call(monkeypatch, Cell, "publish", 2)
    choice = choose(criterion="cv")
    check_labelled(choice, 3)
    assert {c.status for c in choice.candidates} == {"stationary"}
    assert choice.chosen_by == "bic"


def test_with_many_families_every_candidate_is_listed():
    families = [em.Poisson(), em.Geometric(), em.Gaussian(), em.NegativeBinomial()]
    grid = {"family": families, "n_components": [1, 2, 3, 4]}
    progress, _ = interrupt_at("fitting K = 3")
    choice = choose(grid, em.Mixture(), progress=progress)
    check_labelled(choice, 16)
    assert sum(c.status == "not fitted" for c in choice.candidates) == 8
    assert "8 candidates not fitted: interrupted" in str(choice)
    assert "8 not fitted, 0 failed" in repr(choice)


def test_real_failures_keep_their_reason():
    x = np.array([[0.0], [1.0], [4.0], [0.0]])
    progress, _ = interrupt_at("fitting K = 2")
    choice = choose({"n_components": [1, 2, 9]}, x=x, progress=progress)
    assert [c.status for c in choice.candidates] == ["interrupted", "not fitted", "failed"]
    assert "1 not fitted, 1 failed" in repr(choice)
    assert "at least as many rows" in choice.table[2]["reason"]


def test_on_a_sample_of_many_rows_the_likelihood_is_that_of_all():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6000, 2)) + 6.0 * np.array([[0, 0], [1, 0], [0, 1]])[np.arange(6000) % 3]
    progress, _ = interrupt_at("improving")
    choice = choose({"n_components": [2, 3]}, em.Mixture(em.Gaussian("VII")), x, progress=progress)
    check_labelled(choice, 2)
    assert choice.best_estimator_.score_samples(x).sum() == pytest.approx(
        choice.best.log_likelihood
    )


# ------------------------------------------------------------------------ estimators fitted one by one


def test_among_estimators_fitted_one_by_one(monkeypatch):
    calls = interrupt_call(monkeypatch, fitting, "_fit_alone", 3)
    choice = choose(estimator=em.Mixture(em.Poisson(), n_init=2))
    check_labelled(choice, 3)
    assert [c.status for c in choice.candidates] == ["stationary", "stationary", "not fitted"]
    assert len(calls) == 3


def test_an_estimator_that_keeps_its_best_ends_the_others(monkeypatch):
    """Its own fit catches the interrupt and returns: the next must not begin."""
    from expmax.engine import loop

    calls = interrupt_call(monkeypatch, loop, "_step", 40)
    choice = choose(estimator=em.Mixture(em.Poisson(), n_init=2), criterion="cv")
    check_labelled(choice, 3)
    assert len(calls) == 40
    statuses = [c.status for c in choice.candidates]
    assert statuses.count("interrupted") == 1
    after = statuses[statuses.index("interrupted") + 1 :]
    assert set(after) <= {"not fitted"}


def test_after_the_sweep_those_alone_are_not_begun():
    grid = [{"n_components": [1, 2]}, {"n_components": [2], "n_init": [1]}]
    progress, said = interrupt_at("learning")
    choice = choose(grid, progress=progress)
    check_labelled(choice, 3)
    assert "fitting" not in said  # what is said when those alone begin
    assert choice.candidates[2].status == "not fitted"


# -------------------------------------------------------------------------- while a criterion judges


def test_between_two_folds():
    progress, said = interrupt_at("fold 2")
    choice = choose(criterion="cv", cv=4, progress=progress)
    check_labelled(choice, 3)
    assert said[-1] == "fold 2 of 4"
    assert choice.chosen_by == "bic"
    assert {c.status for c in choice.candidates} == {"stationary"}
    assert all(c.held_out is None for c in choice.candidates)
    assert "by BIC; cross-validation was not finished" in str(choice)
    assert "best so far, by bic: K = 2" in repr(choice)
    assert choice.plot().get_ylabel().startswith("BIC")


def test_within_a_fold_that_has_fits_already(monkeypatch):
    """Each fit of a fold keeps its best: half a fold must not pass for a whole one."""
    from expmax.engine import loop

    begun, steps = [], []
    original, step = held_out.fit_combinations, loop._step

    def noting(*args, **kwargs):
        begun.append(len(steps))
        return original(*args, **kwargs)

    def interrupting(*args):
        steps.append(len(begun))
        if steps.count(2) == 20:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(held_out, "fit_combinations", noting)
    monkeypatch.setattr(loop, "_step", interrupting)
    choice = choose(criterion="cv", cv=4)
    check_labelled(choice, 3)
    assert len(begun) == 2
    assert all(c.held_out is None for c in choice.candidates)


def test_while_a_test_draws_its_samples(monkeypatch):
    calls = interrupt_call(monkeypatch, bootstrap, "_replicate", 25)
    choice = choose(criterion="lrt", n_bootstrap=19)
    check_labelled(choice, 3)
    assert len(calls) == 25
    assert [(t.null, t.alternative, t.rejected) for t in choice.tests] == [(1, 2, True)]
    assert choice.chosen_by == "bic"
    assert "by BIC; the tests were not finished" in str(choice)
    assert "K = 1 against 2" in str(choice)  # what was tested stays known


def test_within_the_fits_of_a_sample(monkeypatch):
    """A sample whose second fit is missing: once an IndexError."""
    original, first, count = bootstrap.fit_combinations, sweep._first, []

    def noting(*args, **kwargs):
        count.append("sample")
        return original(*args, **kwargs)

    def interrupting(grid, k):
        if count.count("sample") == 3 and k == 2:
            count.append("interrupt")
            raise KeyboardInterrupt
        first(grid, k)

    monkeypatch.setattr(bootstrap, "fit_combinations", noting)
    monkeypatch.setattr(sweep, "_first", interrupting)
    choice = choose(criterion="lrt", n_bootstrap=19)
    check_labelled(choice, 3)
    assert count == ["sample"] * 3 + ["interrupt"]
    assert choice.tests == []


def test_in_the_progress_of_the_tests():
    progress, said = interrupt_at("K = 2 against 3")
    choice = choose(criterion="lrt", n_bootstrap=19, progress=progress)
    check_labelled(choice, 3)
    assert len(choice.tests) == 1
    assert said[-1] == "K = 2 against 3"


# ------------------------------------------------------------------------------------------ threads


@pytest.mark.parametrize("criterion", ["bic", "cv", "lrt"])
def test_in_a_worker_thread(monkeypatch, criterion):
    monkeypatch.setattr(select, "MANY_ROWS", 0)
    calls = interrupt_call(monkeypatch, Cell, "finish", 2)
    choice = choose(criterion=criterion, n_jobs=2)
    check_labelled(choice, 3)
    assert threading.main_thread() not in calls
    assert not [t for t in threading.enumerate() if t.name.startswith("expmax-select")]


def test_estimators_in_threads_keep_their_best(monkeypatch):
    monkeypatch.setattr(select, "MANY_ROWS", 0)
    calls = interrupt_call(monkeypatch, fitting, "_fit_alone", 3)
    choice = choose(estimator=em.Mixture(em.Poisson(), n_init=2), n_jobs=2)
    check_labelled(choice, 3)
    assert threading.main_thread() not in calls
    assert sum(c.status == "not fitted" for c in choice.candidates) >= 1


def test_ctrl_c_while_threads_work(monkeypatch):
    """The signal comes to the main thread; the fit under way in another stops where it is."""
    monkeypatch.setattr(select, "MANY_ROWS", 0)
    finish, begun = Cell.finish, []

    def stuck(cell):
        begun.append(cell.k)
        if cell.k == 1:
            return finish(cell)
        if cell.k == 2:
            _thread.interrupt_main()
        while True:
            time.sleep(1e-4)

    monkeypatch.setattr(Cell, "finish", stuck)
    choice = choose({"n_components": [1, 2, 3, 4]}, n_jobs=2)
    check_labelled(choice, 4)
    assert {c.status for c in choice.candidates[1:]} == {"interrupted"}


def spin(at_work):
    """Work without end; notes who began."""

    def work_on(item):
        at_work.append(item)
        while True:
            time.sleep(1e-4)

    return work_on


def test_an_interrupt_of_the_main_thread_reaches_every_thread_at_work(monkeypatch):
    """Ctrl-C comes to the main thread, while it waits for threads that would never end."""
    from expmax.selection.workers import _Crew

    at_work = []

    def interrupted_wait(crew):
        monkeypatch.undo()  # the second wait is the real one
        while len(at_work) < 2:
            time.sleep(1e-4)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Crew, "_wait", interrupted_wait)
    with workers(2) as work, pytest.raises(KeyboardInterrupt):
        work(spin(at_work), [0, 1, 2])
    assert sorted(at_work) == [0, 1]  # the third was not begun
    assert not [t for t in threading.enumerate() if t.name.startswith("expmax-select")]


def test_an_error_in_one_thread_ends_the_others():
    at_work = []
    forever = spin(at_work)

    def work_on(item):
        if item == 0:
            return forever(item)
        while not at_work:
            time.sleep(1e-4)
        raise ValueError("no")

    with workers(2) as work, pytest.raises(ValueError, match="no"):
        work(work_on, [0, 1, 2])
    assert at_work == [0]


def test_threads_return_results_in_order():
    for n_jobs in (1, 2, 5):
        with workers(n_jobs) as work:
            assert work(lambda item: item**2, range(20)) == [i**2 for i in range(20)]
            assert work(lambda item: item, []) == []
