"""Objects as JSON, and a digest by which a reader can tell that one was not changed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpa_jax.environment import causes
from hpa_jax.errors import InputError, one_line
from hpa_jax.files.atomic import write_atomically

SHA256 = "sha256"
"""The key under which a JSON object has the digest of its other values."""


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, atomically.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, advice: str) -> dict[str, Any]:
    """Reads a file that `write_json` wrote with an object in it.

    Args:
      path: of the file.
      advice: what to do where it cannot be read, the end of the message.

    Raises:
      InputError: it cannot be read, or is something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        # Half of a surrogate pair, which JSON can spell and nobody can print.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {one_line(error)}; {causes.advice(error)}"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = one_line(error, limit=160)
        raise InputError(f"{path} cannot be read ({reason}); {advice}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} cannot be read (no JSON object); {advice}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def json_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of an object, without its own key SHA256; 64 hex digits.

    It is of the values: how they are written (order, white space) does not matter.

    Raises:
      ValueError: it holds a number that is not finite.
    """
    others = {key: value for key, value in values.items() if key != SHA256}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its digest, by which a reader tells that it is as it was written."""
    return {**values, SHA256: json_digest(values)}
