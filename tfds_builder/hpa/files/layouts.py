"""The sources of a csv and image files: Kaggle's, HPA v18's, S-BIAD2443's and anyone's.

Each function makes a `Files` with its own layout and rule, and refuses arguments that have no
meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpa_jax.errors import InputError
from hpa_jax.images.rule import Rule, any_image
from hpa_jax.labels import HPA_2018
from tfds_builder.hpa import vocabularies
from tfds_builder.hpa.files import layout_checks
from tfds_builder.hpa.files import s_biad2443 as joined_tables
from tfds_builder.hpa.files.csv_columns import DEFAULT_ID, DEFAULT_LABELS, Columns
from tfds_builder.hpa.files.csv_rows import NO_LABEL
from tfds_builder.hpa.files.image_files import ImageFiles
from tfds_builder.hpa.files.joined_source import JoinedFiles
from tfds_builder.hpa.files.places import csv_elsewhere
from tfds_builder.hpa.files.source import Files
from tfds_builder.hpa.lists.catalog import MASTER

_DEFAULT_CSV = "labels.csv"
_DEFAULT_PATTERN = "images/{id}_{channel}.png"
_WHOLE_IMAGES = ("512_whole_images/{id}.png", "512_whole_images/{id}.tiff")
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
    images = ImageFiles(_kaggle_patterns("train", suffix="png"), rule)
    files = _fixed("kaggle_512", manual_dir, "train.csv", images, no_label, follow_links)
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
    layout_checks.check_edge(edge)
    rule = Rule(("TIFF",), wanted="an eight-bit gray TIFF")
    images = ImageFiles(_kaggle_patterns("train", "train_full_size", suffix="tif"), rule)
    files = _fixed("kaggle_full", manual_dir, "train.csv", images, no_label, follow_links)
    return _with_labels(replace(files, edge=edge), labels)


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
    layout_checks.check_edge(edge)
    rule = Rule(("JPEG",), wanted="a JPG in the channel's colour", coloured=True, by_colour=True)
    images = ImageFiles(("images/{id}_{channel}.jpg",), rule)
    files = _fixed("hpav18", manual_dir, "labels.csv", images, no_label, follow_links)
    return _with_labels(replace(files, edge=edge, antibodies=True), labels)


def _fixed(
    layout: str,
    manual_dir: Path,
    csv: str,
    images: ImageFiles,
    no_label: str,
    follow_links: bool,
) -> Files:
    """A layout whose names are given: Id and Target in the csv, and where the images are."""
    return Files(
        layout,
        Path(manual_dir),
        csv,
        images,
        columns=Columns(flags=_OTHER_COLUMNS),
        no_label=no_label,
        follow_links=bool(follow_links),
    )


def folder(
    manual_dir: Path,
    *,
    csv: str | None = None,
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
      csv: name in it, by default labels.csv, or any path; see `places.csv_elsewhere`.
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
    names = layout_checks.channel_names(
        path_columns or channels, "path_columns" if path_columns else "channels"
    )
    pattern = pattern or _DEFAULT_PATTERN
    layout_checks.check_name_inside("pattern", pattern)
    layout_checks.check_placeholders(pattern)
    layout_checks.check_single(pattern, channels, channel_order)
    layout_checks.check_scale(white, pixel_size, rescale, edge)
    layout_checks.check_values(projection, float_range)
    layout_checks.check_label_columns(label_column, label_columns, unlabelled, labels)
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
        _DEFAULT_CSV if csv is None else csv_elsewhere(csv, Path(manual_dir)),
        ImageFiles((pattern,), rule, names, channel_order),
        edge=edge,
        pixel_size=pixel_size,
        rescale=bool(rescale),
        columns=columns,
        no_label=no_label,
        follow_links=bool(follow_links),
    )
    return _with_labels(files, labels)


def s_biad2443(
    manual_dir: Path,
    *,
    pattern: str | None = None,
    channels: Mapping[str, str | None] | None = None,
    channel_order: Sequence[str] | None = None,
    white: int | None = None,
    edge: int = 0,
    group_column: str = "",
    split: str = joined_tables.SPLITS[0],
    no_label: str = NO_LABEL[0],
    follow_links: bool = False,
) -> Files:
    """The images of the Atlas in S-BIAD2443, by its two tables, or the same images from elsewhere.

    Args:
      manual_dir: the folder with the two tables.
      pattern: see `folder`; by default one file an image, in 512_whole_images/.
      channels: see `folder`.
      channel_order: see `folder`.
      white: see `folder`.
      edge: see `Files`.
      group_column: one of s_biad2443.GROUPS; by default the antibody.
      split: one of s_biad2443.SPLITS.
      no_label: see `folder`.
      follow_links: see `folder`.

    Raises:
      InputError: names the argument that is wrong.
    """
    patterns = _WHOLE_IMAGES if pattern is None else (pattern,)
    for one in patterns:
        layout_checks.check_name_inside("pattern", one)
        layout_checks.check_placeholders(one)
        layout_checks.check_single(one, channels, channel_order)
    if "{channel}" not in patterns[0] and channel_order is None:
        # As pictures with four planes they would be red, green, blue and a mask.
        raise InputError(
            "s_biad2443 has one file an image, and no table says which plane is which channel; "
            "look at one and give channel_order=red,green,blue,yellow in their order, or a pattern "
            "with {channel}"
        )
    layout_checks.check_scale(white, None, False, edge)
    group_column = group_column or joined_tables.GROUPS[0]
    if group_column not in joined_tables.GROUPS:
        raise InputError(
            f"group_column={group_column} is none of {', '.join(joined_tables.GROUPS)}"
        )
    names = layout_checks.channel_names(channels, "channels")
    split_column = "split" if split == joined_tables.SPLITS[0] else ""
    return JoinedFiles(
        "s_biad2443",
        Path(manual_dir),
        MASTER,
        ImageFiles(patterns, any_image(white, "", None), names, _tuple(channel_order)),
        edge=edge,
        columns=Columns(group=group_column, split=split_column),
        labels=HPA_2018,
        no_label=no_label,
        follow_links=bool(follow_links),
    )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _with_labels(files: Files, labels: str | None) -> Files:
    """With the vocabulary that was asked for, if one was."""
    if labels is None:
        return files
    return replace(files, labels=vocabularies.resolve(labels, files.label_names))


def _kaggle_patterns(*folders: str, suffix: str) -> tuple[str, ...]:
    """In one of the folders, or beside the csv: archives differ in that."""
    file = f"{{id}}_{{channel}}.{suffix}"
    return (*(f"{folder}/{file}" for folder in folders), file)
