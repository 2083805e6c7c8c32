"""The names of labels in a file: one in each line, alone or with its id before or after it."""

import re
from pathlib import Path

from hpa_jax.environment.causes import advice
from hpa_jax.errors import InputError, one_line
from hpa_jax.labels import LABEL_SETS

_ID_FIRST = re.compile(r"\"?(\d+)\"?(?:\s*[,;:.)\t]\s*|\s+)\"?([^\"]+?)\"?")
_ID_LAST = re.compile(r"\"?([^\"]+?)\"?\s*[,;\t]\s*\"?(\d+)\"?")
_HEADINGS = {"id", "label", "labels", "name", "names", "class", "classes", "target", "targets"}


def read_names(path: Path, setting: str, other_choices: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a file, in the order of their ids.

    Args:
      path: of the file.
      setting: that names it, for messages: `--labels`.
      other_choices: what may stand there in place of a file.

    Raises:
      InputError: it cannot be read, or has something else in it.
    """
    try:
        return tuple(names_of(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        choices = ", ".join(other_choices)
        raise InputError(
            f"{setting}={path} is none of {choices}, and there is no such file; give one of them, "
            "or a file with the name of a label in each line"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{setting}={path} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    except ValueError as error:
        raise InputError(f"{setting}={path} {error}") from None
    except OSError as error:
        raise InputError(
            f"{setting}={path} cannot be read ({one_line(error)}); {advice(error)}"
        ) from None


def column_names(given: str, columns: int, setting: str) -> tuple[str, ...]:
    """The names of the columns of an array of scores.

    Args:
      given: the name of a set of labels, or a file as of `read_names`.
      columns: how many there are.
      setting: that it is given by, for messages.

    Raises:
      InputError: as of `read_names`; or there are more names, or fewer.
    """
    if given in LABEL_SETS:
        names = LABEL_SETS[given].labels
    else:
        names = read_names(Path(given), setting, tuple(LABEL_SETS))
    if len(names) != columns or len(set(names)) != columns:
        raise InputError(
            f"{setting}={given} has {len(set(names))} different names for {columns} columns; give "
            "one for each, in their order"
        )
    return names


def names_of(text: str) -> list[str]:
    """The names in the order of their ids.

    Empty lines and those that begin with `#` are no names.

    Raises:
      ValueError: these are no names, or their ids do not count from 0; the text is the reason.
    """
    lines = []
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            lines.append(line)
    if lines and lines[0].startswith(("[", "{")):
        raise ValueError("is JSON or the like; give the name of a label in each line")
    for pattern, id_group in ((_ID_FIRST, 1), (_ID_LAST, 2)):
        names = _numbered(lines, pattern, id_group)
        if names:
            return names
    names = [" ".join(line.split()) for line in lines]
    if names and names[0].casefold() in _HEADINGS:
        raise ValueError(f"begins with {names[0]!r}, a heading and no label; take that line out")
    return names


def _numbered(lines: list[str], pattern: re.Pattern, id_group: int) -> list[str]:
    """Names by ids, where every line has an id but the first, which may be a heading."""
    found = [pattern.fullmatch(line) for line in lines]
    if found and found[0] is None:
        found = found[1:]
    if not found or None in found:
        return []
    names = {}
    for line in found:
        # Not int(): of 5,000 digits it raises.
        number = line[id_group].lstrip("0") or "0"
        names[number] = " ".join(line[3 - id_group].split())
    wanted = list(map(str, range(len(found))))
    if names.keys() != set(wanted):
        first = found[0][id_group][:20]
        raise ValueError(
            f"numbers its {len(found)} labels from {first} on; ids are 0 to {len(found) - 1}, each "
            "once: give the names alone, or those ids"
        )
    return [names[number] for number in wanted]
