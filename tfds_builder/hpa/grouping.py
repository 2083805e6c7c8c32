"""Which images belong together: near-duplicates, and those that share a group key."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tfds_builder.hpa.build import Build, Map
from tfds_builder.hpa.sources import Example, Source
from tfds_builder.hpa.split import stratify
from tfds_builder.hpa.split.duplicates import (
    Pair,
    group_numbers,
    near_duplicates,
    renumber_groups,
)
from tfds_builder.hpa.split.perceptual import HASH_BYTES, same_pixels
from tfds_builder.hpa.split.reference import ReferenceDataset


class Grouping(NamedTuple):
    """How the examples hang together.

    Attributes:
      duplicates: see `Plan.duplicates`.
      groups: int64 [N].
      fixed: int64 [N], the fold that the reference dataset decides, or `stratify.UNDECIDED`; None
        without a reference dataset.
      conflicting: positions of examples whose group has several folds in the reference dataset.
    """

    duplicates: list[tuple[str, str, int]]
    groups: np.ndarray
    fixed: np.ndarray | None = None
    conflicting: tuple[int, ...] = ()


def group_examples(
    build: Build, examples: list[Example], hashes: list[bytes], read: Map
) -> Grouping:
    """Finds near-duplicates, and groups them with the images that share a group key.

    The images of the reference dataset, if there is one, come after the examples.
    """
    reference = build.match_splits_of
    members: list[Example | int] = list(examples)
    ids = [example.id for example in examples]
    keys = [example.group_key for example in examples]
    all_hashes = list(hashes)
    if reference:
        # An int stands for an image of the reference dataset, by its position there.
        members += range(len(reference.ids))
        ids += reference.ids
        keys += reference.group_keys
        all_hashes += reference.hashes

    def confirm(same: Callable, candidates: list[tuple[int, int]]) -> Iterable[bool]:
        return read(same, [(members[a], members[b]) for a, b in candidates])

    rule = build.near_duplicates
    pairs = []
    if rule:
        table = np.frombuffer(b"".join(all_hashes), np.uint8).reshape(len(ids), HASH_BYTES)
        same = functools.partial(_same_pixels, build.source, reference, rule.correlation)
        pairs = near_duplicates(table, same, bits=rule.bits, starmap=confirm)
    groups = group_numbers(len(ids), pairs, keys)
    duplicates = _named_pairs(pairs, ids, len(examples))
    if not reference:
        return Grouping(duplicates, groups)
    return _match_folds(duplicates, groups, reference.folds)


def _named_pairs(pairs: list[Pair], ids: list[str], own: int) -> list[tuple[str, str, int]]:
    """The pairs of which one or both are among the first `own` images, by Id."""
    named = []
    for pair in pairs:
        # `a` is the lower position: a pair of the reference dataset's own images has both above.
        if pair.a < own:
            named.append((ids[pair.a], ids[pair.b], pair.distance))
    return named


def _same_pixels(
    source: Source,
    reference: ReferenceDataset | None,
    correlation: float,
    pair: tuple[Example | int, Example | int],
) -> bool:
    """Whether two images are near-duplicates on their pixels; runs in a worker process."""
    images = []
    for member in pair:
        from_reference = isinstance(member, int)
        images.append(reference.image(member) if from_reference else source.image(member))
    return same_pixels(*images, correlation)


def _match_folds(
    duplicates: list[tuple[str, str, int]], groups: np.ndarray, reference_folds: list[int]
) -> Grouping:
    """Gives each example the fold that its group has in the reference dataset."""
    own = len(groups) - len(reference_folds)
    decided = np.append(np.full(own, stratify.UNDECIDED), reference_folds)
    torn = [groups[conflict.images[0]] for conflict in stratify.conflicts(groups, decided)]
    fold_of = dict(zip(groups[own:].tolist(), reference_folds, strict=True))
    fixed = [fold_of.get(group, stratify.UNDECIDED) for group in groups[:own].tolist()]
    return Grouping(
        duplicates,
        renumber_groups(groups[:own]),
        np.array(fixed),
        tuple(np.flatnonzero(np.isin(groups[:own], torn)).tolist()),
    )
