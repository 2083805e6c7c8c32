"""Files that grow, as objects that do not: a file that is appended to lies in parts.

The first PART_BYTES of `metrics.jsonl` are the object `metrics.jsonl`, the next ones
`metrics.jsonl.part-00001`, and so on: a line more costs the upload of the last part, not that of
the file. When a run ends, the file becomes one object again.
"""

import re

PART_BYTES = 2**20

_APPENDED = re.compile(r"(.*/)?(metrics(\.damaged)?\.jsonl|events\.out\.tfevents\.[^/]*)")
_PART = re.compile(r"(?P<file>.*)\.part-(?P<number>\d{5})", re.DOTALL)


def is_appended(name: str) -> bool:
    """Whether a file of a run is one that grows."""
    return _APPENDED.fullmatch(name) is not None and _PART.fullmatch(name) is None


def part_name(name: str, number: int) -> str:
    """The object of part `number` of a file."""
    return name if number == 0 else f"{name}.part-{number:05d}"


def part_of(name: str) -> tuple[str, int] | None:
    """The file and the number of a part behind the first; None for any other object."""
    found = _PART.fullmatch(name)
    if found is None or not is_appended(found["file"]):
        return None
    return found["file"], int(found["number"])


def count_parts(size: int) -> int:
    """In how many parts a file of this size lies."""
    return max(1, -(-size // PART_BYTES))
