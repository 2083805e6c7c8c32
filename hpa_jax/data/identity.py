"""Which images a dataset is made of: digests of its splits. NumPy only, no JAX.

Two datasets with the same digests have the same Ids, labels and folds, wherever they lie and in
whatever order and number of shards they are stored. The builder writes the digests down with a
dataset, and a run those of the datasets that it learns from.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DataIdentity:
    """What a run's data are, wherever they lie.

    Attributes:
      datasets: `{NAME: {SPLIT: SHA-256}}`, the `split_digest` of every split of every dataset.
      images: `{NAME: {SPLIT: SHA-256}}`, the `images_digest` of the same.
      learned: uint64 [N], the `id_hashes` of the images that are learnt from.
      preparations: `{NAME: ...}`, how the images of each dataset were made
        (`hpa_jax.data.preparation.read_preparation`).
    """

    datasets: dict[str, dict[str, str]]
    images: dict[str, dict[str, str]]
    learned: np.ndarray
    preparations: dict[str, dict[str, Any]] = field(default_factory=dict)


def split_digest(ids: Sequence[str], labels: Sequence[Sequence[int]], folds: Sequence[int]) -> str:
    r"""SHA-256 of what a split is made of, the same in any order of its images.

    It is that of the lines `id\tlabels\tfold\n`, sorted by Id, in UTF-8. The labels of a line are
    ids in ascending order, separated by commas, each once.

    Args:
      ids: of the images.
      labels: the label ids of each image, in any order.
      folds: of each image, -1 in the split `test`.

    Returns:
      64 hex digits.

    Raises:
      ValueError: they are not of the same number of images.
    """
    lines = []
    for image_id, label_ids, fold in zip(ids, labels, folds, strict=True):
        ascending = sorted({int(label) for label in label_ids})
        listed = ",".join(map(str, ascending))
        lines.append((image_id, f"{image_id}\t{listed}\t{int(fold)}\n"))
    lines.sort()
    digest = hashlib.sha256()
    for _, line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def images_digest(ids: Sequence[str], crcs: Sequence[int]) -> str:
    """SHA-256 of how the images of a split are stored, the same in any order.

    Other pixels make it another, and so does another encoding of the same pixels.

    Args:
      ids: of the images.
      crcs: of each image's record, as its shard has it.

    Returns:
      64 hex digits.
    """
    lines = [f"{image_id}\t{int(crc)}\n" for image_id, crc in zip(ids, crcs, strict=True)]
    lines.sort()
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def id_hashes(ids: Sequence[str]) -> np.ndarray:
    """The Ids of images as a compact set, in which other Ids can be looked up.

    Returns:
      uint64 [N], ascending: the first eight bytes of each Id's SHA-256. Of a million different
      Ids two are the same here with a probability below 1e-7.
    """
    return np.unique(_hashed(ids))


def count_known(ids: Sequence[str], known: np.ndarray) -> int:
    """How many of these images have an Id whose hash is in `known`, the `id_hashes` of others."""
    return int(np.isin(_hashed(ids), known).sum())


def _hashed(ids: Sequence[str]) -> np.ndarray:
    heads = [hashlib.sha256(image_id.encode()).digest()[:8] for image_id in ids]
    return np.frombuffer(b"".join(heads), "<u8")
