"""A source of a csv and image files; `layouts.py` lists the kinds there are.

The order of the rows in the csv has no meaning: examples are sorted by Id.

Design: every file's header is checked before a build starts, so that a missing or foreign file
among 124,288 shows within seconds and not after an hour. Path and kind of store (a folder or a zip)
are no settings: they change no bytes.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images import store
from hpa_jax.images.open_store import open_below, open_store
from hpa_jax.images.resize import resize, scaled_size
from hpa_jax.images.store import Refused, Store
from hpa_jax.images.zip_file import Zip
from hpa_jax.labels import CHANNELS, HPA_2018, LABEL_SETS, Vocabulary
from tfds_builder.hpa.files import csv_rows, csv_table
from tfds_builder.hpa.files.csv_columns import Columns
from tfds_builder.hpa.files.image_files import Headers, ImageFiles, fault
from tfds_builder.hpa.files.said import Said, judge_floats, judge_ranges
from tfds_builder.hpa.sources import (
    Example,
    Fault,
    Listing,
    Progress,
    SourceImage,
    no_progress,
)

# Micrometres a pixel of the Atlas's images (SubCellPortable expects 0.0800885).
ATLAS_PIXEL_SIZE = 0.08
_ANTIBODY = re.compile(r"(\d+)_")
_TABLES = (".csv", ".tsv", ".txt")
_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


@dataclass(frozen=True)
class Files:
    """A csv and image files.

    Attributes:
      layout: name of the source, in its settings.
      manual_dir: the folder or zip file.
      csv: name of the csv in it.
      images: names of the image files, and how they are read.
      edge: length of the longer side after resizing; 0 for the original size.
      pixel_size: micrometres a pixel of the files, None if unknown.
      rescale: whether images are resized to the Atlas's pixel size.
      columns: of the csv.
      antibodies: whether the digits before the first `_` of an Id are its group key.
      labels: the vocabulary that was asked for; None for that of the challenge of 2018, if nothing
        in the csv makes one doubt it.
      no_label: what a row without a label is, one of csv_rows.NO_LABEL.
      follow_links: whether files may be links to anywhere.
    """

    layout: str
    manual_dir: Path
    csv: str
    images: ImageFiles
    edge: int = 0
    pixel_size: float | None = None
    rescale: bool = False
    columns: Columns = Columns()
    antibodies: bool = False
    labels: Vocabulary | None = None
    no_label: str = csv_rows.NO_LABEL[0]
    follow_links: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        """See `Source.vocabulary`."""
        return self.labels or HPA_2018

    def settings(self) -> dict:
        """See `Source.settings`. The csv by its digest: other rows are another dataset."""
        files, _ = self._stores()
        digest = hashlib.sha256(self._read_csv(files)).hexdigest()
        settings = {"source": self.layout, "csv_sha256": digest, "edge": self.edge}
        settings |= self.images.rule.settings()
        if self.layout == "folder":
            settings["channels"] = dict(zip(CHANNELS, self.images.names, strict=True))
            columns = self.columns
            settings["pattern"] = None if columns.paths else self.images.patterns[0]
            settings["columns"] = [columns.id, columns.labels, columns.group]
            settings["pixel_size"] = self.pixel_size
            settings["rescaled_to"] = ATLAS_PIXEL_SIZE if self.rescale else None
        return settings | self._unusual_settings()

    def _unusual_settings(self) -> dict:
        """What most builds do not set: without it their settings are those of older versions."""
        settings = {}
        columns = self.columns
        if columns.split:
            settings["split_column"] = columns.split
        if columns.paths:
            settings["path_columns"] = dict(zip(CHANNELS, columns.paths, strict=True))
        if self.images.order:
            settings["channel_order"] = list(self.images.order)
        if columns.label_columns:
            settings["label_columns"] = list(columns.label_columns)
        if columns.unlabelled:
            settings["unlabelled"] = True
        if self.no_label != csv_rows.NO_LABEL[0]:
            settings["no_label"] = self.no_label
        if self.vocabulary != HPA_2018:
            settings["labels"] = self.vocabulary.name
        if self.vocabulary.name not in LABEL_SETS:
            names = "\n".join(self.vocabulary.labels)
            settings["labels_sha256"] = hashlib.sha256(names.encode()).hexdigest()
        return settings

    def label_names(self) -> list[str]:
        """Names of all labels in the csv; see `csv_table.label_names`."""
        files, _ = self._stores()
        reading = csv_rows.Reading(self.columns, None)
        return csv_table.label_names(self._read_csv(files), files.where(self.csv), reading)

    def examples(self, progress: Progress = no_progress) -> Listing:
        """Reads the csv and checks the headers of all files; see `Source.examples`."""
        files, image_files = self._stores()
        reading = csv_rows.Reading(
            self.columns,
            self.vocabulary,
            self.no_label,
            ask=self.labels is None,
            folder=files.path,
        )
        rows, faults = csv_table.read(self._read_csv(files), files.where(self.csv), reading)
        examples = []
        said = Said()
        for row in progress(rows, "checking"):
            example = self._example(row, len(examples))
            try:
                said.add(self._check(image_files, example))
            except Fault as found:
                if not examples and not faults:
                    found = self._with_neighbour(found, example, image_files)
                faults.append(found)
                continue
            examples.append(example)
        where = files.where("").rstrip("/")
        white = self.images.rule.white
        said.check_white(white, where)
        notes = said.notes(white, self.pixel_size)
        if where != str(self.manual_dir):
            notes.append(f"{self.csv} lies in {where}, which is read.")
        return Listing(examples, faults, tuple(notes), said.pixel_size())

    def _with_neighbour(self, found: Fault, example: Example, image_files: Store) -> Fault:
        """Where no channel of an image is there, a file that is there shows how names differ."""
        start = image_files.where("")
        if not found.reason.startswith("is missing") or not found.file.startswith(start):
            return found
        own = self.images.of(image_files, example).values()
        if example.files or any(map(image_files.has, own)):
            return found
        folder, _, _ = found.file.removeprefix(start).lstrip("/").rpartition("/")
        neighbour = image_files.first_in(folder)
        if not neighbour:
            return found
        shown = neighbour if neighbour.isprintable() else repr(neighbour)
        reason = f"is missing, and {shown} lies there; put the names right, or take its row out"
        if self.layout == "folder":
            reason = (
                f"is missing, and {shown} lies there; put --pattern and --channels right, or take "
                "its row out"
            )
        return Fault(found.id, found.file, reason)

    def _example(self, row: csv_rows.Row, index: int) -> Example:
        antibody = _ANTIBODY.match(row.id) if self.antibodies else None
        return Example(
            row.id,
            row.labels,
            index,
            antibody[1] if antibody else row.group_key,
            row.original_id,
            row.labels_known,
            row.split,
            row.files,
        )

    def image(self, example: Example) -> np.ndarray:
        """See `Source.image`."""
        return self.read(example).pixels

    def read(self, example: Example) -> SourceImage:
        """Reads the channels of an image; see `Source.read`."""
        _, image_files = self._stores()
        found = self.images.read(image_files, example)
        height, width = found.pixels.shape[:2]
        size = self._output_size(height, width, found.pixel_size)
        return found._replace(pixels=resize(found.pixels, size))

    def judge(self, largest: Sequence[tuple[int | float | None, ...]]) -> list[str]:
        """See `Source.judge`."""
        rule = self.images.rule
        notes = judge_ranges(largest, rule.white, str(self.manual_dir))
        if rule.float_range:
            notes += judge_floats(largest, rule.float_range)
        return notes

    def _stores(self) -> tuple[Store, Store]:
        """Where the csv and the images are: Kaggle's train/ may still be packed in train.zip."""
        folders = []
        for pattern in self.images.patterns:
            folder, _, _ = pattern.split("{")[0].rpartition("/")
            if folder:
                folders.append(folder)
        links = (self.csv, *folders)
        files = open_below(self.manual_dir, self.csv, links, self.follow_links)
        if not self.layout.startswith("kaggle") or any(map(files.has_folder, folders)):
            return files, files
        archives = [f"{folder}.zip" for folder in folders]
        packed = next(filter(files.has, archives), None)
        if not packed:
            return files, files
        if isinstance(files, Zip):
            raise InputError(
                f"{files.where(packed)} is a zip in a zip; unzip the outer one and give its folder"
            )
        return files, open_store(files.path / packed)

    def _read_csv(self, files: Store) -> bytes:
        try:
            return store.read(files, self.csv)
        except Refused as refused:
            # Without the advice, which is for image files.
            reason, _, _ = str(refused).partition("; ")
            others = _tables(files) if reason == "is missing" else []
            if others:
                reason += f", and {others[0]} lies there; give it with --config=folder --csv"
                raise InputError(f"{files.where(self.csv)} {reason}") from None
            raise InputError(f"{files.where(self.csv)} {reason}; {_SEE_LAYOUT}") from None

    def _check(self, image_files: Store, example: Example) -> Headers:
        """Checks the headers of one image's files, and the size that it will have."""
        headers = self.images.check(image_files, example)
        description = headers.description
        try:
            self._output_size(description.height, description.width, description.pixel_size)
        except Refused as refused:
            files = self.images.of(image_files, example)
            name = files.get("green") or files[""]
            raise fault(example, image_files.where(name), str(refused)) from None
        return headers

    def _output_size(self, height: int, width: int, said: float | None) -> tuple[int, int]:
        """Height and width after resizing.

        Args:
          height: of the file.
          width: of the file.
          said: micrometres a pixel, as the file says; the user's word counts for more.

        Raises:
          Refused: there would be too many pixels, or nobody says how large one is.
        """
        if self.edge:
            factor = self.edge / max(height, width)
        elif self.rescale:
            pixel_size = self.pixel_size or said
            if not pixel_size:
                raise Refused("does not say how large its pixels are; give --pixel_size")
            factor = pixel_size / ATLAS_PIXEL_SIZE
        else:
            return height, width
        return scaled_size(height, width, factor)


def _tables(files: Store) -> list[str]:
    """Names of the tables beside which a csv is missing."""
    names = files.names() if isinstance(files, Zip) else os.listdir(files.path)
    found = []
    for name in names:
        is_shown = name.isprintable() and "/" not in name and not name.startswith(".")
        if is_shown and name.endswith(_TABLES):
            found.append(name)
    return sorted(found)
