"""The source `synthetic`: images drawn from a seed, nothing to download.

An image depends on seed, index, labels, size and whether fields vary, so any worker draws the same
one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2018, Vocabulary
from tfds_builder.hpa.sources import Example, Listing, Progress, SourceImage, no_progress
from tfds_builder.hpa.synthetic import render
from tfds_builder.hpa.synthetic.masks import instance_masks

FREQUENCIES = ("tempered", "real")
DEFAULT_IMAGES = 4000
DEFAULT_SIZE = 64


@dataclass(frozen=True)
class Synthetic:
    """Synthetic images.

    Attributes:
      images: number of images.
      size: pixels a side.
      seed: of labels and drawings.
      frequencies: of the labels: those of train.csv (`real`), or tempered.
      vary: whether fields differ in cell size, density, shape, optics and brightness.
      masks: whether the instance masks of cells and nuclei are stored with an image.
    """

    images: int = DEFAULT_IMAGES
    size: int = DEFAULT_SIZE
    seed: int = 0
    frequencies: str = FREQUENCIES[0]
    vary: bool = False
    masks: bool = False
    manual_dir: ClassVar[None] = None
    vocabulary: ClassVar[Vocabulary] = HPA_2018

    def __post_init__(self):
        if self.images < 1 or not 32 <= self.size <= 4096:
            raise InputError(
                f"--images={self.images} --size={self.size} is out of range; "
                "ask for at least 1 image, of 32 to 4096 pixels"
            )

    def settings(self) -> dict:
        """See `Source.settings`."""
        settings = {
            "source": "synthetic",
            "images": self.images,
            "size": self.size,
            "drawing_seed": self.seed,
            "frequencies": self.frequencies,
        }
        # Datasets without them have the metadata that they had before there were these.
        for name in ("vary", "masks"):
            if getattr(self, name):
                settings[name] = True
        return settings

    def examples(self, progress: Progress = no_progress) -> Listing:
        """Draws the labels of all images; see `Source.examples`."""
        drawn = render.draw_labels(self.seed, self.images, self.frequencies)
        examples = []
        for index, labels in enumerate(drawn):
            id = f"synthetic-{self.seed}-{index:06d}"
            examples.append(Example(id, tuple(sorted(map(int, labels))), index))
        return Listing(examples, [])

    def image(self, example: Example) -> np.ndarray:
        """Draws one image; see `Source.image`."""
        return render.render(self.seed, example.index, example.labels, self.size, self.vary)

    def instance_masks(self, example: Example) -> np.ndarray:
        """The exact masks of one image; see `sources.MaskedSource`."""
        cells = render.cells_of(self.seed, example.index, self.size, self.vary)
        return instance_masks(cells)

    def read(self, example: Example) -> SourceImage:
        """See `Source.read`."""
        return SourceImage(self.image(example))

    def judge(
        self,
        largest: Sequence[tuple[int | float | None, ...]],
        histogram: np.ndarray | None = None,
    ) -> list[str]:
        """See `Source.judge`: drawn in 8 bits."""
        return []
