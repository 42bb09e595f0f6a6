"""Crowds of workers against crowd-kit: `python -m benchmarks.crowd [labels] [workers]`.

Both begin at the vote. Time to read the table and fit; the log-likelihood of the prevalences and confusion
matrices that each returns, by the same formula; and whether the objective ever fell on the way. The peer stops
nats below the maximum, so the ratio is of the times to its log-likelihood. Without crowd-kit (pip install
crowd-kit) the peer is the textbook loop in NumPy.
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import pandas as pd

import expmax as em

FLOOR = 1e-10  # crowd-kit clips probabilities here
STEPS = 100  # of the peers, at most
TOL = 1e-5  # of crowd-kit: change of the mean loss a label


def crowd(
    n_labels: int, n_workers: int, k: int = 4, each: int = 5
) -> tuple[pd.DataFrame, np.ndarray]:
    """Workers of accuracies .4 to .95, `each` labels an item; and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.integers(k, size=n_labels // each)
    item = np.repeat(np.arange(len(truth)), each)
    worker = rng.integers(n_workers, size=len(item))
    right = rng.random(len(item)) < rng.uniform(0.4, 0.95, n_workers)[worker]
    label = np.where(right, truth[item], (truth[item] + rng.integers(1, k, len(item))) % k)
    return pd.DataFrame({"task": item, "worker": worker, "label": label}), truth


def log_likelihood(table: pd.DataFrame, prevalence: np.ndarray, confusion: np.ndarray) -> float:
    """Σ_i log Σ_k p_k Π π."""
    item, worker, label = (table[name].to_numpy() for name in ("task", "worker", "label"))
    with np.errstate(divide="ignore"):
        logs = np.log(confusion[worker, :, label])
        joint = np.log(prevalence) + np.zeros((item.max() + 1, 1))
    for k in range(len(prevalence)):
        joint[:, k] += np.bincount(item, logs[:, k])
    top = joint.max(axis=1)
    return float((top + np.log(np.exp(joint - top[:, None]).sum(axis=1))).sum())


def ours(table: pd.DataFrame, **options):
    begun = time.perf_counter()
    model = em.DawidSkene(**options).fit(table)
    return time.perf_counter() - begun, model


def rise_of(table: pd.DataFrame) -> np.ndarray:
    """The log-likelihood step after step, from the vote."""
    _, model = ours(table, start="majority", max_iter=STEPS)
    return np.array(model.history_.objective)


def crowd_kit(table: pd.DataFrame):
    """Seconds, prevalences, confusion matrices, the objective a step, consensus."""
    from crowdkit.aggregation import DawidSkene

    begun = time.perf_counter()
    model = DawidSkene(n_iter=STEPS, tol=TOL).fit(table)
    seconds = time.perf_counter() - begun
    n_workers, k = table["worker"].max() + 1, table["label"].max() + 1
    confusion = np.full((n_workers, k, k), FLOOR)
    index = model.errors_.index
    confusion[index.get_level_values(0), :, index.get_level_values(1)] = model.errors_.to_numpy()
    path = np.array(model.loss_history_) * len(table)
    return seconds, model.priors_.to_numpy(), confusion, path, model.labels_.sort_index().to_numpy()


def textbook(table: pd.DataFrame):
    """The same by a loop of np.add.at over the labels."""
    item, worker, label = (table[name].to_numpy() for name in ("task", "worker", "label"))
    k = label.max() + 1
    begun = time.perf_counter()
    r = np.zeros((item.max() + 1, k))
    np.add.at(r, (item, label), 1.0)
    r /= r.sum(axis=1, keepdims=True)
    path = []
    for _ in range(STEPS):
        prevalence = r.mean(axis=0)
        counts = np.full((worker.max() + 1, k, k), FLOOR)
        np.add.at(counts.transpose(0, 2, 1), (worker, label), r[item])
        confusion = counts / counts.sum(axis=2, keepdims=True)
        joint = np.tile(np.log(prevalence), (len(r), 1))
        np.add.at(joint, item, np.log(confusion[worker, :, label]))
        top = joint.max(axis=1, keepdims=True)
        r = np.exp(joint - top)
        path.append(float((top[:, 0] + np.log(r.sum(axis=1))).sum()))
        r /= r.sum(axis=1, keepdims=True)
        if len(path) > 1 and path[-1] - path[-2] < TOL * len(table):
            break
    return time.perf_counter() - begun, prevalence, confusion, np.array(path), r.argmax(axis=1)


def main(arguments: list[str]) -> None:
    n_labels = int(float(arguments[0])) if arguments else 10**5
    n_workers = int(float(arguments[1])) if len(arguments) > 1 else n_labels // 100
    table, truth = crowd(n_labels, n_workers)
    try:
        import crowdkit.aggregation

        peer, name = crowd_kit, f"crowd-kit {getattr(crowdkit, '__version__', '')}".strip()
    except ImportError:
        peer, name = textbook, "NumPy loop"
    warnings.simplefilter("ignore")
    ours(table[:1000])
    print(f"{n_labels} labels of {len(truth)} items by {n_workers} workers, four classes")
    seconds, prevalence, confusion, path, labels = peer(table)
    value = log_likelihood(table, prevalence, confusion)
    falls = int((np.diff(path) < -1e-9 * abs(value)).sum())
    print(
        f"{name:22} {seconds:8.2f} s   {value:14.3f}   {(labels == truth).mean():.4f} right   "
        f"{len(path)} steps, {falls} of them down"
    )
    for words, options in (
        ("expmax, from the vote", {"start": "majority"}),
        ("expmax, default", {"random_state": 0}),
    ):
        taken, model = ours(table, **options)
        reached = log_likelihood(table, model.prevalence_, model.confusion_)
        down = int((np.diff(model.history_.objective) < -1e-9 * abs(reached)).sum())
        print(
            f"{words:22} {taken:8.2f} s   {reached:14.3f}   {(model.labels_ == truth).mean():.4f} right   "
            f"{model.n_iter_} steps, {down} of them down, {model.status_}"
        )
    steps = int(np.argmax(rise_of(table) >= value))
    taken, _ = ours(table, start="majority", max_iter=steps)
    print(f"expmax, from the vote to the peer's value: {taken:.2f} s, {seconds / taken:.1f}×")


if __name__ == "__main__":
    main(sys.argv[1:])
