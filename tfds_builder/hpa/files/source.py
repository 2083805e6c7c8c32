"""A source of a csv and image files; `layouts.py` lists the kinds there are.

The order of the rows in the csv has no meaning: examples are sorted by Id.

Design: every file's header is checked before a build starts, so that a missing or foreign file
among 124,288 shows within seconds and not after an hour. Path and kind of store (a folder or a zip)
are no settings: they change no bytes.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.images.resize import resize, scaled_size
from hpa_jax.images.store import Refused, Store
from hpa_jax.labels import CHANNELS, HPA_2018, LABEL_SETS, Vocabulary
from tfds_builder.hpa.files import channel_notes, csv_labels, csv_rows, csv_table, neighbours
from tfds_builder.hpa.files.csv_columns import Columns
from tfds_builder.hpa.files.image_files import Headers, ImageFiles, fault
from tfds_builder.hpa.files.places import Places
from tfds_builder.hpa.files.ranges import Asked, judge_floats, judge_ranges
from tfds_builder.hpa.files.said import Said
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
_WITH_FLAGS = ("folder", "s_biad2443")
_ANTIBODY = re.compile(r"(\d+)_")


@dataclass(frozen=True)
class Files:
    """A csv and image files.

    Attributes:
      layout: name of the source, in its settings.
      manual_dir: the folder or zip file.
      csv: name of the csv in it, or its absolute path.
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
    def _has_flags(self) -> bool:
        """Whether the user says how files are named and which value is white."""
        return self.layout in _WITH_FLAGS

    @property
    def vocabulary(self) -> Vocabulary:
        """See `Source.vocabulary`."""
        return self.labels or HPA_2018

    def settings(self) -> dict:
        """See `Source.settings`. The csv by its digest: other rows are another dataset."""
        data, _ = self._read_csv()
        digest = hashlib.sha256(data).hexdigest()
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

    def _read_csv(self) -> tuple[bytes, str]:
        """The csv, and where it is."""
        return self._places.read_csv()

    def label_names(self) -> list[str]:
        """Names of all labels in the csv; see `csv_table.label_names`."""
        reading = csv_rows.Reading(self.columns, None)
        return csv_table.label_names(*self._read_csv(), reading)

    def examples(self, progress: Progress = no_progress) -> Listing:
        """Reads the csv and checks the headers of all files; see `Source.examples`."""
        _, image_files = self._places.open()
        data, csv_where = self._read_csv()
        reading = csv_rows.Reading(
            self.columns,
            self.vocabulary,
            self.no_label,
            ask=self.labels is None,
            folder=image_files.path,
        )
        rows, faults = csv_table.read(data, csv_where, reading)
        examples: list[Example] = []
        said = Said()
        green_of: dict[str, str] = {}
        first_missing = None
        for row in progress(rows, "checking"):
            example = self._example(row, len(examples))
            try:
                self._check_own_green(image_files, example, green_of)
                said.add(self._check(image_files, example))
            except Fault as found:
                first_missing = first_missing or (len(faults), example)
                faults.append(found)
                continue
            examples.append(example)
        if first_missing:
            number, example = first_missing
            faults[number] = self._explain(faults[number], example, image_files, bool(examples))
        where = image_files.where("").rstrip("/")
        white = self.images.rule.white
        said.check_white(white, where)
        notes = said.notes(white, self.pixel_size)
        notes += self._label_notes(data, csv_where, reading, rows)
        notes += self._group_notes(rows)
        notes += channel_notes.odd_names(self.images.names, self.columns.paths)
        notes += self._place_notes(csv_where, where)
        return Listing(examples, faults, tuple(notes), said.pixel_size())

    def _explain(
        self, found: Fault, example: Example, image_files: Store, others_are_good: bool
    ) -> Fault:
        """A fault with what lies where a file is missing, and why it is sought there."""
        found = neighbours.explain(
            found, example, image_files, self.images, self._has_flags, others_are_good
        )
        below = self._places.below()
        if below and "is missing" in found.reason:
            reason = f"{found.reason} (files are sought in {below}, where {self.csv} lies)"
            return Fault(found.id, found.file, reason)
        return found

    def _check_own_green(
        self, image_files: Store, example: Example, green_of: dict[str, str]
    ) -> None:
        """Refuses the protein of another image; any other channel may be of several.

        Args:
          image_files: where the files are.
          example: with its files.
          green_of: of each file of a protein its Id; this one is added.
        """
        if not example.files:
            return
        name = example.files[CHANNELS.index("green")]
        id = example.original_id or example.id
        first = green_of.setdefault(name, id)
        if first != id:
            reason = f"is the file of Id {first} already; put one of the two paths right"
            raise fault(example, image_files.where(name), reason)

    def _place_notes(self, csv_where: str, images_where: str) -> list[str]:
        """Where things were found, if that is not plain."""
        below = self._places.below()
        if below:
            return [f"{self.csv} lies in {below}, which is read."]
        if self._places.is_elsewhere:
            return [f"the csv is {csv_where}; its images are sought in {images_where}."]
        return []

    def _group_notes(self, rows: Sequence[csv_rows.Row]) -> list[str]:
        column = self.columns.group
        alone = sum(not row.group_key for row in rows)
        if not column or not alone:
            return []
        return [f"{alone} rows of {len(rows)} have no {column}: each is a group of its own."]

    def _label_notes(
        self, data: bytes, where: str, reading: csv_rows.Reading, rows: Sequence[csv_rows.Row]
    ) -> list[str]:
        """Which labels there are, where the user did not choose a set by its name."""
        notes = []
        if self.vocabulary.name not in LABEL_SETS:
            names = csv_labels.shown_names(self.vocabulary)
            notes.append(f"{len(self.vocabulary)} labels: {names}.")
            if all(len(row.labels) == 1 for row in rows):
                notes.append(
                    "Each image has exactly one: --config.train.loss=softmax_cross_entropy makes "
                    "a net choose among them (docs/one_label.md)."
                )
        if self.layout == "folder":
            notes += csv_table.describe_labels(data, where, reading)
        return notes

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

    @property
    def _places(self) -> Places:
        is_kaggle = self.layout.startswith("kaggle")
        patterns = self.images.patterns
        has_flag = self.layout == "folder"
        return Places(self.manual_dir, self.csv, patterns, self.follow_links, is_kaggle, has_flag)

    def image(self, example: Example) -> np.ndarray:
        """See `Source.image`."""
        return self.read(example).pixels

    def read(self, example: Example) -> SourceImage:
        """Reads the channels of an image; see `Source.read`."""
        _, image_files = self._places.open()
        found = self.images.read(image_files, example)
        height, width = found.pixels.shape[:2]
        size = self._output_size(height, width, found.pixel_size)
        return found._replace(pixels=resize(found.pixels, size))

    def judge(
        self,
        largest: Sequence[tuple[int | float | None, ...]],
        histogram: np.ndarray | None = None,
    ) -> list[str]:
        """See `Source.judge`."""
        rule = self.images.rule
        where = str(self.manual_dir)
        notes = []
        if histogram is not None:
            has_files = [name is not None for name in self.images.names]
            if self.images.is_single:
                # What they lack was told when their headers were read.
                has_files = [False] * len(CHANNELS)
            notes += channel_notes.black_channels(len(largest), histogram, has_files, where)
        asked = Asked(rule.white, can_answer=self._has_flags)
        notes += judge_ranges(largest, histogram, asked, where)
        if rule.float_range:
            notes += judge_floats(largest, rule.float_range)
        return notes

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
