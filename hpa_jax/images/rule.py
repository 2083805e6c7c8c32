"""Which image files are accepted, and how their values become eight bits."""

from dataclasses import dataclass

PROJECTIONS = ("max", "mean")
# Those that have a value for white of their own in a dataset's settings.
_COMMON_BITS = (8, 16)


@dataclass(frozen=True)
class Rule:
    """Which files a source accepts.

    Attributes:
      formats: some of PNG, TIFF, JPEG.
      wanted: what to save instead of a file that is refused, in words.
      bits: accepted depths; 32 are floating-point numbers, which need a `float_range` too.
      white: the value that becomes 255; None for what the file says is white, or else the largest
        value of the depth.
      coloured: whether an image in one colour is accepted.
      by_colour: whether that must be the channel's own colour.
      projection: what becomes of a z-stack: "" refuses it, "max" and "mean" are taken over depth.
      float_range: the floating-point values that become 0 and 255.
    """

    formats: tuple[str, ...]
    wanted: str
    bits: tuple[int, ...] = (8,)
    white: int | None = None
    coloured: bool = False
    by_colour: bool = False
    projection: str = ""
    float_range: tuple[float, float] | None = None

    def settings(self) -> dict:
        """What changes the values of a dataset, beyond the files themselves."""
        settings = {}
        if len(self.bits) > 1:
            common = [bits for bits in self.bits if bits in _COMMON_BITS]
            settings["white"] = {str(bits): self.white or 2**bits - 1 for bits in common}
        if self.projection:
            settings["projection"] = self.projection
        if self.float_range:
            settings["float_range"] = list(self.float_range)
        return settings


def any_image(
    white: int | None = None,
    projection: str = "",
    float_range: tuple[float, float] | None = None,
) -> Rule:
    """The rule for images of any origin: every format and depth that there is a decoder for.

    Args:
      white: see `Rule`.
      projection: see `Rule`.
      float_range: see `Rule`.
    """
    return Rule(
        ("PNG", "TIFF", "JPEG"),
        "a gray PNG, TIFF or JPG of 8 or 16 bits",
        bits=(1, 2, 4, 8, 10, 12, 14, 16, 32),
        white=white,
        coloured=True,
        projection=projection,
        float_range=float_range,
    )
