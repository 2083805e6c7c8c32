"""A folder of label images, whoever wrote them, by the Ids of the fields.

The names are those that programs give: for a field ID, its cells are in

    ID_cells     this program
    ID_cp_masks  Cellpose's command line; ID_masks: its training sets
    ID_cellmask, ID_predictedmask, ID_mask   HPA-Cell-Segmentation and those who use it
    ID           anyone who keeps masks in a folder of their own

and its nuclei, which may be missing, in `ID_nuclei` or `ID_nucleimask`; each `.png`, `.tif` or
`.tiff`.
"""

from pathlib import Path

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import safe_stem
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.label_image import read_labels
from hpa_jax.segmentation.numbering import pair

CELLS = "_cells"
NUCLEI = "_nuclei"
_OF_CELLS = (CELLS, "_cp_masks", "_masks", "_cellmask", "_predictedmask", "_mask", "")
_OF_NUCLEI = (NUCLEI, "_nucleimask")
_SUFFIXES = (".png", ".tif", ".tiff")


class MaskFolder:
    """Masks by Id.

    Args:
      folder: of the label images; those in folders inside it are found too.

    Raises:
      InputError: it cannot be read, or has no label image.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, list[Path]] = {}
        try:
            found = sorted(folder.rglob("*")) if folder.is_dir() else []
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {one_line(error)}") from None
        for path in found:
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
                # An Id may name folders, and the masks may lie in one that it does not name.
                stem = path.relative_to(folder).with_suffix("").as_posix()
                for name in dict.fromkeys((stem, path.stem)):
                    self._files.setdefault(name, []).append(path)
        if not self._files:
            raise InputError(
                f"{folder} is no folder with label images ({', '.join(_SUFFIXES)}); give the one "
                "that the masks were exported to"
            )

    def files(self, image_id: str) -> tuple[Path, Path | None]:
        """The label images of a field: of its cells, and of its nuclei where there is one.

        Raises:
          InputError: there are none, or several that may be it.
        """
        cells = self._find(image_id, _OF_CELLS)
        if cells is None:
            raise InputError(
                f"{self.folder} has no masks of {image_id!r}: {image_id}{CELLS}.png, or by another "
                "of the usual names"
            )
        return cells, self._find(image_id, _OF_NUCLEI)

    def read(self, image_id: str, height: int, width: int) -> Instances:
        """Reads the masks of a field, with numbers of their own: the k-th label is cell k.

        Args:
          image_id: of the field.
          height: of the field.
          width: of the field.

        Raises:
          InputError: as of `files` and `read_labels`.
        """
        of_cells, of_nuclei = self.files(image_id)
        cells = read_labels(of_cells, height, width)
        nuclei = None
        if of_nuclei is not None:
            nuclei = read_labels(of_nuclei, height, width)
        return pair(cells, nuclei)

    def stamp(self, image_id: str) -> list:
        """What changes when a field's masks do."""
        stamp = []
        for path in self.files(image_id):
            if path is not None:
                facts = path.stat()
                stamp.append([path.name, facts.st_size, facts.st_mtime_ns])
        return stamp

    def _find(self, image_id: str, ends: tuple[str, ...]) -> Path | None:
        for end in ends:
            for stem in dict.fromkeys((image_id, safe_stem(image_id))):
                found = self._files.get(f"{stem}{end}", [])
                if len(found) > 1:
                    names = " and ".join(path.name for path in found)
                    raise InputError(
                        f"{self.folder} has {names} for {image_id!r}; leave one of them there"
                    )
                if found:
                    return found[0]
        return None
