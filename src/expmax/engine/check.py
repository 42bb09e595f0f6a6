"""`check_model`: every identity that EM obeys, as rows that hold, fail or do not apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expmax.contract import Block
from expmax.engine.arguments import check_model_contract, positive_integer, read_blocks
from expmax.engine.checks import convergence, expectation, maximization, rows, symmetry
from expmax.engine.checks.report import Report, Row
from expmax.engine.checks.setting import Gap, NotApplicableError, Setting
from expmax.errors import parameter_error

__all__ = ["IDENTITIES", "Report", "Row", "check_model"]

IDENTITIES: dict[str, Callable[[Setting], Gap]] = {
    "repeatability": rows.repeatability,
    "tightness": expectation.tightness,
    "KL at least 0": expectation.kl_at_least_zero,
    "ELBO + KL": expectation.elbo_and_kl,
    "cross-entropy": expectation.cross_entropy,
    "Gibbs' inequality": expectation.gibbs,
    "posterior": expectation.posterior,
    "enumeration": expectation.enumeration,
    "M-step rises": maximization.m_step_rises,
    "M-step stationary": maximization.m_step_stationary,
    "M-step optimal": maximization.m_step_optimal,
    "ascent": maximization.ascent,
    "coordinates": maximization.coordinates,
    "score": maximization.score,
    "Fisher's identity": maximization.fisher,
    "fixed point": convergence.fixed_point,
    "score at fixed point": convergence.score_at_fixed_point,
    "rate of convergence": convergence.rate,
    "missing information": convergence.missing_information,
    "additivity": rows.additivity,
    "row order": rows.row_order,
    "weights as copies": rows.weights_as_copies,
    "weight zero": rows.weight_zero,
    "workers": rows.workers,
    "memo": rows.memo,
    "component labels": symmetry.component_labels,
    "affine change": symmetry.affine_change,
    "complete data": symmetry.complete_data,
    "calibration": symmetry.calibration,
}


def check_model(
    model: Any,
    data: NDArray[Any] | Block | Sequence[Block],
    params: Any,
    *,
    random_state: int = 0,
) -> Report:
    """Check a model's formulas against each other: a gradcheck for EM.

    Runs every identity that EM obeys and the model offers the means to check, on small data (some hundred rows;
    the cost is a few thousand E-steps). A row that fails names what disagrees, by how much, and what rounding
    and finite differences would explain.

    Parameters
    ----------
    model : LatentModel
        `expect`, `maximize` and `expected_log_joint`. More is checked of a model that offers `log_prior`,
        `chart` or `space` (pack, unpack), `score`, `assign`, `log_joint`, `sample`, `n_components` and
        `permute`, `exchangeable`, `rescale`, `degeneracies`, `boundary`, `magnitude`. It may declare
        `supports_weights = False`, `supports_labels = False`, `independent_rows = False`,
        `inner_latent = True`, `local_statistics = True`; see docs/check-model.md.
    data : ndarray, Block, or sequence of Block
        Include the weights, labels and missing cells that the model is to support.
    params : parameters
        Not a maximum: a start, or a start after an EM step or two.
    random_state : int
        Seed of the perturbations and simulations.

    Returns
    -------
    Report
        Print it; `ok`, `failures`, `rows`, and rows by name.

    Raises
    ------
    ParameterError
        A model without the three methods, no data, no parameters, or data without a finite log-likelihood at
        `params`.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Statist. Soc. B 39(1): the identities.

    Examples
    --------
    Counts of one Poisson rate, in a model whose M-step divides by n − 1 and that ignores weights:

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> import expmax as em
    >>> @dataclass(frozen=True)
    ... class Sums(em.Additive):
    ...     total: float
    ...     n: float
    >>> class OneRate:
    ...     supports_weights = False
    ...
    ...     def expect(self, rate, block):
    ...         x = block.x[:, 0]
    ...         sums = Sums(x.sum(), len(x))
    ...         return em.Expectation(sums, self.expected_log_joint(rate, sums), 0.0, len(x))
    ...
    ...     def maximize(self, sums, rate):
    ...         return sums.total / (sums.n - 1)
    ...
    ...     def expected_log_joint(self, rate, sums):
    ...         return sums.total * np.log(rate) - sums.n * rate
    >>> report = em.check_model(OneRate(), np.array([[2.0], [4.0], [3.0]]), 2.5)
    >>> report.ok
    False
    >>> [row.name for row in report.failures]
    ['M-step rises', 'M-step optimal', 'ascent']
    """
    check_model_contract(model)
    positive_integer("random_state", random_state, 0)
    blocks = read_blocks(data)
    setting = Setting(model, blocks, _parameters(model, params), random_state)
    found = tuple(_row(name, identity, setting) for name, identity in IDENTITIES.items())
    n_rows = sum(len(block.x) for block in blocks)
    title = (
        f"check_model of {type(model).__name__}: {n_rows} {_plural('row', n_rows)} in "
        f"{len(blocks)} {_plural('block', len(blocks))}"
    )
    return Report(title, found)


def _parameters(model: Any, params: Any) -> Any:
    """Parameters of the model, as far as it can tell."""
    if params is None:
        raise parameter_error("params", "parameters of the model", None, "Give those of a start")
    check = getattr(getattr(model, "space", None), "check", lambda given: given)
    return check(params)


def _row(name: str, identity: Callable[[Setting], Gap], setting: Setting) -> Row:
    """Run one identity; what it raises is a failure of the model."""
    formula = (identity.__doc__ or "").split("\n\n")[0].strip().rstrip(".")
    try:
        with np.errstate(all="ignore"):
            gap = identity(setting)
    except NotApplicableError as reason:
        return Row(name, formula, "does not apply", reason=str(reason))
    except Exception as error:  # of somebody's model: any
        text = f"raised {type(error).__name__}: {error}"
        return Row(name, formula, "fails", reason=text)
    if gap.holds:
        return Row(name, formula, "holds", gap.amount, gap.tolerance, gap.unit)
    return Row(name, formula, "fails", gap.amount, gap.tolerance, gap.unit, gap.where)


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
