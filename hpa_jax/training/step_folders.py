"""The folders of a run's checkpoints: which there are, and how one comes, goes or is set aside.

CHECKPOINTS/STEP      a step; only a complete one has this name
STEP.saving           is being written
STEP.replaced         the step while another of the same number takes its place
STEP.deleting         is being removed
STEP.damaged          was found damaged by a run that resumed; nothing of it is read or removed

Each of them becomes another by one rename, so that a kill leaves one or the other. What a killed
process has left is put in order by the next one that trains.
"""

import os
import re
import shutil
import time
from pathlib import Path

from hpa_jax.buckets import mounts
from hpa_jax.errors import InputError, one_line
from hpa_jax.files import sync_folder

_SAVING = ".saving"
_REPLACED = ".replaced"
_DELETING = ".deleting"
_DAMAGED = ".damaged"

# Orbax writes STEP.saving.orbax-checkpoint-tmp; without ".saving" it is an older version's.
_LEFTOVER = re.compile(r"\d+(\.saving|\.deleting|\.orbax-checkpoint-tmp)(\..*)?")

_TRIES = 30
_PAUSE_S = 0.1
_QUIET_LOOKS = 5


def steps(folder: Path) -> list[int]:
    """The steps in the folder of a run's checkpoints, ascending, whether complete or not.

    Raises:
      InputError: it is not a folder, or cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({one_line(error)}); it is to be the folder of the run's "
            "checkpoints: put it back, or choose another --workdir"
        ) from error
    # Nobody but a person names a step 007.
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one in the folder of a run's checkpoints."""
    return bool(steps(folder))


def staging(folder: Path, step: int) -> Path:
    """Where a step is written before it is complete."""
    return folder / f"{step}{_SAVING}"


def publish(folder: Path, step: int) -> None:
    """Gives a step that is complete its name, in place of one that has it."""
    final = folder / str(step)
    replaced = folder / f"{step}{_REPLACED}"
    if os.path.lexists(final):
        _remove(replaced)
        os.rename(final, replaced)
    os.rename(staging(folder, step), final)
    sync_folder(folder)
    _remove(replaced)


def set_aside(folder: Path, step: int) -> Path:
    """Renames a damaged step, out of the way of a new one; returns where it is now."""
    mounts.fetch(folder / str(step))
    number = 1
    target = folder / f"{step}{_DAMAGED}"
    while os.path.lexists(target):
        number += 1
        target = folder / f"{step}{_DAMAGED}.{number}"
    os.rename(folder / str(step), target)
    sync_folder(folder)
    return target


def remove(folder: Path, step: int) -> None:
    """Removes a step; it is gone at once."""
    going = folder / f"{step}{_DELETING}"
    _remove(going)
    os.rename(folder / str(step), going)
    _remove(going)


def clean(folder: Path) -> None:
    """Puts in order what a killed process has left; for the one that trains the run."""
    for name in os.listdir(folder):
        step, suffix = os.path.splitext(name)
        if suffix == _REPLACED and step.isdecimal():
            if os.path.lexists(folder / step):
                _remove(folder / name)
            else:
                os.rename(folder / name, folder / step)
        elif _LEFTOVER.fullmatch(name):
            _remove(folder / name)


def remove_unfinished(folder: Path) -> None:
    """Removes what a save that failed has left, which takes the room that the next one needs."""
    quiet_looks = 0
    for _ in range(_TRIES):
        left = [entry for entry in folder.glob(f"*{_SAVING}*") if _LEFTOVER.fullmatch(entry.name)]
        for entry in left:
            _remove(entry)
        quiet_looks = 0 if left else quiet_looks + 1
        if quiet_looks == _QUIET_LOOKS:
            return
        # Threads of Orbax that have not failed yet may still write a file, and make its folder.
        time.sleep(_PAUSE_S)


def _remove(path: Path) -> None:
    """Removes a folder or what is in its place; errors are left to whoever needs the room."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
