"""Saving and restoring a run: the state, the position in the data, and the metrics that rank it.

The one file that calls Orbax, whose v1 API is marked as subject to change: hence the pinned
version. Saves are asynchronous and atomic (a folder is renamed when it is complete), so that a
kill loses at most the save under way.

The position in the data is one number, how far all processes together have come: it means the
same to any number of them. Several processes save and restore together; the first one writes
what they all hold.
"""

import contextlib
import dataclasses
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from hpa_jax.errors import InputError, RunStopped

_policies = ocp.training.preservation_policies


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: where they are, a folder per step.
      metric: by which the best is chosen, the larger the better.
      keep: how many of the latest are kept, besides the best; None opens the folder for reading
        only.
    """

    def __init__(self, folder: Path, *, metric: str, keep: int | None = None):
        # Orbax logs every file, and a traceback for every read that fails.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        sys.unraisablehook = _ignore_closed_event_loops
        self._metric = metric
        self._closed = False
        preserve = None
        if keep is not None:
            best = _policies.BestN(
                get_metric_fn=self._rank, n=1, keep_checkpoints_without_metrics=False
            )
            preserve = _policies.AnyPreservationPolicy([_policies.LatestN(keep), best])
        self._folder = folder.absolute()
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=preserve,
            cleanup_tmp_directories=keep is not None,
        )

    def latest(self) -> int | None:
        """The step of the last complete checkpoint."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def metrics(self, step: int) -> dict[str, Any]:
        """What was saved as metrics with `step`; empty if it was saved without an evaluation."""
        saved = self._find(step)
        return {} if saved is None else saved.metrics or {}

    def written(self, step: int) -> int | None:
        """When `step` was written (ns since the epoch), to tell two checkpoints of a step apart."""
        saved = self._find(step)
        return None if saved is None else saved.commit_timestamp_nsecs

    def _find(self, step: int) -> Any | None:
        for saved in self._checkpointer.checkpoints:
            if saved.step == step:
                return saved
        return None

    def best(self) -> int | None:
        """The step with the largest metric, the later of equals; the last without evaluations."""
        ranked = []
        for saved in self._checkpointer.checkpoints:
            if saved.metrics:
                ranked.append((self._rank(saved.metrics), saved.step))
        return max(ranked)[1] if ranked else self.latest()

    def choose(self, which: str) -> int:
        """The step that 'best', 'latest' or a number means.

        Raises:
          InputError: there is no such checkpoint; lists those there are.
        """
        steps = [saved.step for saved in self._checkpointer.checkpoints]
        step = None
        if which == "best":
            step = self.best()
        elif which == "latest":
            step = self.latest()
        elif which.isdigit():
            step = int(which)
        if step not in steps:
            there = ", ".join(map(str, steps)) or "none; train first"
            raise InputError(
                f"config.evaluate.checkpoint={which!r} is not in {self._folder}; there are: {there}"
            )
        return step

    def save(
        self, step: int, state: Any, position: int, metrics: dict[str, Any] | None = None
    ) -> None:
        """Starts to save; returns as soon as `state` is copied off the devices.

        Args:
          step: number of steps done.
          state: a dataclass of pytrees of arrays.
          position: in the data, of the first image that nothing is learned from yet.
          metrics: those of an evaluation of this state, as JSON.

        Raises:
          RunStopped: this save or the one before it failed (a full disk).
        """
        try:
            self._checkpointer.save_checkpointables_async(
                step,
                {"state": _present_members(state)},
                force=True,
                overwrite=step == self.latest(),
                metrics=metrics,
                custom_metadata={"position": position},
            )
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def restore(self, step: int, state: Any) -> Any:
        """Reads a checkpoint into the shapes and shardings of `state` (arrays or abstract).

        A member of `state` that is None is neither looked for nor read.

        Raises:
          InputError: the checkpoint does not fit `state`, or is damaged.
        """
        abstract = jax.tree.map(_abstract, _present_members(state))
        only_what_is_asked_for = ocp.Context()
        # What is asked for and not there stays abstract: hence the check below.
        only_what_is_asked_for.pytree.loading.partial_load = True
        checkpoint = self._folder / str(step)
        try:
            missing = self._first_missing(step, abstract)
            if missing:
                raise InputError(
                    f"checkpoint {checkpoint} has no {missing}: it is of a run with other "
                    "settings, or of another version of hpa_jax; resume with those, or start in "
                    "a new --workdir"
                )
            with only_what_is_asked_for:
                loaded = self._checkpointer.load_checkpointables(step, {"state": abstract})
            return dataclasses.replace(state, **loaded["state"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"checkpoint {checkpoint} cannot be read ({_reason(error)}); "
                "delete that folder to resume from the one before it"
            ) from error

    def _first_missing(self, step: int, abstract: dict[str, Any]) -> str:
        """The first array of `abstract` that the checkpoint lacks; empty if it has all."""
        metadata = self._checkpointer.checkpointables_metadata(step).metadata or {}
        saved = metadata.get("state")
        if saved is None:
            return ""  # damaged: reading it fails
        found = {_leaf_name(path) for path, _ in jax.tree.leaves_with_path(saved)}
        for path, _ in jax.tree.leaves_with_path(abstract):
            if _leaf_name(path) not in found:
                return _leaf_name(path)
        return ""

    def position(self, step: int) -> int | None:
        """The position in the data that was saved with `step`; None from older versions."""
        metadata = self._checkpointer.checkpointables_metadata(step).custom_metadata or {}
        return metadata.get("position")

    def wait(self) -> None:
        """Waits until all saves that were started are on disk.

        Raises:
          RunStopped: one could not be written.
        """
        try:
            self._checkpointer.wait()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Waits for saves that were started, as `wait` does."""
        if self._closed:
            return
        self._closed = True
        try:
            self._checkpointer.close()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def _rank(self, metrics: dict[str, Any]) -> float:
        """The metric that ranks; an older version may have saved others, which rank lowest."""
        return metrics.get(self._metric, float("-inf"))

    def _failed(self, error: Exception) -> RunStopped:
        if not self._closed:
            self._closed = True
            # Its threads may still write.
            with contextlib.suppress(OSError, ValueError):
                self._checkpointer.close()
        # What a failed save leaves takes the room that the next one needs.
        for entry in self._folder.glob("*.orbax-checkpoint-tmp"):
            shutil.rmtree(entry, ignore_errors=True)
        steps = [int(entry.name) for entry in self._folder.iterdir() if entry.name.isdigit()]
        last = "there is no complete checkpoint yet"
        if steps:
            last = f"the last complete checkpoint is step {max(steps)}"
        return RunStopped(
            f"a checkpoint could not be written to {self._folder} ({_reason(error)}); {last}; "
            "start again to resume"
        )


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one in the folder of a run's checkpoints."""
    return folder.is_dir() and any(entry.name.isdigit() for entry in folder.iterdir())


def _present_members(state: Any) -> dict[str, Any]:
    """The members of a state that are not None.

    Orbax would write a None down, and miss it in checkpoints that were saved without one.
    """
    members = {}
    for field in dataclasses.fields(state):
        member = getattr(state, field.name)
        if member is not None:
            members[field.name] = member
    return members


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _leaf_name(path: tuple) -> str:
    """Name of a leaf, the same in a state and in Orbax's metadata of dicts and lists."""
    names = []
    for key in path:
        name = getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))
        names.append(str(name))
    return "/".join(names)


def _ignore_closed_event_loops(unraisable, default_hook=sys.__unraisablehook__) -> None:
    """A sys.unraisablehook: Orbax's reading threads all complain so after a read that failed."""
    # The default is bound early, as modules are gone when the interpreter's end calls this.
    if str(unraisable.exc_value) != "Event loop is closed":
        default_hook(unraisable)


def _reason(error: Exception) -> str:
    """The gist of an Orbax error, which may hold a stack of others."""
    text = str(error)
    if "No space left" in text:
        return "no space left on the device: free some"
    if "incompatible handler" in text:
        return "its arrays are damaged or missing"
    lines = text.strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    # Orbax may print the whole tree.
    return first if len(first) <= 160 else f"{first[:160]} ..."
