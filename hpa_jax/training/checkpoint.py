"""Saving and restoring a run: the state, the position in the data, and the metrics that rank it.

Saves are asynchronous and atomic: a step is written beside its place, has its manifest written
last, is flushed to the disk and then renamed. A kill, or the loss of power, loses at most the save
under way. What is read is compared with the manifest, whoever reads it.

The position in the data is one number, how far all processes together have come: it means the
same to any number of them. Several processes save and restore together; the first one writes
what they all hold, and decides which step it is.
"""

import contextlib
import dataclasses
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import jax

from hpa_jax.buckets import mounts
from hpa_jax.errors import RunStopped, one_line
from hpa_jax.files import write_atomically
from hpa_jax.folders.replace import sync_tree
from hpa_jax.parallel.process_group import (
    SINGLE_PROCESS,
    ProcessGroup,
    SingleProcess,
    may_follow_from_a_loss,
)
from hpa_jax.training import array_store, manifest, step_folders
from hpa_jax.training.checkpoint_reader import CheckpointReader, present_members, warn
from hpa_jax.training.manifest import DamagedCheckpoint, Manifest, Piece
from hpa_jax.training.step_catalog import write_stored_metrics

# Errors of a save that a person can do something about; others are defects.
_ENDS_THE_RUN = (OSError, ValueError)
_LONGEST_REASON = 1000


class Checkpoints(CheckpointReader):
    """The checkpoints of one run, to save and to restore.

    Args:
      folder, metric, run_id: as for `StepCatalog`.
      keep: how many of the latest are kept, besides the best; None opens the folder for reading
        only.
      datasets: `{NAME: {SPLIT: SHA-256}}`, recorded with each step.
      group: the processes of the run.

    Attributes:
      timings: seconds of the last save that was completed: `copy`, in which the run waits, and
        `hash`, `write` and `sync`, in which it goes on.

    Raises:
      InputError: something else is where the folder should be.
    """

    def __init__(
        self,
        folder: Path,
        *,
        metric: str,
        keep: int | None = None,
        run_id: str | None = None,
        datasets: dict[str, dict[str, str]] | None = None,
        group: SingleProcess | ProcessGroup = SINGLE_PROCESS,
    ):
        super().__init__(folder, metric=metric, run_id=run_id)
        self._keep = keep
        self._datasets = datasets or {}
        self._group = group
        self._store: array_store.ArrayStore | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._in_bucket = mounts.mount_of(self._folder) is not None
        self._num_saves = 0
        self.timings: dict[str, float] = {}
        if keep is not None and group.is_primary:
            self._folder.mkdir(parents=True, exist_ok=True)
            step_folders.clean(self._folder)

    # Saving.

    def save(
        self,
        step: int,
        state: Any,
        position: int,
        metrics: dict[str, Any] | None = None,
        *,
        unlogged: dict[str, list[float]] | None = None,
    ) -> None:
        """Starts to save; returns as soon as `state` is copied off the devices.

        Args:
          step: number of steps done.
          state: a dataclass of pytrees of arrays.
          position: in the data, of the first image that nothing is learned from yet.
          metrics: those of an evaluation of this state, as JSON.
          unlogged: metrics of the training steps since the last log line.

        Raises:
          RunStopped: this save or the one before it failed (a full disk).
        """
        self.wait()
        metrics = metrics or {}
        members = present_members(state)
        start = time.perf_counter()
        arrays = manifest.named_leaves(members)
        pieces = self._own_pieces(arrays)
        timings = {"copy": time.perf_counter() - start}
        shapes = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in arrays.items()}
        unsigned = Manifest(
            run=self._run_id or "",
            step=step,
            position=position,
            written=time.time_ns(),
            datasets=self._datasets,
            metrics=metrics,
            best=self._best_with(step, metrics),
            arrays={},
            unlogged=unlogged or {},
        )
        self._num_saves += 1
        try:
            if self._is_written_here():
                self._write(step, members, arrays, pieces, position)
        except Exception as error:
            self._fail(error)
        self._thread = threading.Thread(
            target=self._complete, args=(unsigned, shapes, pieces, timings), name="checkpoint"
        )
        self._thread.start()

    def _is_written_here(self) -> bool:
        """Whether this process writes arrays.

        To a folder all processes do, each its own part. What goes to a bucket lies in a folder of
        the first process until then, which has all of every array.
        """
        return self._group.is_primary or not self._in_bucket

    def _write(
        self,
        step: int,
        members: dict[str, Any],
        arrays: dict[str, jax.Array],
        pieces: dict[str, list[Piece]],
        position: int,
    ) -> None:
        """Starts to write the arrays of a step."""
        is_alone = self._group.count == 1 or self._in_bucket
        if self._store is None:
            self._store = array_store.ArrayStore(is_alone=is_alone)
        if is_alone:
            members = _on_host(members, arrays, pieces)
        self._store.save(step_folders.staging(self._folder, step), members, position)

    def _own_pieces(self, arrays: dict[str, jax.Array]) -> dict[str, list[Piece]]:
        for array in arrays.values():
            if isinstance(array, jax.Array):
                array.copy_to_host_async()
        is_primary = self._group.is_primary
        pieces = {}
        for name, array in arrays.items():
            pieces[name] = manifest.own_pieces(array, is_primary=is_primary)
        return pieces

    def _best_with(self, step: int, metrics: dict[str, Any]) -> dict[str, Any]:
        """What is the best when `step` is saved."""
        ranks = self.ranks()
        ranks.pop(step, None)
        if metrics:
            ranks[step] = self.rank(metrics)
        if not ranks:
            return {}
        value, best = max((rank, step) for step, rank in ranks.items())
        return {"metric": self._metric, "value": value, "step": best}

    def _complete(
        self,
        unsigned: Manifest,
        shapes: dict[str, jax.ShapeDtypeStruct],
        pieces: dict[str, list[Piece]],
        timings: dict[str, float],
    ) -> None:
        """In a thread of its own: makes a step of what is being written, or notes what failed."""
        try:
            timer = _Timer(timings)
            entries = {}
            for name, shape in shapes.items():
                # Popped, so that a copy goes as soon as it has a digest.
                entries[name] = manifest.describe(name, shape, pieces.pop(name))
            timer.lap("hash")
            if self._store is not None:
                self._store.wait()
            timer.lap("write")
            # Each process its own, and before the first one takes the step for complete.
            sync_tree(step_folders.staging(self._folder, unsigned.step))
            parts = self._group.collect(f"save {self._num_saves}", entries)
            if parts is not None:
                unsigned = dataclasses.replace(unsigned, arrays=manifest.merge(parts))
                self._publish(unsigned)
            # The step has its name only now, and the others may look for it.
            self._group.meet(f"save {self._num_saves}")
            if not self._group.is_primary:
                # Theirs have no arrays, and the first process removes the steps.
                self._manifests.clear()
                if self._in_bucket:
                    # The step lies where that one works, and is to be known here too.
                    self.path(unsigned.step).mkdir(parents=True, exist_ok=True)
            self._manifests[unsigned.step] = unsigned
            if self._group.is_primary:
                self._prune()
                # In a bucket the step counts from now on, and those that were removed do not.
                mounts.publish(self._folder)
            timer.lap("sync")
            self.timings = timings
        except BaseException as error:
            self._error = error

    def _publish(self, complete: Manifest) -> None:
        folder = step_folders.staging(self._folder, complete.step)
        if complete.metrics:
            # Where older versions, and people, look for them.
            write_stored_metrics(folder, complete.metrics)
            sync_tree(folder / "metrics")
        write_atomically(folder / manifest.FILE_NAME, complete.to_text())
        step_folders.publish(self._folder, complete.step)

    def _prune(self) -> None:
        """Removes the steps that are neither among the latest nor the best."""
        complete = []
        for step in self.steps():
            with contextlib.suppress(DamagedCheckpoint):
                self.manifest(step)
                complete.append(step)
        kept = {*complete[-self._keep :], self.best()}
        for step in complete:
            if step not in kept:
                step_folders.remove(self._folder, step)
                self._manifests.pop(step, None)

    def check(self) -> None:
        """Says whether a save in the background has failed, without waiting for one.

        Raises:
          RunStopped: it has.
        """
        if self._error is not None:
            error = self._error
            self._error = None
            self._fail(error)

    def failure(self) -> str:
        """Why a save in the background has failed for a reason of this process, or ''.

        Any thread may ask; nothing is waited for.
        """
        error = self._error
        if error is None or may_follow_from_a_loss(error):
            return ""
        return self._told(error)

    def wait(self) -> None:
        """Waits until all saves that were started are on disk.

        Raises:
          RunStopped: one could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def close(self) -> None:
        """Waits for saves that were started, as `wait` does."""
        if self._closed:
            return
        self._closed = True
        try:
            self.wait()
        finally:
            if self._store is not None:
                self._store.close()

    def _fail(self, error: BaseException) -> NoReturn:
        """Says in one line what became of a save."""
        if not isinstance(error, _ENDS_THE_RUN):
            raise error
        self._closed = True
        if self._store is not None and self._group.count == 1:
            # Its threads may still write. Those of several processes wait for each other, and end
            # with them.
            with contextlib.suppress(*_ENDS_THE_RUN):
                self._store.close()
        raise RunStopped(self._told(error)) from error

    def _told(self, error: BaseException) -> str:
        """One line about a save that failed; makes room for the next one."""
        step_folders.remove_unfinished(self._folder)
        latest = self.latest()
        complete = "there is no complete checkpoint yet"
        if latest is not None:
            complete = f"the last complete checkpoint is step {latest}"
        return (
            f"a checkpoint could not be written to {self._folder} ({_why_not_written(error)}); "
            f"{complete}; start again to resume"
        )

    # Restoring.

    def restore_newest(self, state: Any) -> tuple[Any, int | None]:
        """Restores the newest step that is complete, for a run that resumes.

        Damaged steps are set aside (`step_folders`), with one warning that names them, so that the
        run can save steps of the same number. All processes call it together.

        Returns:
          The state and its step; the state as it is and None where no step was saved yet.

        Raises:
          InputError: the checkpoints are of other settings, or none of them is complete.
        """
        group = self._group
        # Another host may see less of a shared folder; the first process decides.
        steps = group.broadcast(self.steps())
        skipped = dict(group.broadcast(list(self.problems().items())))
        for step in reversed(steps):
            if step in skipped:
                continue
            group.report_progress(f"restoring step {step}", slow=True)
            problem = ""
            try:
                restored = self.read(step, state)
            except DamagedCheckpoint as error:
                problem = str(error)
            problems = [found for found in group.gather(problem) if found]
            if not problems:
                self._set_aside(skipped, step)
                return restored, step
            skipped[step] = problems[0]
        if skipped:
            raise self.none_is_complete(skipped)
        return state, None

    def _set_aside(self, skipped: dict[int, str], restored: int) -> None:
        for step in skipped:
            self._manifests.pop(step, None)
        if not self._group.is_primary:
            return
        self.warn_of_lost_metrics(restored)
        if skipped:
            names = [step_folders.set_aside(self._folder, step).name for step in sorted(skipped)]
            warn(
                f"{self.passed_over(skipped)}; the run resumes from step {restored}; they are "
                f"now called {', '.join(names)}"
            )


def _on_host(tree: Any, arrays: dict[str, Any], pieces: dict[str, list[Piece]]) -> Any:
    """The tree with the copies in place of its arrays, where each is complete in one of them.

    Otherwise the tree itself: of an array that several devices have alike, Orbax writes a slice of
    each device's, and compiles a program for each slice. That pays where processes write together.
    """
    copies = []
    for name, array in arrays.items():
        own = pieces[name]
        if len(own) != 1 or own[0].values.shape != array.shape:
            return tree
        copies.append(own[0].values)
    return jax.tree.unflatten(jax.tree.structure(tree), copies)


class _Timer:
    """Seconds since it was made or last asked."""

    def __init__(self, timings: dict[str, float]):
        self._timings = timings
        self._start = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._timings[name] = now - self._start
        self._start = now


def _why_not_written(error: BaseException) -> str:
    # TensorStore adds where in its sources it came from.
    text = str(error).partition(" [source locations=")[0]
    if "No space left" in text:
        return "no space left on the device: free some"
    return one_line(text or error, limit=_LONGEST_REASON)
