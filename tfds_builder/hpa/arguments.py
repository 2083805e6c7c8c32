"""Flags of `python -m tfds_builder.hpa`."""

import argparse
import sys
from collections.abc import Sequence

from hpa_jax.data.codec import CODECS
from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import path_flag
from hpa_jax.images.rule import PROJECTIONS
from hpa_jax.labels import CHANNELS, LABEL_SETS
from tfds_builder.hpa import prepare
from tfds_builder.hpa.build import POLICIES
from tfds_builder.hpa.configs import CONFIGS
from tfds_builder.hpa.files import csv_rows, s_biad2443
from tfds_builder.hpa.lists.catalog import SPLITS
from tfds_builder.hpa.split import evenness
from tfds_builder.hpa.split.perceptual import Rule
from tfds_builder.hpa.synthetic import source as synthetic

RENAMED_FLAGS = {
    "--fields": "--images",
    "--like": "--match_splits_of",
    "--family_column": "--group_column",
}
"""Former names of flags and their names today."""


def rename_old_flags(arguments: Sequence[str]) -> list[str]:
    """Replaces old names of flags, with a line on stderr for each."""
    renamed = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in RENAMED_FLAGS:
            new = RENAMED_FLAGS[flag]
            note = f"{flag} is now {new}; the old name is accepted for one more version"
            print(note, file=sys.stderr)
            argument = f"{new}{equals}{value}"
        renamed.append(argument)
    return renamed


def parser() -> argparse.ArgumentParser:
    """The command line's parser; it raises InputError."""
    parser = Parser(
        prog="python -m tfds_builder.hpa",
        description="Builds the dataset hpa: TFRecords of four-channel images and their labels, "
        "with indexes.",
        epilog="Exit status: 0 built, or there already with these settings; 2 bad input, reported "
        "in one line. tfds_builder/hpa/README.md describes how to get each source.",
        allow_abbrev=False,
    )
    _add_common(parser)
    _add_listed(parser.add_argument_group("kaggle_512, kaggle_full, hpav18, s_biad2443, folder"))
    _add_scaled(parser.add_argument_group("kaggle_full, hpav18, s_biad2443, folder"))
    _add_folder(parser.add_argument_group("folder; some of them for s_biad2443 too"))
    _add_synthetic(parser.add_argument_group("synthetic alone"))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config", required=True, metavar="NAME", help=f"what to build: {', '.join(CONFIGS)}")
    add(
        "--data_dir",
        required=True,
        type=path_flag("--data_dir", within="hpa/"),
        metavar="DIR",
        help=f"the dataset goes to DIR/hpa/NAME/{prepare.VERSION}; a folder, or "
        "gs://BUCKET/FOLDER, for which it is built on the local disk first, in HPA_SCRATCH",
    )
    contents = []
    for name, config in CONFIGS.items():
        if config.manual:
            contents.append(f"{name}: {config.manual}")
    add(
        "--manual_dir",
        type=path_flag("--manual_dir"),
        metavar="DIR",
        help=f"what it is built from. {'; '.join(contents)}",
    )
    add(
        "--name",
        metavar="NAME",
        help="the dataset's name (default: the configuration's, with _<PX> if scaled)",
    )
    add(
        "--codec",
        choices=CODECS,
        default=CODECS[0],
        help="of the stored images, both lossless (default %(default)s)",
    )
    add(
        "--policy",
        choices=POLICIES,
        default=POLICIES[0],
        help="strict: stop at the first fault (default); skip: leave faulty rows out and list them "
        "in rejects.csv",
    )
    add(
        "--test",
        type=float,
        metavar="FRACTION",
        help="of the held-out test split (default 0.1, synthetic 0.2)",
    )
    add(
        "--folds",
        type=int,
        metavar="K",
        help="of all other images; fold 0 is `validation` (default 5, synthetic 8)",
    )
    add("--seed", type=int, default=0, help="of the split, and of synthetic images (default 0)")
    add(
        "--match_splits_of",
        metavar="NAME",
        help="near-duplicates of images of this dataset in DATA_DIR get those images' folds",
    )
    _add_public_split(parser.add_argument_group("public splits"))
    _add_duplicates(parser.add_argument_group("near-duplicates and the evenness of splits"))
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes (default: one a CPU); the bytes are the same",
    )
    add(
        "--beam",
        metavar="OPTIONS",
        help="run on Apache Beam, with its options in one string; the bytes are the same",
    )


def _add_public_split(group) -> None:
    add = group.add_argument
    add(
        "--split",
        choices=(*SPLITS, *s_biad2443.SPLITS),
        help="subcell: by the public lists of antibodies, which `python -m tfds_builder.hpa.lists` "
        "fetches; images of antibodies in no list are left out. s_biad2443 alone: published, as "
        "its tables have it (its default), and own, as all others have it",
    )
    add(
        "--lists",
        type=path_flag("--lists"),
        metavar="DIR",
        help="where the lists of --split are (default DATA_DIR/lists)",
    )


def _add_duplicates(group) -> None:
    add = group.add_argument
    add(
        "--near_duplicates",
        choices=("on", "off"),
        default="on",
        help="off: not sought; groups are those of the group keys alone (default %(default)s)",
    )
    add(
        "--duplicate_bits",
        type=int,
        metavar="N",
        help="in which perceptual hashes may differ, of the 64 of each channel that both images "
        f"have (default {Rule().bits})",
    )
    add(
        "--duplicate_correlation",
        type=float,
        metavar="R",
        help="of the pixels, above which each channel must be that both images have "
        f"(default {Rule().correlation})",
    )
    add(
        "--allow_uneven_splits",
        action="store_true",
        help=f"build even if a split has over {evenness.FACTOR} times the images that it should "
        f"have, or under 1/{evenness.FACTOR}, and is off by more than {evenness.SLACK}",
    )


def _add_listed(group) -> None:
    """Flags of every configuration that reads a csv."""
    add = group.add_argument
    add(
        "--labels",
        metavar="SET",
        help=f"which labels there are: {', '.join(LABEL_SETS)}; csv: the names in the csv; or a "
        "file with the name of a label in each line, in the order of the ids (default: hpa2018)",
    )
    add(
        "--no_label",
        choices=csv_rows.NO_LABEL,
        help="what a row without a label is: fault; negative: an image of none of the structures; "
        "unknown: an image to predict on, in the split `unlabelled` (default fault)",
    )
    # No default of False: only flags that were given are passed on.
    add(
        "--follow_links",
        action="store_true",
        default=None,
        help="files may be links that lead out of manual_dir, as those of git-annex and DVC",
    )


def _add_scaled(group) -> None:
    group.add_argument(
        "--edge",
        type=int,
        metavar="PX",
        help="scale the longer side to PX pixels (default: native)",
    )


def _add_folder(group) -> None:
    add = group.add_argument
    add(
        "--csv",
        metavar="FILE",
        help="the table: its name in manual_dir (default labels.csv), or any other path; paths "
        " of images are relative to manual_dir all the same",
    )
    add(
        "--pattern",
        metavar="PATH",
        help="of the files in manual_dir, with {id} and {channel}: images/{id}_{channel}.tif; "
        "an Id may have slashes",
    )
    add(
        "--channels",
        type=_channels,
        metavar="LIST",
        help="your names of the four: red=tubulin,green=gfp,blue=dapi,yellow=calnexin; "
        "one left out: black",
    )
    add(
        "--channel_order",
        type=_planes,
        metavar="LIST",
        help="where one file has all channels (--pattern without {channel}): the channel of each "
        "plane or page, red,green,blue,yellow; nothing between two commas leaves a plane out "
        "(default: by the names in the file)",
    )
    add(
        "--projection",
        choices=PROJECTIONS,
        help="of z-stacks, over their depth (default: they are refused)",
    )
    add(
        "--float_range",
        type=_two_numbers,
        metavar="BLACK,WHITE",
        help="the values of floating-point files that become 0 and 255 (default: refused)",
    )
    add(
        "--path_columns",
        type=_channels,
        metavar="LIST",
        help="in place of --pattern and --channels: the columns of the csv with the path of each "
        "channel's file in manual_dir: red=RNA,green=AGP,...",
    )
    add(
        "--white",
        type=int,
        metavar="V",
        help="the value that becomes 255 (default: 255, 16 bits: 65535; asked for where no value "
        "comes near it, as those of cameras of 12 bits)",
    )
    add(
        "--pixel_size",
        type=float,
        metavar="UM",
        help="of your images, in micrometres (default: as the files say)",
    )
    # No default of False: only flags that were given are passed on.
    add(
        "--rescale",
        action="store_true",
        default=None,
        help="to the Atlas's 0.08 micrometres a pixel",
    )
    add("--id_column", metavar="NAME", help="of the csv (default Id)")
    add(
        "--label_column",
        metavar="NAME",
        help="of the csv (default Target). Ids are those of --labels: of the 28 of 2018 unless it "
        "is given, never of the 19 classes of 2021 (columns ID,Label)",
    )
    add(
        "--label_columns",
        type=_names,
        metavar="LIST",
        help="a column for each label, with 1 and 0: names separated by commas; all: every column "
        "that nothing else is read from",
    )
    add(
        "--unlabelled",
        action="store_true",
        default=None,
        help="nobody knows the labels: all images are in the split `all`, to predict on. Also "
        "without this flag if the csv has no columns but those that are named here",
    )
    add(
        "--group_column",
        metavar="NAME",
        help="of the csv: images of one group never straddle a split (s_biad2443: antibody, which "
        "is the default, plate or cell_line)",
    )
    add(
        "--split_column",
        metavar="NAME",
        help="of the csv, with train, validation or test: it wins over groups and near-duplicates, "
        "and those that it separates are reported",
    )


def _add_synthetic(group) -> None:
    add = group.add_argument
    add(
        "--images",
        type=int,
        metavar="N",
        help=f"number of images (default {synthetic.DEFAULT_IMAGES})",
    )
    add(
        "--size",
        type=int,
        metavar="PX",
        help=f"width and height (default {synthetic.DEFAULT_SIZE})",
    )
    add(
        "--frequencies",
        choices=synthetic.FREQUENCIES,
        help="of the labels: those of the real train.csv, or tempered so that each label has some "
        "images (default)",
    )
    # No default of False: only flags that were given are passed on.
    add(
        "--vary",
        action="store_true",
        default=None,
        help="fields differ in size, density and shape of their cells, in blur, noise and "
        "brightness: to train what is to find cells in real fields",
    )
    add(
        "--masks",
        action="store_true",
        default=None,
        help="store the exact instance masks of cells and nuclei with each image",
    )


def _planes(text: str) -> tuple[str, ...]:
    """Parses `red,,green`."""
    return tuple(name.strip() for name in text.split(","))


def _two_numbers(text: str) -> tuple[float, float]:
    """Parses `0,1`."""
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: not two numbers, such as 0,1") from None
    return black, white


def _names(text: str) -> tuple[str, ...]:
    """Parses `a,b`."""
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: not names separated by commas, once each")
    return names


def _channels(text: str) -> dict[str, str | None]:
    """Parses `red=a,green=b` to the four channels' names; None for one that was not imaged."""
    names: dict[str, str | None] = dict.fromkeys(CHANNELS)
    for item in text.split(","):
        channel, _, name = item.partition("=")
        if channel not in names or not name or names[channel]:
            expected = ", ".join(f"{channel}=NAME" for channel in CHANNELS)
            raise argparse.ArgumentTypeError(f"{item!r}: not one of {expected}, once each")
        names[channel] = name
    return names
