"""Cells found with and without a trained net, beside a watershed that nobody tuned: three figures.

    python benchmarks/segmentation.py [--weights=EXPORT] [--fields=DIR --masks=DIR] [--images=12]
                                      [--seed=0] [--json=FILE]

EXPORT is of a run of configs/cells_unet.py (docs/cells_net.md), which must have learnt from fields
of another seed. Synthetic fields have exact masks, those of the builder's --vary too. --fields and
--masks are a folder of images and one of anyone's label images of their cells, as `python -m
hpa_jax.serving segment` reads them; the default is full_size/images of HPA_SAMPLE_DIR, where there
is one, whose masks are a peer's output and no truth. Those are scored in their own size and at
512 px.

Average precision is TP / (TP + FP + FN) at an IoU of 0.5 and 0.75; AJI is the aggregated Jaccard
index. The counts of all fields of a row are added before they are divided.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401
import cv2
import numpy as np
from command_line import make_parser, run
from results import cpu_name, make_row, with_cores, write_rows
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.images.folder import find_images
from hpa_jax.segmentation.classical import segment
from hpa_jax.segmentation.mask_folder import MaskFolder
from hpa_jax.segmentation.measures import (
    Overlaps,
    add_jaccard,
    add_matches,
    aggregated_jaccard,
    match,
    overlaps,
)
from hpa_jax.serving import artifact
from hpa_jax.serving.kinds import CELL_MASKS
from hpa_jax.serving.segment.unet import CellFinder
from tfds_builder.hpa.synthetic.render import cells_of, draw_labels, render

SIZES = (128, 256, 512)
PEER = "untuned"

_THRESHOLDS = (0.5, 0.75)

Method = Callable[[np.ndarray], np.ndarray]
"""From a field, uint8 [H, W, 4], to its cells, int32 [H, W]."""


class Case(NamedTuple):
    """Fields of one kind: a name, and for each its pixels and the masks that count as right."""

    name: str
    fields: Iterator[tuple[np.ndarray, np.ndarray]]


def untuned_watershed(field: np.ndarray) -> np.ndarray:
    """The watershed of a first afternoon: Otsu on blue, pieces as seeds, Otsu on red and yellow.

    Args:
      field: uint8 [H, W, 4].

    Returns:
      int32 [H, W].
    """
    image = field.astype(np.float32)
    blue = cv2.GaussianBlur(image[..., 2], (0, 0), 1)
    seeds, _ = ndimage.label(blue > threshold_otsu(blue))
    cytoplasm = cv2.GaussianBlur(image[..., 0] + image[..., 3], (0, 0), 1)
    is_cell = (cytoplasm > threshold_otsu(cytoplasm)) | (seeds > 0)
    return watershed(-cytoplasm, seeds, mask=is_cell).astype(np.int32)


def methods_of(args) -> dict[str, Method]:
    """What is compared, by name; the last one is the peer."""
    methods: dict[str, Method] = {}
    if args.weights is not None:
        served = artifact.load(args.weights, kinds=(CELL_MASKS,), threads=1)
        finder = CellFinder(served, args.scale)
        methods["unet"] = lambda field: finder(field).cells
    methods["classical"] = lambda field: segment(field).cells
    methods[PEER] = untuned_watershed
    return methods


def synthetic(
    size: int, images: int, seed: int, *, vary: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Drawn fields and their exact masks."""
    labels = draw_labels(seed, images, "tempered")
    for index in range(images):
        owner = cells_of(seed, index, size, vary=vary).owner
        field = render(seed, index, labels[index], size, vary=vary)
        yield field, owner.astype(np.int32) + 1


def with_masks(fields: Path, masks: Path, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images with somebody's masks, those without left out; their longer side scaled to `side`.

    A side of 0 leaves them as they are.
    """
    images = find_images(fields)
    label_images = MaskFolder(masks)
    for number, image_id in enumerate(images.ids):
        try:
            label_images.files(image_id)
        except InputError:
            continue
        pixels, _ = images.read(number)
        height, width = pixels.shape[:2]
        cells = label_images.read(image_id, height, width).cells
        if side:
            factor = side / max(height, width)
            size = round(width * factor), round(height * factor)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            cells = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)
        yield pixels, cells


def cases(args) -> Iterator[Case]:
    """All kinds of fields that there are."""
    if args.fields is not None:
        masks = args.masks or args.fields
        yield Case("masks, own size", with_masks(args.fields, masks, 0))
        yield Case("masks, 512 px", with_masks(args.fields, masks, 512))
    for size in SIZES if args.images else ():
        yield Case(f"synthetic, {size} px", synthetic(size, args.images, args.seed))
    for size in SIZES if args.images else ():
        yield Case(f"varied, {size} px", synthetic(size, args.images, args.seed, vary=True))


def figures(found: Sequence[Overlaps]) -> list[float]:
    """AP at each threshold, then AJI, of several fields together."""
    values = []
    for threshold in _THRESHOLDS:
        total = add_matches(match(one, threshold) for one in found)
        values.append(total.average_precision)
    values.append(add_jaccard(aggregated_jaccard(one) for one in found).index)
    return values


def compare(args) -> None:
    """Runs every method on every case, prints a table and writes the rows."""
    cv2.setNumThreads(1)
    methods = methods_of(args)
    print(f"{'fields':20s} {'n':>3s} {'cells':>5s}  {'method':10s} AP@0.5 AP@0.75   AJI  s/field")
    rows = []
    for case in cases(args):
        found: dict[str, list[Overlaps]] = {name: [] for name in methods}
        seconds = dict.fromkeys(methods, 0.0)
        cells = 0
        for field, truth in case.fields:
            cells += len(np.unique(truth[truth > 0]))
            for name, method in methods.items():
                start = time.perf_counter()
                predicted = method(field)
                seconds[name] += time.perf_counter() - start
                found[name].append(overlaps(truth, predicted))
        count = len(found[PEER])
        if not count:
            raise InputError(f"{args.masks or args.fields} has no masks of {args.fields}")
        beside = figures(found[PEER])
        for name in methods:
            values = figures(found[name])
            shown = f"{values[0]:6.3f}  {values[1]:6.3f} {values[2]:5.3f}"
            each = seconds[name] / count
            print(f"{case.name:20s} {count:3d} {cells:5d}  {name:10s} {shown}  {each:7.2f}")
            row = make_row(
                f"{name}: {case.name}",
                values[0],
                "AP@0.5",
                peer="untuned watershed",
                peer_value=beside[0],
                device=with_cores(cpu_name()),
                ap_75=values[1],
                aji=values[2],
                fields=count,
                cells=cells,
                seconds=each,
            )
            rows.append(row)
    write_rows(args.json, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    sample = os.environ.get("HPA_SAMPLE_DIR")
    parser.add_argument(
        "--weights",
        type=path_flag("--weights"),
        metavar="EXPORT",
        help="of a run of configs/cells_unet.py: a trained net beside the others",
    )
    parser.add_argument("--scale", type=float, help="of the net, as of `segment --scale`")
    parser.add_argument(
        "--fields",
        type=path_flag("--fields"),
        default=Path(sample) / "full_size" / "images" if sample else None,
        help="folder of images (default: those of HPA_SAMPLE_DIR, or none)",
    )
    parser.add_argument(
        "--masks",
        type=path_flag("--masks"),
        help="folder of label images of their cells (default: that of --fields)",
    )
    parser.add_argument(
        "--images", type=int, default=12, help="synthetic fields of each size; 0: none"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic fields")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


if __name__ == "__main__":
    run_program(main)
