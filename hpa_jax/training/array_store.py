"""The one file that calls Orbax: trees of arrays to a folder and back.

Orbax's v0 saves and its v1 reads, since v1's `training.Checkpointer` starts a thread with an event
loop a save (`_AsyncSaveResponse`, three file descriptors) which ends only when somebody asks for
the result, reads every step's files as soon as it is opened, and removes a step before the one
that takes its place is written. Which steps there are, and which of them are complete, is
`hpa_jax.training.step_folders`' business.
"""

import contextlib
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp_v0
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint._src.handlers.composite_checkpoint_handler import CompositeOptions
from orbax.checkpoint._src.serialization import tensorstore_utils

from hpa_jax.buckets import mounts
from hpa_jax.errors import InputError, one_line
from hpa_jax.training.manifest import DamagedCheckpoint, named_leaves

_ITEM = "state"

# Orbax asks TensorStore twice a save how many bytes it has written, for a log that is off.
# TensorStore 0.1 never frees the answer (`experimental_collect_matching_metrics`): 14 kB a save.
tensorstore_utils.get_tensorstore_raw_bytes = lambda *_: 0

# What the machine and not the file is to blame for, as Orbax and TensorStore put it.
_NOT_DAMAGE = (
    "Permission denied",
    "PERMISSION_DENIED",
    "Too many open files",
    "RESOURCE_EXHAUSTED",
    "Cannot allocate memory",
    "Out of memory",
    "Input/output error",
    "Stale file handle",
)


class ArrayStore:
    """Saves trees of arrays, one at a time, in the background.

    Args:
      is_alone: whether the first process of a run saves without the others, which it then does not
        wait for.
    """

    def __init__(self, is_alone: bool = False):
        quiet()
        options = ocp_v0.options.MultiprocessingOptions()
        if is_alone:
            options = ocp_v0.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix="alone"
            )
        handler = ocp_v0.CompositeCheckpointHandler()
        if is_alone and jax.process_count() > 1:
            # Each of them would meet the processes that do not save.
            handler = ocp_v0.CompositeCheckpointHandler(
                composite_options=CompositeOptions(multiprocessing_options=options),
                **{_ITEM: ocp_v0.StandardCheckpointHandler(multiprocessing_options=options)},
            )
        self._checkpointer = ocp_v0.AsyncCheckpointer(handler, multiprocessing_options=options)

    def save(self, folder: Path, tree: dict[str, Any], position: int) -> None:
        """Starts to save; returns as soon as the arrays are copied off the devices.

        All processes of a run call it together.

        Args:
          folder: which there is not yet; it appears when it is complete.
          tree: nested dicts, lists and tuples of arrays.
          position: in the data, for older versions; the manifest has it too.
        """
        self._checkpointer.save(
            folder,
            args=ocp_v0.args.Composite(**{_ITEM: ocp_v0.args.StandardSave(tree)}),
            custom_metadata={"position": position},
        )

    def wait(self) -> None:
        """Waits until the folder is complete; raises what went wrong."""
        self._checkpointer.wait_until_finished()

    def close(self) -> None:
        """Ends its threads."""
        self._checkpointer.close()


def load(folder: Path, abstract: dict[str, Any]) -> dict[str, Any]:
    """Reads the arrays of a folder that `abstract` names, with its shapes and shardings.

    Args:
      folder: of a step.
      abstract: a tree like the one that was saved, or a part of it, of `jax.ShapeDtypeStruct` or
        NumPy arrays. What the folder does not have stays as it is.

    Raises:
      DamagedCheckpoint: the files cannot be made sense of.
      InputError: they cannot be read on this machine.
    """
    quiet()
    mounts.fetch(folder)
    only_what_is_asked_for = ocp.Context()
    only_what_is_asked_for.pytree.loading.partial_load = True
    with _reading(folder), only_what_is_asked_for:
        return ocp.load_checkpointables(folder, {_ITEM: abstract})[_ITEM]


def load_on_host(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of a folder by name, on the host, whatever net and devices they were of.

    Raises:
      DamagedCheckpoint, InputError: as `load`.
    """
    tree = _saved_tree(folder)
    with _reading(folder):
        abstract = jax.tree.map(_abstract_on_host, tree)
    return named_leaves(load(folder, abstract))


def _abstract_on_host(leaf: Any) -> np.ndarray:
    """An array of this shape and dtype that takes no memory: a damaged shape may be a huge one."""
    return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)


def saved_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of a folder by name.

    Raises:
      DamagedCheckpoint, InputError: as `load`.
    """
    leaves = named_leaves(_saved_tree(folder))
    with _reading(folder):
        return {name: tuple(leaf.shape) for name, leaf in leaves.items()}


def _saved_tree(folder: Path) -> Any:
    """The tree that was saved, with shapes and dtypes in place of arrays."""
    quiet()
    mounts.fetch(folder)
    with _reading(folder):
        metadata = ocp.checkpointables_metadata(folder).metadata or {}
    if metadata.get(_ITEM) is None:
        raise DamagedCheckpoint("its arrays are damaged or missing")
    return metadata[_ITEM]


@contextlib.contextmanager
def _reading(folder: Path):
    """Turns what reading raises into an error of this package.

    A damaged file can raise nearly everything: lengths, names and types are read from it.
    """
    try:
        yield
    except (MemoryError, InputError):
        raise
    except Exception as error:
        text = str(error)
        if isinstance(error, jax.errors.JaxRuntimeError):
            raise
        if isinstance(error, PermissionError) or any(words in text for words in _NOT_DAMAGE):
            raise InputError(
                f"checkpoint {folder} cannot be read ({one_line(error, limit=300)})"
            ) from error
        if not folder.exists():
            raise DamagedCheckpoint("it is not there any more") from error
        raise DamagedCheckpoint(f"it cannot be read: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The gist of an Orbax error, which may hold a stack of others or an entire tree."""
    text = str(error)
    if "incompatible handler" in text:
        return "its arrays are damaged or missing"
    lines = text.strip().splitlines()
    return one_line(lines[0] if lines else error, limit=160)


def quiet() -> None:
    """Orbax logs every file, and a traceback and warnings for every read that fails."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.unraisablehook = _ignore_remains_of_reading


def _ignore_remains_of_reading(unraisable, default_hook=sys.__unraisablehook__) -> None:
    """A sys.unraisablehook for Orbax's threads and coroutines, which go on after a read failed.

    What failed has been raised by then; what they print is the same again, with tracebacks.
    """
    # The default is bound early, as modules are gone when the interpreter's end calls this.
    code = getattr(unraisable.object, "cr_code", None)
    if code is not None and "orbax" in code.co_filename:
        return
    if str(unraisable.exc_value) != "Event loop is closed":
        default_hook(unraisable)
