"""What lies where a file is missing: the line then shows how the names there differ."""

from hpa_jax.images.listing import SUFFIXES
from hpa_jax.images.store import Store
from tfds_builder.hpa.files.image_files import ImageFiles
from tfds_builder.hpa.sources import Example, Fault

_MISSING = "is missing; "
_OR_ROW = "or take its row out"


def explain(
    found: Fault,
    example: Example,
    images: Store,
    files: ImageFiles,
    has_flags: bool,
    others_are_good: bool,
) -> Fault:
    """The fault of a missing file with what lies there; any other as it is.

    Args:
      found: the fault.
      example: whose file it is of.
      images: where the files are.
      files: how they are named.
      has_flags: whether the user can say how.
      others_are_good: whether there are images that lack nothing: then the names are right.
    """
    start = images.where("")
    if not found.reason.startswith(_MISSING) or not found.file.startswith(start):
        return found
    name = found.file.removeprefix(start).lstrip("/")
    other = _other_suffix(images, name)
    if other:
        advice = "save it in the other format"
        if has_flags:
            advice = "put --pattern right, or rename the file"
        return _fault(found, f"{_shown(other)} lies there; {advice}, {_OR_ROW}")
    if example.files or others_are_good:
        return found
    own = files.of(images, example).values()
    if any(map(images.has, own)):
        if not has_flags:
            return found
        return _fault(
            found,
            "other channels of the image are there; put --channels right (without a channel that "
            f"was not imaged), {_OR_ROW}",
        )
    folder, _, _ = name.rpartition("/")
    advice = "put the names right"
    if has_flags:
        advice = "put --pattern and --channels right"
    neighbour = images.first_in(folder)
    if neighbour:
        return _fault(found, f"{_shown(neighbour)} lies there; {advice}, {_OR_ROW}")
    return _in_another_folder(found, images, folder, advice)


def _in_another_folder(found: Fault, images: Store, folder: str, advice: str) -> Fault:
    """Where there is no such folder, or nothing in it: what lies in the nearest one above."""
    above = folder
    while above:
        above, _, _ = above.rpartition("/")
        neighbour = images.first_in(above)
        if neighbour:
            where = images.where(above).rstrip("/")
            lacks = f"{folder}/ is empty" if images.has_folder(folder) else f"there is no {folder}/"
            return _fault(found, f"{lacks}; {where} has {_shown(neighbour)}: {advice}, {_OR_ROW}")
    return found


def _other_suffix(images: Store, name: str) -> str:
    """The file of that name with another suffix, or with the same in other letters."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or f".{suffix}".lower() not in SUFFIXES:
        return ""
    for other in SUFFIXES:
        for written in (other, other.upper()):
            if images.has(stem + written):
                return (stem + written).rpartition("/")[2]
    return ""


def _fault(found: Fault, reason: str) -> Fault:
    return Fault(found.id, found.file, f"is missing, and {reason}")


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)
