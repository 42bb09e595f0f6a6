"""Dawid & Skene's model of observers who err, from the joint density of answers and truth alone.

Five anaesthetists grade 45 patients, 1 to 4; the first of them three times. The true grade z of a patient has
probability prevalence[z], observer w calls it l with probability confusion[w, z, l], independently given z. The
estimator of this model is `em.DawidSkene`; here it is written as one would write any other. Data: Dawid & Skene
(1979), Applied Statistics 28(1), table 1.
"""

import csv
from functools import cache
from pathlib import Path

import numpy as np

import expmax as em

N_OBSERVERS, N_GRADES = 5, 4


@cache
def read():
    """Long form: patient, observer and grade, all from 0, shape (315, 3)."""
    with open(Path(__file__).parent / "data" / "anaesthesia.csv", newline="") as file:
        rows = [(row["patient"], row["observer"], row["label"]) for row in csv.DictReader(file)]
    return np.array(rows, int) - 1


def tally():
    """A row for each patient: how often each observer gave each grade, shape (45, 5, 4)."""
    counts = np.zeros((45, N_OBSERVERS, N_GRADES))
    np.add.at(counts, tuple(read().T), 1.0)
    return counts


def majority_vote(counts, rng):
    """Dawid & Skene's start: the truth of a patient is spread as the grades given."""
    grade = counts.sum(axis=1) / counts.sum(axis=(1, 2))[:, None]
    confusion = np.einsum("iz,iwl->wzl", grade, counts)
    return {
        "prevalence": grade.mean(axis=0),
        "confusion": confusion / confusion.sum(axis=2, keepdims=True),
    }


# -- from the joint density ------------------------------------------------------------------------
def joint_model(**options):
    import jax.numpy as jnp
    from jax.scipy.special import xlogy

    from expmax.general import Finite, Simplex

    return em.JointModel(
        log_prior=lambda theta, z: jnp.log(theta["prevalence"][z]),
        log_likelihood=lambda theta, counts, z: xlogy(counts, theta["confusion"][:, z]).sum(),
        latent=Finite(N_GRADES),
        parameters={
            "prevalence": Simplex(N_GRADES),
            "confusion": Simplex(N_GRADES, shape=(N_OBSERVERS, N_GRADES)),
        },
        start=majority_vote,
        **options,
    )


@cache
def fit_joint():
    return em.maximize_likelihood(joint_model(), tally(), tol=1e-6)


# -- with the M-step in closed form: probabilities are shares of expected counts -------------------
def prevalence(theta, expect):
    import jax.numpy as jnp

    patients = expect(lambda counts, z: jnp.eye(N_GRADES)[z])
    return patients / patients.sum()


def confusion(theta, expect):
    import jax.numpy as jnp

    grades = expect(lambda counts, z: counts[:, None, :] * jnp.eye(N_GRADES)[z][:, None])
    return grades / grades.sum(axis=2, keepdims=True)


@cache
def fit_closed():
    model = joint_model(maximize={"prevalence": prevalence, "confusion": confusion})
    return em.maximize_likelihood(model, tally(), tol=1e-6)


# -- the estimator, which takes a million answers --------------------------------------------------
@cache
def fit():
    estimator = em.DawidSkene(columns=(0, 1, 2), start="majority", tol=1e-6)
    return estimator.fit(read())


def main():
    estimator = fit()
    print(f"em.DawidSkene      {estimator.log_likelihood_:.6f}", estimator.prevalence_.round(6))
    for name, result in (("joint density", fit_joint()), ("closed M-step", fit_closed())):
        print(f"{name:18} {result.log_likelihood:.6f}", result.params["prevalence"].round(6))


if __name__ == "__main__":
    main()
