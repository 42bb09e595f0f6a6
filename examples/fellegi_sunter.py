"""Fellegi & Sunter's model of record pairs, from the joint density of comparison and match alone.

A pair is a match with probability λ; field g then agrees to level l with probability m[g, l],
otherwise with u[g, l]. A field that cannot be compared (NaN) is left out. The estimator of this
model is `em.RecordLinkage`; here it is written as one would write any other. Data: 25 million pairs
of Febrl's data set 4, counted by their comparisons.
"""

from functools import cache
from pathlib import Path

import numpy as np

import expmax as em


@cache
def read():
    """Comparisons, shape (760, 6), weighted by the pairs that have them."""
    file = Path(__file__).parent / "data" / "febrl4_patterns.csv"
    table = np.genfromtxt(file, delimiter=",", names=True)
    names = [name for name in table.dtype.names if name not in ("pairs", "matches")]
    levels = np.stack([table[name] for name in names], axis=1)
    counts = np.array([np.nanmax(column) + 1 for column in levels.T])
    order = np.argsort(-counts, kind="stable")
    return em.Block(levels[:, order], weight=table["pairs"], memo={}), counts[order].astype(int)


# -- from the joint density ------------------------------------------------------------------------
def joint_model():
    import jax.numpy as jnp

    from expmax.general import Finite, Interval, Simplex

    _, counts = read()
    three, two = int((counts == 3).sum()), int((counts == 2).sum())

    def log_joint(theta, level, match):
        there = ~jnp.isnan(level)
        index = jnp.where(there, level, 0).astype(int)
        p3 = theta["three"][match, jnp.arange(three), index[:three]]
        p2 = theta["two"][match, jnp.arange(two), index[three:]]
        share = jnp.where(match == 1, theta["share"], 1 - theta["share"])
        return jnp.log(share) + jnp.where(there, jnp.log(jnp.concatenate([p3, p2])), 0.0).sum()

    far3, near3, far2, near2 = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.8, 0.2], [0.2, 0.8]
    return em.JointModel(
        log_joint,
        latent=Finite(2),
        parameters={
            "share": Interval(0, 1, start=0.001),
            "three": Simplex(3, shape=(2, three), start=[three * [far3], three * [near3]]),
            "two": Simplex(2, shape=(2, two), start=[two * [far2], two * [near2]]),
        },
    )


@cache
def fit_joint():
    return em.maximize_likelihood(joint_model(), read()[0], tol=1e-4)


# -- the estimator ---------------------------------------------------------------------------------
@cache
def fit():
    pairs = read()[0]
    return em.RecordLinkage(random_state=0).fit(pairs.x, sample_weight=pairs.weight)


def main():
    joint, estimator = fit_joint(), fit()
    print(f"em.RecordLinkage: {estimator.log_likelihood_:.4f}, share {estimator.prevalence_:.6e}")
    print(f"joint density:    {joint.log_likelihood:.4f}, share {joint.params['share']:.6e}")


if __name__ == "__main__":
    main()
