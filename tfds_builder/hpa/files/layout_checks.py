"""Arguments of a layout that have no meaning, alone or together: each is refused by its name."""

import math
import re
from collections.abc import Mapping, Sequence

from hpa_jax.errors import InputError
from hpa_jax.images.rule import PROJECTIONS
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa import vocabularies

_MAX_EDGE = 4096
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9 _+.-]+")
_PLACEHOLDERS = {"{id}", "{channel}"}


def check_label_columns(
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


def channel_names(
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


def check_name_inside(argument: str, name: str) -> None:
    has_odd_part = any(part in ("", ".", "..") for part in name.split("/"))
    if has_odd_part or "\0" in name:
        raise InputError(
            f"{argument}={name} is not a name inside the folder; give it relative to --manual_dir"
        )


def check_placeholders(pattern: str) -> None:
    # Each pair of braces, or a brace on its own.
    found = set(re.findall(r"\{[^{}]*\}|[{}]", pattern))
    if "{id}" not in found or not found <= _PLACEHOLDERS:
        raise InputError(
            f"pattern={pattern} must hold {{id}} and {{channel}} (or {{id}} alone, if a file has "
            "all channels), and no other braces; put it right"
        )


def check_single(
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


def check_values(projection: str, float_range: tuple[float, float] | None) -> None:
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


def check_scale(white: int | None, pixel_size: float | None, rescale: bool, edge: int) -> None:
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
    check_edge(edge)


def check_edge(edge: int) -> None:
    if edge != 0 and not 16 <= edge <= _MAX_EDGE:
        raise InputError(
            f"edge={edge} is out of range; "
            f"give the longer side in pixels, from 16 to {_MAX_EDGE}, or 0"
        )
