"""Draws docs/images/mixes.png: a synthetic image as stored, through channel mixes, one dropped.

    python docs/draw_mixes.py --out=docs/images/mixes.png [--seed=1] [--size=176] [--label=7]

A channel mix of one channel is drawn gray, one of three as red, green and blue. `rgby` has four:
its yellow is drawn over the others, as these images are usually shown. What lies above 255 is drawn
as 255; a net sees it in full.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from hpa_jax.errors import EXIT_BAD_INPUT, InputError
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.transforms.channel_mix import parse_channel_mix
from tfds_builder.hpa.synthetic.render import render

_COLUMNS = 4
_GAP = 6
_CAPTION = 40  # pixels under a tile, two lines

# Caption, remark, channel mix, stored channels that are missing.
_TILES = (
    ("stored: red", "microtubules", "red", ()),
    ("stored: green", "the protein", "green", ()),
    ("stored: blue", "nucleus", "blue", ()),
    ("stored: yellow", "endoplasmic reticulum", "yellow", ()),
    ("rgby", "all four, as stored", "rgby", ()),
    ("rgb", "without yellow", "rgb", ()),
    ("green", "the protein alone", "green", ()),
    ("red,blue,yellow", "channels by name", "red,blue,yellow", ()),
    ("hpa_densenet_i", "red and blue gray, plus green", "hpa_densenet_i", ()),
    ("hpa_densenet_ii", "red and blue at half, green", "hpa_densenet_ii", ()),
    ("hpa_densenet_iii", "green into red and into blue", "hpa_densenet_iii", ()),
    ("rgb, red dropped", "by channel_dropout", "rgb", ("red",)),
)


def shown(image: np.ndarray, channel_mix: str, missing: tuple[str, ...]) -> np.ndarray:
    """An image uint8 [H, W, 4] through a channel mix, as uint8 [H, W, 3]: red, green, blue.

    Raises:
      InputError: the channel mix has more channels than a picture shows.
    """
    image = image * np.array([name not in missing for name in CHANNELS])
    mixed = image @ np.array(parse_channel_mix(channel_mix)).T
    if channel_mix == "rgby":  # yellow light is red and green light
        mixed = mixed[..., :3] + 0.5 * mixed[..., 3:] * np.array([1, 1, 0])
    elif mixed.shape[-1] == 1:
        mixed = np.repeat(mixed, 3, axis=-1)
    elif mixed.shape[-1] != 3:
        channels = mixed.shape[-1]
        raise InputError(f"a mix of {channels} channels has no colors: {channel_mix}")
    return np.clip(mixed, 0, 255).astype(np.uint8)


def picture(seed: int, size: int, label: int) -> np.ndarray:
    """All tiles with their captions, uint8 [rows, columns, 3], red, green, blue."""
    # Four of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
    image = render(seed, label, (label,), size) & 0xF0
    step_y, step_x = size + _CAPTION + _GAP, size + _GAP
    rows = -(-len(_TILES) // _COLUMNS)
    page = np.full((rows * step_y + _GAP, _COLUMNS * step_x + _GAP, 3), 255, np.uint8)
    for number, (name, remark, channel_mix, missing) in enumerate(_TILES):
        y, x = number // _COLUMNS * step_y + _GAP, number % _COLUMNS * step_x + _GAP
        page[y : y + size, x : x + size] = shown(image, channel_mix, missing)
        for line, (text, colour) in enumerate(((name, (0, 0, 0)), (remark, (96, 96, 96)))):
            at = (x, y + size + 15 + 17 * line)
            cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return page


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("docs/images/mixes.png"), help="PNG file to write"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=176, help="pixels a side of the image")
    parser.add_argument(
        "--label", type=int, default=LABELS.index("Golgi apparatus"), help="label id of the image"
    )
    args = parser.parse_args(argv)
    try:
        page = picture(args.seed, args.size, args.label)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(args.out), page[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise InputError(f"{args.out}: cannot be written: give --out a writable .png file")
    except (InputError, OSError, cv2.error) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(
        f"{args.out}: {page.shape[1]} x {page.shape[0]} px, {args.out.stat().st_size / 1e3:.0f} kB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
