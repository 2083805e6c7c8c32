"""Where a prediction goes: the format of --out by its suffix, and what must not be written over."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import check_writable, write_csv

_FORMATS = {
    ".csv": "csv_table",
    ".parquet": "parquet_table",
    ".npy": "npy_table",
    ".h5ad": "h5ad_table",
}


_REJECTS = ("id", "file", "reason")


class Format(NamedTuple):
    """How a table is written.

    Attributes:
      write: writes `(path, content)`.
      is_ours: tells a table of this program from another file.
      embeddings: whether it holds them.
      beside: suffix of a second file that belongs to it, or empty.
    """

    write: Callable
    is_ours: Callable[[Path], bool]
    embeddings: bool
    beside: str


def format_of(out: Path) -> Format:
    """The format of a table, by the suffix of its name.

    Raises:
      InputError: another suffix, or a package for it is missing.
    """
    name = _FORMATS.get(out.suffix.lower())
    if name is None:
        raise InputError(f"--out={out}: give a name that ends in {', '.join(_FORMATS)}")
    module = importlib.import_module(f"hpa_jax.serving.predict.tables.{name}")
    for package in module.NEEDS:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"--out={out} needs the package {package}, which cannot be imported "
                f"({one_line(error, limit=120)}): pip install {package}, or choose a .csv"
            ) from None
    return Format(module.write, module.is_ours, module.EMBEDDINGS, module.BESIDE)


def check_table(out: Path, kind: Format) -> None:
    """`check_out` of a table, and of all that is written beside it."""
    check_out(out, kind.is_ours)
    if kind.beside:
        check_out(out.with_suffix(kind.beside), lambda path: kind.is_ours(out))
    check_rejects(out)


def check_rejects(out: Path) -> None:
    """`check_out` of the list of the images that a table leaves out."""
    check_out(rejects_path(out), _lists_rejects)


def files_of(out: Path) -> list[Path]:
    """All that may be written with a table's name: it, its JSON, its page and what is beside."""
    beside = [out.with_suffix(".json"), out.with_suffix(".html")]
    return [out, *beside, rejects_path(out), fields_path(out)]


def fields_path(out: Path) -> Path:
    """Where the table of images lies, beside one of cells."""
    return out.with_name(f"{out.name}.fields.csv")


def rejects_path(out: Path) -> Path:
    """Where the images are listed that a table leaves out."""
    return out.with_name(f"{out.name}.rejects.csv")


def write_rejects(out: Path, rejects: Sequence[tuple[str, str, str]]) -> None:
    """Writes that list, or removes that of an earlier table where there is nothing to list.

    Args:
      out: of the table, which `check_table` has checked.
      rejects: Id, file and reason of each image.
    """
    path = rejects_path(out)
    if rejects:
        write_csv(path, _REJECTS, rejects)
    else:
        path.unlink(missing_ok=True)


def print_rejects(out: Path, rejects: Sequence[tuple[str, str, str]]) -> None:
    """Says how many images a table leaves out, and where they are listed."""
    if rejects:
        listed = rejects_path(out)
        print(f"images left out since they cannot be read: {len(rejects)}, listed in {listed}")


def none_can_be_read(where: str, rejects: Sequence[tuple[str, str, str]]) -> InputError:
    """The error where all images were refused."""
    image_id, file, reason = rejects[0]
    return InputError(
        f"{where}: none of {len(rejects)} images can be read; the first: {image_id}: {file} "
        f"{reason}"
    )


def _lists_rejects(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == ",".join(_REJECTS)


def check_out(out: Path, is_ours: Callable[[Path], bool]) -> None:
    """Finds out before the work that a file can be written, and that it is nobody else's.

    Args:
      out: the file, which need not be there.
      is_ours: tells a file of this program.

    Raises:
      InputError: it cannot, or something else is there.
    """
    if out.is_symlink() or out.exists():
        reason = ""
        try:
            if out.is_symlink():
                reason = "it is a link"
            elif not out.is_file():
                reason = "it is no file"
            elif not is_ours(out):
                reason = "this program did not write it"
        except OSError as error:
            reason = one_line(error)
        if reason:
            raise InputError(
                f"{out} is there and is not written over: {reason}; move it away, or choose "
                "another --out"
            )
    check_writable(out.parent, "choose another --out")
