"""The sources of a csv and one image file for each channel: Kaggle's, HPA v18's and anyone's.

Each function makes a `Files` with its own layout and rule, and refuses arguments that have no
meaning.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.images.channel_file import Rule
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files.source import Files

_MAX_EDGE = 4096
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9 _+.-]+")
_PLACEHOLDERS = {"{id}", "{channel}"}


def kaggle_512(manual_dir: Path) -> Files:
    """Kaggle's training images: train.csv and train/<Id>_<colour>.png, eight-bit gray.

    Args:
      manual_dir: the folder (train/ may still be train.zip), or Kaggle's zip of everything.
    """
    rule = Rule(("PNG",), wanted="an eight-bit gray PNG")
    patterns = _kaggle_patterns("train", suffix="png")
    return Files("kaggle_512", Path(manual_dir), "train.csv", patterns, rule)


def kaggle_full(manual_dir: Path, edge: int = 0) -> Files:
    """The same images as TIFFs of 2048 or 3072 pixels: train/<Id>_<colour>.tif.

    The folder may also be train_full_size/, as in the archive.

    They have eight bits. Sixteen are refused, as a file does not say which value is white; `folder`
    takes it as an argument.

    Args:
      manual_dir: the folder with train.csv.
      edge: see `Files`.

    Raises:
      InputError: `edge` is out of range.
    """
    rule = Rule(("TIFF",), wanted="an eight-bit gray TIFF")
    patterns = _kaggle_patterns("train", "train_full_size", suffix="tif")
    _check_edge(edge)
    return Files("kaggle_full", Path(manual_dir), "train.csv", patterns, rule, edge=edge)


def hpav18(manual_dir: Path, edge: int = 0) -> Files:
    """Images of HPA v18: images/<Id>_<colour>.jpg, each JPG in its channel's colour.

    The number before the first `_` of an Id is the antibody, its group key.

    Args:
      manual_dir: the folder with labels.csv.
      edge: see `Files`.

    Raises:
      InputError: `edge` is out of range.
    """
    rule = Rule(("JPEG",), wanted="a JPG in the channel's colour", coloured=True, by_colour=True)
    _check_edge(edge)
    return Files(
        "hpav18",
        Path(manual_dir),
        "labels.csv",
        ("images/{id}_{channel}.jpg",),
        rule,
        edge=edge,
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
    group_column: str = "",
) -> Files:
    """Anyone's images: PNG, TIFF or JPG, of 8 or 16 bits.

    Args:
      manual_dir: a folder or a zip file.
      csv: name in it.
      pattern: name in it, with {id} and {channel}.
      channels: the pattern's {channel} for each of red, green, blue and yellow. A channel that is
        None or not named was not imaged and becomes zeros (green must be there). By default the
        colours.
      white: the value that becomes 255; by default 255 in files of 8 bits and 65535 in files of 16.
        A value v becomes min(255, v * 255 / white), rounded half up.
      pixel_size: micrometres a pixel.
      rescale: resize from `pixel_size` to the Atlas's 0.08.
      edge: length of the longer side after resizing, 0 for the original size.
      id_column: of the csv.
      label_column: of the csv.
      group_column: of the csv, or empty; images of one group never straddle a split.

    Raises:
      InputError: names the argument that is wrong.
    """
    names = _channel_names(channels)
    _check_name_inside("csv", csv)
    _check_name_inside("pattern", pattern)
    _check_placeholders(pattern)
    _check_scale(white, pixel_size, rescale, edge)
    rule = Rule(
        ("PNG", "TIFF", "JPEG"),
        "a gray PNG, TIFF or JPG of 8 or 16 bits",
        bits=(8, 16),
        white=white,
        coloured=True,
    )
    return Files(
        "folder",
        Path(manual_dir),
        csv,
        (pattern,),
        rule,
        names=names,
        edge=edge,
        pixel_size=pixel_size,
        rescale=bool(rescale),
        columns=(id_column, label_column, group_column),
    )


def _kaggle_patterns(*folders: str, suffix: str) -> tuple[str, ...]:
    """In one of the folders, or beside the csv: archives differ in that."""
    file = f"{{id}}_{{channel}}.{suffix}"
    return (*(f"{folder}/{file}" for folder in folders), file)


def _channel_names(channels: Mapping[str, str | None] | None) -> tuple[str | None, ...]:
    """The name of each channel, in the order of CHANNELS; None if it was not imaged."""
    if channels is None:
        return CHANNELS
    for channel in channels:
        if channel not in CHANNELS:
            raise InputError(f"channels has {channel!r}; there are {', '.join(CHANNELS)}")
    names = tuple(channels.get(channel) or None for channel in CHANNELS)
    if not channels.get("green"):
        raise InputError("channels has no green, the protein; name the channel that holds it")
    for name in filter(None, names):
        if not _CHANNEL_NAME.fullmatch(name) or name in (".", ".."):
            raise InputError(
                f"channels has {name!r}; "
                "use letters, digits, spaces and _ - + . in a channel's name"
            )
        if names.count(name) > 1:
            raise InputError(f"channels has {name!r} twice; each channel has files of its own")
    return names


def _check_name_inside(argument: str, name: str) -> None:
    has_odd_part = any(part in ("", ".", "..") for part in name.split("/"))
    if has_odd_part or "\0" in name:
        raise InputError(
            f"{argument}={name} is not a name inside the folder; give it relative to --manual_dir"
        )


def _check_placeholders(pattern: str) -> None:
    # Each pair of braces, or a brace on its own.
    if set(re.findall(r"\{[^{}]*\}|[{}]", pattern)) != _PLACEHOLDERS:
        raise InputError(
            f"pattern={pattern} must hold {{id}} and {{channel}}, and no other braces; put it right"
        )


def _check_scale(white: int | None, pixel_size: float | None, rescale: bool, edge: int) -> None:
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
            f"rescale and edge={edge} both set the size of an image; leave one of them out"
        )
    _check_edge(edge)


def _check_edge(edge: int) -> None:
    if edge != 0 and not 16 <= edge <= _MAX_EDGE:
        raise InputError(
            f"edge={edge} is out of range; "
            f"give the longer side in pixels, from 16 to {_MAX_EDGE}, or 0"
        )
