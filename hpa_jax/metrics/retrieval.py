"""Retrieval: are the images nearest to an image, by the cosine of embeddings, of its kind?

Every image asks (it is a query), and all images of other groups are ranked for it by their cosine
with it. Images of its own group (near-duplicates, one antibody, one specimen) are never among
them, whoever calls: they would be found by the cells they share, and say nothing of the protein.

Two images are of one kind by one of two rules, which give figures of their own:

- `same_set`: both have exactly the same labels, and at least one;
- `any_label`: they have a label in common.

For each query that has an image of its kind in another group:

- recall at k, 1 if one of the k nearest is of its kind, else 0;
- average precision of the entire ranking, as scikit-learn has it.

Notes:
- Equal cosines: average precision takes them as one step, as scikit-learn does; recall at k is the
  expectation over their orders. A net that sends all images to one point is then worth what chance
  is, not what the order of the images happens to give.
- Queries in blocks: of 100,000 images memory holds the embeddings and a few rows of cosines a
  thread, never the square.

References:
  Musgrave et al. 2020, A Metric Learning Reality Check, arXiv:2003.08505 (recall at 1 alone is a
  poor figure; average precision beside it); Jegou et al. 2011, Product Quantization for Nearest
  Neighbor Search (recall at k).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hpa_jax.errors import InputError

RELEVANCE = ("same_set", "any_label")
"""When two images are of one kind."""

KS = (1, 5, 10)
"""How many of the nearest are looked at, for recall."""

METRICS = ("retrieval_map", *(f"recall_at_{k}" for k in KS))
"""Names of the means over queries."""

DECIMALS = 6
"""Of cosines that are compared: the last bits of a float32 product depend on its place in a block,
and would put equal images in an order."""

_BLOCK = 64  # queries whose cosines a thread has at a time: 26 MB with 100,000 images


@dataclass(frozen=True)
class Retrieval:
    """What came out for each query.

    Attributes:
      average_precision: float64 [N], NaN for a query without an image of its kind.
      recall: float64 [N, K], of each k, likewise.
      relevant: int64 [N], images of its kind in other groups.
    """

    average_precision: np.ndarray
    recall: np.ndarray
    relevant: np.ndarray

    def values(self) -> dict[str, np.ndarray]:
        """By name of METRICS, float64 [N]."""
        columns = (self.average_precision, *self.recall.T)
        return dict(zip(METRICS, columns, strict=True))


def retrieve(
    embeddings: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    *,
    relevance: str = "same_set",
    progress: Callable[[int], object] | None = None,
) -> Retrieval:
    """Ranks for each image those of all other groups.

    Args:
      embeddings: float [N, E], of any length: cosines are compared.
      targets: 0/1 [N, L].
      groups: int [N].
      relevance: one of RELEVANCE.
      progress: called with the number of queries that are done since its last call, by any thread.

    Raises:
      InputError: an embedding that is not finite, arrays of different lengths, or an unknown
        relevance.
    """
    _check(embeddings, targets, groups, relevance)
    unit = normalize(embeddings)
    own_group = np.unique(groups, return_inverse=True)[1]
    is_relevant = _relevance_rule(np.asarray(targets) > 0, relevance)

    def of_block(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        queries = slice(start, min(start + _BLOCK, len(unit)))
        cosines = np.round(unit[queries] @ unit.T, DECIMALS)
        allowed = own_group[queries, None] != own_group[None, :]
        found = rank(cosines, allowed, is_relevant(queries))
        if progress is not None:
            progress(queries.stop - queries.start)
        return found

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        blocks = list(threads.map(of_block, range(0, len(unit), _BLOCK)))
    return Retrieval(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def normalize(embeddings: np.ndarray) -> np.ndarray:
    """Each row with a length of 1, float32; a row of zeros stays."""
    wide = np.asarray(embeddings, np.float32)
    lengths = np.linalg.norm(wide.astype(np.float64), axis=1, keepdims=True)
    return (wide / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)


def _relevance_rule(has_label: np.ndarray, relevance: str) -> Callable[[slice], np.ndarray]:
    """A function of some queries to whether each image is of their kind, bool [q, N]."""
    if relevance == "same_set":
        label_set = np.unique(has_label, axis=0, return_inverse=True)[1].reshape(-1)
        has_any = has_label.any(axis=1)

        def same_set(queries: slice) -> np.ndarray:
            same = label_set[queries, None] == label_set[None, :]
            return same & has_any[queries, None]

        return same_set
    columns = has_label.astype(np.float32)

    def any_label(queries: slice) -> np.ndarray:
        return columns[queries] @ columns.T > 0

    return any_label


def rank(
    cosines: np.ndarray,
    allowed: np.ndarray,
    relevant: np.ndarray,
    ks: Sequence[int] = KS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average precision and recall of some rankings.

    Args:
      cosines: float [Q, N], or any other likeness: the largest is nearest.
      allowed: bool [Q, N], which images are ranked for each query.
      relevant: bool [Q, N], which of them are of its kind.
      ks: how many of the nearest are looked at.

    Returns:
      average precision float64 [Q], recall float64 [Q, K] (both NaN without a relevant image), and
      the number of relevant images int64 [Q].
    """
    queries = len(cosines)
    precision = np.full(queries, np.nan)
    recall = np.full((queries, len(ks)), np.nan)
    wanted = relevant & allowed
    counts = np.count_nonzero(wanted, axis=1)
    for query in np.flatnonzero(counts):
        # Values alone are sorted, which takes a tenth of the time of sorting their places.
        rising = np.sort(cosines[query][allowed[query]])
        of_kind = np.sort(cosines[query][wanted[query]])
        at_least = len(rising) - np.searchsorted(rising, of_kind, side="left")
        own_at_least = len(of_kind) - np.searchsorted(of_kind, of_kind, side="left")
        precision[query] = np.mean(own_at_least / at_least)
        best = of_kind[-1]
        above = len(rising) - int(np.searchsorted(rising, best, side="right"))
        ties = int(at_least[-1]) - above
        ties_of_kind = int(own_at_least[-1])
        for column, k in enumerate(ks):
            recall[query, column] = _expected_hit(k - above, ties, ties_of_kind)
    return precision, recall, counts


def _expected_hit(places: int, ties: int, of_kind: int) -> float:
    """Probability that `places` drawn of so many ties hold one of the query's kind."""
    if places <= 0:
        return 0.0
    others = ties - of_kind
    if places > others:
        return 1.0
    missed = 1.0
    for drawn in range(places):
        missed *= (others - drawn) / (ties - drawn)
    return 1 - missed


def mean_metrics(found: Retrieval) -> dict[str, float]:
    """The means over the queries that have an image of their kind: METRICS, and `queries`."""
    asked = found.relevant > 0
    metrics = {}
    for name, values in found.values().items():
        metrics[name] = float(values[asked].mean()) if asked.any() else float("nan")
    return metrics | {"queries": int(asked.sum())}


def can_be_asked(targets: np.ndarray, groups: np.ndarray, relevance: str) -> bool:
    """Whether any image has one of its kind in another group.

    Args:
      targets: 0/1 [N, L].
      groups: int [N].
      relevance: one of RELEVANCE.
    """
    has_label = np.asarray(targets) > 0
    if relevance == "same_set":
        labelled = has_label.any(axis=1)
        kind = np.unique(has_label, axis=0, return_inverse=True)[1].reshape(-1)
        pairs = np.stack([kind[labelled], groups[labelled]], axis=1)
    else:
        image, label = np.nonzero(has_label)
        pairs = np.stack([label, groups[image]], axis=1)
    # Of each kind, once for each of its groups.
    kinds = np.unique(pairs, axis=0)[:, 0]
    return len(kinds) > len(np.unique(kinds))


def _check(embeddings: np.ndarray, targets: np.ndarray, groups: np.ndarray, relevance: str) -> None:
    if relevance not in RELEVANCE:
        raise InputError(
            f"relevance {relevance!r} is unknown; choose one of {', '.join(RELEVANCE)}"
        )
    if embeddings.ndim != 2 or len({len(embeddings), len(targets), len(groups)}) > 1:
        raise InputError(
            f"embeddings of shape {embeddings.shape}, targets of {np.shape(targets)} and groups of "
            f"{np.shape(groups)} do not match; give a row each for every image"
        )
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        raise InputError(
            f"embeddings: row {int(np.argmin(finite))} is not finite, nor are "
            f"{np.count_nonzero(~finite) - 1} others; what gives no numbers cannot be compared"
        )
