"""By what names of channels the files of an image differ: `A1_red.png`, `dapi/A1.tif`.

A name is found where it stands by itself: `red` in `A1_red.png`, in `A1-Red.tif` and in `red/A1`,
and not in `reduced.png`; `ch1` in `f01-ch1sk1.tif`, and not in `ch10`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS

PLACE = "{channel}"

USUAL_NAMES = {
    "red": ("red", "microtubules", "microtubule", "tubulin"),
    "green": ("green", "protein", "antibody"),
    "blue": ("blue", "nucleus", "nuclei", "dapi", "hoechst"),
    "yellow": ("yellow", "er", "calnexin", "calreticulin"),
}
"""What a channel is called where the user says nothing, in lower case."""


class Found(NamedTuple):
    """A channel's name in the name of a file.

    Attributes:
      channel: one of CHANNELS.
      key: the file's name with PLACE where the channel's was.
    """

    channel: str
    key: str


def parse_channels(text: str) -> dict[str, str]:
    """Parses `red=tubulin,green=gfp`: the user's name of each channel.

    Raises:
      InputError: names what is wrong.
    """
    names: dict[str, str] = {}
    for item in text.split(","):
        channel, _, name = item.partition("=")
        channel = channel.strip().lower()
        name = name.strip()
        if channel not in CHANNELS or not name or channel in names:
            expected = ",".join(f"{channel}=NAME" for channel in CHANNELS)
            raise InputError(
                f"--channels={text}: {item!r} is not one of {expected}, each at most once"
            )
        if name.lower() in (other.lower() for other in names.values()):
            raise InputError(f"--channels={text}: {name!r} stands for two channels")
        names[channel] = name
    return names


def words_of(channels: Mapping[str, str] | None) -> dict[str, str]:
    """The channel of each name, in lower case: the user's names, or else the usual ones."""
    words = {}
    if channels:
        for channel, name in channels.items():
            words[name.lower()] = channel
        return words
    for channel, names in USUAL_NAMES.items():
        for name in names:
            words[name] = channel
    return words


def find_channels(stem: str, words: Mapping[str, str]) -> list[Found]:
    """Every way to take a name of the file for its channel.

    Args:
      stem: the file's name without the suffix of its format.
      words: of `words_of`.

    Returns:
      One for each place of such a name, the last first; and one for all places together, where the
      same name stands in several (`red/A1_red`).
    """
    found = []
    places: dict[str, list[re.Match]] = {}
    for match in _pattern(tuple(words)).finditer(stem):
        if _stands_alone(stem, match):
            word = match[0].lower()
            places.setdefault(word, []).append(match)
            found.append(Found(words[word], _with_place(stem, [match])))
    found.reverse()
    for word, matches in places.items():
        if len(matches) > 1:
            found.append(Found(words[word], _with_place(stem, matches)))
    return found


def id_of(key: str) -> str:
    """The Id of a key of `Found`: without the channel, and what joined it to the rest.

    `A1` of `A1_{channel}` and of `{channel}/A1`; `p1/A1 (wv)` of `p1/A1 (wv {channel})`.
    """
    parts = []
    for part in key.split("/"):
        if PLACE in part:
            part = re.sub(r"[-_. ]?\{channel\}", "", part)
            part = part.replace("()", "").replace("[]", "").strip("-_. ")
        if part:
            parts.append(part)
    return "/".join(parts)


@lru_cache(maxsize=8)
def _pattern(words: Sequence[str]) -> re.Pattern:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def _stands_alone(stem: str, match: re.Match) -> bool:
    """Whether the characters beside a name are of another kind: a letter beside a digit is."""
    before = stem[: match.start()][-1:]
    after = stem[match.end() :][:1]
    return _kind(before) != _kind(match[0][0]) and _kind(after) != _kind(match[0][-1])


def _kind(character: str) -> str:
    if character.isdigit():
        return "digit"
    if character.isalpha():
        return "letter"
    # Each differs from all others, so that it parts what stands beside it.
    return f"{character!r} or the end"


def _with_place(stem: str, matches: Sequence[re.Match]) -> str:
    parts = []
    end = 0
    for match in matches:
        parts.append(stem[end : match.start()])
        end = match.end()
    parts.append(stem[end:])
    return PLACE.join(parts)
