"""Draws docs/images/cells.png: the cells found in a synthetic field, beside those that are there.

    python docs/draw_cells.py --out=docs/images/cells.png [--seed=0] [--index=2] [--size=384]

At the left what `hpa_jax.segmentation.classical` finds, cells in white and nuclei in cyan; at the
right the masks that the renderer knows.
"""

import sys

import numpy as np
from pictures import GAP, make_parser, write_picture

from hpa_jax.segmentation.classical import segment
from hpa_jax.segmentation.numbering import pair
from hpa_jax.segmentation.outlines import draw_outlines
from tfds_builder.hpa.synthetic.render import cells_of, render


def picture(seed: int, index: int, size: int) -> np.ndarray:
    """Both panels, uint8 [size, 2 size + gap, 3], red, green, blue."""
    # Four of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
    field = render(seed, index, (index,), size)
    coarse = field & 0xF0
    exact = cells_of(seed, index, size)
    owner = exact.owner.astype(np.int32) + 1
    truth = pair(owner, np.where(exact.nuclei > 0.5, owner, 0))
    gap = np.full((size, GAP, 3), 255, np.uint8)
    found = draw_outlines(coarse, segment(field))
    return np.concatenate([found, gap, draw_outlines(coarse, truth)], axis=1)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__, "docs/images/cells.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--index", type=int, default=2, help="of the field, and its label")
    parser.add_argument("--size", type=int, default=384, help="pixels a side of the field")
    args = parser.parse_args(argv)
    return write_picture(args.out, lambda: picture(args.seed, args.index, args.size))


if __name__ == "__main__":
    sys.exit(main())
