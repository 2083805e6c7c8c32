"""What a build will write, found out before it writes anything: which fields, in which part, and what they are like.

Every field is decoded once for this (and once more when it is written): a fault that only decoding shows, and a field
that is nearly the same as another one, must be known before fields are dealt out to the parts.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.data import codec
from hpa_jax.errors import InputError
from hpa_jax.files import write_csv
from hpa_jax.labels import CHANNELS, LABELS
from tfds_builder.hpa.image_statistics import moments, statistics, survey
from tfds_builder.hpa.sources import Bar, Fault, Field, Source, no_bar
from tfds_builder.hpa.split import stratify
from tfds_builder.hpa.split.duplicates import (
    HASH_BYTES,
    by_first_appearance,
    group_numbers,
    near_duplicates,
    same_pixels,
)
from tfds_builder.hpa.split.reference import Neighbour

POLICIES = ("strict", "skip")
TEST, VALIDATION, TRAIN = "test", "validation", "train"
_TORN = (
    "has its like (near-duplicates, one antibody) in several parts of it; build this dataset first, "
    "and then {name} with --like this one"
)


@dataclass(frozen=True)
class Build:
    """What is asked for.

    Attributes:
      source: of the fields.
      codec: one of hpa_jax.data.codec.CODECS.
      policy: strict: the first fault ends the build; skip: faulty rows are left out and listed in rejects.csv.
      test: share of the held-out test part.
      folds: number of folds that the others are dealt out to; fold 0 is the part `validation`.
      seed: of the split.
      like: a built dataset, whose folds the near-duplicates of its fields are given.
    """

    source: Source
    codec: str = codec.CODECS[0]
    policy: str = POLICIES[0]
    test: float = 0.1
    folds: int = 5
    seed: int = 0
    like: Neighbour | None = None

    def settings(self) -> dict:
        """All that decides the bytes, as JSON: kept with the dataset and compared when a build is started again."""
        own = {name: getattr(self, name) for name in ("codec", "policy", "test", "folds", "seed")}
        return self.source.settings() | own | ({"like": self.like.settings()} if self.like else {})


class Placed(NamedTuple):
    """A field with its place in the dataset."""

    field: Field
    fold: int  # -1 in the test part
    group: int
    hash: bytes

    @property
    def part(self) -> str:
        return TEST if self.fold < 0 else TRAIN if self.fold else VALIDATION


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
      parts: the fields of each part that has any, in the source's order.
      statistics: intensities, as JSON (`survey.statistics`).
      duplicates: (Id, Id, Hamming distance of the hashes) of near-duplicates; one may be of the neighbour.
      rejects: the rows that were left out.
      notes: what the user should know of the split, a line each.
    """

    parts: dict[str, list[Placed]]
    statistics: dict
    duplicates: list[tuple[str, str, int]]
    rejects: list[Fault]
    notes: list[str]


def encoded(source: Source, codec_name: str, field: Field) -> bytes:
    """The field's image as it is stored. Encoding costs more than reading, so it belongs into the workers too."""
    return codec.encode(source.image(field), codec_name)


Map = Callable[[Callable, Iterable], Iterable]
"""An ordered map, as the built-in `map`, over processes for instance."""


def plan(build: Build, read: Map = map, bar: Bar = no_bar, survey_map: Map | None = None) -> Plan:
    """Lists, surveys, groups and splits.

    Args:
      read: over fields and pairs of fields.
      survey_map: instead of it for the survey alone, which is most of the work.

    Raises:
      InputError: the first fault where the policy is strict; a source of which nothing is left.
    """
    listed, faults = build.source.fields(bar)
    rows = len(listed) + len(faults)
    if faults and build.policy == "strict":
        others = (
            f" ({len(faults)} rows of {rows} are faulty; this is the first)"
            if len(faults) > 1
            else ""
        )
        raise InputError(str(faults[0]) + others)
    fields, hashes, sums = [], [], []
    histogram = np.zeros((len(CHANNELS), 256), np.int64)
    surveys = (survey_map or read)(functools.partial(survey, build.source), listed)
    for field, found in zip(bar(listed, "looking"), surveys, strict=True):
        if isinstance(found, Fault):
            if build.policy == "strict":
                raise found
            faults.append(found)
            continue
        fields.append(field)
        hashes.append(found.hash)
        histogram += found.histogram
        sums.append(moments(found.histogram))
    if not fields:
        raise InputError(
            f"none of the {rows} rows can be used; the first: {faults[0]}"
            if faults
            else "no fields"
        )

    duplicates, groups, fixed, torn = _group(build, fields, hashes, read)
    if torn:
        lost = [fields[i] for i in torn]
        apart = [
            Fault(field.id, build.like.name, _TORN.format(name=build.like.name)) for field in lost
        ]
        if build.policy == "strict":
            raise InputError(
                f"{apart[0]} ({len(apart)} fields of {len(fields)} do so; this is the first)"
            )
        faults += apart
        histogram -= sum(
            found.histogram for found in read(functools.partial(survey, build.source), lost)
        )
        kept = np.setdiff1d(np.arange(len(fields)), torn)
        fields, hashes, sums = ([column[i] for i in kept] for column in (fields, hashes, sums))
        groups, fixed = by_first_appearance(groups[kept]), fixed[kept]
        gone = {field.id for field in lost}
        duplicates = [pair for pair in duplicates if not gone & set(pair[:2])]
    notes = []
    if fixed is not None:
        notes.append(
            f"{np.count_nonzero(fixed != stratify.UNDECIDED)} fields go where their like in {build.like.name} are."
        )
    labels = [field.labels for field in fields]
    asked = {"test": build.test, "folds": build.folds}
    folds = stratify.split(labels, groups, len(LABELS), **asked, seed=build.seed, fixed=fixed)
    notes += stratify.forced(
        labels, groups, stratify.deviations(labels, groups, folds, len(LABELS), **asked)
    )
    placed = [
        Placed(*row) for row in zip(fields, folds.tolist(), groups.tolist(), hashes, strict=True)
    ]
    parts = {part: [p for p in placed if p.part == part] for part in (TRAIN, VALIDATION, TEST)}
    return Plan(
        parts={part: members for part, members in parts.items() if members},
        statistics=statistics(histogram, np.stack(sums), folds),
        duplicates=duplicates,
        rejects=faults,
        notes=notes,
    )


def _group(build: Build, fields: list[Field], hashes: list[bytes], read: Callable) -> tuple:
    """Near-duplicates, group numbers, the parts that the neighbour's fields decide (None: no neighbour), and which
    fields cannot have one part, since their like in the neighbour stand in several."""
    like, own = build.like, len(fields)
    members = [*fields, *range(len(like.ids))] if like else fields
    ids = [field.id for field in fields] + (like.ids if like else [])
    table = np.frombuffer(b"".join([*hashes, *(like.hashes if like else [])]), np.uint8)
    pairs = near_duplicates(
        table.reshape(len(ids), HASH_BYTES),
        functools.partial(_same, build.source, like),
        starmap=lambda same, found: read(same, [(members[a], members[b]) for a, b in found]),
    )
    families = [field.family for field in fields] + (like.families if like else [])
    groups = group_numbers(len(ids), pairs, families)
    duplicates = [(ids[pair.a], ids[pair.b], pair.distance) for pair in pairs if pair.a < own]
    if not like:
        return duplicates, groups, None, []
    decided = np.append(np.full(own, stratify.UNDECIDED), like.folds)
    apart = [groups[conflict.fields[0]] for conflict in stratify.conflicts(groups, decided)]
    fold_of = dict(zip(groups[own:].tolist(), like.folds, strict=True))
    fixed = np.array([fold_of.get(group, stratify.UNDECIDED) for group in groups[:own].tolist()])
    return (
        duplicates,
        by_first_appearance(groups[:own]),
        fixed,
        np.flatnonzero(np.isin(groups[:own], apart)).tolist(),
    )


def _same(source: Source, like: Neighbour | None, pair: tuple[Field | int, Field | int]) -> bool:
    """Whether two fields show the same on their pixels; an int is a position in the neighbour. In a worker process."""
    return same_pixels(
        *(like.image(one) if isinstance(one, int) else source.image(one) for one in pair)
    )


def write_tables(plan: Plan, folder: Path, manual_dir: Path | None) -> None:
    """fields.csv, duplicates.csv and rejects.csv, the last two where there is something to say.

    Files are named as below `manual_dir`: the same rejects on another machine are the same bytes.
    """
    places = [p for members in plan.parts.values() for p in members]
    write_csv(
        folder / "fields.csv",
        ("id", "part", "fold", "group", "family", "hash", "labels"),
        [
            (
                p.field.id,
                p.part,
                p.fold,
                p.group,
                p.field.family,
                p.hash.hex(),
                " ".join(map(str, p.field.labels)),
            )
            for p in places
        ],
    )
    if plan.duplicates:
        write_csv(folder / "duplicates.csv", ("a", "b", "distance"), plan.duplicates)
    if plan.rejects:
        rejects = [
            (fault.id, fault.file.removeprefix(f"{manual_dir}/"), fault.reason)
            for fault in plan.rejects
        ]
        write_csv(folder / "rejects.csv", ("id", "file", "reason"), rejects)
