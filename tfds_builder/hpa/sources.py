"""Where fields come from: each source lists its fields, checked, and gives the image of any one of them.

A source is a small frozen dataclass that can be sent to a worker process. To add one, write its class with the members
of `Source` and enter it into `configs.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tfds_builder.hpa import png


class Field(NamedTuple):
    """One field before it is read: its Id, its label ids in ascending order, its position in the source's list."""

    id: str
    labels: tuple[int, ...]
    index: int


Bar = Callable[[Sequence, str], Iterable]
"""Wraps a sequence in a progress bar with a caption."""


def no_bar(items: Sequence, caption: str) -> Iterable:
    """The bar of whoever shows none."""
    return items


class Source(Protocol):
    """What the builder asks of a source."""

    fractions: tuple[float, float, float]  # shares of train, validation and test
    seed: int

    def settings(self) -> dict:
        """What decides the bytes of the dataset, as JSON: kept with it and compared when a build is started again."""

    def fields(self, bar: Bar = no_bar) -> list[Field]:
        """All fields in a fixed order, after the checks that need no decoding.

        Raises:
          InputError: names the first faulty field.
        """

    def image(self, field: Field) -> np.ndarray:
        """uint8 [H, W, 4] of one field; runs in a worker process.

        Raises:
          InputError: the field turned out to be faulty in decoding.
        """


def encoded(source: Source, field: Field) -> bytes:
    """The field's image as PNG. Encoding costs more than reading, so it belongs into the workers too."""
    return png.encode(source.image(field))
