"""The sources of a csv and one image file for each channel of a field: Kaggle's, HPA v18's and anyone's.

Each function makes a `Files` with its own layout and rule, and refuses arguments that mean nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files.images import Rule
from tfds_builder.hpa.files.source import Files

_MAX_EDGE = 4096
_NAME = re.compile(r"[A-Za-z0-9 _+.-]+")


def kaggle_512(manual_dir: Path) -> Files:
    """Kaggle's training fields: train.csv and train/<Id>_<colour>.png, eight-bit gray.

    `manual_dir` is the folder (train/ may still be train.zip), or Kaggle's zip of all.
    """
    rule = Rule(("PNG",), wanted="an eight-bit gray PNG")
    return Files("kaggle_512", Path(manual_dir), "train.csv", _kaggle("train", suffix="png"), rule)


def kaggle_full(manual_dir: Path, edge: int = 0) -> Files:
    """The same fields as TIFFs of 2048 or 3072 pixels: train.csv and train/<Id>_<colour>.tif (or train_full_size/).

    Theirs have eight bits. Sixteen are refused: a file does not say which value is white; `folder` is told.

    Raises:
      InputError: an edge that is none.
    """
    rule = Rule(("TIFF",), wanted="an eight-bit gray TIFF")
    patterns = _kaggle("train", "train_full_size", suffix="tif")
    return Files("kaggle_full", Path(manual_dir), "train.csv", patterns, rule, edge=_edge(edge))


def hpav18(manual_dir: Path, edge: int = 0) -> Files:
    """Fields of HPA v18: labels.csv and images/<Id>_<colour>.jpg, each JPG in its channel's colour.

    The number before the first `_` of an Id is the antibody: its fields are one family.

    Raises:
      InputError: an edge that is none.
    """
    rule = Rule(("JPEG",), wanted="a JPG in the channel's colour", coloured=True, by_colour=True)
    pattern = "images/{id}_{channel}.jpg"
    return Files(
        "hpav18",
        Path(manual_dir),
        "labels.csv",
        (pattern,),
        rule,
        edge=_edge(edge),
        antibodies=True,
    )


def folder(
    manual_dir: Path,
    *,
    csv: str = "labels.csv",
    pattern: str = "images/{id}_{channel}.png",
    channels: Mapping[str, str | None] | None = None,
    white: int | None = None,
    pixel_size: float | None = None,
    rescale: bool = False,
    edge: int = 0,
    id_column: str = "Id",
    label_column: str = "Target",
    family_column: str = "",
) -> Files:
    """Anyone's images: PNG, TIFF or JPG, of 8 or 16 bits.

    Args:
      manual_dir: a folder or a zip file.
      csv, pattern: names in it; the pattern holds {id} and {channel}.
      channels: the pattern's {channel} for each of red, green, blue and yellow; a channel that is None or not named
        was not imaged and becomes zeros (green must be there). By default the colours' own names.
      white: the value that becomes 255; by default 255 in files of 8 bits and 65535 in files of 16. A value v becomes
        min(255, v * 255 / white), rounded half up.
      pixel_size: micrometres a pixel.
      rescale: resize from `pixel_size` to the Atlas's 0.08.
      edge: length of the longer side after resizing, 0 for none.
      id_column, label_column, family_column: of the csv. Fields of one family never straddle a split.

    Raises:
      InputError: names the argument.
    """
    channels = dict.fromkeys(CHANNELS) | dict(
        zip(CHANNELS, CHANNELS, strict=True) if channels is None else channels
    )
    if unknown := [channel for channel in channels if channel not in CHANNELS]:
        raise InputError(f"channels has {unknown[0]!r}; there are {', '.join(CHANNELS)}")
    names = tuple(channels[channel] or None for channel in CHANNELS)
    if channels["green"] is None or not names[1]:
        raise InputError("channels has no green, the protein; name the channel that holds it")
    for name in filter(None, names):
        if not _NAME.fullmatch(name) or name in (".", ".."):
            raise InputError(
                f"channels has {name!r}; use letters, digits, spaces and _ - + . in a channel's name"
            )
        if names.count(name) > 1:
            raise InputError(f"channels has {name!r} twice; each channel has files of its own")
    for name, value in (("csv", csv), ("pattern", pattern)):
        parts = value.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in value:
            raise InputError(
                f"{name}={value} is not a name inside the folder; give it relative to --manual_dir"
            )
    odd = set(re.findall(r"\{[^{}]*\}|[{}]", pattern)) - {"{id}", "{channel}"}
    if odd or "{id}" not in pattern or "{channel}" not in pattern:
        raise InputError(
            f"pattern={pattern} must hold {{id}} and {{channel}}, and no other braces; put it right"
        )
    if white is not None and not 1 <= white <= 65535:
        raise InputError(
            f"white={white} is out of range; give the value that becomes 255, from 1 to 65535"
        )
    if pixel_size is not None and not 0.001 <= pixel_size <= 100:
        raise InputError(
            f"pixel_size={pixel_size} is out of range; give micrometres a pixel, from 0.001 to 100"
        )
    if rescale and pixel_size is None:
        raise InputError("rescale needs the pixel_size of the files; give it in micrometres")
    if rescale and edge:
        raise InputError(
            f"rescale and edge={edge} both say how large a field becomes; leave one of them out"
        )
    rule = Rule(
        ("PNG", "TIFF", "JPEG"),
        "a gray PNG, TIFF or JPG of 8 or 16 bits",
        (8, 16),
        white,
        coloured=True,
    )
    columns = (id_column, label_column, family_column)
    return Files(
        "folder",
        Path(manual_dir),
        csv,
        (pattern,),
        rule,
        names,
        _edge(edge),
        pixel_size,
        bool(rescale),
        columns,
    )


def _kaggle(*folders: str, suffix: str) -> tuple[str, ...]:
    """In one of the folders, or beside the csv: archives differ in that."""
    return tuple(
        f"{folder}{{id}}_{{channel}}.{suffix}" for folder in (*(f"{name}/" for name in folders), "")
    )


def _edge(edge: int) -> int:
    if edge != 0 and not 16 <= edge <= _MAX_EDGE:
        raise InputError(
            f"edge={edge} is out of range; give the longer side in pixels, from 16 to {_MAX_EDGE}, or 0"
        )
    return edge
