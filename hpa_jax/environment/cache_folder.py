"""Where a user's caches go, also for a user without a home."""

import os
import stat
import tempfile
from pathlib import Path

from hpa_jax.errors import InputError, one_line

_NAME = "hpa_jax"


def cache_folder() -> Path:
    """`hpa_jax` in the user's cache folder: $XDG_CACHE_HOME, else ~/.cache.

    A container with a numeric user has no home. Then it is a folder of that user in the temporary
    folder.

    Raises:
      InputError: there is no home, and the folder in the temporary folder is not this user's own.
    """
    # By its specification a relative path is to be ignored.
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / _NAME
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home) / ".cache" / _NAME
    return _in_the_temporary_folder()


def _in_the_temporary_folder() -> Path:
    """Whatever is cached is executed: what another user has prepared there must not be."""
    try:
        folder = Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise InputError(
            f"there is no folder for caches: HOME is not set, and the temporary folder cannot be "
            f"used ({one_line(error)}); set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_own or found.st_mode & 0o022:
        raise InputError(
            f"there is no folder for caches: HOME is not set, and {folder} is not this user's "
            "alone; set XDG_CACHE_HOME to a folder that can be written"
        )
    return folder
