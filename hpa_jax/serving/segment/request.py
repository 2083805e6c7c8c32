"""What a person asks of a segmentation: flags of the command, or settings of a mode."""

from dataclasses import dataclass
from pathlib import Path

SCALES = (0.02, 4.0)
"""Smallest and largest factor by which a field is scaled."""


@dataclass(frozen=True)
class SegmentRequest:
    """What is asked for.

    Attributes:
      out: folder for all that is written.
      method: one of `methods.METHODS`.
      weights: of a method that has them: folder of an export.
      scale: by which a method with weights scales fields before it looks at them; None: it
        chooses, field by field.
      masks: folder of anyone's label images, which are used in place of a method's.
      format: of the masks, one of `label_image.FORMATS`.
      policy: "strict" stops at a field that cannot be read, "skip" leaves it out and lists it.
      threads: that work; None: one a core.
    """

    out: Path
    method: str = "classical"
    weights: Path | None = None
    scale: float | None = None
    masks: Path | None = None
    format: str = "png"
    policy: str = "strict"
    threads: int | None = None
