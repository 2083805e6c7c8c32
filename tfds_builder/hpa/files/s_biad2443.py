"""The two tables of S-BIAD2443 joined into one: Ids, the 28 labels, split, antibody and others.

The tables, as FINO and Cell-DINO read them:
  Master_fovHPA_512.csv       a row an image: Path, ID, source (Website or Kaggle), cell_type,
                              protein_location, and a column for each of the 28 labels of 2018 with
                              True and False
  whole_images_512_train.csv  the images to train on: file

An image's Id is the name of its file without folder and suffix. One of the Atlas's website is named
ANTIBODY_PLATE_WELL_FIELD; those of the challenge have names that say nothing. An image is in
`train` if its file is in the second table, and else in `test`, as FINO has it. Of several rows of
one image the first counts, as for FINO. An antibody may have images on both sides of this split:
the build says how many do.
"""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2018
from tfds_builder.hpa.files.csv_rows import Row
from tfds_builder.hpa.lists.catalog import MASTER, TRAINED_ON

SPLITS = ("published", "own")
"""As the tables have it; as the builder divides images of which no table says where they go."""

GROUPS = ("antibody", "plate", "cell_line")
"""Columns of the joined table that can be group keys."""

_SOURCES = ("Website", "Kaggle")
_COLUMNS = ("Id", "split", "antibody", "plate", "well", "cell_line")
_PARTS = 3  # of a name of the website: antibody, plate and well
_OF_WEBSITE = re.compile(r"[0-9]+_[A-Za-z0-9]+_[A-Za-z0-9]+_[A-Za-z0-9_-]+")


class Joined(NamedTuple):
    """The two tables as one.

    Attributes:
      data: a csv: Id, split, antibody, plate, well, cell_line, and a column for each of the 28.
      notes: what the user should know, a line each.
    """

    data: bytes
    notes: tuple[str, ...]


def join(master: bytes, trained_on: bytes, where: str) -> Joined:
    """Joins the tables.

    Args:
      master: Master_fovHPA_512.csv.
      trained_on: whole_images_512_train.csv.
      where: their folder, for messages.

    Raises:
      InputError: one of them is no such table, or they have no image in common.
    """
    names = [label.casefold() for label in HPA_2018.labels]
    rows = _rows(master, f"{where}/{MASTER}", ("Path", "source", "cell_type", *names))
    train = {_stem(row["file"]) for row in _rows(trained_on, f"{where}/{TRAINED_ON}", ("file",))}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *HPA_2018.labels])
    labels_of: dict[str, str] = {}
    repeated = 0
    contradicted = 0
    of_source: Counter[str] = Counter()
    for row in rows:
        source = (row["source"] or "").strip()
        of_source[source] += 1
        if source not in _SOURCES:
            continue
        id = _stem(row["Path"])
        cells = [row[name] for name in names]
        labels = " ".join(cells)
        if id in labels_of:
            repeated += 1
            contradicted += labels != labels_of[id]
            continue
        # One text for all images with these labels.
        labels_of[id] = sys.intern(labels)
        split = "train" if id in train else "test"
        writer.writerow([id, split, *_parts(id, source), row["cell_type"], *cells])
    seen = labels_of.keys()
    if not seen & train:
        raise InputError(
            f"{where}: no file of {TRAINED_ON} is in {MASTER}; they are of two studies, or one of "
            "them was changed"
        )
    notes = []
    if repeated:
        notes.append(
            f"{repeated} rows of {MASTER} are of an image that an earlier row has, {contradicted} "
            "of them with other labels; the first counts."
        )
    foreign = sum(number for source, number in of_source.items() if source not in _SOURCES)
    if foreign:
        notes.append(
            f"{foreign} rows of {MASTER} are of neither {' nor '.join(_SOURCES)}, and left out."
        )
    if train - seen:
        notes.append(f"{len(train - seen)} files of {TRAINED_ON} are in no row of {MASTER}.")
    return Joined(text.getvalue().encode(), tuple(notes))


def is_master(data: bytes) -> bool:
    """Whether a csv is Master_fovHPA_512.csv, by columns that a list of Ids does not have."""
    first, _, _ = data.partition(b"\n")
    header = next(csv.reader([first.decode("utf-8-sig", "replace")]), [])
    return {"Path", "source", "cell_type"} <= set(header)


def website_rows(master: bytes, where: str) -> list[Row]:
    """The images of the Atlas's website in Master_fovHPA_512.csv, by Id, for their download.

    Those whose names are not ANTIBODY_PLATE_WELL_FIELD have no address and are not among them.

    Args:
      master: the table.
      where: its path, for messages.

    Raises:
      InputError: it is no such table, or has no such image.
    """
    names = [label.casefold() for label in HPA_2018.labels]
    found: dict[str, Row] = {}
    for row in _rows(master, where, ("Path", "source", *names)):
        id = _stem(row["Path"])
        if row["source"] == "Website" and _OF_WEBSITE.fullmatch(id):
            labels = [number for number, name in enumerate(names) if row[name] == "True"]
            found.setdefault(id, Row(id, tuple(labels)))
    if not found:
        raise InputError(f"{where} has no image of the Atlas's website; fetch it again")
    return [found[id] for id in sorted(found)]


def _rows(data: bytes, where: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a table that must have these columns, one after the other: there are many."""
    count = 0
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
        reader = csv.DictReader(text, strict=True)
        header = reader.fieldnames or []
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(
                f"{where} has no column {missing[0]} in its first line; fetch it again: python -m "
                "tfds_builder.hpa.lists --list=s_biad2443"
            )
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{where}, line {reader.line_num}: has another number of columns than the "
                    "first line; fetch it again"
                )
            count += 1
            yield row
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8; fetch it again") from None
    except csv.Error as error:
        raise InputError(f"{where} cannot be read ({error}); fetch it again") from None
    if not count:
        raise InputError(f"{where} has no rows; fetch it again")


def _stem(path: str) -> str:
    """The name of a file without its folder and suffix."""
    return PurePosixPath(path.strip()).stem


def _parts(id: str, source: str) -> list[str]:
    """Antibody, plate and well of an image of the website; empty for one of the challenge."""
    if source != "Website":
        return [""] * _PARTS
    parts = id.split("_")[:_PARTS]
    return parts + [""] * (_PARTS - len(parts))
