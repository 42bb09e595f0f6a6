"""`progress`: who hears what of a fit, that hearing changes nothing, and that an interrupt keeps the best."""

import numpy as np
import pytest
from sklearn.base import clone

import expmax as em
from expmax.errors import ConvergenceWarning, ParameterError
from expmax.models.scouting import GaussianScout


def groups(n=300, d=2, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0] * d, [3.0] * d, [0.0, 5.0, *[2.0] * (d - 2)]])
    return centres[rng.integers(3, size=n)] + rng.normal(size=(n, d))


FITS = {
    "mixture": em.Mixture(em.Gaussian(), 3, random_state=0, effort="quick"),
    "mixture, one start": em.Mixture(em.Gaussian(), 3, n_init=1, random_state=0),
    "mixture, one component": em.Mixture(em.StudentT(), 1),
    "mixture, given": em.Mixture(em.Gaussian(), 3, init=np.arange(300) % 3),
    "mixture, variational": em.Mixture(
        em.Gaussian(), 4, inference="variational", random_state=0, effort="quick"
    ),
    "drop-in": em.GaussianMixture(3, random_state=0, effort="quick"),
    "drop-in, five starts": em.GaussianMixture(3, n_init=5, random_state=0),
    "drop-in, one start": em.GaussianMixture(3, means_init=groups()[:3], random_state=0),
    "drop-in, Bayesian": em.BayesianGaussianMixture(n_components=4, random_state=0, effort="quick"),
    "drop-in, Bayesian, two starts": em.BayesianGaussianMixture(
        n_components=3, n_init=2, random_state=0
    ),
}
fits = pytest.mark.parametrize("name", FITS)


@fits
def test_it_hears_of_every_step_and_changes_nothing(name):
    heard = []

    def listen(iteration, objective, seconds):
        heard.append((iteration, objective, seconds))

    x = groups()
    quiet = clone(FITS[name]).fit(x)
    model = clone(FITS[name]).set_params(progress=listen).fit(x)
    np.testing.assert_array_equal(
        model.means_ if hasattr(model, "means_") else model.weights_,
        quiet.means_ if hasattr(quiet, "means_") else quiet.weights_,
    )
    assert model.n_iter_ == quiet.n_iter_
    seconds = [one[2] for one in heard]
    assert seconds == sorted(seconds)
    assert all(isinstance(one[0], int) and one[0] >= 1 for one in heard)
    # the steps of the run that won are among those told of, with the objective that each led to
    told = {(iteration, objective) for iteration, objective, _ in heard}
    objective = model.history_.objective
    steps = set(enumerate(objective[1:-1], start=1)) - {(len(objective) - 2, objective[-1])}
    missed = [one for one in steps if one not in told]
    assert len(missed) <= 2 + model.history_.step.count("newton")  # steps of the certificate


@fits
def test_an_interrupt_in_it_keeps_the_best_so_far(name):
    heard = []

    def listen(iteration, objective, seconds):
        heard.append(objective)
        if len(heard) == 3:
            raise KeyboardInterrupt

    x = groups()
    model = clone(FITS[name]).set_params(progress=listen, max_iter=500, tol=1e-8)
    if name == "mixture, one component":
        model.set_params(family=em.StudentT())
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(x)
    assert len(heard) == 3
    assert model.status_ == "interrupted"
    assert not model.converged_
    assert "Stopped by the user" in model.certificate_.advice
    assert model.predict(x).shape == (len(x),)
    if model.inference == "likelihood":
        assert model.score_samples(x).sum() == pytest.approx(model.log_likelihood_, rel=1e-12)
        assert model.history_.objective[-1] == max(model.history_.objective)


def test_a_late_interrupt_returns_the_best_of_the_starts_that_are_done():
    x, whole, heard = groups(), [], []
    asked = em.Mixture(em.Gaussian(), 3, random_state=0, progress=lambda *step: whole.append(step))
    asked.fit(x)

    def listen(iteration, objective, seconds):
        heard.append(objective)
        if len(heard) == len(whole) - 2:
            raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = em.Mixture(em.Gaussian(), 3, random_state=0, progress=listen).fit(x)
    assert model.status_ == "interrupted"
    assert model.history_.objective[-1] >= max(heard[:-1]) - 1e-9


def test_the_seconds_left_come_to_who_can_take_them():
    four, three = [], []
    x = groups()
    model = em.Mixture(em.Gaussian(), 3, n_init=1, random_state=0, tol=1e-9, accelerate=None)
    model.set_params(progress=lambda *told: four.append(told)).fit(x)
    model.set_params(progress=lambda i, o, s: three.append((i, o, s))).fit(x)
    assert {len(told) for told in four} == {4}
    assert [told[:2] for told in four] == [told[:2] for told in three]
    left = [told[3] for told in four if not np.isnan(told[3])]
    assert left
    assert min(left) >= 0


@pytest.mark.parametrize("name", ["mixture", "drop-in", "drop-in, Bayesian"])
def test_true_keeps_a_live_line_and_false_keeps_quiet(name, capsys):
    clone(FITS[name]).set_params(progress=True).fit(groups())
    told = capsys.readouterr()
    assert told.out == ""
    assert "step " in told.err
    assert "objective" in told.err
    assert told.err.endswith("\n")
    for silent in (False, None):
        clone(FITS[name]).set_params(progress=silent).fit(groups())
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["mixture", "drop-in", "drop-in, Bayesian"])
@pytest.mark.parametrize("wrong", ["yes", 3, 0, []], ids=repr)
def test_what_is_no_progress_is_named(name, wrong):
    with pytest.raises(ParameterError, match="progress must be True, False or a callable"):
        clone(FITS[name]).set_params(progress=wrong).fit(groups())


def test_compiled_climbs_are_told_of(monkeypatch):
    """With many rows the starts are scouted in compiled code: each climb is told of once."""
    pytest.importorskip("numba")
    scouted, heard = [], []
    approach = GaussianScout.approach

    def counted(self, params, floor):
        found = approach(self, params, floor)
        scouted.append(found is not None and np.isfinite(floor))
        return found

    monkeypatch.setattr(GaussianScout, "approach", counted)
    x = groups(1200, 4)
    model = em.Mixture(em.Gaussian(), 3, random_state=0, effort="quick")
    model.set_params(progress=lambda *told: heard.append(told)).fit(x)
    assert sum(scouted) >= 3
    assert sum(np.isnan(told[3]) for told in heard) >= sum(scouted)
    assert max(told[1] for told in heard) == pytest.approx(model.log_likelihood_, abs=1e-3)

    def stop(iteration, objective, seconds):
        heard.append(objective)
        if len(scouted) >= 3:
            raise KeyboardInterrupt

    scouted.clear()
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.set_params(progress=stop).fit(x)
    assert model.status_ == "interrupted"
    assert len(scouted) <= 6
