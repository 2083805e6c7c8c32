"""Draws docs/images/neighbours.png: the nearest of 560 drawn fields, by a metric net and without.

    python docs/draw_neighbours.py --run=RUN [--out=docs/images/neighbours.png] [--label=7]

RUN is of configs/metric.py on synthetic images. Every field has one label, 20 fields each. In the
upper row a field and the four nearest by the net's embedding, in the lower row by histograms.
"""

import sys
from pathlib import Path

import numpy as np
from pictures import Tile, grid, make_parser, write_picture
from tqdm import tqdm

from hpa_jax.images.false_color import false_color
from hpa_jax.labels import LABELS
from hpa_jax.metrics.retrieval import normalize
from hpa_jax.probe.embedders import Embedder, of_run, open_run
from hpa_jax.workdir import read_config
from tfds_builder.hpa.synthetic.render import render

_FIELDS_OF_A_LABEL = 20
_SEED = 77
_NEAREST = 4
_SIDE = 128  # px of a tile


def picture(run: Path, label: int) -> np.ndarray:
    """Both rows, uint8 [H, W, 3]."""
    config = read_config(run)
    batch = len(LABELS)
    config.data.batch_size = batch
    trained, _, histograms = of_run(open_run(config, run), 0)
    size = config.data.image_size
    fields = []
    for index in tqdm(range(batch * _FIELDS_OF_A_LABEL), unit="field", disable=None):
        fields.append(render(_SEED, index, (index % batch,), size))
    images = np.stack(fields)
    tiles = []
    for embedder in (trained, histograms):
        tiles.append(_tile(images[label], LABELS[label], f"nearest by {_name(embedder)}:"))
        embeddings = normalize(_embed(embedder, images, batch))
        cosines = embeddings @ embeddings[label]
        cosines[label] = -1
        for number in np.argsort(-cosines)[:_NEAREST]:
            name = LABELS[number % batch]
            tiles.append(_tile(images[number], name, f"cosine {cosines[number]:.3f}"))
    return grid(tiles, 1 + _NEAREST)


def _name(embedder: Embedder) -> str:
    return "histograms" if embedder.name == "histogram" else "the net"


def _embed(embedder: Embedder, images: np.ndarray, batch: int) -> np.ndarray:
    parts = [embedder.embed(images[at : at + batch]) for at in range(0, len(images), batch)]
    return np.concatenate(parts)


def _tile(image: np.ndarray, name: str, remark: str) -> Tile:
    pixels = false_color(image)
    times = max(1, _SIDE // len(pixels))
    # Four of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
    return Tile(pixels.repeat(times, axis=0).repeat(times, axis=1) & 0xF0, name, remark)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__, "docs/images/neighbours.png")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--label", type=int, default=7, help="label id of the field")
    args = parser.parse_args(argv)
    return write_picture(args.out, lambda: picture(args.run, args.label))


if __name__ == "__main__":
    sys.exit(main())
