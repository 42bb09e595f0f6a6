"""ABO blood groups: allele frequencies from phenotypes, under Hardy-Weinberg equilibrium.

Alleles A, B, O with frequencies p, q, r. A phenotype hides its genotype: A is AA or AO, B is BB or BO.
Written twice: by gene counting (Ceppellini, Siniscalco & Smith 1955), and from the joint density of phenotype
and genotype alone. Data: Rao (1973), Linear Statistical Inference, §5g: 182 A, 60 B, 17 AB, 176 O;
and 521 patients of Clarke et al. (1959), British Medical Journal 1, 603-607.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

import expmax as em

PHENOTYPES = ("A", "B", "AB", "O")
FREQUENCIES = (182, 60, 17, 176)
CLARKE = (186, 38, 13, 284)
GENOTYPES = ("AA", "AO", "BB", "BO", "AB", "OO")
COPIES = np.array([[2, 0, 0], [1, 0, 1], [0, 2, 0], [0, 1, 1], [1, 1, 0], [0, 0, 2]])  # of A, B, O
SHOWN = np.array([0, 0, 1, 1, 2, 3])  # the phenotype of each genotype


def blocks(frequencies=FREQUENCIES):
    """One row for each phenotype, its frequency the weight."""
    return em.Block(np.arange(4.0)[:, None], weight=np.asarray(frequencies, float), memo={})


# -- by gene counting ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Genes(em.Additive):
    """Expected copies of each allele, and Σ log 2 of the heterozygous genotypes."""

    copies: np.ndarray
    constant: float


class Softmax:
    """(p, q, r) as two logits against r."""

    def pack(self, alleles):
        return np.log(alleles[:2] / alleles[2])

    def unpack(self, vector):
        odds = np.exp(np.append(vector, 0.0))
        return odds / odds.sum()


class GeneCounting:
    """The M-step divides the expected copies of an allele by all copies."""

    space = Softmax()
    ways = np.where(COPIES.max(axis=1) == 2, 1.0, 2.0)

    def expect(self, alleles, block):
        weight = np.ones(len(block.x)) if block.weight is None else block.weight
        seen = block.x[:, 0].astype(int)
        genotype = self.ways * np.prod(alleles**COPIES, axis=1)
        joint = np.where(seen[:, None] == SHOWN, genotype, 0.0)
        total = joint.sum(axis=1)
        posterior = joint / total[:, None]
        log_posterior = np.log(posterior, where=posterior > 0, out=np.zeros_like(posterior))
        counts = weight @ posterior
        return em.Expectation(
            Genes(counts @ COPIES, float(counts @ np.log(self.ways))),
            float(weight @ np.log(total)),
            float(-weight @ (posterior * log_posterior).sum(axis=1)),
            float(weight.sum()),
        )

    def maximize(self, genes, alleles):
        return genes.copies / genes.copies.sum()

    def expected_log_joint(self, alleles, genes):
        return float(genes.copies @ np.log(alleles)) + genes.constant


@cache
def fit_by_counting(frequencies=FREQUENCIES):
    start = np.array([0.3, 0.3, 0.4])
    return em.maximize_likelihood(GeneCounting(), blocks(frequencies), start, tol=1e-12)


# -- from the joint density ------------------------------------------------------------------------
def joint_model():
    import jax.numpy as jnp

    from expmax.general import Finite, Simplex

    def log_joint(theta, phenotype, genotype):
        copies, shown = jnp.asarray(COPIES)[genotype], jnp.asarray(SHOWN)[genotype]
        ways = jnp.asarray(GeneCounting.ways)[genotype]
        frequency = copies @ jnp.log(theta["alleles"]) + jnp.log(ways)
        return jnp.where(shown == phenotype[0], frequency, -jnp.inf)

    alleles = Simplex(3, start=[0.3, 0.3, 0.4])
    return em.JointModel(log_joint, latent=Finite(6), parameters={"alleles": alleles})


@cache
def fit(frequencies=FREQUENCIES):
    return em.maximize_likelihood(joint_model(), blocks(frequencies), tol=1e-12)


def main():
    counting, joint = fit_by_counting(), fit()
    for allele, one, two in zip("ABO", counting.params, joint.params["alleles"], strict=True):
        print(f"{allele}  {one:.8f} by gene counting   {two:.8f} from the joint density")
    print(f"log-likelihood {joint.log_likelihood:.6f}, {joint.status}")
    print(joint.standard_errors())


if __name__ == "__main__":
    main()
