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
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import jax

from hpa_jax.errors import InputError, RunStopped, one_line
from hpa_jax.files import write_atomically
from hpa_jax.parallel.process_group import (
    SINGLE_PROCESS,
    ProcessGroup,
    SingleProcess,
    may_follow_from_a_loss,
)
from hpa_jax.training import array_store, manifest, step_folders
from hpa_jax.training.manifest import DamagedCheckpoint, Manifest, Piece
from hpa_jax.training.step_catalog import StepCatalog, stored_metrics, write_stored_metrics

# Errors of a save that a person can do something about; others are defects.
_ENDS_THE_RUN = (OSError, ValueError)
_LONGEST_REASON = 1000


class Checkpoints(StepCatalog):
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
        self._num_saves = 0
        self.timings: dict[str, float] = {}
        if keep is not None and group.is_primary:
            self._folder.mkdir(parents=True, exist_ok=True)
            step_folders.clean(self._folder)

    # Choosing one to read.

    def choose(self, which: str) -> int:
        """The step that 'best', 'latest' or a number means.

        A latest one that is damaged is passed over, with a warning; another one than the best is
        never taken for it.

        Raises:
          InputError: there is no such checkpoint, or it is damaged; lists those there are.
        """
        steps = self.steps()
        if which == "best" and steps:
            step = self._choose_best()
        elif which == "latest" and steps:
            step = self._choose_latest()
        elif which.isdecimal() and int(which) in steps:
            step = int(which)
        else:
            there = ", ".join(map(str, steps)) or "none; train first"
            raise InputError(
                f"config.evaluate.checkpoint={which!r} is not in {self._folder}; there are: {there}"
            )
        try:
            # What is read of it next, besides arrays.
            self.metrics(step)
            self.position(step)
            self.written(step)
            self._warn_of_lost_metrics(step)
        except DamagedCheckpoint as error:
            raise self._refused(step, error) from error
        return step

    def _choose_latest(self) -> int:
        skipped = {}
        for step in reversed(self.steps()):
            try:
                self.verify(step)
            except DamagedCheckpoint as error:
                skipped[step] = str(error)
                continue
            if skipped:
                _warn(f"{self._passed_over(skipped)}; step {step} is read instead")
            return step
        raise self._none_is_complete(skipped)

    def _choose_best(self) -> int:
        """The best step, if nothing says that one that is lost was better."""
        with_metrics = ", ".join(map(str, self.ranks())) or "none"
        advice = (
            "put it back from a copy, or name a step with config.evaluate.checkpoint; complete "
            f"ones with metrics: {with_metrics}"
        )
        for step, problem in self.problems().items():
            raise InputError(
                f"which checkpoint is the best cannot be told, since {self.path(step)} is damaged "
                f"({problem}); {advice}"
            )
        lost = self.lost_best()
        if lost is not None:
            what = "without its metrics" if lost in self.steps() else "not there"
            raise InputError(f"checkpoint {self.path(lost)} was the best, and is {what}; {advice}")
        return self.best()

    def _warn_of_lost_metrics(self, step: int) -> None:
        """A copy may lack the file of metrics that is there for people and older versions."""
        found = self.manifest(step)
        if found is None:
            return
        stored = None
        with contextlib.suppress(DamagedCheckpoint):
            stored = stored_metrics(self.path(step))
        if stored != found.metrics:
            _warn(
                f"checkpoint {self.path(step)} is without its file of metrics, or has another: "
                f"the metrics in its {manifest.FILE_NAME} are used"
            )

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
        members = _present_members(state)
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
            if self._store is None:
                self._store = array_store.ArrayStore()
            folder = step_folders.staging(self._folder, step)
            self._store.save(folder, members, position)
        except Exception as error:
            self._fail(error)
        self._thread = threading.Thread(
            target=self._complete, args=(unsigned, shapes, pieces, timings), name="checkpoint"
        )
        self._thread.start()

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
            self._store.wait()
            timer.lap("write")
            # Each process its own, and before the first one takes the step for complete.
            step_folders.sync_tree(step_folders.staging(self._folder, unsigned.step))
            parts = self._group.collect(f"save {self._num_saves}", entries)
            if parts is not None:
                unsigned = dataclasses.replace(unsigned, arrays=manifest.merge(parts))
                self._publish(unsigned)
            # The step has its name only now, and the others may look for it.
            self._group.meet(f"save {self._num_saves}")
            self._manifests[unsigned.step] = unsigned
            timer.lap("sync")
            self.timings = timings
            if self._group.is_primary:
                self._prune()
        except BaseException as error:
            self._error = error

    def _publish(self, complete: Manifest) -> None:
        folder = step_folders.staging(self._folder, complete.step)
        if complete.metrics:
            # Where older versions, and people, look for them.
            write_stored_metrics(folder, complete.metrics)
            step_folders.sync_tree(folder / "metrics")
        write_atomically(folder / manifest.FILE_NAME, complete.to_text())
        step_folders.sync(folder)
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

    def restore(self, step: int, state: Any) -> Any:
        """Reads a checkpoint into the shapes and shardings of `state` (arrays or abstract).

        A member of `state` that is None is neither looked for nor read.

        Raises:
          InputError: the checkpoint does not fit `state`, or is damaged.
        """
        try:
            return self._restore(step, state)
        except DamagedCheckpoint as error:
            raise self._refused(step, error) from error

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
                restored = self._restore(step, state)
            except DamagedCheckpoint as error:
                problem = str(error)
            problems = [found for found in group.gather(problem) if found]
            if not problems:
                self._set_aside(skipped, step)
                return restored, step
            skipped[step] = problems[0]
        if skipped:
            raise self._none_is_complete(skipped)
        return state, None

    def _set_aside(self, skipped: dict[int, str], restored: int) -> None:
        for step in skipped:
            self._manifests.pop(step, None)
        if not self._group.is_primary:
            return
        self._warn_of_lost_metrics(restored)
        if skipped:
            names = [step_folders.set_aside(self._folder, step).name for step in sorted(skipped)]
            _warn(
                f"{self._passed_over(skipped)}; the run resumes from step {restored}; they are "
                f"now called {', '.join(names)}"
            )

    def _restore(self, step: int, state: Any) -> Any:
        found = self.manifest(step)
        abstract = jax.tree.map(_abstract, _present_members(state))
        self._check_fit(step, found, abstract)
        loaded = array_store.load(self.path(step), abstract)
        for name, array in manifest.named_leaves(loaded).items():
            if isinstance(array, jax.ShapeDtypeStruct):
                raise DamagedCheckpoint(f"{name} is missing")
            if found is not None:
                found.check(name, array)
        return dataclasses.replace(state, **loaded)

    def _check_fit(self, step: int, found: Manifest | None, abstract: dict[str, Any]) -> None:
        """Raises InputError where a run of other settings has saved the step."""
        if found is None:
            shapes = array_store.saved_shapes(self.path(step))
        else:
            shapes = {name: tuple(entry["shape"]) for name, entry in found.arrays.items()}
        for name, leaf in manifest.named_leaves(abstract).items():
            what = ""
            if name not in shapes:
                what = f"has no {name}"
            elif shapes[name] != leaf.shape:
                what = f"has {name} of shape {shapes[name]}, not {leaf.shape}"
            if what:
                raise InputError(
                    f"checkpoint {self.path(step)} {what}: it is of a run with other settings, or "
                    "of another version of hpa_jax; resume with those, or start in a new --workdir"
                )

    def verify(self, step: int) -> Manifest | None:
        """Reads every array of a step, without a net, and compares it with the manifest.

        Returns:
          The manifest; None in a run of an older version, where there is nothing to compare with.

        Raises:
          DamagedCheckpoint: the first thing that is not as it was saved.
        """
        found = self.manifest(step)
        arrays = array_store.load_on_host(self.path(step))
        if found is None:
            return None
        for name in sorted(found.arrays.keys() - arrays.keys()):
            raise DamagedCheckpoint(f"{name} is missing")
        for name, array in arrays.items():
            found.check(name, array)
        return found

    # Messages.

    def _refused(self, step: int, error: DamagedCheckpoint) -> InputError:
        if not self.path(step).exists():
            return InputError(
                f"checkpoint {self.path(step)} is not there any more: a run that trains removes "
                "those that later ones replace; start again"
            )
        others = [str(other) for other in self.steps() if other != step]
        there = ", ".join(others) or "none"
        return InputError(
            f"checkpoint {self.path(step)} is damaged: {error}; put it back from a copy, or name "
            f"another step with config.evaluate.checkpoint; others there: {there}"
        )

    def _passed_over(self, skipped: dict[int, str]) -> str:
        steps = [f"{step} ({why})" for step, why in sorted(skipped.items(), reverse=True)]
        return f"damaged checkpoints in {self._folder} are passed over: {', '.join(steps)}"

    def _none_is_complete(self, skipped: dict[int, str]) -> InputError:
        return InputError(
            f"{self._passed_over(skipped)}, and there is no other; put one back from a copy, or "
            "start in a new --workdir"
        )


class _Timer:
    """Seconds since it was made or last asked."""

    def __init__(self, timings: dict[str, float]):
        self._timings = timings
        self._start = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._timings[name] = now - self._start
        self._start = now


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


def _why_not_written(error: BaseException) -> str:
    # TensorStore adds where in its sources it came from.
    text = str(error).partition(" [source locations=")[0]
    if "No space left" in text:
        return "no space left on the device: free some"
    return one_line(text or error, limit=_LONGEST_REASON)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
