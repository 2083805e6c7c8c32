"""What is written of each field, and of all together.

FOLDER/masks/ID_cells.png      16-bit label image: a pixel has the number of its cell
       masks/ID_nuclei.png     likewise; nucleus i is of cell i
       outlines/ID.png         the field in false colours, with outlines
       geojson/ID.geojson      polygons, for QuPath
       cells.csv               a row a cell
       cells.csv.rejects.csv   fields that could not be read, with --policy=skip
       progress.jsonl          what is done, for a second start
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import check_writable, remove_partial_files, safe_stem, write_atomically
from hpa_jax.folders.mark import has_mark, write_mark
from hpa_jax.segmentation.cell import Cell
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.geojson import to_geojson
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.label_image import FORMATS
from hpa_jax.segmentation.mask_folder import CELLS, NUCLEI
from hpa_jax.segmentation.outlines import draw_outlines, encode_picture
from hpa_jax.serving.segment.progress import Record

HEADER = ("id", *Cell._fields)
_FOLDERS = ("masks", "outlines", "geojson")
_KIND = "segmentation"
_ADVICE = "choose another --out"


class Outputs:
    """The files of a segmentation.

    Args:
      folder: for all of them; it is made.
      format: of the masks, one of FORMATS.

    Raises:
      InputError: the folder cannot be written, or holds what is not this program's.
    """

    def __init__(self, folder: Path, format: str):
        _refuse_foreign(folder)
        check_writable(folder, _ADVICE)
        write_mark(folder, _KIND)
        for name in _FOLDERS:
            check_writable(folder / name, _ADVICE)
        self.folder = folder
        self.table = folder / "cells.csv"
        self._format = format

    def remove_partial(self) -> None:
        """Removes what killed processes have left; for whoever holds the folder's lock."""
        remove_partial_files(self.folder)
        for name in _FOLDERS:
            remove_partial_files(self.folder / name)

    def has(self, image_id: str) -> bool:
        """Whether all files of a field are there."""
        return all(path.is_file() for path in self._paths(image_id))

    def write(self, image_id: str, field: np.ndarray, instances: Instances) -> list[list]:
        """Writes the files of a field.

        Args:
          image_id: of the field.
          field: uint8 [H, W, 4].
          instances: its cells.

        Returns:
          The rows of its cells, without the Id.
        """
        cells, nuclei, outlines, geojson = self._paths(image_id)
        encode = FORMATS[self._format]
        write_atomically(cells, encode(instances.cells))
        write_atomically(nuclei, encode(instances.nuclei))
        write_atomically(outlines, encode_picture(draw_outlines(field, instances)))
        text = json.dumps(to_geojson(instances, image_id), allow_nan=False)
        write_atomically(geojson, text)
        return [list(cell) for cell in measure_cells(instances)]

    def _paths(self, image_id: str) -> tuple[Path, Path, Path, Path]:
        stem = safe_stem(image_id)
        return (
            self.folder / "masks" / f"{stem}{CELLS}.{self._format}",
            self.folder / "masks" / f"{stem}{NUCLEI}.{self._format}",
            self.folder / "outlines" / f"{stem}.png",
            self.folder / "geojson" / f"{stem}.geojson",
        )


def rows(records: Sequence[Record]) -> Iterator[list]:
    """The rows of cells.csv."""
    for record in records:
        for cell in record.cells:
            yield [record.id, *cell]


def _refuse_foreign(folder: Path) -> None:
    try:
        if not folder.exists() or not any(folder.iterdir()) or has_mark(folder, _KIND):
            return
    except OSError as error:
        raise InputError(f"--out={folder} cannot be used: {one_line(error)}; {_ADVICE}") from None
    raise InputError(
        f"--out={folder} is not empty and holds no segmentation of this program; {_ADVICE}"
    )
