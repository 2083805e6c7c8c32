"""python -m hpa_jax.serving similar EXPORT TABLE DIR --out=similar.csv: the nearest images.

TABLE is an .h5ad or .parquet that `predict` wrote with the same EXPORT; DIR is a folder or zip of
images, as for `predict`. For each of its images, the images of TABLE whose embeddings are nearest
by their cosine, as a csv, and beside it as one page (similar.html).
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals
from hpa_jax.errors import EXIT_OK, InputError
from hpa_jax.files import write_atomically, write_csv
from hpa_jax.folders.results import is_page
from hpa_jax.images.folder import ImageFolder
from hpa_jax.images.prepare import Preparation
from hpa_jax.serving.predict import outputs, similar_page
from hpa_jax.serving.predict.arguments import (
    Parser,
    add_export,
    add_images,
    count_flag,
    make_request,
)
from hpa_jax.serving.predict.intake import open_images
from hpa_jax.serving.predict.net import ExportedNet, open_export
from hpa_jax.serving.predict.outputs import check_out
from hpa_jax.serving.predict.reference import Reference, read_reference
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.predict.run import scored

_HEADER = ("id", "rank", "nearest", "cosine", "nearest_labels")
# So many images are compared with so many rows of the reference at a time.
_IMAGES_A_BLOCK = 64
_ROWS_A_BLOCK = 8192


class Neighbours(NamedTuple):
    """What is nearest to an image.

    Attributes:
      id: of the image.
      nearest: rows of the reference, the nearest first.
      cosines: of those, -1 to 1.
    """

    id: str
    nearest: list[int]
    cosines: list[float]


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status.

    Raises:
      InputError: a wrong call or bad input.
    """
    flags = _parser().parse_args(arguments)
    exit_on_signals()
    if flags.out.suffix.lower() != ".csv":
        raise InputError(f"--out={flags.out}: give a name that ends in .csv")
    page = flags.out.with_suffix(".html")
    check_out(flags.out, _is_ours)
    check_out(page, is_page)
    outputs.check_rejects(flags.out)
    reference = read_reference(flags.table)
    net = open_export(flags.export, flags.backend, threads=flags.threads)
    if "embedding" not in net.outputs:
        raise InputError(
            f"{flags.export} gives no embedding by its backend {net.backend}; export it again"
        )
    if reference.net != net.digest:
        raise InputError(
            f"{flags.table} was written with another net than {flags.export}, whose embeddings "
            "cannot be compared; write it again with this one"
        )
    if set(reference.missing) != set(flags.missing):
        print(
            f"warning: {flags.table} was written {_without(reference.missing)}, and these images "
            f"are compared {_without(flags.missing)}: the net sees a difference that is none",
            file=sys.stderr,
        )
    request = make_request(flags)
    reference_images = _reference_images(flags, net)
    wanted = tuple(name for name in ("probabilities", "embedding") if name in net.outputs)
    with scored(request, net, wanted) as (job, progress):
        rows = []
        rejects = []
        for row in progress.rows(len(job.images)):
            if row.is_scored:
                rows.append(row)
            else:
                rejects.append((row.id, row.file, row.reason))
        if not rows:
            raise outputs.none_can_be_read(job.images.where, rejects)
        _check_size(flags.table, reference, len(rows[0].embedding))
        found = list(nearest(rows, reference, flags.nearest))
        outputs.write_rejects(flags.out, rejects)
        write_csv(flags.out, _HEADER, _csv_rows(found, reference))
        pictures = similar_page.Pictures(job.images, reference_images)
        write_atomically(page, similar_page.render(found, reference, pictures, str(flags.table)))
    count = min(flags.nearest, len(reference.ids))
    print(f"wrote {flags.out} and {page}: {len(found)} images, {count} neighbours each")
    outputs.print_rejects(flags.out, rejects)
    return EXIT_OK


def nearest(rows: Sequence, reference: Reference, count: int) -> Iterator[Neighbours]:
    """The nearest images of a reference, by the cosine of embeddings.

    Args:
      rows: of the images, with their embeddings.
      reference: to look in.
      count: of neighbours; all, where the reference has fewer.

    Yields:
      For each image, its neighbours; of equal cosines, the earlier row first.
    """
    for first in range(0, len(rows), _IMAGES_A_BLOCK):
        some = rows[first : first + _IMAGES_A_BLOCK]
        queries = _normalized(np.stack([row.embedding for row in some]))
        parts = []
        for start in range(0, len(reference.ids), _ROWS_A_BLOCK):
            block = _normalized(reference.embeddings[start : start + _ROWS_A_BLOCK])
            parts.append(queries @ block.T)
        cosines = np.concatenate(parts, axis=1)
        for row, of_image in zip(some, cosines, strict=True):
            order = np.argsort(-of_image, kind="stable")[:count]
            yield Neighbours(row.id, order.tolist(), of_image[order].tolist())


def _normalized(embeddings: np.ndarray) -> np.ndarray:
    """Each row with a length of 1, float64; a row of zeros stays."""
    wide = embeddings.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.maximum(lengths, np.finfo(np.float64).tiny)


def _check_size(table: Path, reference: Reference, size: int) -> None:
    found = reference.embeddings.shape[1]
    if found != size:
        raise InputError(
            f"{table} has embeddings of {found} values, and the net gives {size}; give the table "
            "with all the columns that predict wrote"
        )


def _without(missing: Sequence[str]) -> str:
    return f"without {' and '.join(missing)}" if missing else "with all channels"


def _csv_rows(found: Sequence[Neighbours], reference: Reference) -> Iterator[tuple]:
    for one in found:
        for rank, (row, cosine) in enumerate(zip(one.nearest, one.cosines, strict=True), start=1):
            names = reference.label_names[row]
            yield one.id, rank, reference.ids[row], f"{cosine:.6f}", names


def _reference_images(flags, net: ExportedNet) -> ImageFolder | None:
    if flags.reference_images is None:
        return None
    request = Request(flags.reference_images, flags.out, missing=flags.missing)
    return open_images(request, Preparation.from_description(net.description))


def _is_ours(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == ",".join(_HEADER)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m hpa_jax.serving similar",
        description=__doc__,
        epilog="Exit status: 0 written; 2 a wrong call or bad input, in one line.",
        allow_abbrev=False,
    )
    add_export(parser)
    parser.add_argument("table", type=path_flag("TABLE"), metavar="TABLE")
    parser.add_argument("images", type=path_flag("DIR"), metavar="DIR")
    parser.add_argument("--out", type=path_flag("--out"), required=True, metavar="FILE.csv")
    parser.add_argument(
        "--nearest",
        type=count_flag("--nearest"),
        default=5,
        metavar="N",
        help="neighbours an image (default 5)",
    )
    parser.add_argument(
        "--reference_images",
        type=path_flag("--reference_images"),
        metavar="DIR",
        help="the images of TABLE, so that the page shows them too",
    )
    add_images(parser)
    return parser
