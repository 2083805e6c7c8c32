"""Whether the values of images survive becoming 8 bits, judged by all images of a source.

Cameras of 12 bits write files of 16, of which 65535 is white: four shades of gray may be left, and
nothing could bring the others back. Where that would happen, the build asks.

Design: a single hot pixel, or a scale bar, must not hide that all others are dark. So beside the
largest values, the range that holds nearly all pixels is judged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files.said import counted

Largest = Sequence[tuple[int | float | None, ...]]
"""Of each image, the largest value of each channel; None where there is no question."""

_DEEPEST = 65535
# The largest values of cameras of 12 and 14 bits, which write files of 16.
_CAMERAS = (4095, 16383)
_DARK = 4095
_DARK_OF_8_BITS = 15
_FEW_SHADES = 64
# Fraction of the pixels that may be brighter, and darker, than the range that is judged.
_OUTSIDE = 0.001
_NARROW = 16  # shades


class Asked(NamedTuple):
    """What the user said of the values.

    Attributes:
      white: the value that becomes 255; None: the largest of the depth.
      can_answer: whether there is a flag by which to say so.
    """

    white: int | None
    can_answer: bool = True


def judge_floats(largest: Largest, float_range: tuple[float, float]) -> list[str]:
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
        images = counted(above, len(largest))
        return [f"{images} have values above {shown} (up to {top:.6g}): they are 255 too."]
    shades = int((top - black) / (white - black) * 255 + 0.5) + 1
    if shades <= _FEW_SHADES:
        return [f"no value is above {top:.6g}, where {shown}: {max(shades, 1)} shades of gray."]
    return []


def judge_ranges(
    largest: Largest, histogram: np.ndarray | None, asked: Asked, where: str
) -> list[str]:
    """Whether whole numbers would survive becoming 8 bits.

    Args:
      largest: see there.
      histogram: int64 [4, 256], the pixels of each stored value by channel, over all images; None
        where it is not known.
      asked: what the user said.
      where: the source, for messages.

    Returns:
      what the user should know, a line each.

    Raises:
      InputError: `asked` names no white, and so few shades would be left that the user must.
    """
    of_images = []
    for image in largest:
        values = [value for value in image if isinstance(value, int)]
        if values:
            of_images.append(max(values))
    has_floats = any(isinstance(value, float) for image in largest for value in image)
    if not of_images and has_floats:
        return []
    if not of_images:
        return _judge_8_bits(len(largest), histogram, asked, where)
    if asked.white is not None:
        return _above_white(of_images, len(largest), asked.white)
    top = max(of_images)
    if 0 < top <= _CAMERAS[-1]:
        raise InputError(
            f"{where}: no value of {len(largest)} images is above {top}, of the {_DEEPEST} that is "
            f"white in 16 bits: {_shades(top)} shades of gray would be left. {_remedy(top)}"
        )
    _check_channels(largest, where)
    if histogram is not None and len(of_images) == len(largest):
        _check_spread(histogram, where)
    return _check_dark_images(of_images, len(largest), where)


def _above_white(of_images: Sequence[int], total: int, white: int) -> list[str]:
    above = sum(value > white for value in of_images)
    if not above:
        return []
    top = max(of_images)
    return [
        f"{counted(above, total)} have values above --white={white} (up to {top}): they are 255 "
        "too."
    ]


def _remedy(top: int) -> str:
    camera = next(value for value in _CAMERAS if value >= top)
    or_top = f" or --white={top}," if top != camera else ""
    return (
        f"Of a camera of {camera.bit_length()} bits? give --white={camera};{or_top} or "
        f"--white={_DEEPEST} if they are so dark"
    )


def _check_channels(largest: Largest, where: str) -> None:
    """Asks where one channel is far darker than the others."""
    for number, channel in enumerate(CHANNELS):
        values = [image[number] for image in largest if isinstance(image[number], int)]
        if values and 0 < max(values) <= _DARK:
            raise InputError(
                f"{where}: no value of {channel} is above {max(values)}, of the {_DEEPEST} that is "
                f"white in 16 bits: {_shades(max(values))} shades of gray would be left of it. "
                f"Scale its files, or leave the channel out; or give --white={_DEEPEST} to take it "
                "as it is"
            )


def _check_spread(histogram: np.ndarray, where: str) -> None:
    """Asks where nearly all pixels of a channel would become a few shades."""
    for number, channel in enumerate(CHANNELS):
        if not histogram[number, 1:].any():
            continue
        cumulative = np.cumsum(histogram[number])
        pixels = cumulative[-1]
        low = int(np.searchsorted(cumulative, _OUTSIDE * pixels, side="right"))
        high = int(np.searchsorted(cumulative, (1 - _OUTSIDE) * pixels))
        if high - low < _NARROW:
            advice = f"give the value that is white, such as --white={_likely_white(high)}"
            if low > _NARROW:
                advice = f"take what is black off the files, about {low * 257}"
            raise InputError(
                f"{where}: {1 - 2 * _OUTSIDE:.1%} of the pixels of {channel} lie from {low * 257} "
                f"to {high * 257} of {_DEEPEST}: {high - low + 1} shades of gray would be left of "
                f"them; {advice}, or give --white={_DEEPEST} to take them as they are"
            )


def _likely_white(shade: int) -> int:
    """The white of the camera that has pixels up to this shade; else the shade itself."""
    value = (shade + 1) * 257
    return next((camera for camera in _CAMERAS if value <= camera + 257), value)


def _check_dark_images(of_images: Sequence[int], total: int, where: str) -> list[str]:
    """Asks where half of the images are far darker than the others; tells of fewer."""
    dark = sum(0 < value <= _DARK for value in of_images)
    if not dark:
        return []
    note = (
        f"{counted(dark, total)} have no value above {_DARK} of {_DEEPEST}: {_shades(_DARK)} "
        "shades of gray. If they are of another camera, build them apart, with its --white"
    )
    if 2 * dark >= total:
        raise InputError(f"{where}: {note}; or give --white={_DEEPEST} to take all as they are")
    return [f"{note}."]


def _judge_8_bits(images: int, histogram: np.ndarray | None, asked: Asked, where: str) -> list[str]:
    """As for 16 bits, but of 255; a channel that is all black is another question."""
    if histogram is None or asked.white is not None:
        return []
    tops = [int(np.flatnonzero(counts).max(initial=0)) for counts in histogram]
    top = max(tops)
    if asked.can_answer and 0 < top <= _DARK_OF_8_BITS:
        raise InputError(
            f"{where}: no value of {images} images is above {top}, of the 255 that is white in 8 "
            f"bits: are they masks, or of another depth? give --white={top}, or --white=255 if "
            "they are so dark"
        )
    notes = []
    for channel, value in zip(CHANNELS, tops, strict=True):
        if 0 < value <= _DARK_OF_8_BITS:
            notes.append(f"no value of {channel} is above {value} of 255: is it a mask?")
    return notes


def _shades(top: int) -> int:
    """The shades of gray that values up to `top` become."""
    return (top * 510 + _DEEPEST) // (2 * _DEEPEST) + 1
