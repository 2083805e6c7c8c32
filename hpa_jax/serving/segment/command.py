"""python -m hpa_jax.serving segment DIR --out=FOLDER: the cells of a folder's images, one by one.

DIR is a folder or a zip of images: four files an image, or one, as for `predict`. Of each image are
written: label images of its cells and nuclei, a picture with outlines, polygons for QuPath; and
cells.csv has a row a cell. A second start after a kill goes on.
"""

from collections.abc import Sequence

from hpa_jax.environment.program import exit_on_signals
from hpa_jax.errors import EXIT_OK, InputError
from hpa_jax.serving.segment.arguments import folder_request, make_parser, segment_request
from hpa_jax.serving.segment.fields import is_inside, open_folder
from hpa_jax.serving.segment.methods import check_packages, open_segmenter


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status.

    Raises:
      InputError: a wrong call or bad input.
    """
    flags = make_parser(__doc__).parse_args(arguments)
    exit_on_signals()
    request = segment_request(flags)
    if is_inside(flags.out, flags.images):
        raise InputError(
            f"--out={flags.out} lies in the folder of the images, of which its pictures would be "
            "some the next time; choose another --out"
        )
    check_packages()
    # It imports what was just looked for.
    from hpa_jax.serving.segment.run import segment_fields

    segmenter = open_segmenter(request)
    segment_fields(request, open_folder(folder_request(flags)), segmenter)
    return EXIT_OK
