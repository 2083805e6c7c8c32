"""Saving and restoring a run: the state, the position in the data, and the figures that rank it.

The one file that calls Orbax, whose v1 API is marked as subject to change: hence the pinned version. Saves are
asynchronous and atomic (a folder is renamed when it is whole), so a kill loses at most the save under way.

The position in the data is one number, how far all processes together have come: it means the same to any number of
them. Several processes save and restore together; the first one writes what they all hold.
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
      folder: where they lie, a folder a step.
      metric: the figure by which the best is chosen, the larger the better.
      keep: how many of the latest are kept, besides the best; None opens the folder for reading only.
    """

    def __init__(self, folder: Path, *, metric: str, keep: int | None = None):
        for name in (
            "absl",
            "asyncio",
        ):  # Orbax tells of every file, and prints the traceback of every failed read
            logging.getLogger(name).setLevel(logging.CRITICAL)
        sys.unraisablehook = _not_of_closed_loops
        self._metric, self._closed = metric, False
        preserve = None
        if keep is not None:
            best = _policies.BestN(
                get_metric_fn=self._figure, n=1, keep_checkpoints_without_metrics=False
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
        """The step of the last whole checkpoint."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def figures(self, step: int) -> dict[str, Any]:
        """What was saved as figures with `step`; empty where it was saved without an evaluation."""
        return next((c.metrics or {} for c in self._checkpointer.checkpoints if c.step == step), {})

    def written(self, step: int) -> int | None:
        """When `step` was written, nanoseconds since the epoch: tells two checkpoints of one step apart."""
        return next(
            (c.commit_timestamp_nsecs for c in self._checkpointer.checkpoints if c.step == step),
            None,
        )

    def best(self) -> int | None:
        """The step with the largest metric, the later of equals; the last one where none was evaluated."""
        ranked = [
            (self._figure(c.metrics), c.step) for c in self._checkpointer.checkpoints if c.metrics
        ]
        return max(ranked)[1] if ranked else self.latest()

    def choose(self, which: str) -> int:
        """'best', 'latest' or a number to a step.

        Raises:
          InputError: there is no such checkpoint; lists those there are.
        """
        steps = [c.step for c in self._checkpointer.checkpoints]
        step = {"best": self.best, "latest": self.latest}.get(
            which, lambda: int(which) if which.isdigit() else -1
        )()
        if step not in steps:
            there = ", ".join(map(str, steps)) or "none; train first"
            raise InputError(
                f"config.evaluate.checkpoint={which!r} is not in {self._folder}; there are: {there}"
            )
        return step

    def save(
        self, step: int, state: Any, position: int, figures: dict[str, Any] | None = None
    ) -> None:
        """Begins to save; returns as soon as `state` is copied off the devices.

        Args:
          step: number of steps done.
          state: a dataclass of pytrees of arrays.
          position: in the data, of the first field that is not yet learnt from.
          figures: those of an evaluation of this state, as JSON.

        Raises:
          RunStopped: this save or the one before it failed (a full disk).
        """
        try:
            self._checkpointer.save_checkpointables_async(
                step,
                {"state": _held(state)},
                force=True,
                overwrite=step == self.latest(),
                metrics=figures,
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
        abstract = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), _held(state)
        )
        members_asked_for = ocp.Context()
        members_asked_for.pytree.loading.partial_load = (
            True  # what is asked for and not there it leaves abstract
        )
        checkpoint = self._folder / str(step)
        try:
            lacking = self._lacking(step, abstract)
            if lacking:
                raise InputError(
                    f"checkpoint {checkpoint} has no {lacking}: it is of a run with other settings, or of another "
                    "version of hpa_jax; go on with those, or begin in a new --workdir"
                )
            with members_asked_for:
                held = self._checkpointer.load_checkpointables(step, {"state": abstract})["state"]
            return dataclasses.replace(state, **held)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"checkpoint {checkpoint} cannot be read ({_reason(error)}); "
                "delete that folder to go on from the one before it"
            ) from error

    def _lacking(self, step: int, abstract: dict[str, Any]) -> str:
        """The first array of `abstract` that a checkpoint was saved without; empty: it has all, or tells nothing."""
        saved = (self._checkpointer.checkpointables_metadata(step).metadata or {}).get("state")
        if saved is None:
            return ""  # damaged: reading it fails
        asked, found = (
            {_name(path): None for path, _ in jax.tree.leaves_with_path(tree)}
            for tree in (abstract, saved)
        )
        return next((name for name in asked if name not in found), "")

    def position(self, step: int) -> int | None:
        """The position in the data that was saved with `step`; None where an older version saved it its own way."""
        return (self._checkpointer.checkpointables_metadata(step).custom_metadata or {}).get(
            "position"
        )

    def wait(self) -> None:
        """Waits until all that was begun is on disk.

        Raises:
          RunStopped: it could not be written.
        """
        try:
            self._checkpointer.wait()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Waits for what was begun, as `wait` does."""
        if not self._closed:
            self._closed = True
            try:
                self._checkpointer.close()
            except (OSError, ValueError) as error:
                raise self._failed(error) from error

    def _figure(self, metrics: dict[str, Any]) -> float:
        """The figure that ranks; an older version may have saved others, which are below any."""
        return metrics.get(self._metric, float("-inf"))

    def _failed(self, error: Exception) -> RunStopped:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError, ValueError):
                self._checkpointer.close()  # its threads may still write
        # What a failed save leaves takes the room that the next one needs.
        for entry in self._folder.glob("*.orbax-checkpoint-tmp"):
            shutil.rmtree(entry, ignore_errors=True)
        whole = [int(entry.name) for entry in self._folder.iterdir() if entry.name.isdigit()]
        last = (
            f"the last whole checkpoint is step {max(whole)}"
            if whole
            else "there is no whole checkpoint yet"
        )
        return RunStopped(
            f"a checkpoint could not be written to {self._folder} ({_reason(error)}); {last}; start again to go on"
        )


def begun(folder: Path) -> bool:
    """Whether there is a checkpoint in the folder of a run's checkpoints."""
    return folder.is_dir() and any(entry.name.isdigit() for entry in folder.iterdir())


def _held(state: Any) -> dict[str, Any]:
    """The members of a state that there are. Orbax would write a None down, and miss it where an older run has none."""
    members = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: member for name, member in members.items() if member is not None}


def _name(path: tuple) -> str:
    """Of a leaf, the same in a tree and in what Orbax tells of it: dicts and lists for all that has members."""
    return "/".join(
        str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path
    )


def _not_of_closed_loops(unraisable) -> None:
    """A sys.unraisablehook: after a failed read each of Orbax's reading threads says that its event loop is closed."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _reason(error: Exception) -> str:
    """The gist of an Orbax error, which may hold a stack of others."""
    text = str(error)
    if "No space left" in text:
        return "no space left on the device: free some"
    if "incompatible handler" in text:
        return "its arrays are damaged or missing"
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return first if len(first) <= 160 else f"{first[:160]} ..."  # Orbax may print the whole tree
