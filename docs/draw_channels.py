"""Draws docs/images/channels.png: yellow of a synthetic field, as drawn and as made from others.

    python docs/draw_channels.py --run=RUN [--out=docs/images/channels.png] [--seed=1] [--index=7]

RUN is of configs/channels.py. The ridge regression is fitted on 20 other fields; r is Pearson's
coefficient with the channel as it was drawn.
"""

import sys
from pathlib import Path

import numpy as np
from pictures import Tile, grid, make_parser, write_picture

from hpa_jax.evaluation.synthesizer import load_synthesizer
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import channel_baselines
from hpa_jax.metrics.image_similarity import pearson
from tfds_builder.hpa.synthetic.render import render

_TARGET = "yellow"
_SHOWN = ("red", "blue")
_FITTED_ON = 20
_SIDE = 192  # px of a tile


def picture(run: Path, seed: int, index: int) -> np.ndarray:
    """What is shown above what is to be made, uint8 [H, W, 3]."""
    synthesizer = load_synthesizer(run)
    size = synthesizer.size
    field = render(seed, index, (index,), size)
    sums = []
    for other in range(index + 1, index + 1 + _FITTED_ON):
        sums.append(channel_baselines.sums_of(render(seed, other, (other % 28,), size)))
    ridge = channel_baselines.fit_ridge(channel_baselines.total(sums), _TARGET, _SHOWN)
    made = synthesizer.fill(field[np.newaxis], _SHOWN)[0]
    truth = _channel(field, _TARGET)
    tiles = []
    for name in _SHOWN:
        tiles.append(_tile(_channel(field, name), name, "imaged"))
    tiles.append(_tile(truth, _TARGET, "as drawn, not shown to the net"))
    by_method = {
        "the net's": made[..., synthesizer.targets.index(_TARGET)],
        "ridge regression's": np.clip(np.rint(ridge(field)), 0, 255).astype(np.uint8),
        "red itself": _channel(field, "red"),
    }
    for method, plane in by_method.items():
        found = pearson(plane[..., np.newaxis], truth[..., np.newaxis])[0]
        tiles.append(_tile(plane, f"{_TARGET}: {method}", f"r = {found:.2f}"))
    return grid(tiles, len(_SHOWN) + 1)


def _channel(field: np.ndarray, name: str) -> np.ndarray:
    return field[..., CHANNELS.index(name)]


def _tile(plane: np.ndarray, name: str, remark: str) -> Tile:
    """A part of a channel, twice as large where that fits."""
    part = plane[:_SIDE, :_SIDE]
    if len(part) <= _SIDE // 2:
        part = part.repeat(2, axis=0).repeat(2, axis=1)
    # Four of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
    return Tile(part & 0xF0, name, remark)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__, "docs/images/channels.png")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--index", type=int, default=7, help="of the field, and its label")
    args = parser.parse_args(argv)
    return write_picture(args.out, lambda: picture(args.run, args.seed, args.index))


if __name__ == "__main__":
    sys.exit(main())
