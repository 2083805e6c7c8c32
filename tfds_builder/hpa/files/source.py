"""A source of a csv and one image file for each channel of a field; `files.py` says which there are.

Unusual: every file's header is checked before a build starts, so that a missing or foreign file among 124,288 shows
within seconds and not after an hour. Path and packing (a folder or a zip) are no settings: they do not change a byte.

The order of the rows in the csv is without meaning: fields are sorted by Id.
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
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import csv_table, images, store
from tfds_builder.hpa.files.header import Header
from tfds_builder.hpa.files.images import Rule
from tfds_builder.hpa.files.store import Refused, Store, Zip
from tfds_builder.hpa.sources import Bar, Fault, Field, Listing, no_bar

ATLAS_PIXEL_SIZE = (
    0.08  # micrometres a pixel of the Atlas's fields (SubCellPortable expects 0.0800885)
)
_ANTIBODY = re.compile(r"(\d+)_")
_HOW = "see tfds_builder/hpa/README.md for the layout"


@dataclass(frozen=True)
class Files:
    """A csv and image files.

    Attributes:
      layout: name of the source, in its settings.
      manual_dir: the folder or zip file.
      csv: name of the csv in it.
      patterns: names of the images, with {id} and {channel}; of several, the first that is there.
      names: what stands for {channel}, in the order of CHANNELS; None for a channel that was not imaged: all zeros.
      rule: which files are taken, and how they become 8 bits.
      edge: length of the longer side after resizing; 0: as it is.
      pixel_size: micrometres a pixel of the files, None where unknown.
      rescale: whether fields are resized to the Atlas's pixel size.
      columns: of the csv: Id, labels, family ("": none).
      antibodies: whether the digits before the first `_` of an Id name its family.
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
        """See `Source.settings`. The csv by its digest: with other rows or labels it is another dataset."""
        files, _ = self._stores()
        settings = {
            "source": self.layout,
            "csv_sha256": hashlib.sha256(self._csv(files)).hexdigest(),
        }
        settings |= {"edge": self.edge} | self.rule.settings()
        if self.layout == "folder":
            settings |= {
                "channels": dict(zip(CHANNELS, self.names, strict=True)),
                "pattern": self.patterns[0],
                "columns": list(self.columns),
                "pixel_size": self.pixel_size,
                "rescaled_to": ATLAS_PIXEL_SIZE if self.rescale else None,
            }
        return settings

    def fields(self, bar: Bar = no_bar) -> Listing:
        """Reads the csv and checks the headers of all files of every field; see `Source.fields`."""
        files, pictures = self._stores()
        rows, faults = csv_table.read(self._csv(files), files.where(self.csv), *self.columns)
        good = []
        for row in bar(rows, "checking"):
            try:
                self._check(pictures, row.id)
            except Fault as fault:
                faults.append(fault)
            else:
                good.append(row)
        fields = []
        for index, row in enumerate(good):
            antibody = _ANTIBODY.match(row.id) if self.antibodies else None
            fields.append(Field(row.id, row.labels, index, antibody[1] if antibody else row.family))
        return Listing(fields, faults)

    def image(self, field: Field) -> np.ndarray:
        """Reads the channels of a field; see `Source.image`."""
        _, pictures = self._stores()
        planes = {}
        for channel, name in self._files(pictures, field.id):
            try:
                planes[channel] = images.read(store.read(pictures, name), self.rule, channel)
            except Refused as refused:
                raise Fault(field.id, pictures.where(name), str(refused)) from None
        said = {
            channel: f"{plane.shape[1]} x {plane.shape[0]} pixels"
            for channel, plane in planes.items()
        }
        self._check_equal(
            pictures, field.id, said
        )  # the files may have changed after the check of their headers
        none = np.zeros_like(planes["green"])
        image = np.stack([planes.get(channel, none) for channel in CHANNELS], axis=-1)
        return images.resized(image, self._size(*image.shape[:2]))

    def _stores(self) -> tuple[Store, Store]:
        """Where the csv lies and where the images do: Kaggle's train/ may still be packed, as train.zip beside it."""
        folders = tuple(pattern.split("{")[0].rpartition("/")[0] for pattern in self.patterns)
        files = store.open_store(self.manual_dir, links=(self.csv, *filter(None, folders)))
        if not self.layout.startswith("kaggle") or any(
            files.has_folder(name) for name in folders if name
        ):
            return files, files
        packed = next(
            (f"{name}.zip" for name in folders if name and files.has(f"{name}.zip")), None
        )
        if packed and isinstance(files, Zip):
            raise InputError(
                f"{files.where(packed)} is a zip in a zip; unzip the outer one and give its folder"
            )
        return files, store.open_store(self.manual_dir / packed) if packed else files

    def _csv(self, files: Store) -> bytes:
        try:
            return store.read(files, self.csv)
        except Refused as refused:
            reason = str(refused).split("; ")[0]
            raise InputError(f"{files.where(self.csv)} {reason}; {_HOW}") from None

    def _files(self, pictures: Store, id: str) -> list[tuple[str, str]]:
        """(channel, name of its file) of a field's imaged channels."""
        found = []
        for channel, own in zip(CHANNELS, self.names, strict=True):
            if own is not None:
                names = [
                    pattern.replace("{channel}", own).replace("{id}", id)
                    for pattern in self.patterns
                ]
                found.append(
                    (
                        channel,
                        next(filter(pictures.has, names), names[0]) if len(names) > 1 else names[0],
                    )
                )
        return found

    def _check(self, pictures: Store, id: str) -> None:
        """Checks the headers of one field."""
        headers: dict[str, Header] = {}
        files = self._files(pictures, id)
        for channel, name in files:
            try:
                headers[channel] = images.scan(pictures, name, self.rule)
            except Refused as refused:
                raise Fault(id, pictures.where(name), str(refused)) from None
        said = {
            channel: f"{header.width} x {header.height} pixels"
            for channel, header in headers.items()
        }
        self._check_equal(pictures, id, said)
        self._check_equal(
            pictures,
            id,
            {channel: f"{header.bits} bits a pixel" for channel, header in headers.items()},
        )
        self._check_equal(
            pictures,
            id,
            {channel: f"the format {header.format}" for channel, header in headers.items()},
        )
        try:
            self._size(headers["green"].height, headers["green"].width)
        except Refused as refused:
            raise Fault(id, pictures.where(dict(files)["green"]), str(refused)) from None

    def _check_equal(self, pictures: Store, id: str, said: Mapping[str, str]) -> None:
        """What is said of each channel must be the same of all."""
        (usual, _), *others = Counter(said.values()).most_common()
        if others:
            odd = next(channel for channel in said if said[channel] != usual)
            name = dict(self._files(pictures, id))[odd]
            reason = (
                f"has {said[odd]}, the field's other channels have {usual}; download all four again"
            )
            raise Fault(id, pictures.where(name), reason)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing; Refused if there would be too many pixels, or none."""
        if self.edge:
            factor = self.edge / max(height, width)
        elif self.rescale:
            factor = self.pixel_size / ATLAS_PIXEL_SIZE
        else:
            return height, width
        size = max(1, round(height * factor)), max(1, round(width * factor))
        if size[0] * size[1] > MAX_PIXELS:
            would = (
                f"would have {size[1]} x {size[0]} pixels after rescaling, more than {MAX_PIXELS}"
            )
            raise Refused(f"{would}; crop it, or put pixel_size right")
        return size
