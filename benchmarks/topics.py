"""Topic models side by side with scikit-learn: time of a pass and bound per word after as many passes.

    python -m benchmarks.topics              all cases
    python -m benchmarks.topics small        those that take seconds

Both sides run on one thread, with the same priors, at most 100 rounds of a document and the same tolerance of
1e-3; each starts from its own random topics. The time of a pass is the difference between a long and a short
fit. The real collection is the docstrings of Python's standard library, NumPy, SciPy and scikit-learn as
installed.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.decomposition import LatentDirichletAllocation as Peer
from sklearn.feature_extraction.text import CountVectorizer
from threadpoolctl import threadpool_limits

import expmax as em

REPEATS = 3
SHORT, LONG = 3, 13  # passes
PACKAGES = ("numpy", "scipy", "sklearn", "email", "logging", "concurrent", "xml", "http", "json")
SEPARATE = (
    "argparse",
    "ast",
    "collections",
    "datetime",
    "decimal",
    "difflib",
    "random",
    "re",
    "ssl",
)


def docstrings() -> list[str]:
    """Docstrings of at least 30 words, of all functions and classes, each once."""
    seen: dict[str, None] = {}
    for module in _modules():
        for _, thing in sorted(vars(module).items()):
            if not (inspect.isroutine(thing) or inspect.isclass(thing)):
                continue
            for one in (thing, *(vars(thing).values() if inspect.isclass(thing) else ())):
                text = getattr(one, "__doc__", None)
                if isinstance(text, str) and len(text.split()) >= 30:
                    seen.setdefault(text)
    return list(seen)


def _modules():
    for name in (*PACKAGES, *SEPARATE):
        root = importlib.import_module(name)
        yield root
        for info in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{name}."):
            if any(
                part.startswith("_") or part in ("tests", "conftest")
                for part in info.name.split(".")[1:]
            ):
                continue
            try:
                yield importlib.import_module(info.name)
            except Exception:  # optional dependencies
                continue


def real() -> sparse.csr_matrix:
    """Documents × the 5000 most frequent words in at most 30 % of the documents."""
    vectorizer = CountVectorizer(stop_words="english", max_df=0.3, min_df=3, max_features=5000)
    return sparse.csr_matrix(vectorizer.fit_transform(docstrings()), dtype=float)


def simulated(n: int, n_words: int, n_topics: int, length: float) -> sparse.csr_matrix:
    """Documents from topics ~ Dirichlet(.05) and proportions ~ Dirichlet(.1)."""
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(n_words, 0.05), n_topics)
    rows, columns = [], []
    for d in range(n):
        sizes = rng.multinomial(rng.poisson(length) + 1, rng.dirichlet(np.full(n_topics, 0.1)))
        for k in np.flatnonzero(sizes):
            words = rng.choice(n_words, sizes[k], p=topics[k])
            columns.append(words)
            rows.append(np.full(len(words), d))
    row, column = np.concatenate(rows), np.concatenate(columns)
    return sparse.csr_matrix((np.ones(len(row)), (row, column)), (n, n_words))


@dataclass(frozen=True)
class Case:
    name: str
    data: Callable[[], sparse.csr_matrix]
    n_topics: int
    small: bool = False


CASES = (
    Case("docstrings", real, 20, small=True),
    Case("docstrings", real, 100),
    Case("simulated 2000×2000", lambda: simulated(2000, 2000, 20, 100), 20, small=True),
    Case("simulated 10⁴×5000", lambda: simulated(10_000, 5000, 50, 100), 50),
    Case("simulated 10⁴×5000", lambda: simulated(10_000, 5000, 100, 100), 100),
)


def ours(x: sparse.csr_matrix, k: int, n: int, n_jobs: int = 1) -> tuple[float, float]:
    """Seconds of n passes, and the bound per word."""
    model = em.TopicModel(
        k, max_iter=n, tol=0.0, certify=False, random_state=0, n_jobs=n_jobs, document_tol=1e-3
    )
    return _timed(model, x), model.lower_bound_ / x.sum()


def peer(x: sparse.csr_matrix, k: int, n: int) -> tuple[float, float]:
    model = Peer(k, max_iter=n, random_state=0, mean_change_tol=1e-3, max_doc_update_iter=100)
    return _timed(model, x), model.score(x) / x.sum()


def _timed(model, x) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = time.perf_counter()
        model.fit(x)
        return time.perf_counter() - begun


def compare(case: Case) -> str:
    x = case.data()
    ours(x[:100], case.n_topics, 2)  # compile
    mine, theirs, two = [], [], []
    for _ in range(REPEATS if case.small else 2):
        spans = []
        for fit in (ours, peer):
            brief, _ = fit(x, case.n_topics, SHORT)
            full, bound = fit(x, case.n_topics, LONG)
            spans.append(((full - brief) / (LONG - SHORT), bound))
        (a, own), (b, other) = spans
        mine.append(a)
        theirs.append(b)
        full, _ = ours(x, case.n_topics, LONG, n_jobs=2)
        brief, _ = ours(x, case.n_topics, SHORT, n_jobs=2)
        two.append((full - brief) / (LONG - SHORT))
    ratios = np.array(theirs) / np.array(mine)
    label = f"{case.name}, K = {case.n_topics}"
    return (
        f"{label:30} {x.shape[0]:6} {x.sum() / x.shape[0]:7.0f} {np.median(theirs):9.2f} "
        f"{np.median(mine):8.3f} {np.median(ratios):6.1f}× ({ratios.min():.1f}–{ratios.max():.1f}) "
        f"{np.median(np.array(mine) / np.array(two)):5.2f}×  {other:9.4f} {own:9.4f}"
    )


def main(arguments: list[str]) -> None:
    print(f"Seconds a pass, one thread each; bound a word (nats) after {LONG} passes")
    print(
        f"{'case':30} {'docs':>6} {'words':>7} {'sklearn':>9} {'expmax':>8} {'ratio (min–max)':>15} "
        f"{'2 thr.':>6}  {'sklearn':>9} {'expmax':>9}"
    )
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in CASES:
            if case.small or "small" not in arguments:
                print(compare(case), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
