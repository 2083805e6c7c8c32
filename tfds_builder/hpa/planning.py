"""Everything a build finds out before it writes: its images, their groups, splits and statistics.

Each image is decoded once here and once more when it is written. Faults that only decoding shows,
and near-duplicates, must be known before images are assigned to splits.
"""

import functools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hpa_jax.data import codec
from hpa_jax.data.masks import encode_masks
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa import image_statistics
from tfds_builder.hpa.assignment import Assignment, assign_splits, labels_known
from tfds_builder.hpa.build import TEST, TRAIN, UNLABELLED, VALIDATION, Build, Map, Placed, Plan
from tfds_builder.hpa.grouping import Grouping, group_examples
from tfds_builder.hpa.sources import (
    Example,
    Fault,
    Listing,
    Progress,
    Source,
    has_masks,
    no_progress,
)
from tfds_builder.hpa.split.duplicates import renumber_groups

# Images that are looked at before all others, if there are many more.
_JUDGED_EARLY = 32
_MANY = 256


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


def encode_arrays(source: Source, codec_name: str, example: Example) -> dict[str, bytes]:
    """Reads an image, and its masks where the source has some, and encodes them as stored.

    Encoding costs more than reading, so the worker processes do both.

    Returns:
      the features `image` and, of a source with masks, `masks`.
    """
    encoded = {"image": codec.encode(source.image(example), codec_name)}
    if has_masks(source):
        encoded["masks"] = encode_masks(source.instance_masks(example), codec_name)
    return encoded


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
    listing, unplaced = _place(build, listing)
    _judge_some(build, listing, read)
    measured, faults, judged = _measure(build, listing, measure_map or read, progress)
    rejects = listing.faults + unplaced + faults
    if not measured.examples:
        if rejects:
            raise InputError(f"none of the {rows} rows can be used; the first: {rejects[0]}")
        raise InputError("no images")

    _check_split_source(build, measured.examples)
    grouping = group_examples(build, measured.examples, measured.hashes, read)
    if grouping.conflicting:
        rejects += _conflict_faults(build, grouping, measured.examples)
        measured, grouping = _without_conflicts(build, measured, grouping, read)
    assigned = assign_splits(build, measured.examples, grouping)
    found = _lay_out(measured, grouping, assigned, rejects)
    notes = [*listing.notes, *judged, *found.notes]
    return replace(found, notes=notes, pixel_size=listing.pixel_size)


def _check_split_source(build: Build, examples: list[Example]) -> None:
    """Refuses a reference dataset where something else decides the splits."""
    if not build.match_splits_of:
        return
    if examples[0].split:
        raise InputError(
            f"{build.split_flag} and --match_splits_of both decide the splits; leave one of them "
            "out"
        )
    if not labels_known(examples).any():
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


def _place(build: Build, listing: Listing) -> tuple[Listing, list[Fault]]:
    """The listing with the splits of public lists, and what they do not place.

    Such an image is not at fault: it is left out under any policy.
    """
    if not build.split:
        return listing, []
    examples, unplaced, notes = build.split.place(listing.examples)
    return listing._replace(examples=examples, notes=(*listing.notes, *notes)), unplaced


def _judge_some(build: Build, listing: Listing, read: Map) -> None:
    """Asks what a few images make one ask, before hours of decoding all of them."""
    if len(listing.examples) < _MANY:
        return
    step = len(listing.examples) // _JUDGED_EARLY
    measure = functools.partial(image_statistics.measure, build.source)
    results = read(measure, listing.examples[::step])
    build.source.judge([one.largest for one in results if not isinstance(one, Fault)])


def _measure(
    build: Build, listing: Listing, measure_map: Map, progress: Progress
) -> tuple[_Measured, list[Fault], list[str]]:
    """Decodes all examples; returns the good ones, the faults of the others, and notes."""
    good = _Measured([], [], [], np.zeros((len(CHANNELS), 256), np.int64))
    faults = []
    largest = []
    odd = image_statistics.OddImages()
    measure = functools.partial(image_statistics.measure, build.source)
    results = measure_map(measure, listing.examples)
    for example, result in zip(progress(listing.examples, "decoding"), results, strict=True):
        if isinstance(result, Fault):
            if build.policy == "strict":
                raise result
            faults.append(result)
            continue
        good.examples.append(example)
        largest.append(result.largest)
        odd.add(example.original_id or example.id, result.histogram)
        good.hashes.append(result.hash)
        good.sums.append(image_statistics.moments(result.histogram))
        np.add(good.histogram, result.histogram, out=good.histogram)
    if not good.examples:
        return good, faults, []
    judged = build.source.judge(largest, good.histogram)
    return good, faults, judged + odd.notes()


def _conflict_faults(build: Build, grouping: Grouping, examples: list[Example]) -> list[Fault]:
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
    build: Build, measured: _Measured, grouping: Grouping, read: Map
) -> tuple[_Measured, Grouping]:
    """Removes the conflicting examples, which have to be decoded again for their histograms."""
    dropped = [measured.examples[i] for i in grouping.conflicting]
    measure = functools.partial(image_statistics.measure, build.source)
    histogram = sum(result.histogram for result in read(measure, dropped))
    kept = np.setdiff1d(np.arange(len(measured.examples)), grouping.conflicting)
    ids = {example.id for example in dropped}
    remaining = Grouping(
        [pair for pair in grouping.duplicates if not ids & set(pair[:2])],
        renumber_groups(grouping.groups[kept]),
        grouping.fixed[kept],
    )
    return measured.without(list(grouping.conflicting), histogram), remaining


def _lay_out(
    measured: _Measured, grouping: Grouping, found: Assignment, rejects: list[Fault]
) -> Plan:
    """The plan of images that are assigned to splits."""
    splits: dict[str, list[Placed]] = {TRAIN: [], VALIDATION: [], TEST: [], UNLABELLED: []}
    columns = measured.examples, found.folds.tolist(), found.groups.tolist(), measured.hashes
    for row in zip(*columns, strict=True):
        placed = Placed(*row)
        splits[placed.split].append(placed)
    return Plan(
        splits={name: members for name, members in splits.items() if members},
        statistics=image_statistics.dataset_statistics(
            measured.histogram, np.stack(measured.sums), found.folds
        ),
        duplicates=grouping.duplicates,
        rejects=rejects,
        notes=found.notes,
    )
