"""Flags of `python -m hpa_jax.serving predict` and `similar`."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import path_flag
from hpa_jax.errors import InputError
from hpa_jax.images.channel_names import parse_channels
from hpa_jax.images.rule import PROJECTIONS
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.cells.request import POOLS, CellRequest, window_flag
from hpa_jax.serving.predict.request import Request

_BACKENDS = ("auto", "onnx", "jax")


def add_images(parser: Parser) -> None:
    """The flags of how images are found, read and scored."""
    add_folder(parser, missing_flag)
    add_scoring(parser)


def add_folder(parser: Parser, missing: Callable[[str], tuple[str, ...]]) -> None:
    """The flags of how images are found and read.

    Args:
      parser: that gets them.
      missing: parses --missing.
    """
    add = parser.add_argument
    add(
        "--pattern",
        metavar="PATH",
        help="of the files below DIR: '{id}_{channel}.tif' for a file a channel, '{id}.tif' for "
        "all channels in one; without it the layout is found from the names, and said",
    )
    add(
        "--channels",
        type=channels_flag,
        metavar="LIST",
        help="your names of the channels, in the names of files or of planes: "
        "red=tubulin,green=gfp,blue=dapi,yellow=er",
    )
    add(
        "--order",
        type=order_flag,
        metavar="LIST",
        help="which channel each plane of a file is: blue,green,red,yellow; nothing between two "
        "commas leaves a plane out",
    )
    add(
        "--missing",
        type=missing,
        default=(),
        metavar="LIST",
        help="channels that were not imaged: red,yellow. The net sees black, and every row says so",
    )
    add(
        "--white",
        type=white_flag,
        metavar="V",
        help="the value that becomes 255 (default: as the "
        "files of the training set: 255, 16 bits 65535)",
    )
    add(
        "--projection",
        choices=PROJECTIONS,
        default="",
        help="of z-stacks, which are refused without it",
    )
    add(
        "--float_range",
        type=float_range_flag,
        metavar="LOW,HIGH",
        help="of files with floating-point numbers: the values that become 0 and 255",
    )
    add("--follow_links", action="store_true", help="follow links that lead out of DIR")
    add(
        "--policy",
        choices=("strict", "skip"),
        default="strict",
        help="strict: stop at the first image that cannot be read (default); skip: leave it out "
        "and list it in OUT.rejects.csv",
    )


def add_scoring(parser: Parser) -> None:
    """The flags of how a net scores them."""
    add = parser.add_argument
    add(
        "--pixel_size",
        type=pixel_size_flag,
        metavar="UM",
        help="of your images, in micrometres (default: as the files say)",
    )
    add(
        "--backend",
        choices=_BACKENDS,
        default="auto",
        help="auto: onnx where the export has it, else jax (default)",
    )
    add(
        "--batch",
        type=count_flag("--batch"),
        metavar="N",
        help="images a batch (default 8 up to 128 px, above 1)",
    )
    add(
        "--threads",
        type=count_flag("--threads"),
        metavar="N",
        help="threads that read, and by onnx that compute (default: the cores that this process "
        "may use)",
    )


def add_cells(parser: Parser) -> None:
    """The flags of predicting cell by cell."""
    add = parser.add_argument
    add(
        "--cells",
        action="store_true",
        help="a row for each cell of each image, not for each image: its place, area, scores and "
        "embedding; beside it OUT.fields.csv, a row an image, and a page",
    )
    add(
        "--masks",
        type=path_flag("--masks"),
        metavar="DIR",
        help="of --cells: label images named by Ids, PNG or TIFF, 0 is background (default: cells "
        "are segmented)",
    )
    add(
        "--cell_window",
        type=window_flag,
        metavar="WINDOW",
        help="of --cells, what a crop shows: repeat (a cell as large as in a field, and its mirror "
        "images around it), field (without these), box (each cell fills the crop), or a side in px "
        "of your images: 640 (default: repeat; of a net that learned from cells, as it did)",
    )
    add(
        "--keep_neighbours",
        action="store_true",
        help="of --cells: other cells in a crop are left (default: they are black)",
    )
    add(
        "--skip_border",
        action="store_true",
        help="of --cells: cells that touch the border of their image are left out",
    )
    add(
        "--pool",
        choices=POOLS,
        help="of --cells: how the scores of an image's cells become one (default: attention where "
        "the net has learnt it, else mean)",
    )


def cell_request(
    cells: bool,
    masks: Path | None,
    window: str | int | None,
    keep_neighbours: bool,
    skip_border: bool,
    pool: str | None,
) -> CellRequest | None:
    """What is asked for cell by cell; None: nothing.

    Raises:
      InputError: something is, without `cells`.
    """
    given = {
        "masks": masks,
        "cell_window": window,
        "keep_neighbours": keep_neighbours,
        "skip_border": skip_border,
        "pool": pool,
    }
    if not cells:
        for name, value in given.items():
            if value:
                raise InputError(f"{name} is about the cells of an image; give cells too")
        return None
    return CellRequest(
        masks=masks,
        window=window,
        keep_neighbours=keep_neighbours,
        skip_border=skip_border,
        pool=pool or None,
    )


def add_export(parser: Parser) -> None:
    """The export that scores."""
    parser.add_argument("export", type=path_flag("EXPORT", buckets=True), metavar="EXPORT")


def channels_flag(text: str) -> dict[str, str]:
    """Parses --channels."""
    return parse_channels(text)


def order_flag(text: str) -> tuple[str, ...]:
    """Parses --order."""
    order = tuple(item.strip().lower() for item in text.split(","))
    named = [channel for channel in order if channel]
    if not named or len(set(named)) < len(named) or not set(named) <= set(CHANNELS):
        raise InputError(
            f"--order={text}: give the channel of each plane, {','.join(CHANNELS)} each at most "
            "once, and nothing between two commas for a plane to leave out"
        )
    return order


def missing_flag(text: str) -> tuple[str, ...]:
    """Parses --missing."""
    found = tuple(item.strip().lower() for item in text.split(","))
    if len(set(found)) < len(found) or not set(found) <= set(CHANNELS):
        raise InputError(
            f"--missing={text}: give some of {', '.join(CHANNELS)}, each once, with commas between"
        )
    if "green" in found:
        raise InputError(
            f"--missing={text}: green is the protein, which all of this is about; say which "
            "channel holds it with --channels=green=NAME"
        )
    return found


def white_flag(text: str) -> int:
    """Parses --white."""
    return _number("--white", text, int, 1, 65535, "the value that becomes 255")


def pixel_size_flag(text: str) -> float:
    """Parses --pixel_size."""
    return _number("--pixel_size", text, float, 0.001, 100, "micrometres a pixel")


def count_flag(name: str) -> Callable[[str], int]:
    """A `type=` of argparse for the flag `name`, a number of things."""

    def convert(text: str) -> int:
        return _number(name, text, int, 1, 1024, "a number")

    return convert


def float_range_flag(text: str) -> tuple[float, float]:
    """Parses --float_range."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--float_range={text}: give two numbers, the darker one first: 0,1")
    return low, high


def _number(flag: str, text: str, kind: type, low: float, high: float, what: str):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise InputError(f"{flag}={text}: give {what}, from {low} to {high}")
    return value


def make_request(
    flags: argparse.Namespace,
    overlays: Path | None = None,
    cells: CellRequest | None = None,
    synthesize: Path | None = None,
) -> Request:
    """What is to be predicted, by the flags of `add_images` and the command's own `out`."""
    return Request(
        images=flags.images,
        out=flags.out,
        pattern=flags.pattern,
        channels=flags.channels,
        order=flags.order,
        missing=flags.missing,
        follow_links=flags.follow_links,
        white=flags.white,
        projection=flags.projection,
        float_range=flags.float_range,
        pixel_size=flags.pixel_size,
        policy=flags.policy,
        batch=flags.batch,
        threads=flags.threads,
        overlays=overlays,
        cells=cells,
        synthesize=synthesize,
    )
