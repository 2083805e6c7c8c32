"""Flags of `python -m hpa_jax.serving segment`."""

import argparse

from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import path_flag
from hpa_jax.errors import InputError
from hpa_jax.segmentation.label_image import FORMATS
from hpa_jax.serving.predict.arguments import add_folder, count_flag
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.segment.fields import missing_flag
from hpa_jax.serving.segment.methods import METHODS
from hpa_jax.serving.segment.request import SCALES, SegmentRequest


def make_parser(about: str) -> Parser:
    """The parser of the command.

    Args:
      about: what the command does.
    """
    parser = Parser(
        prog="python -m hpa_jax.serving segment",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 all is written; 2 a wrong call or bad input, in one line.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("images", type=path_flag("DIR"), metavar="DIR")
    add(
        "--out",
        type=path_flag("--out"),
        required=True,
        metavar="FOLDER",
        help="for masks, outlines, polygons and cells.csv; a second start with it goes on",
    )
    add(
        "--method",
        choices=tuple(METHODS),
        help=f"what finds cells (default {next(iter(METHODS))})",
    )
    add(
        "--weights",
        type=path_flag("--weights"),
        metavar="EXPORT",
        help="of a method that was trained: the folder of its export",
    )
    add(
        "--scale",
        type=_scale,
        metavar="FACTOR",
        help="of unet: fields are scaled by it before the net sees them; masks have the field's "
        "size all the same (default: so that nuclei are as large as those it was trained on)",
    )
    add(
        "--masks",
        type=path_flag("--masks"),
        metavar="DIR",
        help="label images of another program, in place of a method: ID_cells, ID_cp_masks, "
        "ID_masks, ID_mask or ID alone, .png or .tif; nuclei in ID_nuclei",
    )
    add("--format", choices=tuple(FORMATS), default="png", help="of the masks (default png)")
    add_folder(parser, missing_flag)
    add(
        "--threads",
        type=count_flag("--threads"),
        metavar="N",
        help="images at a time (default: the cores that this process may use)",
    )
    return parser


def _scale(text: str) -> float:
    """Parses --scale."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    # Written so that a NaN is refused as well.
    if not SCALES[0] <= factor <= SCALES[1]:
        raise InputError(f"--scale={text}: give a factor from {SCALES[0]:g} to {SCALES[1]:g}")
    return factor


def segment_request(flags: argparse.Namespace) -> SegmentRequest:
    """What is asked for.

    Raises:
      InputError: flags that exclude each other.
    """
    if flags.masks is not None and (flags.method or flags.weights or flags.scale):
        raise InputError(
            "--masks are used in place of a method; leave out --method, --weights and --scale"
        )
    return SegmentRequest(
        out=flags.out,
        method=flags.method or next(iter(METHODS)),
        weights=flags.weights,
        scale=flags.scale,
        masks=flags.masks,
        format=flags.format,
        policy=flags.policy,
        threads=flags.threads,
    )


def folder_request(flags: argparse.Namespace) -> Request:
    """Which images are meant, and how they are read."""
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
    )
