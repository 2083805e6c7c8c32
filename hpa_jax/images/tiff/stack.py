"""Which page and sample of a TIFF file holds which channel at which depth.

The pages of a file are its channels, its planes in depth, time points, or copies at another size.
OME-XML, ImageJ, tifffile and LSM say which; without them pages are just pages.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hpa_jax.images.header import COMPOSITE
from hpa_jax.images.store import DOWNLOAD_AGAIN, Refused
from hpa_jax.images.tiff.page import Page

_MAX_FRAMES = 4096
GRAY = ("gray", "gray in a palette")


class Frame(NamedTuple):
    """A plane of pixels.

    Attributes:
      page: which page of the file.
      sample: which sample of its pixels.
    """

    page: int
    sample: int


class Stack(NamedTuple):
    """The frames of a file.

    Attributes:
      frames: of each channel, its frames in depth.
      names: of the channels, "" where unknown.
      colour: see `Description`; "pages" if nothing says what the pages are.
      pixel_size: micrometres a pixel, None if unknown.
      white: the largest value that the camera gives, None if unknown.
    """

    frames: tuple[tuple[Frame, ...], ...]
    names: tuple[str, ...]
    colour: str
    pixel_size: float | None = None
    white: int | None = None


def of_one_page(page: Page) -> Stack:
    """The stack of a file with a single page."""
    frames = tuple((Frame(0, sample),) for sample in range(page.samples))
    return Stack(frames, sample_names(page), page.colour)


def sample_names(page: Page) -> tuple[str, ...]:
    """The names of a page's samples, where their colour gives them one."""
    if page.colour == "RGB":
        return COMPOSITE
    if page.colour == "RGBA":
        return (*COMPOSITE, "")
    return ("",) * page.samples


def of_unknown_pages(pages: Sequence[Page], numbers: Sequence[int]) -> Stack:
    """The stack of pages of which nothing says what they are.

    Args:
      pages: of the file.
      numbers: of the pages that count.
    """
    first = pages[numbers[0]]
    if len(numbers) == 1:
        frames = tuple((Frame(numbers[0], sample),) for sample in range(first.samples))
        return Stack(frames, sample_names(first), first.colour)
    check_same_kind(pages, numbers)
    if first.samples > 1:
        raise Refused(
            f"has {len(numbers)} pages of {first.samples} samples a pixel, and does not say what "
            "they are; save it as OME-TIFF, or each field as a file of its own"
        )
    frames = tuple((Frame(number, 0),) for number in numbers)
    colour = "pages" if first.colour in GRAY else first.colour
    return Stack(frames, ("",) * len(frames), colour)


def of_axes(
    pages: Sequence[Page | None],
    numbers: Sequence[int],
    channels: int,
    depth: int,
    names: Sequence[str] = (),
    channels_first: bool = True,
) -> Stack:
    """The stack of pages in a known order.

    Args:
      pages: of the file.
      numbers: of the pages that count, `channels * depth` of them.
      channels: that are pages; the samples of a page are channels as well.
      depth: planes of each channel.
      names: of the channels, if as many.
      channels_first: whether the channels of one depth follow each other.
    """
    if len(numbers) != channels * depth:
        raise Refused(
            f"says that it has {channels} channels of {depth} planes, and has "
            f"{len(numbers)} pages; {DOWNLOAD_AGAIN}, or save it again"
        )
    check_same_kind(pages, numbers)
    first = pages[numbers[0]]
    frames = []
    for channel in range(channels):
        for sample in range(first.samples):
            planes = []
            for z in range(depth):
                place = z * channels + channel if channels_first else channel * depth + z
                planes.append(Frame(numbers[place], sample))
            frames.append(tuple(planes))
    is_colour = channels == 1 and first.samples > 1
    colour = first.colour
    if len(frames) > 1 and not is_colour and colour in (*GRAY, "RGB", "RGBA"):
        colour = "channels"
    if len(names) != len(frames):
        names = sample_names(first) if is_colour else ("",) * len(frames)
    return Stack(tuple(frames), tuple(names), colour)


def check_same_kind(pages: Sequence[Page], numbers: Sequence[int]) -> None:
    """Raises Refused unless the pages agree in size, depth and colours."""
    if len(numbers) > _MAX_FRAMES:
        raise Refused(f"has more than {_MAX_FRAMES} planes; save those that are meant")
    if any(pages[number] is None for number in numbers):
        raise Refused("counts a page among its images that is a mask of a rare kind; save it again")
    if len({pages[number].kind for number in numbers}) > 1:
        raise Refused(
            "has pages of different sizes or kinds; save the one that is meant as a file of its own"
        )


def check_times(times: int) -> None:
    """Raises Refused if there is more than one time point."""
    if times > 1:
        raise Refused(f"has {times} time points; save the one that is meant as a file of its own")
