"""The source `synthetic`: fields drawn from a seed, nothing to download.

A field depends on seed, number, labels and size alone, so any worker draws the same one.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpa_jax.errors import InputError
from tfds_builder.hpa.sources import Bar, Field, Listing, no_bar
from tfds_builder.hpa.synthetic import render

FREQUENCIES = ("tempered", "real")
DEFAULT_FIELDS = 4000
DEFAULT_SIZE = 64


@dataclass(frozen=True)
class Synthetic:
    """`count` fields of `size` x `size` pixels; `frequencies`: of the labels, as in train.csv or tempered."""

    count: int = DEFAULT_FIELDS
    size: int = DEFAULT_SIZE
    seed: int = 0
    frequencies: str = FREQUENCIES[0]
    manual_dir: ClassVar[None] = None

    def __post_init__(self):
        if self.count < 1 or not 32 <= self.size <= 4096:
            asked = f"--fields={self.count} --size={self.size}"
            raise InputError(
                f"{asked} is out of range; ask for at least 1 field, of 32 to 4096 pixels"
            )

    def settings(self) -> dict:
        """See `Source.settings`."""
        return {
            "source": "synthetic",
            "fields": self.count,
            "size": self.size,
            "drawing_seed": self.seed,
            "frequencies": self.frequencies,
        }

    def fields(self, bar: Bar = no_bar) -> Listing:
        """Draws the labels of all fields; see `Source.fields`."""
        drawn = render.draw_labels(self.seed, self.count, self.frequencies)
        fields = [
            Field(
                f"synthetic-{self.seed}-{index:06d}",
                tuple(sorted(int(label) for label in labels)),
                index,
            )
            for index, labels in enumerate(drawn)
        ]
        return Listing(fields, [])

    def image(self, field: Field) -> np.ndarray:
        """Draws one field; see `Source.image`."""
        return render.render(self.seed, field.index, field.labels, self.size)
