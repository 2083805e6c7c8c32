"""Names of files for what is called by an Id: safe in every file system, one for each Id."""

import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 100


def safe_stem(image_id: str) -> str:
    """The Id itself where it is plain; else what is plain of it, and a digest of all of it.

    Args:
      image_id: any text, such as `plate 2/A1`.
    """
    safe = _UNSAFE.sub("_", image_id).strip("_")[:_LONGEST]
    if image_id and safe == image_id:
        return image_id
    digest = hashlib.sha256(image_id.encode()).hexdigest()[:8]
    return f"{safe or 'image'}-{digest}"
