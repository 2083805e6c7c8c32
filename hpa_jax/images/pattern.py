"""Which files of a folder make an image, by a pattern of their names."""

import re
from collections.abc import Mapping, Sequence

from hpa_jax.errors import InputError
from hpa_jax.images.layouts import SAY, Layout, add_once
from hpa_jax.labels import CHANNELS

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def match_pattern(
    where: str, names: Sequence[str], words: Mapping[str, str], pattern: str
) -> Layout:
    """The images whose files have names of a pattern.

    Args:
      where: the folder or zip, for messages.
      names: of all image files in it, sorted.
      words: the channel of each name (`channel_names.words_of`).
      pattern: such as `{id}_{channel}.tif`, `{plate}/{id}.tif`. `{id}` may hold slashes, any other
        name in braces may not; together they are the Id. Upper and lower case are alike.

    Raises:
      InputError: the pattern is none, or no file matches.
    """
    matcher, has_channel = _matcher(pattern, words)
    groups: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    unmatched = ""
    for name in names:
        match = matcher.fullmatch(name)
        if match is None:
            unmatched = unmatched or name
            continue
        found = match.groupdict()
        channel = found.pop("channel", None)
        image_id = "/".join(found.values())
        if channel is None:
            add_once(where, whole, image_id, name)
        else:
            group = groups.setdefault(image_id, {})
            add_once(where, group, words[channel.lower()], name)
    if not groups and not whole:
        raise InputError(
            f"--pattern={pattern}: no file in {where} has such a name; {_shown(unmatched, names)}"
        )
    if has_channel:
        ids = sorted(groups)
        files = []
        for image_id in ids:
            group = groups[image_id]
            files.append(tuple(group.get(channel) for channel in CHANNELS))
        return Layout(f"{pattern!r}, a file a channel", ids, files)
    ids = sorted(whole)
    files = [(whole[image_id],) for image_id in ids]
    return Layout(f"{pattern!r}, one file an image", ids, files)


def _matcher(pattern: str, words: Mapping[str, str]) -> tuple[re.Pattern, bool]:
    """A pattern as a regular expression with a group for each of its placeholders."""
    placeholders = _PLACEHOLDER.findall(pattern)
    others = _PLACEHOLDER.sub("", pattern)
    if "id" not in placeholders or len(set(placeholders)) < len(placeholders):
        raise InputError(f"--pattern={pattern} must hold {{id}} once; {SAY}")
    if "{" in others or "}" in others:
        raise InputError(f"--pattern={pattern} has a brace on its own; {SAY}")
    channels = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    text = ""
    end = 0
    for match in _PLACEHOLDER.finditer(pattern):
        text += re.escape(pattern[end : match.start()])
        part = "[^/]+"
        if match[1] == "channel":
            part = channels
        elif match[1] == "id":
            part = ".+"
        text += f"(?P<{match[1]}>{part})"
        end = match.end()
    text += re.escape(pattern[end:])
    return re.compile(text, re.IGNORECASE), "channel" in placeholders


def _shown(unmatched: str, names: Sequence[str]) -> str:
    if not unmatched:
        return "it has no image file"
    return f"there are {len(names)} image files, {unmatched!r} the first"
