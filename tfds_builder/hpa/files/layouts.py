"""The sources of a csv and one image file for each channel: Kaggle's, HPA v18's and anyone's.

Each function makes a `Files` with its own layout and rule, and refuses arguments that have no
meaning.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.images.rule import PROJECTIONS, Rule, any_image
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa import vocabularies
from tfds_builder.hpa.files.csv_columns import DEFAULT_ID, DEFAULT_LABELS, Columns
from tfds_builder.hpa.files.csv_rows import NO_LABEL
from tfds_builder.hpa.files.image_files import ImageFiles
from tfds_builder.hpa.files.source import Files

_MAX_EDGE = 4096
_DEFAULT_PATTERN = "images/{id}_{channel}.png"
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9 _+.-]+")
_PLACEHOLDERS = {"{id}", "{channel}"}
_OTHER_COLUMNS = "--config=folder reads columns of other names: --id_column, --label_column"
_NAME_COLUMNS = (
    "name yours with --id_column and --label_column; a column a label: --label_columns; no labels "
    "at all: --unlabelled"
)


def kaggle_512(
    manual_dir: Path,
    labels: str | None = None,
    no_label: str = NO_LABEL[0],
    follow_links: bool = False,
) -> Files:
    """Kaggle's training images: train.csv and train/<Id>_<colour>.png, eight-bit gray.

    Args:
      manual_dir: the folder (train/ may still be train.zip), or Kaggle's zip of everything.
      labels: see `folder`.
      no_label: see `folder`.
      follow_links: see `folder`.
    """
    rule = Rule(("PNG",), wanted="an eight-bit gray PNG")
    patterns = _kaggle_patterns("train", suffix="png")
    files = Files(
        "kaggle_512",
        Path(manual_dir),
        "train.csv",
        ImageFiles(patterns, rule),
        columns=Columns(flags=_OTHER_COLUMNS),
        no_label=no_label,
        follow_links=bool(follow_links),
    )
    return _with_labels(files, labels)


def kaggle_full(
    manual_dir: Path,
    edge: int = 0,
    labels: str | None = None,
    no_label: str = NO_LABEL[0],
    follow_links: bool = False,
) -> Files:
    """The same images as TIFFs of 2048 or 3072 pixels: train/<Id>_<colour>.tif.

    The folder may also be train_full_size/, as in the archive.

    They have eight bits. Sixteen are refused, as a file does not say which value is white; `folder`
    takes it as an argument.

    Args:
      manual_dir: the folder with train.csv.
      edge: see `Files`.
      labels: see `folder`.
      no_label: see `folder`.
      follow_links: see `folder`.

    Raises:
      InputError: `edge` is out of range.
    """
    rule = Rule(("TIFF",), wanted="an eight-bit gray TIFF")
    patterns = _kaggle_patterns("train", "train_full_size", suffix="tif")
    _check_edge(edge)
    files = Files(
        "kaggle_full",
        Path(manual_dir),
        "train.csv",
        ImageFiles(patterns, rule),
        edge=edge,
        columns=Columns(flags=_OTHER_COLUMNS),
        no_label=no_label,
        follow_links=bool(follow_links),
    )
    return _with_labels(files, labels)


def hpav18(
    manual_dir: Path,
    edge: int = 0,
    labels: str | None = None,
    no_label: str = NO_LABEL[0],
    follow_links: bool = False,
) -> Files:
    """Images of HPA v18: images/<Id>_<colour>.jpg, each JPG in its channel's colour.

    The number before the first `_` of an Id is the antibody, its group key.

    Args:
      manual_dir: the folder with labels.csv.
      edge: see `Files`.
      labels: see `folder`.
      no_label: see `folder`.
      follow_links: see `folder`.

    Raises:
      InputError: `edge` is out of range.
    """
    rule = Rule(("JPEG",), wanted="a JPG in the channel's colour", coloured=True, by_colour=True)
    _check_edge(edge)
    files = Files(
        "hpav18",
        Path(manual_dir),
        "labels.csv",
        ImageFiles(("images/{id}_{channel}.jpg",), rule),
        edge=edge,
        columns=Columns(flags=_OTHER_COLUMNS),
        antibodies=True,
        no_label=no_label,
        follow_links=bool(follow_links),
    )
    return _with_labels(files, labels)


def folder(
    manual_dir: Path,
    *,
    csv: str = "labels.csv",
    pattern: str | None = None,
    channels: Mapping[str, str | None] | None = None,
    channel_order: Sequence[str] | None = None,
    path_columns: Mapping[str, str | None] | None = None,
    projection: str = "",
    float_range: tuple[float, float] | None = None,
    white: int | None = None,
    pixel_size: float | None = None,
    rescale: bool = False,
    edge: int = 0,
    id_column: str = DEFAULT_ID,
    label_column: str | None = None,
    label_columns: Sequence[str] = (),
    unlabelled: bool = False,
    group_column: str = "",
    split_column: str = "",
    labels: str | None = None,
    no_label: str = NO_LABEL[0],
    follow_links: bool = False,
) -> Files:
    """Anyone's images: PNG, TIFF or JPG.

    Args:
      manual_dir: a folder or a zip file.
      csv: name in it.
      pattern: name in it, with {id} and {channel}; by default images/{id}_{channel}.png. An Id may
        have slashes, of folders. With {id} alone one file has all channels of an image.
      channels: the pattern's {channel} for each of red, green, blue and yellow. A channel that is
        None or not named was not imaged and becomes zeros (green must be there). By default the
        colours.
      channel_order: the channel of each plane of a file with all channels, "" for one that is left
        out; None: by the names in the file.
      path_columns: in place of pattern and channels: the columns of the csv with the path of each
        channel's file, relative to `manual_dir`.
      projection: what becomes of z-stacks: "" refuses them, "max" and "mean" are taken over depth.
      float_range: the floating-point values that become 0 and 255; None: such files are refused.
      white: the value that becomes 255; by default 255 in files of 8 bits and 65535 in files of 16.
        A value v becomes min(255, v * 255 / white), rounded half up.
      pixel_size: micrometres a pixel; None: as the files say.
      rescale: resize from `pixel_size` to the Atlas's 0.08.
      edge: length of the longer side after resizing, 0 for the original size.
      id_column: of the csv.
      label_column: of the csv; by default Target, and if there is no such thing and no column but
        those that are named here, nobody knows the labels.
      label_columns: of the csv, one for each label, with 1 and 0; ("all",) for all that are not
        named here.
      unlabelled: whether nobody knows the labels, whatever the csv has.
      group_column: of the csv, or empty; images of one group never straddle a split.
      split_column: of the csv, or empty; its words are train, validation and test.
      labels: which labels there are: see `vocabularies.resolve`. By default the 28 of 2018, unless
        the csv makes one doubt it.
      no_label: what a row without a label is, one of csv_rows.NO_LABEL.
      follow_links: whether files may be links to anywhere.

    Raises:
      InputError: names the argument that is wrong.
    """
    if path_columns and (pattern or channels):
        raise InputError(
            "path_columns names every file; leave pattern and channels out, or path_columns"
        )
    names = _channel_names(path_columns or channels, "path_columns" if path_columns else "channels")
    pattern = pattern or _DEFAULT_PATTERN
    _check_name_inside("csv", csv)
    _check_name_inside("pattern", pattern)
    _check_placeholders(pattern)
    _check_single(pattern, channels, channel_order)
    _check_scale(white, pixel_size, rescale, edge)
    _check_values(projection, float_range)
    _check_label_columns(label_column, label_columns, unlabelled, labels)
    columns = Columns(
        id_column,
        label_column or DEFAULT_LABELS,
        group_column,
        split_column,
        names if path_columns else (),
        tuple(label_columns),
        may_lack_labels=label_column is None,
        unlabelled=bool(unlabelled),
        flags=_NAME_COLUMNS,
    )
    rule = any_image(white, projection, float_range)
    files = Files(
        "folder",
        Path(manual_dir),
        csv,
        ImageFiles((pattern,), rule, names, channel_order),
        edge=edge,
        pixel_size=pixel_size,
        rescale=bool(rescale),
        columns=columns,
        no_label=no_label,
        follow_links=bool(follow_links),
    )
    return _with_labels(files, labels)


def _with_labels(files: Files, labels: str | None) -> Files:
    """With the vocabulary that was asked for, if one was."""
    if labels is None:
        return files
    return replace(files, labels=vocabularies.resolve(labels, files.label_names))


def _check_label_columns(
    label_column: str | None,
    label_columns: Sequence[str],
    unlabelled: bool,
    labels: str | None,
) -> None:
    given = []
    for name, value in (
        ("label_column", label_column),
        ("label_columns", label_columns),
        ("unlabelled", unlabelled),
    ):
        if value:
            given.append(name)
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} contradict each other; leave one of them out")
    if unlabelled and labels == vocabularies.FROM_CSV:
        raise InputError("labels=csv takes names from the labels; leave unlabelled out")


def _kaggle_patterns(*folders: str, suffix: str) -> tuple[str, ...]:
    """In one of the folders, or beside the csv: archives differ in that."""
    file = f"{{id}}_{{channel}}.{suffix}"
    return (*(f"{folder}/{file}" for folder in folders), file)


def _channel_names(
    channels: Mapping[str, str | None] | None, argument: str
) -> tuple[str | None, ...]:
    """The name of each channel, in the order of CHANNELS; None if it was not imaged."""
    if channels is None:
        return CHANNELS
    for channel in channels:
        if channel not in CHANNELS:
            raise InputError(f"{argument} has {channel!r}; there are {', '.join(CHANNELS)}")
    names = tuple(channels.get(channel) or None for channel in CHANNELS)
    if not channels.get("green"):
        raise InputError(f"{argument} has no green, the protein; name the channel that holds it")
    for name in filter(None, names):
        # A column may have any name; a channel's becomes part of a file's.
        is_name = argument == "path_columns" or _CHANNEL_NAME.fullmatch(name)
        if not is_name or name in (".", ".."):
            raise InputError(
                f"{argument} has {name!r}; "
                "use letters, digits, spaces and _ - + . in a channel's name"
            )
        if names.count(name) > 1:
            raise InputError(f"{argument} has {name!r} twice; each channel has files of its own")
    return names


def _check_name_inside(argument: str, name: str) -> None:
    has_odd_part = any(part in ("", ".", "..") for part in name.split("/"))
    if has_odd_part or "\0" in name:
        raise InputError(
            f"{argument}={name} is not a name inside the folder; give it relative to --manual_dir"
        )


def _check_placeholders(pattern: str) -> None:
    # Each pair of braces, or a brace on its own.
    found = set(re.findall(r"\{[^{}]*\}|[{}]", pattern))
    if "{id}" not in found or not found <= _PLACEHOLDERS:
        raise InputError(
            f"pattern={pattern} must hold {{id}} and {{channel}} (or {{id}} alone, if a file has "
            "all channels), and no other braces; put it right"
        )


def _check_single(
    pattern: str,
    channels: Mapping[str, str | None] | None,
    channel_order: Sequence[str] | None,
) -> None:
    """Checks what is said of a file with all channels, or of a file a channel."""
    if "{channel}" in pattern:
        if channel_order is not None:
            raise InputError(
                f"channel_order is for a file with all channels, and pattern={pattern} has "
                "{channel}; leave one of the two out"
            )
        return
    if channels:
        raise InputError(
            f"channels replaces {{channel}}, which pattern={pattern} lacks; for a file with all "
            "channels give channel_order"
        )
    if channel_order is None:
        return
    named = [channel for channel in channel_order if channel]
    unknown = [channel for channel in named if channel not in CHANNELS]
    if unknown or len(set(named)) < len(named) or "green" not in named:
        raise InputError(
            f"channel_order={','.join(channel_order)} must name green, and of red, blue and yellow "
            "those that there are, once each, in the order of the planes; nothing between two "
            "commas leaves a plane out"
        )


def _check_values(projection: str, float_range: tuple[float, float] | None) -> None:
    if projection and projection not in PROJECTIONS:
        raise InputError(f"projection={projection}; there are {' and '.join(PROJECTIONS)}")
    if float_range is None:
        return
    black, white = float_range
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise InputError(
            f"float_range={black:g},{white:g} must be the value of black and a larger one of "
            "white; put the two right"
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
