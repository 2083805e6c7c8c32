"""Draws docs/images/cell_scores.png: each cell of a synthetic field, scored on its own.

    python docs/draw_cell_scores.py --export=EXPORT [--out=docs/images/cell_scores.png] [--index=1]

What `predict --cells --overlays` draws of a field whose one label is --label. EXPORT is of a net
that learned from synthetic fields.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from pictures import make_parser, write_picture

from hpa_jax.labels import CHANNELS
from hpa_jax.serving import __main__ as serving
from tfds_builder.hpa.synthetic.render import render


def picture(export: Path, index: int, label: int, size: int) -> np.ndarray:
    """The overlay of a field, uint8 [H, W, 3]."""
    field = render(5, index, (label,), size)
    with tempfile.TemporaryDirectory() as folder:
        images, overlays = Path(folder, "images"), Path(folder, "overlays")
        images.mkdir()
        for number, channel in enumerate(CHANNELS):
            cv2.imwrite(str(images / f"field_{channel}.png"), field[..., number])
        flags = ["--cells", f"--overlays={overlays}", f"--out={Path(folder, 'cells.csv')}"]
        # Three of eight bits are kept: camera noise would fill the PNG.
        with contextlib.redirect_stdout(io.StringIO()):
            serving.main(["predict", str(export), str(images), *flags])
        return cv2.imread(str(overlays / "field.png"))[..., ::-1] & 0xE0


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__, "docs/images/cell_scores.png")
    parser.add_argument("--export", type=Path, required=True, help="of a net of fields")
    parser.add_argument("--index", type=int, default=1, help="of the field")
    parser.add_argument("--label", type=int, default=7, help="label id of the field")
    parser.add_argument("--size", type=int, default=384, help="pixels a side of the field")
    args = parser.parse_args(argv)
    return write_picture(args.out, lambda: picture(args.export, args.index, args.label, args.size))


if __name__ == "__main__":
    sys.exit(main())
