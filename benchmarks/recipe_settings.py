"""All settings of a run as one number: a result is kept for them, not for a recipe's name."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from checkout import REPOSITORY

from hpa_jax.recipes import parse


def settings_digest(recipe: str, flags: Sequence[str]) -> str:
    """SHA-256 of a recipe's settings with flags of `python -m hpa_jax.main` on top.

    Args:
      recipe: its file, from the repository's root.
      flags: that set fields of the configuration.
    """
    config = parse([f"--config={REPOSITORY / recipe}", "--workdir=none", *flags])[2]
    text = json.dumps(dataclasses.asdict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
