"""Draws docs/images/mixes.png: a synthetic image as stored, through channel mixes, one dropped.

    python docs/draw_mixes.py --out=docs/images/mixes.png [--seed=1] [--size=176] [--label=7]

A channel mix of one channel is drawn gray, one of three as red, green and blue. `rgby` has four:
its yellow is drawn over the others, as these images are usually shown. What lies above 255 is drawn
as 255; a net sees it in full.
"""

import sys

import numpy as np
from pictures import Tile, grid, make_parser, write_picture

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.transforms.channel_mix import parse_channel_mix
from tfds_builder.hpa.synthetic.render import render

_COLUMNS = 4

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
    tiles = []
    for name, remark, channel_mix, missing in _TILES:
        tiles.append(Tile(shown(image, channel_mix, missing), name, remark))
    return grid(tiles, _COLUMNS)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__, "docs/images/mixes.png")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=176, help="pixels a side of the image")
    parser.add_argument(
        "--label", type=int, default=LABELS.index("Golgi apparatus"), help="label id of the image"
    )
    args = parser.parse_args(argv)
    return write_picture(args.out, lambda: picture(args.seed, args.size, args.label))


if __name__ == "__main__":
    sys.exit(main())
