"""python -m hpa_jax.serving predict EXPORT DIR --out=scores.csv: a folder in, a table out.

DIR is a folder or a zip of images: four files an image, or one. No csv, no labels, no dataset. The
images are prepared as those were that the net learned from. A second start after a kill goes on.
With --cells: a row for each cell of each image.
"""

from collections.abc import Sequence

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals
from hpa_jax.errors import EXIT_OK, InputError
from hpa_jax.serving.predict.arguments import (
    Parser,
    add_cells,
    add_export,
    add_images,
    cell_request,
    make_request,
)
from hpa_jax.serving.predict.net import ExportedNet, open_export
from hpa_jax.serving.predict.run import predict


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status.

    Raises:
      InputError: a wrong call or bad input.
    """
    flags = _parser().parse_args(arguments)
    exit_on_signals()
    cells = cell_request(
        flags.cells,
        flags.masks,
        flags.cell_window,
        flags.keep_neighbours,
        flags.skip_border,
        flags.pool,
    )
    if cells is not None and flags.synthesize is not None:
        raise InputError(
            "--cells and --synthesize: cells are found in the channels that were imaged, and are "
            "not scored with made ones; leave one of the two out"
        )
    request = make_request(flags, overlays=flags.overlays, cells=cells, synthesize=flags.synthesize)

    def open_net() -> ExportedNet:
        needs_maps = flags.overlays is not None and cells is None
        return open_export(
            flags.export,
            flags.backend,
            needs_maps=needs_maps,
            threads=flags.threads,
            cells=cells is not None,
        )

    if cells is None:
        predict(request, open_net)
        return EXIT_OK
    # Segmenting needs more packages than scoring.
    from hpa_jax.serving.predict.cells.run import predict_cells

    predict_cells(request, open_net)
    return EXIT_OK


def _parser() -> Parser:
    parser = Parser(
        prog="python -m hpa_jax.serving predict",
        description=__doc__,
        epilog="Exit status: 0 the table is written; 2 a wrong call or bad input, in one line.",
        allow_abbrev=False,
    )
    add_export(parser)
    parser.add_argument("images", type=path_flag("DIR"), metavar="DIR")
    parser.add_argument(
        "--out",
        type=path_flag("--out"),
        required=True,
        metavar="FILE",
        help="the table: .csv, .parquet (with embeddings), .h5ad (AnnData: X is the embedding), "
        ".npy (scores alone, with a .json of their names)",
    )
    parser.add_argument(
        "--overlays",
        type=path_flag("--overlays"),
        metavar="DIR",
        help="a PNG for each image with what the net looked at; with --cells with their outlines",
    )
    add_cells(parser)
    parser.add_argument(
        "--synthesize",
        type=path_flag("--synthesize"),
        metavar="EXPORT",
        help="an export of a net that fills in channels: those of --missing are made from the "
        "others, in place of black, and every row says so in a column synthesized",
    )
    add_images(parser)
    return parser
