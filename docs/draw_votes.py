"""Draws docs/images/votes.png: test images, and the images of the bank that vote on them most.

    python docs/draw_votes.py --run=RUN [--out=docs/images/votes.png] [--labels=16,9,25]

RUN is of configs/fusion.py with votes, on synthetic images. A row a label: the first test image
that has it and no other, what the head and the votes say of it, and the four nearest of the bank.
"""

import sys
from pathlib import Path

import numpy as np
from pictures import Tile, grid, make_parser, write_picture

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor, load_run
from hpa_jax.images.false_color import false_color
from hpa_jax.labels import LABELS
from hpa_jax.metrics.retrieval import normalize
from hpa_jax.probe.embedders import of_run
from hpa_jax.training.vote_bank import BANK, choose_images

_NEAREST = 4
_SIDE = 128  # px of a tile


def picture(run: Path, labels: list[int]) -> np.ndarray:
    """A row for each label, uint8 [H, W, 3]."""
    predictor = load_run(run)
    bank = {}
    for name, array in predictor.variables["params"]["backbone"].get(BANK, {}).items():
        bank[name] = np.asarray(array)
    if not bank:
        raise InputError(f"{run}: a fused net without votes; train one with config.fusion.bank")
    data = predictor.config.data
    train = load_dataset(data.data_dir, data.name, split="train")
    test = load_dataset(data.data_dir, data.name, split="test")
    seed = predictor.config.train.seed
    places = choose_images(train.targets(), len(bank["targets"]), seed)

    tiles = []
    for label in labels:
        image = test.image(_first_with(test.targets(), label))
        cosines = bank["embeddings"] @ _embedding(predictor, image, bank["mean"])
        score = float(predictor(image[np.newaxis])[0, label])
        vote = _vote(cosines, bank["targets"][:, label], predictor)
        tiles.append(_tile(image, LABELS[label], f"score {score:.2f}, votes {vote:.2f}"))
        for number in np.argsort(-cosines)[:_NEAREST]:
            tiles.append(_neighbour(train, places[number], label, float(cosines[number])))
    return grid(tiles, 1 + _NEAREST)


def _first_with(targets: np.ndarray, label: int) -> int:
    alone = (targets[:, label] > 0) & (targets.sum(axis=1) == 1)
    if not alone.any():
        raise InputError(f"no test image has {LABELS[label]} and no other label; choose another")
    return int(np.argmax(alone))


def _embedding(predictor: Predictor, image: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """As the bank has them: less the mean, of length 1; float32 [F]."""
    batch = np.zeros((predictor.config.data.batch_size, *image.shape), np.uint8)
    batch[0] = image
    found = of_run(predictor, 0)[0].embed(batch)[0]
    return normalize((found - mean)[np.newaxis])[0]


def _vote(cosines: np.ndarray, has_label: np.ndarray, predictor: Predictor) -> float:
    """The weighted fraction of the neighbours that have a label (hpa_jax/models/votes.py)."""
    settings = predictor.config.fusion
    nearest = np.argsort(-cosines)[: settings.neighbours]
    weights = np.exp((cosines[nearest] - cosines[nearest[0]]) / settings.temperature)
    return float(np.average(has_label[nearest], weights=weights))


def _neighbour(train: ImageDataset, place: int, label: int, cosine: float) -> Tile:
    has_label = train.targets()[place] > 0
    name = LABELS[label if has_label[label] else np.argmax(has_label)]
    if has_label.sum() > 1:
        name += f" + {has_label.sum() - 1}"
    return _tile(train.image(int(place)), name, f"cosine {cosine:.3f}")


def _tile(image: np.ndarray, name: str, remark: str) -> Tile:
    pixels = false_color(image)
    times = max(1, _SIDE // len(pixels))
    # Four of eight bits are kept: the eye hardly sees it, and camera noise would fill the PNG.
    return Tile(pixels.repeat(times, axis=0).repeat(times, axis=1) & 0xF0, name, remark)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser(__doc__, "docs/images/votes.png")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--labels", default="16,9,25", help="label ids, a row each")
    args = parser.parse_args(argv)
    labels = [int(label) for label in args.labels.split(",")]
    return write_picture(args.out, lambda: picture(args.run, labels))


if __name__ == "__main__":
    sys.exit(main())
