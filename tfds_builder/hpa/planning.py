"""Everything a build finds out before it writes: its images, their groups, splits and statistics.

Each image is decoded once here and once more when it is written. Faults that only decoding shows,
and near-duplicates, must be known before images are assigned to splits.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hpa_jax.data import codec
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa import image_statistics
from tfds_builder.hpa.sources import Example, Fault, Listing, Progress, Source, no_progress
from tfds_builder.hpa.split import by_column, evenness, stratify
from tfds_builder.hpa.split.duplicates import (
    Pair,
    group_numbers,
    near_duplicates,
    renumber_groups,
)
from tfds_builder.hpa.split.perceptual import HASH_BYTES, Rule, same_pixels
from tfds_builder.hpa.split.reference import ReferenceDataset

POLICIES = ("strict", "skip")
TEST = "test"
VALIDATION = "validation"
TRAIN = "train"
UNLABELLED = "unlabelled"
"""The only split of a dataset whose labels nobody knows: no net learns from it. TFDS keeps the name
`all` for all splits together, by which this one is read."""

Map = Callable[[Callable, Iterable], Iterable]
"""An ordered map, like the built-in `map`; over processes, for instance."""


@dataclass(frozen=True)
class Build:
    """What is to be built.

    Attributes:
      source: of the images.
      codec: one of hpa_jax.data.codec.CODECS.
      policy: `strict` ends the build at the first fault; `skip` leaves faulty rows out and lists
        them in rejects.csv.
      test: fraction of the images in the held-out test split.
      folds: number of folds that all other images are assigned to; fold 0 is `validation`.
      seed: of the split.
      match_splits_of: a finished dataset; near-duplicates of its images get those images' folds.
      near_duplicates: what they are; None: they are not sought, and group keys alone make groups.
      allow_uneven_splits: whether splits may be out of the bounds of `split.evenness`.
    """

    source: Source
    codec: str = codec.CODECS[0]
    policy: str = POLICIES[0]
    test: float = 0.1
    folds: int = 5
    seed: int = 0
    match_splits_of: ReferenceDataset | None = None
    near_duplicates: Rule | None = Rule()
    allow_uneven_splits: bool = False

    def settings(self) -> dict:
        """All that determines the bytes, as JSON.

        It is stored in metadata.json and compared when the build is started again.
        """
        settings = self.source.settings()
        for name in ("codec", "policy", "test", "folds", "seed"):
            settings[name] = getattr(self, name)
        settings["near_duplicates"] = "on" if self.near_duplicates else "off"
        if self.near_duplicates:
            settings["duplicate_bits"] = self.near_duplicates.bits
            settings["duplicate_correlation"] = self.near_duplicates.correlation
        if self.match_splits_of:
            settings["match_splits_of"] = self.match_splits_of.settings()
        return settings


class Placed(NamedTuple):
    """An example with its place in the dataset.

    Attributes:
      example: as the source lists it.
      fold: -1 in the test split.
      group: number of its group; see `split.duplicates.group_numbers`.
      hash: its `perceptual_hash`.
    """

    example: Example
    fold: int
    group: int
    hash: bytes

    @property
    def split(self) -> str:
        """Name of the split."""
        if not self.example.labels_known:
            return UNLABELLED
        if self.fold < 0:
            return TEST
        return TRAIN if self.fold else VALIDATION


@dataclass(frozen=True)
class Plan:
    """What a build writes.

    Attributes:
      splits: the images of each split that has any, in the source's order.
      statistics: as JSON; see `image_statistics.dataset_statistics`.
      duplicates: (Id, Id, bits that differ in the hashes of the channels that both have) of
        near-duplicates; the second may be of the reference dataset.
      rejects: the rows that were left out.
      notes: what the user should know about the images and the split, a line each.
      pixel_size: micrometres a pixel of the images as they are read, as their files say; None if
        they do not.
    """

    splits: dict[str, list[Placed]]
    statistics: dict
    duplicates: list[tuple[str, str, int]]
    rejects: list[Fault]
    notes: list[str]
    pixel_size: float | None = None


class _Measured(NamedTuple):
    """Examples that decode, with what was measured of each."""

    examples: list[Example]
    hashes: list[bytes]
    sums: list[np.ndarray]
    histogram: np.ndarray

    def without(self, positions: list[int], histogram: np.ndarray) -> "_Measured":
        """Removes the examples in these positions, and their `histogram` from the total."""
        kept = np.setdiff1d(np.arange(len(self.examples)), positions)
        return _Measured(
            [self.examples[i] for i in kept],
            [self.hashes[i] for i in kept],
            [self.sums[i] for i in kept],
            self.histogram - histogram,
        )


class _Grouping(NamedTuple):
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


def encode_image(source: Source, codec_name: str, example: Example) -> bytes:
    """Reads an image and encodes it as it is stored.

    Encoding costs more than reading, so the worker processes do both.
    """
    return codec.encode(source.image(example), codec_name)


def plan(
    build: Build,
    read: Map = map,
    progress: Progress = no_progress,
    measure_map: Map | None = None,
) -> Plan:
    """Lists, measures, groups and splits the images of a build.

    Args:
      build: what is to be built.
      read: maps over examples and pairs of examples.
      progress: shows how far it is.
      measure_map: used instead of `read` for measuring, which is most of the work.

    Raises:
      InputError: the first fault if the policy is strict; no image is left; or the splits are out
        of bounds.
    """
    listing = _list(build, progress)
    rows = len(listing.examples) + len(listing.faults)
    measured, faults = _measure(build, listing, measure_map or read, progress)
    rejects = listing.faults + faults
    if not measured.examples:
        if rejects:
            raise InputError(f"none of the {rows} rows can be used; the first: {rejects[0]}")
        raise InputError("no images")

    _check_split_source(build, measured.examples)
    grouping = _group(build, measured.examples, measured.hashes, read)
    if grouping.conflicting:
        rejects += _conflict_faults(build, grouping, measured.examples)
        measured, grouping = _without_conflicts(build, measured, grouping, read)
    found = _assign(build, measured, grouping, rejects)
    notes = [*listing.notes, *found.notes]
    return replace(found, notes=notes, pixel_size=listing.pixel_size)


def _check_split_source(build: Build, examples: list[Example]) -> None:
    """Refuses a reference dataset where something else decides the splits."""
    if not build.match_splits_of:
        return
    if examples[0].split:
        raise InputError(
            "--split_column and --match_splits_of both decide the splits; leave one of them out"
        )
    if not examples[0].labels_known:
        raise InputError(
            "images without labels are in no split; leave --match_splits_of out, or give labels"
        )


def _list(build: Build, progress: Progress) -> Listing:
    """The source's rows; raises its first fault if the policy is strict."""
    listing = build.source.examples(progress)
    faults = listing.faults
    if not faults or build.policy != "strict":
        return listing
    message = str(faults[0])
    if len(faults) > 1:
        rows = len(listing.examples) + len(faults)
        message += f" ({len(faults)} rows of {rows} are faulty; this is the first)"
    raise InputError(message)


def _measure(
    build: Build, listing: Listing, measure_map: Map, progress: Progress
) -> tuple[_Measured, list[Fault]]:
    """Decodes all examples; returns the good ones and the faults of the others."""
    good = _Measured([], [], [], np.zeros((len(CHANNELS), 256), np.int64))
    faults = []
    measure = functools.partial(image_statistics.measure, build.source)
    results = measure_map(measure, listing.examples)
    for example, result in zip(progress(listing.examples, "decoding"), results, strict=True):
        if isinstance(result, Fault):
            if build.policy == "strict":
                raise result
            faults.append(result)
            continue
        good.examples.append(example)
        good.hashes.append(result.hash)
        good.sums.append(image_statistics.moments(result.histogram))
        np.add(good.histogram, result.histogram, out=good.histogram)
    return good, faults


def _group(build: Build, examples: list[Example], hashes: list[bytes], read: Map) -> _Grouping:
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
        return _Grouping(duplicates, groups)
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
) -> _Grouping:
    """Gives each example the fold that its group has in the reference dataset."""
    own = len(groups) - len(reference_folds)
    decided = np.append(np.full(own, stratify.UNDECIDED), reference_folds)
    torn = [groups[conflict.images[0]] for conflict in stratify.conflicts(groups, decided)]
    fold_of = dict(zip(groups[own:].tolist(), reference_folds, strict=True))
    fixed = [fold_of.get(group, stratify.UNDECIDED) for group in groups[:own].tolist()]
    return _Grouping(
        duplicates,
        renumber_groups(groups[:own]),
        np.array(fixed),
        tuple(np.flatnonzero(np.isin(groups[:own], torn)).tolist()),
    )


def _conflict_faults(build: Build, grouping: _Grouping, examples: list[Example]) -> list[Fault]:
    """A fault for each conflicting example; raises the first if the policy is strict."""
    name = build.match_splits_of.name
    reason = (
        "has its near-duplicates or its group in several splits of it; build this dataset first, "
        f"and then {name} with --match_splits_of this one"
    )
    faults = [Fault(examples[i].id, name, reason) for i in grouping.conflicting]
    if build.policy == "strict":
        raise InputError(
            f"{faults[0]} ({len(faults)} images of {len(examples)} do so; this is the first)"
        )
    return faults


def _without_conflicts(
    build: Build, measured: _Measured, grouping: _Grouping, read: Map
) -> tuple[_Measured, _Grouping]:
    """Removes the conflicting examples, which have to be decoded again for their histograms."""
    dropped = [measured.examples[i] for i in grouping.conflicting]
    measure = functools.partial(image_statistics.measure, build.source)
    histogram = sum(result.histogram for result in read(measure, dropped))
    kept = np.setdiff1d(np.arange(len(measured.examples)), grouping.conflicting)
    ids = {example.id for example in dropped}
    remaining = _Grouping(
        [pair for pair in grouping.duplicates if not ids & set(pair[:2])],
        renumber_groups(grouping.groups[kept]),
        grouping.fixed[kept],
    )
    return measured.without(list(grouping.conflicting), histogram), remaining


def _assign(build: Build, measured: _Measured, grouping: _Grouping, rejects: list[Fault]) -> Plan:
    """Assigns the images to splits."""
    examples = measured.examples
    if not examples[0].labels_known:
        folds = np.full(len(examples), stratify.TEST)
        notes = ["nobody knows the labels: all images are in the split `all`, to predict on."]
        return _lay_out(measured, grouping, folds, rejects, notes)
    if examples[0].split:
        return _assign_by_column(build, measured, grouping, rejects)
    vocabulary = build.source.vocabulary.labels
    labels = [example.labels for example in examples]
    sizes = {"test": build.test, "folds": build.folds}
    folds = stratify.split(
        labels,
        grouping.groups,
        len(vocabulary),
        **sizes,
        seed=build.seed,
        fixed=grouping.fixed,
    )
    notes = []
    if grouping.fixed is not None:
        matched = np.count_nonzero(grouping.fixed != stratify.UNDECIDED)
        name = build.match_splits_of.name
        notes.append(f"{matched} images follow their near-duplicates in {name}.")
    deviations = stratify.deviations(labels, grouping.groups, folds, len(vocabulary), **sizes)
    if not build.allow_uneven_splits:
        evenness.check_even(
            deviations, examples, grouping.groups, grouping.duplicates, build.near_duplicates
        )
    notes += stratify.explain_deviations(labels, grouping.groups, deviations, vocabulary)
    return _lay_out(measured, grouping, folds, rejects, notes)


def _assign_by_column(
    build: Build, measured: _Measured, grouping: _Grouping, rejects: list[Fault]
) -> Plan:
    """The source's splits, whatever lies on both sides of them; that is reported."""
    examples = measured.examples
    folds = by_column.assign_folds(
        examples,
        grouping.groups,
        len(build.source.vocabulary.labels),
        folds=build.folds,
        seed=build.seed,
    )
    notes = by_column.describe_crossings(examples, grouping.duplicates)
    apart = by_column.separate_groups(grouping.groups, folds)
    return _lay_out(measured, grouping._replace(groups=apart), folds, rejects, notes)


def _lay_out(
    measured: _Measured,
    grouping: _Grouping,
    folds: np.ndarray,
    rejects: list[Fault],
    notes: list[str],
) -> Plan:
    """The plan of images whose folds are decided."""
    splits: dict[str, list[Placed]] = {TRAIN: [], VALIDATION: [], TEST: [], UNLABELLED: []}
    columns = measured.examples, folds.tolist(), grouping.groups.tolist(), measured.hashes
    for row in zip(*columns, strict=True):
        placed = Placed(*row)
        splits[placed.split].append(placed)
    return Plan(
        splits={name: members for name, members in splits.items() if members},
        statistics=image_statistics.dataset_statistics(
            measured.histogram, np.stack(measured.sums), folds
        ),
        duplicates=grouping.duplicates,
        rejects=rejects,
        notes=notes,
    )
