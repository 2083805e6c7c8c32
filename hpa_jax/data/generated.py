"""Reference channels that a net has made, in the place of those that were imaged, while training.

The wish behind it: a label with few fields is shown with more backgrounds than were imaged. The
pictures are those of `--mode=synthesize`, a folder for each channel or several. Whenever an image
with a rare label is read, one of its channels that is there is taken from its picture, or none: the
draw depends on the seed and on the position in the order alone, so that a run that resumes sees the
same.

Design: a net that fills in channels makes the same of the same image each time. So it runs once,
beforehand, and not in every training step.
"""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError, one_line
from hpa_jax.images import png
from hpa_jax.images.resize import fit_square
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS

TABLE = "synthesized.csv"
"""In each folder: which picture is which channel of which image."""


class GeneratedChannels:
    """Pictures of generated channels, drawn for some images as they are read.

    Attributes:
      count: of the images that have pictures.
      digest: SHA-256 over the tables, 64 hex digits.

    Args:
      folders: of `--mode=synthesize`.
      ids: of the images that may get generated channels: the name under which they are read, by
        that which their source gave them, which the pictures have.
      probability: of one that it does, each time that it is read.
      seed: of the draws.
      aspect: how an image that is no square is made one: one of `hpa_jax.images.resize.ASPECTS`.

    Raises:
      InputError: a folder has no such table, or none of its pictures is of these images.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        ids: Mapping[str, str],
        *,
        probability: float,
        seed: int,
        aspect: str,
    ):
        self._probability = probability
        self._seed = seed
        self._aspect = aspect
        self._pictures: dict[str, list[tuple[int, Path]]] = {}
        digest = hashlib.sha256()
        for folder in folders:
            table = folder / TABLE
            digest.update(_read_bytes(table))
            found = 0
            for image_id, channel, path in _read_table(table):
                if image_id in ids:
                    self._pictures.setdefault(ids[image_id], []).append((channel, path))
                    found += 1
            if not found:
                raise InputError(
                    f"{table} has none of the {len(ids)} images with a rare label that are "
                    "trained on; make pictures of config.data.train_split, or set "
                    "config.data.rare_below higher"
                )
        self.count = len(self._pictures)
        self.digest = digest.hexdigest()

    def __call__(self, example: dict, position: int) -> dict:
        """An example as it is read at a position of the order.

        Args:
          example: with `id` and `image`, uint8 `[H, W, 4]`.
          position: in the order, over all epochs.

        Returns:
          The same, or with one channel that was generated.

        Raises:
          InputError: its picture is gone or damaged.
        """
        pictures = self._pictures.get(example["id"])
        if pictures is None:
            return example
        draws = np.random.default_rng((self._seed, position))
        if draws.random() >= self._probability:
            return example
        channel, path = pictures[draws.integers(len(pictures))]
        image = example["image"].copy()
        image[..., channel] = self._read(path, image.shape[:2])
        return {**example, "image": image}

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.count} images with a rare label are shown with a generated channel "
            f"{self._probability:.0%} of the times (config.augment.generated)"
        )

    def _read(self, path: Path, shape: tuple[int, int]) -> np.ndarray:
        """A picture as its image is made to fit, uint8 [H, W]."""
        plane = _read_picture(path)
        if plane.shape == shape:
            return plane
        if shape[0] != shape[1]:
            height, width = plane.shape
            raise InputError(
                f"{path} has {height} x {width} px, its image {shape[0]} x {shape[1]} px: "
                "make the pictures of the dataset that is trained on"
            )
        return fit_square(plane[..., np.newaxis], shape[0], self._aspect).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {one_line(error)}; config.augment.generated names folders of "
            "--mode=synthesize"
        ) from None


def _read_table(table: Path) -> list[tuple[str, int, Path]]:
    """Id, number of the channel and picture of each row.

    Raises:
      InputError: a row is none of such a table, or names no picture beside it.
    """
    text = _read_bytes(table).decode("utf-8", errors="replace")
    rows = []
    for row in csv.DictReader(text.splitlines()):
        channel = row.get("channel")
        file = row.get("file") or ""
        if not row.get("id") or channel not in CHANNELS or not file or Path(file).name != file:
            number = len(rows) + 2
            raise InputError(f"{table}, line {number}: no picture of a channel; make it again")
        rows.append((row["id"], CHANNELS.index(channel), table.parent / file))
    return rows


def _read_picture(path: Path) -> np.ndarray:
    """uint8 [H, W]."""
    advice = "make the pictures again, with --mode=synthesize"
    try:
        with open(path, "rb") as file:
            header = png.scan(file)
        plane = png.decode(path.read_bytes(), header)
    except (OSError, Refused) as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}; {advice}") from None
    if plane is None or plane.dtype != np.uint8 or plane.ndim != 2:
        raise InputError(f"{path} is no picture of a channel; {advice}")
    return plane
