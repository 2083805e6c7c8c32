"""The size of a pixel in micrometres, as TIFF's tags and other programs say it."""

import math

from hpa_jax.images.tiff.directories import Directory

_MICROMETRES = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "in": 25400.0,
    "inch": 25400.0,
}
_OF_THE_TAG = {2: "inch", 3: "cm"}
# 72 to 1200 dots an inch are for screens and printers: no microscope's pixel is 20 micrometres.
_LARGEST_BELIEVED = 20.0
_SMALLEST_BELIEVED = 1e-3
# Pixels whose sides differ by more are not square.
_TOLERANCE = 0.01


def in_micrometres(unit: str) -> float:
    """How many micrometres a unit is; not a number if it is unknown.

    Args:
      unit: such as "µm", in any case.
    """
    return _MICROMETRES.get(unit.strip().lower().replace("\\u00b5", "µ"), math.nan)


def pixel_size(across: float, down: float, unit: str) -> float | None:
    """Micrometres a pixel; None if the unit is unknown, or the size none of a microscope.

    Args:
      across: width of a pixel in `unit`.
      down: its height.
      unit: such as "µm", in any case.
    """
    if not math.isclose(across, down, rel_tol=_TOLERANCE):
        return None
    size = across * in_micrometres(unit)
    if not _SMALLEST_BELIEVED <= size <= _LARGEST_BELIEVED:
        return None
    return size


def of_resolution(directory: Directory, unit: str | None = None) -> float | None:
    """Micrometres a pixel by the resolution tags.

    Args:
      directory: of the page.
      unit: what a resolution is per, if another program's notes say so; None: by the tag.
    """
    across = _fraction(directory.others.get("XResolution"))
    down = _fraction(directory.others.get("YResolution"))
    if across is None or down is None:
        return None
    if unit is None:
        unit = _OF_THE_TAG.get(directory.first("ResolutionUnit", 2), "")
    return pixel_size(1 / across, 1 / down, unit)


def _fraction(value: object) -> float | None:
    """A resolution, which tifffile returns as numerator and denominator."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    numerator, denominator = value
    if not numerator or not denominator:
        return None
    return abs(numerator / denominator)
