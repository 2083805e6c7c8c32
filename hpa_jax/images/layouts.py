"""Which files of a folder make an image: found from their names, or by a pattern.

Two layouts hold everything that people have: a file for each channel, whose names differ by the
channel's (`A1_red.png`, `red/A1.png`, `plate 2/A1_w1.tif`), or one file with all channels. Which of
the two it is has to be plain from the names. Where it is not, the message shows what was found and
how to say it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.images.channel_names import PLACE, Found, find_channels, id_of
from hpa_jax.images.listing import stem_of
from hpa_jax.labels import CHANNELS

SAY = "--pattern='{id}_{channel}.tif' for a file a channel, --pattern='{id}.tif' for all in one"
"""How to say which files make an image, the end of a message."""


class Layout(NamedTuple):
    """The images of a folder.

    Attributes:
      text: which layout it is, for people: one line.
      ids: of the images, each once, sorted.
      files: the names of each image's files: one for each of CHANNELS, None where there is none; or
        a single one that holds all channels.
    """

    text: str
    ids: list[str]
    files: list[tuple[str | None, ...]]


def find_layout(where: str, names: Sequence[str], words: Mapping[str, str]) -> Layout:
    """Finds the layout from the names of the files.

    Args:
      where: the folder or zip, for messages.
      names: of all image files in it, sorted.
      words: the channel of each name (`channel_names.words_of`).

    Raises:
      InputError: the names allow two readings.
    """
    groups, several, wordless = _grouped(names, words)
    full = {key for key, group in groups.items() if len(group) > 1}
    if full:
        groups, left_out = _without_attached(groups, full)
        apart = [name for name in (*several, *wordless) if not _is_attached(name, full)]
        left_out += [name for name in (*several, *wordless) if _is_attached(name, full)]
        if apart:
            raise _ambiguous(where, groups, full, apart)
        return _of_channels(where, groups, left_out)
    if several and not groups:
        return _of_whole_files(where, [*several, *wordless], words)
    if groups and (several or wordless):
        raise _ambiguous(where, groups, set(groups), [*several, *wordless])
    if groups:
        return _of_channels(where, groups, [])
    return _of_whole_files(where, wordless, words)


def _grouped(
    names: Sequence[str], words: Mapping[str, str]
) -> tuple[dict[str, dict[str, list[str]]], list[str], list[str]]:
    """Files by key and channel; those that name several channels; those that name none."""
    channels_of_key: dict[str, set[str]] = {}
    for name in names:
        for channel, key in find_channels(stem_of(name), words):
            channels_of_key.setdefault(key, set()).add(channel)

    groups: dict[str, dict[str, list[str]]] = {}
    several = []
    wordless = []
    for name in names:
        found = find_channels(stem_of(name), words)
        if not found:
            wordless.append(name)
            continue
        # A cell that is red by its Id has files in one colour; an image has them in several.
        best = max(found, key=lambda one: _rank(one, channels_of_key))
        alone = len(channels_of_key[best.key]) == 1
        last_part = find_channels(stem_of(name).rpartition("/")[2], words)
        if alone and len({one.channel for one in last_part}) > 1:
            several.append(name)
            continue
        group = groups.setdefault(best.key, {})
        group.setdefault(best.channel, []).append(name)
    return groups, several, wordless


def _rank(found: Found, channels_of_key: Mapping[str, set[str]]) -> tuple[int, int]:
    """How much speaks for a place of the channel; with several places, they all count as one."""
    return len(channels_of_key[found.key]), found.key.count(PLACE)


def _without_attached(
    groups: Mapping[str, dict[str, list[str]]], full: set[str]
) -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """Takes out what belongs to an image and is none of its channels, such as a mask's file."""
    kept = {}
    left_out = []
    for key, group in groups.items():
        if key not in full and _is_attached(key, full):
            for files in group.values():
                left_out += files
        else:
            kept[key] = group
    return kept, left_out


def _is_attached(name: str, full: set[str]) -> bool:
    """Whether a file is named after an image with several channels: `A1_mask`, `masks/A1`."""
    stem = stem_of(name)
    for match in re.finditer(r"[-_. ]", stem):
        if f"{stem[: match.end()]}{PLACE}" in full:
            return True
    parts = stem.split("/")
    for number in range(len(parts) - 1):
        if "/".join([*parts[:number], PLACE, *parts[number + 1 :]]) in full:
            return True
    return False


def _of_channels(
    where: str, groups: Mapping[str, dict[str, list[str]]], left_out: list[str]
) -> Layout:
    """The layout of a file a channel."""
    plain: dict[str, dict[str, str]] = {}
    for key, group in groups.items():
        plain[key] = {}
        for channel, names in group.items():
            if len(names) > 1:
                raise InputError(
                    f"{where} has {names[0]} and {names[1]}, both {channel} of one image; say "
                    f"which: {SAY}"
                )
            plain[key][channel] = names[0]
    ids = _ids(where, plain, shorten=id_of)
    example_key = ids[0][1]
    example = plain[example_key]
    text = f"a file a channel, {example_key!r} with {_words_shown(example, example_key)}"
    if PLACE in example_key.rpartition("/")[0]:
        text = f"a folder a channel, {example_key!r} with {_words_shown(example, example_key)}"
    if left_out:
        text += f"; {len(left_out)} files beside them are left out, {left_out[0]!r} the first"
    return _layout(text, ids, plain)


def _words_shown(group: Mapping[str, str], key: str) -> str:
    """The names of the channels in the files of one image: `red, green, blue (dapi)`."""
    before = key.index(PLACE)
    after = len(key) - before - len(PLACE)
    shown = []
    for channel in CHANNELS:
        if channel not in group:
            continue
        stem = stem_of(group[channel])
        word = stem[before : len(stem) - after]
        if key.count(PLACE) > 1:
            word = channel
        shown.append(channel if word.lower() == channel else f"{channel} ({word})")
    return ", ".join(shown)


def _of_whole_files(where: str, names: Sequence[str], words: Mapping[str, str]) -> Layout:
    """The layout of one file with all channels."""
    whole: dict[str, str] = {}
    for name in names:
        add_once(where, whole, _without_channels(stem_of(name), words), name)
    ids = _ids(where, whole)
    files = [(whole[key],) for _, key in ids]
    text = f"one file an image, {files[0][0]!r} for instance"
    return Layout(text, [image_id for image_id, _ in ids], files)


def _without_channels(stem: str, words: Mapping[str, str]) -> str:
    """`10_A1` of `10_A1_blue_red_green`, as the Atlas calls its composites."""
    folder, slash, last = stem.rpartition("/")
    shortened = last
    while found := find_channels(shortened, words):
        shortened = id_of(found[0].key)
    # Some are called by their channels alone.
    return f"{folder}{slash}{shortened or last}"


def _layout(
    text: str, ids: Sequence[tuple[str, str]], groups: Mapping[str, Mapping[str, str]]
) -> Layout:
    files = []
    for _, key in ids:
        group = groups[key]
        files.append(tuple(group.get(channel) for channel in CHANNELS))
    return Layout(text, [image_id for image_id, _ in ids], files)


def _ids(where: str, groups: Mapping, shorten=lambda key: key) -> list[tuple[str, str]]:
    """(Id, key) of each image by Id, without the folders that all of them lie in."""
    ids = {key: shorten(key) for key in groups}
    shared = _shared_folder(list(ids.values()))
    by_id: dict[str, str] = {}
    for key, image_id in ids.items():
        image_id = image_id[len(shared) :]
        # A folder of an image, whose files are called by their channels alone.
        image_id = image_id or shared.rstrip("/").rpartition("/")[2] or "image"
        if image_id in by_id:
            raise InputError(
                f"{where} has two images that would be {image_id!r}: {by_id[image_id]!r} and "
                f"{key!r}; say which: {SAY}"
            )
        by_id[image_id] = key
    return sorted(by_id.items())


def _shared_folder(ids: Sequence[str]) -> str:
    """The folders that all Ids begin with, with a slash, or nothing."""
    first = min(ids)
    last = max(ids)
    length = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        length += 1
    if len(ids) == 1:
        length = len(first)
    return first[:length].rpartition("/")[0] + "/" if "/" in first[:length] else ""


def add_once(where: str, files: dict[str, str], key: str, name: str) -> None:
    """Notes the file of an image, or of its channel.

    Raises:
      InputError: there is one already.
    """
    if key in files:
        raise InputError(
            f"{where} has {files[key]} and {name}, which would be the same image {key!r}; say "
            f"which: {SAY}"
        )
    files[key] = name


def _ambiguous(
    where: str, groups: Mapping[str, dict[str, list[str]]], keys: set[str], apart: Sequence[str]
) -> InputError:
    key = min(keys)
    return InputError(
        f"{where} has {len(groups)} images with a file a channel ({key!r}) and {len(apart)} image "
        f"files that name no channel or several ({apart[0]!r}); say which are meant: {SAY}"
    )
