"""Posterior of a finite latent variable: the softmax, its evidence and its entropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expmax.statistics import Array

__all__ = ["clamp_labels", "soft_assign"]


def soft_assign(log_joint: Array) -> tuple[Array, Array, Array]:
    """Responsibilities, log evidence and entropy of each row.

    r_ik = exp(l_ik − log Σ_j exp l_ij), and H_i = −Σ_k r_ik log r_ik from the responsibilities themselves.

    Parameters
    ----------
    log_joint : ndarray, shape (n, K)
        l_ik = log p(x_i, z_i = k | θ), nats; −inf marks an impossible component.

    Returns
    -------
    responsibilities : ndarray, shape (n, K); NaN where every component is impossible
    log_evidence : ndarray, shape (n,), nats; −inf where every component is impossible
    entropy : ndarray, shape (n,), nats
    """
    top = log_joint.max(axis=1, keepdims=True)
    if not top.min(initial=np.inf) > -np.inf:
        with np.errstate(invalid="ignore", divide="ignore"):
            responsibilities, log_evidence, entropy = _normalise(log_joint, top)
        log_evidence[np.isneginf(top[:, 0])] = -np.inf
        return responsibilities, log_evidence, entropy
    return _normalise(log_joint, top)


def _normalise(log_joint: Array, top: Array) -> tuple[Array, Array, Array]:
    log_ratio = log_joint - top
    responsibilities = np.exp(log_ratio)
    total = responsibilities.sum(axis=1, keepdims=True)
    responsibilities /= total
    log_total = np.log(total)
    surprise = np.subtract(log_total, log_ratio, out=log_ratio)  # −log r
    if not surprise.max(initial=0.0) < np.inf:  # 0 · ∞ is 0
        surprise[responsibilities == 0] = 0.0
    entropy = np.einsum("ij,ij->i", responsibilities, surprise)
    return responsibilities, (top + log_total)[:, 0], entropy


def clamp_labels(log_joint: Array, label: NDArray[np.int64]) -> None:
    """Make every component but the known one impossible, in place; −1 leaves a row free."""
    known = np.flatnonzero(label >= 0)
    kept = log_joint[known, label[known]]
    log_joint[known] = -np.inf
    log_joint[known, label[known]] = kept
