"""The two tables of S-BIAD2443 joined into one: Ids, the 28 labels, split, antibody and others.

The tables, as FINO and Cell-DINO read them:
  Master_fovHPA_512.csv       a row an image: Path, ID, source (Website or Kaggle), cell_type,
                              protein_location, and a column for each of the 28 labels of 2018 with
                              True and False
  whole_images_512_train.csv  the images to train on: file

An image's Id is the name of its file without folder and suffix. One of the Atlas's website is named
ANTIBODY_PLATE_WELL_FIELD; those of the challenge have names that say nothing. An image is in
`train` if its file is in the second table, and else in `test`, as FINO has it. An antibody may have
images on both sides of this split: the build says how many do.
"""

import csv
import io
from collections import Counter
from pathlib import PurePosixPath
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2018
from tfds_builder.hpa.lists.catalog import MASTER, TRAINED_ON

SPLITS = ("published", "own")
"""As the tables have it; as the builder divides images of which no table says where they go."""

GROUPS = ("antibody", "plate", "cell_line")
"""Columns of the joined table that can be group keys."""

_SOURCES = ("Website", "Kaggle")
_COLUMNS = ("Id", "split", "antibody", "plate", "well", "cell_line")
_PARTS = 3  # of a name of the website: antibody, plate and well


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
    seen = set()
    of_source: Counter[str] = Counter()
    for row in rows:
        source = (row["source"] or "").strip()
        of_source[source] += 1
        if source not in _SOURCES:
            continue
        id = _stem(row["Path"])
        seen.add(id)
        split = "train" if id in train else "test"
        facts = [id, split, *_parts(id, source), row["cell_type"]]
        writer.writerow([*facts, *(row[name] for name in names)])
    if not seen & train:
        raise InputError(
            f"{where}: no file of {TRAINED_ON} is in {MASTER}; they are of two studies, or one of "
            "them was changed"
        )
    notes = []
    foreign = sum(number for source, number in of_source.items() if source not in _SOURCES)
    if foreign:
        notes.append(
            f"{foreign} rows of {MASTER} are of neither {' nor '.join(_SOURCES)}, and left out."
        )
    if train - seen:
        notes.append(f"{len(train - seen)} files of {TRAINED_ON} are in no row of {MASTER}.")
    return Joined(text.getvalue().encode(), tuple(notes))


def _rows(data: bytes, where: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a table that must have these columns."""
    try:
        text = data.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), strict=True)
        header = reader.fieldnames or []
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(
                f"{where} has no column {missing[0]} in its first line; fetch it again: python -m "
                "tfds_builder.hpa.lists --list=s_biad2443"
            )
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{where}, line {reader.line_num}: has another number of columns than the "
                    "first line; fetch it again"
                )
            rows.append(row)
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 (byte {error.start}); fetch it again") from None
    except csv.Error as error:
        raise InputError(f"{where} cannot be read ({error}); fetch it again") from None
    if not rows:
        raise InputError(f"{where} has no rows; fetch it again")
    return rows


def _stem(path: str) -> str:
    """The name of a file without its folder and suffix."""
    return PurePosixPath(path.strip()).stem


def _parts(id: str, source: str) -> list[str]:
    """Antibody, plate and well of an image of the website; empty for one of the challenge."""
    if source != "Website":
        return [""] * _PARTS
    parts = id.split("_")[:_PARTS]
    return parts + [""] * (_PARTS - len(parts))
