"""Names by which images are stored, made of their Ids, which may be anyone's.

A stored Id consists of letters, digits, `_` and `-`. An Id that does so is its own; any other, such
as `plate 1/A01 (fld 2)`, gets a readable name with a digest, and stays beside it as `original_id`.
The name depends on that Id alone, so that it is the same in every build.
"""

import hashlib
import re
import unicodedata

_SAFE = re.compile(r"[A-Za-z0-9_-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MOST_READABLE = 80
_DIGEST_DIGITS = 12


def is_safe(original: str) -> bool:
    """Whether an Id can be stored as it is."""
    return bool(_SAFE.fullmatch(original))


def stored_id(original: str) -> str:
    """The name by which an image is stored.

    Two forms of the same accented letters are the same Id.
    """
    if is_safe(original):
        return original
    composed = unicodedata.normalize("NFC", original)
    digest = hashlib.sha256(composed.encode()).hexdigest()[:_DIGEST_DIGITS]
    # Without accents a word is still read.
    plain = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode()
    readable = _UNSAFE.sub("_", plain).strip("_")[:_MOST_READABLE]
    return f"{readable or 'image'}-{digest}"


def fault_of(original: str) -> str | None:
    """Why an Id cannot name an image and its files, and what to do; None if it can."""
    if not original:
        return "has no Id; give it one or take the row out"
    hidden = next((char for char in original if not char.isprintable()), None)
    if hidden:
        return f"has the invisible character U+{ord(hidden):04X} in its Id; take it out"
    if any(part in ("", ".", "..") for part in path_of(original).split("/")):
        return "has an Id with an empty part, . or .. between slashes; rename the image"
    return None


def path_of(original: str) -> str:
    """What stands for an Id, or for a path of the csv, in the name of a file."""
    return original.replace("\\", "/")
