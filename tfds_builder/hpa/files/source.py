"""A source of a csv and one image file for each channel; `layouts.py` lists the kinds there are.

The order of the rows in the csv has no meaning: examples are sorted by Id.

Design: every file's header is checked before a build starts, so that a missing or foreign file
  among
124,288 shows within seconds and not after an hour. Path and kind of store (a folder or a zip) are
no
settings: they change no bytes.
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
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import csv_table
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
      columns: of the csv: Id, labels, group key (empty for none).
      antibodies: whether the digits before the first `_` of an Id are its group key.
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
    columns: tuple[str, str, str] = ("Id", "Target", "")
    antibodies: bool = False

    def settings(self) -> dict:
        """See `Source.settings`. The csv by its digest: other rows are another dataset."""
        files, _ = self._stores()
        digest = hashlib.sha256(self._read_csv(files)).hexdigest()
        settings = {"source": self.layout, "csv_sha256": digest, "edge": self.edge}
        settings |= self.rule.settings()
        if self.layout == "folder":
            settings["channels"] = dict(zip(CHANNELS, self.names, strict=True))
            settings["pattern"] = self.patterns[0]
            settings["columns"] = list(self.columns)
            settings["pixel_size"] = self.pixel_size
            settings["rescaled_to"] = ATLAS_PIXEL_SIZE if self.rescale else None
        return settings

    def examples(self, progress: Progress = no_progress) -> Listing:
        """Reads the csv and checks the headers of all files; see `Source.examples`."""
        files, image_files = self._stores()
        where = files.where(self.csv)
        rows, faults = csv_table.read(self._read_csv(files), where, *self.columns)
        examples = []
        for row in progress(rows, "checking"):
            try:
                self._check(image_files, row.id)
            except Fault as fault:
                faults.append(fault)
                continue
            antibody = _ANTIBODY.match(row.id) if self.antibodies else None
            group_key = antibody[1] if antibody else row.group_key
            examples.append(Example(row.id, row.labels, len(examples), group_key))
        return Listing(examples, faults)

    def image(self, example: Example) -> np.ndarray:
        """Reads the channels of an image; see `Source.image`."""
        _, image_files = self._stores()
        planes = {}
        sizes = {}
        for channel, name in self._channel_files(image_files, example.id):
            try:
                plane = channel_file.read(store.read(image_files, name), self.rule, channel)
            except Refused as refused:
                raise Fault(example.id, image_files.where(name), str(refused)) from None
            planes[channel] = plane
            sizes[channel] = f"{plane.shape[1]} x {plane.shape[0]} pixels"
        # The files may have changed since their headers were checked.
        self._check_equal(image_files, example.id, sizes)
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
        files = store.open_store(self.manual_dir, links=(self.csv, *folders))
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
        return files, store.open_store(self.manual_dir / packed)

    def _read_csv(self, files: Store) -> bytes:
        try:
            return store.read(files, self.csv)
        except Refused as refused:
            # Without the advice, which is for image files.
            reason, _, _ = str(refused).partition("; ")
            raise InputError(f"{files.where(self.csv)} {reason}; {_SEE_LAYOUT}") from None

    def _channel_files(self, image_files: Store, id: str) -> list[tuple[str, str]]:
        """(channel, name of its file) of the channels that were imaged."""
        found = []
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
            found.append((channel, name))
        return found

    def _check(self, image_files: Store, id: str) -> None:
        """Checks the headers of one image's files."""
        headers: dict[str, Description] = {}
        name_of = dict(self._channel_files(image_files, id))
        for channel, name in name_of.items():
            try:
                headers[channel] = channel_file.scan(image_files, name, self.rule)
            except Refused as refused:
                raise Fault(id, image_files.where(name), str(refused)) from None
        sizes = {}
        depths = {}
        formats = {}
        for channel, header in headers.items():
            sizes[channel] = f"{header.width} x {header.height} pixels"
            depths[channel] = f"{header.bits} bits a pixel"
            formats[channel] = f"the format {header.format}"
        for descriptions in (sizes, depths, formats):
            self._check_equal(image_files, id, descriptions)
        green = headers["green"]
        try:
            self._output_size(green.height, green.width)
        except Refused as refused:
            raise Fault(id, image_files.where(name_of["green"]), str(refused)) from None

    def _check_equal(self, image_files: Store, id: str, descriptions: Mapping[str, str]) -> None:
        """Raises a Fault unless all channels have the same description."""
        (usual, _), *others = Counter(descriptions.values()).most_common()
        if not others:
            return
        odd = next(channel for channel, text in descriptions.items() if text != usual)
        name = dict(self._channel_files(image_files, id))[odd]
        reason = (
            f"has {descriptions[odd]}, the image's other channels have {usual}; "
            "download all four again"
        )
        raise Fault(id, image_files.where(name), reason)

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
