"""The PNGs of filled-in channels: a folder of them, and a csv of which were generated.

    FOLDER/<Id>_<channel>.png   8 bits, gray, of the size of the image that they belong to
    FOLDER/synthesized.csv      a row a picture, written when all are there
    FOLDER/settings.json        what they follow from

A second start with the same net and images makes what is missing; with others it starts anew.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpa_jax.data.generated import TABLE
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import (
    check_writable,
    json_digest,
    read_json,
    remove_partial_files,
    write_atomically,
    write_csv,
    write_json,
)
from hpa_jax.folders.mark import has_mark, write_mark
from hpa_jax.images import png
from hpa_jax.serving.predict.overlays import file_name

COLUMNS = ("id", "channel", "file", "from", "net")

_SETTINGS = "settings.json"
_KIND = "synthesized"
_ADVICE = "choose another --out"


class Pictures:
    """The folder of the pictures.

    Args:
      folder: for them; it is made.
      settings: JSON values that they follow from: the net, the images, the channels.
      images: folder of the images that they belong to; None: those are in no folder.

    Raises:
      InputError: the folder cannot be written, lies in that of the images, or holds what is not
        this program's.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], images: Path | None = None):
        _refuse_foreign(folder)
        if images is not None and folder.resolve().is_relative_to(images.resolve()):
            raise InputError(
                f"{folder} lies in the folder of the images, of which its pictures would be some "
                f"the next time; {_ADVICE}"
            )
        check_writable(folder, _ADVICE)
        folder.mkdir(parents=True, exist_ok=True)
        write_mark(folder, _KIND)
        remove_partial_files(folder)
        self.folder = folder
        self.resumes = self._is_of(settings)
        if not self.resumes:
            self._clear()
            write_json(folder / _SETTINGS, {"settings": json_digest(settings)})

    def has(self, image_id: str, channel: str) -> bool:
        """Whether a picture is there."""
        return self._path(image_id, channel).is_file()

    def write(self, image_id: str, channel: str, plane: np.ndarray) -> None:
        """Writes a channel of an image, uint8 [H, W]."""
        _, encoded = cv2.imencode(".png", plane)
        write_atomically(self._path(image_id, channel), encoded.tobytes())

    def read(self, image_id: str, channel: str) -> np.ndarray:
        """A channel of an image that was written, uint8 [H, W].

        Raises:
          InputError: it is damaged.
        """
        path = self._path(image_id, channel)
        with open(path, "rb") as file:
            header = png.scan(file)
        plane = png.decode(path.read_bytes(), header)
        if plane is None:
            raise InputError(f"{path} is damaged; remove it, and start again")
        return plane

    def write_table(
        self, ids: Sequence[str], channels: Sequence[str], shown: Sequence[str], net: str
    ) -> Path:
        """Writes the csv of all pictures; returns its path.

        Args:
          ids: of the images.
          channels: that were made of each.
          shown: from which.
          net: what made them, in words.
        """
        rows = []
        for image_id in ids:
            for channel in channels:
                name = self._path(image_id, channel).name
                rows.append((image_id, channel, name, " ".join(shown), net))
        write_csv(self.folder / TABLE, COLUMNS, rows)
        return self.folder / TABLE

    def _path(self, image_id: str, channel: str) -> Path:
        return self.folder / file_name(f"{image_id}_{channel}")

    def _is_of(self, settings: dict[str, Any]) -> bool:
        path = self.folder / _SETTINGS
        if not path.is_file():
            return False
        found = read_json(path, advice="remove it")
        return found.get("settings") == json_digest(settings)

    def _clear(self) -> None:
        """Removes what another net made, or of other images."""
        for path in sorted(self.folder.glob("*.png")):
            path.unlink()
        (self.folder / TABLE).unlink(missing_ok=True)


def _refuse_foreign(folder: Path) -> None:
    try:
        if not folder.exists() or not any(folder.iterdir()) or has_mark(folder, _KIND):
            return
    except OSError as error:
        raise InputError(f"{folder} cannot be used: {one_line(error)}; {_ADVICE}") from None
    raise InputError(f"{folder} is not empty and not of this program; {_ADVICE}")
