"""What a person asks of a prediction; flags of the command and settings of a run are the same."""

from dataclasses import dataclass
from pathlib import Path

from hpa_jax.serving.predict.cells.request import CellRequest


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      images: folder or zip.
      out: of the table, with the suffix of its format.
      pattern, channels, order, missing, follow_links: see `find_images`.
      white: the value that becomes 255; None: as in the training set.
      projection: "max" or "mean" of a z-stack; "": it is refused.
      float_range: the floating-point values that become 0 and 255.
      pixel_size: in micrometres; None: as files say.
      policy: one of `scoring.POLICIES`.
      batch: images a batch; None: by the net's size.
      threads: that read; None: one a core.
      overlays: folder for pictures of what the net looked at; None: none.
      cells: what is asked for cell by cell; None: images are scored alone.
      synthesize: export of a net that makes the missing channels from the others; None: they stay
        black.
    """

    images: Path
    out: Path
    pattern: str | None = None
    channels: dict[str, str] | None = None
    order: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    follow_links: bool = False
    white: int | None = None
    projection: str = ""
    float_range: tuple[float, float] | None = None
    pixel_size: float | None = None
    policy: str = "strict"
    batch: int | None = None
    threads: int | None = None
    overlays: Path | None = None
    cells: CellRequest | None = None
    synthesize: Path | None = None
