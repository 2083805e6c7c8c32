"""A source of a csv and one image file for each channel; `layouts.py` lists the kinds there are.

The order of the rows in the csv has no meaning: examples are sorted by Id.

Design: every file's header is checked before a build starts, so that a missing or foreign file
among 124,288 shows within seconds and not after an hour. Path and kind of store (a folder or a zip)
are no settings: they change no bytes.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_jax.data.codec import MAX_PIXELS
from hpa_jax.errors import InputError
from hpa_jax.images import channel_file, store
from hpa_jax.images.channel_file import Rule
from hpa_jax.images.header import Description
from hpa_jax.images.resize import resize
from hpa_jax.images.store import Refused, Store, Zip
from hpa_jax.labels import CHANNELS, HPA_2018, Vocabulary
from tfds_builder.hpa.files import csv_table, ids
from tfds_builder.hpa.files.csv_columns import Columns
from tfds_builder.hpa.sources import Example, Fault, Listing, Progress, no_progress

# Micrometres a pixel of the Atlas's images (SubCellPortable expects 0.0800885).
ATLAS_PIXEL_SIZE = 0.08
_ANTIBODY = re.compile(r"(\d+)_")
_SEE_LAYOUT = "see tfds_builder/hpa/README.md for the layout"


@dataclass(frozen=True)
class Files:
    """A csv and image files.

    Attributes:
      layout: name of the source, in its settings.
      manual_dir: the folder or zip file.
      csv: name of the csv in it.
      patterns: names of the images, with {id} and {channel}; of several, the first that exists.
      names: what replaces {channel}, in the order of CHANNELS; None for a channel that was not
        imaged and is all zeros.
      rule: which files are accepted, and how they become 8 bits.
      edge: length of the longer side after resizing; 0 for the original size.
      pixel_size: micrometres a pixel of the files, None if unknown.
      rescale: whether images are resized to the Atlas's pixel size.
      columns: of the csv.
      antibodies: whether the digits before the first `_` of an Id are its group key.
      labels: the vocabulary that was asked for; None for that of the challenge of 2018, if nothing
        in the csv makes one doubt it.
      no_label: what a row without a label is, one of csv_table.NO_LABEL.
      follow_links: whether files may be links to anywhere.
    """

    layout: str
    manual_dir: Path
    csv: str
    patterns: tuple[str, ...]
    rule: Rule
    names: tuple[str | None, ...] = CHANNELS
    edge: int = 0
    pixel_size: float | None = None
    rescale: bool = False
    columns: Columns = Columns()
    antibodies: bool = False
    labels: Vocabulary | None = None
    no_label: str = csv_table.NO_LABEL[0]
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
        settings |= self.rule.settings()
        if self.layout == "folder":
            settings["channels"] = dict(zip(CHANNELS, self.names, strict=True))
            columns = self.columns
            settings["pattern"] = None if columns.paths else self.patterns[0]
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
        if columns.label_columns:
            settings["label_columns"] = list(columns.label_columns)
        if columns.unlabelled:
            settings["unlabelled"] = True
        if self.no_label != csv_table.NO_LABEL[0]:
            settings["no_label"] = self.no_label
        if self.vocabulary != HPA_2018:
            settings["labels"] = self.vocabulary.to_json()
        return settings

    def label_names(self) -> list[str]:
        """Names of all labels in the csv; see `csv_table.label_names`."""
        files, _ = self._stores()
        reading = csv_table.Reading(self.columns, None)
        return csv_table.label_names(self._read_csv(files), files.where(self.csv), reading)

    def examples(self, progress: Progress = no_progress) -> Listing:
        """Reads the csv and checks the headers of all files; see `Source.examples`."""
        files, image_files = self._stores()
        reading = csv_table.Reading(
            self.columns,
            self.vocabulary,
            self.no_label,
            ask=self.labels is None,
            folder=files.path,
        )
        rows, faults = csv_table.read(self._read_csv(files), files.where(self.csv), reading)
        examples = []
        for row in progress(rows, "checking"):
            example = self._example(row, len(examples))
            try:
                self._check(image_files, example)
            except Fault as fault:
                faults.append(fault)
                continue
            examples.append(example)
        notes = []
        where = files.where("").rstrip("/")
        if where != str(self.manual_dir):
            notes.append(f"{self.csv} lies in {where}, which is read.")
        return Listing(examples, faults, tuple(notes))

    def _example(self, row: csv_table.Row, index: int) -> Example:
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
        """Reads the channels of an image; see `Source.image`."""
        _, image_files = self._stores()
        planes = {}
        sizes = {}
        for channel, name in self._channel_files(image_files, example):
            try:
                plane = channel_file.read(store.read(image_files, name), self.rule, channel)
            except Refused as refused:
                raise _fault(example, image_files.where(name), str(refused)) from None
            planes[channel] = plane
            sizes[channel] = f"{plane.shape[1]} x {plane.shape[0]} pixels"
        # The files may have changed since their headers were checked.
        self._check_equal(image_files, example, sizes)
        missing = np.zeros_like(planes["green"])
        image = np.stack([planes.get(channel, missing) for channel in CHANNELS], axis=-1)
        return resize(image, self._output_size(*image.shape[:2]))

    def _stores(self) -> tuple[Store, Store]:
        """Where the csv and the images are: Kaggle's train/ may still be packed in train.zip."""
        folders = []
        for pattern in self.patterns:
            folder, _, _ = pattern.split("{")[0].rpartition("/")
            if folder:
                folders.append(folder)
        links = (self.csv, *folders)
        files = store.open_below(self.manual_dir, self.csv, links, self.follow_links)
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
        return files, store.open_store(files.path / packed)

    def _read_csv(self, files: Store) -> bytes:
        try:
            return store.read(files, self.csv)
        except Refused as refused:
            # Without the advice, which is for image files.
            reason, _, _ = str(refused).partition("; ")
            raise InputError(f"{files.where(self.csv)} {reason}; {_SEE_LAYOUT}") from None

    def _channel_files(self, image_files: Store, example: Example) -> list[tuple[str, str]]:
        """(channel, name of its file) of the channels that were imaged."""
        found = []
        if example.files:
            for channel, name in zip(CHANNELS, example.files, strict=True):
                if name:
                    found.append((channel, store.same_name(image_files, name)))
            return found
        id = ids.path_of(example.original_id or example.id)
        for channel, channel_name in zip(CHANNELS, self.names, strict=True):
            if channel_name is None:
                continue
            names = []
            for pattern in self.patterns:
                names.append(pattern.replace("{channel}", channel_name).replace("{id}", id))
            # A single name is not looked up: over a network that takes time.
            name = names[0]
            if len(names) > 1:
                name = next(filter(image_files.has, names), name)
            found.append((channel, store.same_name(image_files, name)))
        return found

    def _check(self, image_files: Store, example: Example) -> None:
        """Checks the headers of one image's files."""
        headers: dict[str, Description] = {}
        name_of = dict(self._channel_files(image_files, example))
        for channel, name in name_of.items():
            try:
                headers[channel] = channel_file.scan(image_files, name, self.rule)
            except Refused as refused:
                raise _fault(example, image_files.where(name), str(refused)) from None
        sizes = {}
        depths = {}
        formats = {}
        for channel, header in headers.items():
            sizes[channel] = f"{header.width} x {header.height} pixels"
            depths[channel] = f"{header.bits} bits a pixel"
            formats[channel] = f"the format {header.format}"
        for descriptions in (sizes, depths, formats):
            self._check_equal(image_files, example, descriptions)
        green = headers["green"]
        try:
            self._output_size(green.height, green.width)
        except Refused as refused:
            raise _fault(example, image_files.where(name_of["green"]), str(refused)) from None

    def _check_equal(
        self, image_files: Store, example: Example, descriptions: Mapping[str, str]
    ) -> None:
        """Raises a Fault unless all channels have the same description."""
        (usual, _), *others = Counter(descriptions.values()).most_common()
        if not others:
            return
        odd = next(channel for channel, text in descriptions.items() if text != usual)
        name = dict(self._channel_files(image_files, example))[odd]
        reason = (
            f"has {descriptions[odd]}, the image's other channels have {usual}; "
            "download all four again"
        )
        raise _fault(example, image_files.where(name), reason)

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing.

        Raises:
          Refused: there would be too many pixels.
        """
        if self.edge:
            factor = self.edge / max(height, width)
        elif self.rescale:
            factor = self.pixel_size / ATLAS_PIXEL_SIZE
        else:
            return height, width
        new_height = max(1, round(height * factor))
        new_width = max(1, round(width * factor))
        if new_height * new_width > MAX_PIXELS:
            raise Refused(
                f"would have {new_width} x {new_height} pixels after rescaling, more than "
                f"{MAX_PIXELS}; crop it, or put pixel_size right"
            )
        return new_height, new_width


def _fault(example: Example, file: str, reason: str) -> Fault:
    """By the Id that the user knows."""
    return Fault(example.original_id or example.id, file, reason)
