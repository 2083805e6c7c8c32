"""The interface of a source, which lists its examples, checked, and reads the image of any one.

A source is a small frozen dataclass that can be sent to a worker process. To add one, write a class
with the members of `Source` and register it in `configs.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.folder import FaultyImage
from hpa_jax.labels import Vocabulary


class Example(NamedTuple):
    """One example of a source, before its image is read.

    Attributes:
      id: name of the image, unique in the source; made of letters, digits, `_` and `-`.
      labels: label ids, ascending.
      index: position in the source's list.
      group_key: names what the image shares with others (an antibody, a specimen); such images are
        never in two splits. Empty for an image on its own. Printable.
      original_id: the Id that the source gave the image, if it is another one; else empty.
      labels_known: whether `labels` are all labels of the image. One with known labels may have
        none; of one without, nobody knows them.
      split: that the source puts the image in, `train`, `validation` or `test`; else empty.
      files: of the image's channels, in the order of CHANNELS, where the source lists them; None
        for a channel without one.
    """

    id: str
    labels: tuple[int, ...]
    index: int
    group_key: str = ""
    original_id: str = ""
    labels_known: bool = True
    split: str = ""
    files: tuple[str | None, ...] = ()


class SourceImage(NamedTuple):
    """An image of a source.

    Attributes:
      pixels: uint8 [H, W, 4]: red, green, blue, yellow.
      largest: of each channel the largest value in its file, where becoming 8 bits may have lost
        something; else None. Where one file has all channels, theirs together stands for green.
      pixel_size: micrometres a pixel, as the file says; None if it does not.
    """

    pixels: np.ndarray
    largest: tuple[int | float | None, ...] = (None, None, None, None)
    pixel_size: float | None = None


class Fault(FaultyImage, InputError):
    """Why one row of a source cannot become an example; its file may be the csv and its line."""

    def __str__(self) -> str:
        return f"Id {super().__str__()}"


class Listing(NamedTuple):
    """The contents of a source.

    Attributes:
      examples: the rows that are good as far as the headers of their files tell.
      faults: all other rows: the two lengths add up.
      notes: what the user should know of them, a line each.
      pixel_size: micrometres a pixel, as all files say of themselves; None if they do not.
    """

    examples: list[Example]
    faults: list[Fault]
    notes: tuple[str, ...] = ()
    pixel_size: float | None = None


Progress = Callable[[Sequence, str], Iterable]
"""Wraps a sequence in a progress bar with a caption."""


def no_progress(items: Sequence, caption: str) -> Iterable:
    """A `Progress` that shows nothing."""
    return items


class Source(Protocol):
    """What the builder needs of a source."""

    manual_dir: Path | None
    """Folder or zip file with which the file names in its faults begin."""
    vocabulary: Vocabulary
    """Of the label ids of its examples."""

    def settings(self) -> dict:
        """What determines the examples and their pixels, as JSON.

        It is stored with the dataset and compared when the same build is started again.
        """

    def examples(self, progress: Progress = no_progress) -> Listing:
        """Lists all rows, sorted by Id, after the checks that need no decoding.

        The order of the rows in a csv has no meaning.

        Raises:
          InputError: the source as a whole cannot be read.
        """

    def image(self, example: Example) -> np.ndarray:
        """Reads one image; runs in a worker process.

        Returns:
          uint8 [H, W, 4]: red, green, blue, yellow.

        Raises:
          Fault: decoding found the image faulty.
        """

    def read(self, example: Example) -> SourceImage:
        """Reads one image as `image` does, with what else its files say."""

    def judge(
        self,
        largest: Sequence[tuple[int | float | None, ...]],
        histogram: np.ndarray | None = None,
    ) -> list[str]:
        """Whether the values of images survive becoming 8 bits.

        Args:
          largest: `SourceImage.largest` of some images, or of all.
          histogram: int64 [4, 256], the pixels of each value by channel, over all images; None of
            some of them.

        Returns:
          what the user should know, a line each.

        Raises:
          InputError: they would not; says what to state.
        """


class MaskedSource(Source, Protocol):
    """A source that knows which pixel belongs to which cell and nucleus."""

    masks: bool
    """Whether the dataset is to hold the masks."""

    def instance_masks(self, example: Example) -> np.ndarray:
        """The instance masks of one image; runs in a worker process.

        Returns:
          uint16 [H, W, 2], of the image's size: cells and nuclei, 0 is background. A nucleus has
          the number of its cell.
        """


def has_masks(source: Source) -> TypeGuard[MaskedSource]:
    """Whether masks are stored with the images of this source."""
    return getattr(source, "masks", False)
