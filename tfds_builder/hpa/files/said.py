"""What image files say of themselves, put together over all images of a source.

Pixel size, white, channels and depth are compared with what the user says of them: what was not
said is asked about where a wrong guess would lose something, and else reported.
"""

import math
from collections import Counter
from collections.abc import Sequence

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files.image_files import Headers

# Sizes that differ by less are the same, rounded by different programs.
_TOLERANCE = 0.01
_DEEPEST = 65535
# The largest values of cameras of 12 and 14 bits, which write files of 16.
_CAMERAS = (4095, 16383)
_DARK = 4095
_FEW_SHADES = 64


class Said:
    """What the headers of all images say."""

    def __init__(self):
        self._sizes: list[float | None] = []
        self._whites: Counter[int] = Counter()
        self._missing: Counter[str] = Counter()
        self._odd_names: Counter[str] = Counter()
        self._bits: Counter[int] = Counter()

    def add(self, headers: Headers) -> None:
        """Takes another image in."""
        self._sizes.append(headers.description.pixel_size)
        self._whites.update(headers.whites)
        self._missing.update(headers.missing)
        if headers.odd_name:
            self._odd_names[headers.odd_name] += 1
        self._bits[headers.description.bits] += 1

    def pixel_size(self) -> float | None:
        """Micrometres a pixel of all images; None where one does not say, or says another."""
        if not self._sizes or None in self._sizes:
            return None
        first = self._sizes[0]
        if all(math.isclose(size, first, rel_tol=_TOLERANCE) for size in self._sizes):
            return round(first, 6)
        return None

    def check_white(self, white: int | None, where: str) -> None:
        """Asks for white, where files say that it is not the largest value of their depth.

        Raises:
          InputError: they do, and `white` is None.
        """
        if white is not None or not self._whites:
            return
        values = sorted(self._whites)
        said = " and ".join(map(str, values))
        images = _counted(max(self._whites.values()), len(self._sizes))
        if len(values) > 1:
            raise InputError(
                f"{where}: files say that {said} are white, of several cameras; build them apart, "
                "each with its --white"
            )
        raise InputError(
            f"{where}: files of {images} say that {said} is white, where 16 bits hold {_DEEPEST}; "
            f"give --white={said}, or another"
        )

    def notes(self, white: int | None, pixel_size: float | None) -> list[str]:
        """What the user should know, a line each.

        Args:
          white: as the user says.
          pixel_size: as the user says.
        """
        notes = []
        for value in self._whites:
            if white != value:
                notes.append(f"files say that {value} is white; --white={white} is taken.")
        notes += self._size_notes(pixel_size)
        for channel, count in self._missing.items():
            images = _counted(count, len(self._sizes))
            notes.append(f"the files of {images} hold no {channel}, which is black in them.")
        for words, count in self._odd_names.most_common(3):
            images = _counted(count, len(self._sizes))
            notes.append(f"the files of {images} say of {words}.")
        if len(self._bits) > 1:
            depths = ", ".join(f"{bits} bits in {n}" for bits, n in sorted(self._bits.items()))
            notes.append(f"images differ in depth ({depths}); each depth has a white of its own.")
        return notes

    def _size_notes(self, given: float | None) -> list[str]:
        sizes = [size for size in self._sizes if size is not None]
        if not sizes:
            return []
        smallest = min(sizes)
        largest = max(sizes)
        images = _counted(len(sizes), len(self._sizes))
        says = f"the files of {images} say {smallest:.4g} um a pixel"
        if not math.isclose(smallest, largest, rel_tol=_TOLERANCE):
            says = f"the files of {images} say {smallest:.4g} to {largest:.4g} um a pixel"
        if given is None:
            return [f"{says}."]
        if math.isclose(smallest, given, rel_tol=_TOLERANCE) and smallest == largest:
            return []
        return [f"{says}; --pixel_size={given:g} is taken."]


def judge_floats(
    largest: Sequence[tuple[int | float | None, ...]], float_range: tuple[float, float]
) -> list[str]:
    """Tells where the range of floating-point numbers does not fit them.

    Args:
      largest: of each image, the largest value of each channel.
      float_range: as the user says.
    """
    of_images = []
    for image in largest:
        values = [value for value in image if isinstance(value, float)]
        if values:
            of_images.append(max(values))
    if not of_images:
        return []
    black, white = float_range
    top = max(of_images)
    shown = f"--float_range={black:g},{white:g}"
    above = sum(value > white for value in of_images)
    if above:
        images = _counted(above, len(largest))
        return [f"{images} have values above {shown} (up to {top:.6g}): they are 255 too."]
    shades = int((top - black) / (white - black) * 255 + 0.5) + 1
    if shades <= _FEW_SHADES:
        return [f"no value is above {top:.6g}, where {shown}: {max(shades, 1)} shades of gray."]
    return []


def judge_ranges(
    largest: Sequence[tuple[int | float | None, ...]], white: int | None, where: str
) -> list[str]:
    """Whether the values of 16 bits would survive becoming 8.

    Args:
      largest: of each image, the largest value of each channel; None where there is no question.
      white: as the user says; None: 65535.
      where: the source, for messages.

    Returns:
      what the user should know, a line each.

    Raises:
      InputError: `white` is None, and the values are so small that few shades would be left.
    """
    of_images = []
    for image in largest:
        values = [value for value in image if isinstance(value, int)]
        if values:
            of_images.append(max(values))
    if not of_images:
        return []
    top = max(of_images)
    if white is not None:
        above = sum(value > white for value in of_images)
        images = _counted(above, len(largest))
        if above:
            return [f"{images} have values above --white={white} (up to {top}): they are 255 too."]
        return []
    if 0 < top <= _CAMERAS[-1]:
        camera = next(value for value in _CAMERAS if value >= top)
        bits = camera.bit_length()
        raise InputError(
            f"{where}: no value of {len(largest)} images is above {top}, of the {_DEEPEST} that is "
            f"white in 16 bits: {_shades(top)} shades of gray would be left. Of a camera of {bits} "
            f"bits? give --white={camera}; or --white={top}, or --white={_DEEPEST} if they are so "
            "dark"
        )
    return _dark_notes(largest, of_images)


def _dark_notes(
    largest: Sequence[tuple[int | float | None, ...]], of_images: Sequence[int]
) -> list[str]:
    """Channels and images that are far darker than the others."""
    notes = []
    for number, channel in enumerate(CHANNELS):
        values = [image[number] for image in largest if isinstance(image[number], int)]
        if values and 0 < max(values) <= _DARK:
            notes.append(
                f"no value of {channel} is above {max(values)} of {_DEEPEST}: it is stored in "
                f"{_shades(max(values))} shades of gray."
            )
    dark = sum(0 < value <= _DARK for value in of_images)
    if dark:
        images = _counted(dark, len(largest))
        notes.append(
            f"{images} have no value above {_DARK} of {_DEEPEST}: {_shades(_DARK)} shades of gray. "
            "If they are of another camera, build them apart, with its --white."
        )
    return notes


def _shades(top: int) -> int:
    """The shades of gray that values up to `top` become."""
    return (top * 510 + _DEEPEST) // (2 * _DEEPEST) + 1


def _counted(some: int, total: int) -> str:
    return f"all {total} images" if some == total else f"{some} images of {total}"
