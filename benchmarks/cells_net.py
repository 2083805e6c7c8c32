"""Cells found by a trained U-Net, beside those found without one: three figures.

    python benchmarks/cells_net.py --weights=EXPORT [--fields=DIR --masks=DIR] [--images=12]
        [--seed=1] [--scale=FACTOR] [--json=FILE]

EXPORT is of a run of configs/cells_unet.py (docs/cells_net.md). Fields, masks and figures are those
of benchmarks/segmentation.py, and drawn fields that vary (`--vary`) besides. The net must have
learnt from fields of another seed.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import checkout  # noqa: F401
import cv2
import numpy as np
from command_line import make_parser, run
from results import cpu_name, make_row, with_cores, write_rows
from segmentation import SIZES, Case, cases, figures

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from hpa_jax.segmentation.classical import segment
from hpa_jax.segmentation.measures import Overlaps, overlaps
from hpa_jax.serving import artifact
from hpa_jax.serving.kinds import CELL_MASKS
from hpa_jax.serving.segment.unet import CellFinder
from tfds_builder.hpa.synthetic.render import cells_of, render

Method = Callable[[np.ndarray], np.ndarray]
"""From a field, uint8 [H, W, 4], to its cells, int32 [H, W]."""


def varied(size: int, images: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Drawn fields that vary, and their exact masks."""
    for index in range(images):
        owner = cells_of(seed, index, size, vary=True).owner
        field = render(seed, index, (index % len(LABELS),), size, vary=True)
        yield field, owner.astype(np.int32) + 1


def all_cases(args) -> Iterator[Case]:
    """All kinds of fields that there are."""
    yield from cases(args)
    for size in SIZES if args.images else ():
        yield Case(f"varied, {size} px", varied(size, args.images, args.seed))


def measure(find: Method, case: Case) -> tuple[list[Overlaps], float]:
    """What a method finds in the fields of a case, and the seconds that it took."""
    found = []
    seconds = 0.0
    for field, truth in case.fields:
        start = time.perf_counter()
        predicted = find(field)
        seconds += time.perf_counter() - start
        found.append(overlaps(truth, predicted))
    return found, seconds


def compare(args) -> None:
    """Runs both methods on every case, prints a table and writes the rows."""
    cv2.setNumThreads(1)
    served = artifact.load(args.weights, kinds=(CELL_MASKS,), threads=1)
    finder = CellFinder(served, args.scale)
    methods: dict[str, Method] = {
        "unet": lambda field: finder(field).cells,
        "classical": lambda field: segment(field).cells,
    }
    print(f"{'fields':20s} {'n':>3s} {'cells':>5s}  {'method':10s} AP@0.5 AP@0.75   AJI  s/field")
    rows = []
    for name, drawn_or_read in all_cases(args):
        fields = list(drawn_or_read)
        if not fields:
            raise InputError(f"{args.masks or args.fields} has no masks of {args.fields}")
        case = Case(name, fields)
        cells = sum(len(np.unique(truth[truth > 0])) for _, truth in fields)
        results = {method: measure(find, case) for method, find in methods.items()}
        beside = figures(results["classical"][0])
        for method, (found, seconds) in results.items():
            values = figures(found)
            shown = f"{values[0]:6.3f}  {values[1]:6.3f} {values[2]:5.3f}"
            each = seconds / len(fields)
            print(f"{name:20s} {len(fields):3d} {cells:5d}  {method:10s} {shown}  {each:7.2f}")
            row = make_row(
                f"{method}: {name}",
                values[0],
                "AP@0.5",
                peer="classical",
                peer_value=beside[0],
                device=with_cores(cpu_name()),
                ap_75=values[1],
                aji=values[2],
                fields=len(fields),
                cells=cells,
                seconds=each,
                checkpoint=served.description["provenance"]["checkpoint"],
            )
            rows.append(row)
    write_rows(args.json, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    sample = os.environ.get("HPA_SAMPLE_DIR")
    parser.add_argument(
        "--weights",
        type=path_flag("--weights"),
        required=True,
        metavar="EXPORT",
        help="of a run of configs/cells_unet.py",
    )
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
    parser.add_argument("--scale", type=float, help="as of `segment --scale`")
    parser.add_argument("--images", type=int, default=12, help="drawn fields of each size; 0: none")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn fields")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


if __name__ == "__main__":
    run_program(main)
