"""What is known of one image after the net has seen it."""

from dataclasses import dataclass

import numpy as np

from hpa_jax.serving.predict.cells.found import FieldCells


@dataclass(frozen=True)
class Row:
    """An image that was scored, or refused.

    Attributes:
      id: of the image.
      stamp: a digest that changes when its files do.
      probabilities: float32 [L]; None if it was refused.
      embedding: float32 [E]; None if it was refused, or is not wanted.
      pixel_size: micrometres a pixel, as its files say; None where they do not.
      means: mean of each channel as the net took it, as fractions of 255: four numbers.
      file: that was refused.
      reason: why, and what to do; empty if it was scored.
      cells: of the image, where they were scored one by one.
      extra: values of the table's extra columns.
    """

    id: str
    stamp: str
    probabilities: np.ndarray | None = None
    embedding: np.ndarray | None = None
    pixel_size: float | None = None
    means: tuple[float, ...] = ()
    file: str = ""
    reason: str = ""
    cells: FieldCells | None = None
    extra: tuple = ()

    @property
    def is_scored(self) -> bool:
        return not self.reason
