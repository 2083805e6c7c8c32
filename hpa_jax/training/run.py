"""A training run in its folder: what it opens and closes, and what each part of the loop does.

`loop.py` says in which order these are called, and why.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax

from hpa_jax.buckets import mounts
from hpa_jax.config import profile_window, to_dict
from hpa_jax.data.loader import prefetch
from hpa_jax.environment import huge_pages
from hpa_jax.environment.causes import advice, is_of_writing
from hpa_jax.errors import EXIT_OK, EXIT_START_AGAIN, RunStopped
from hpa_jax.files import write_json
from hpa_jax.optim.plateau import has_stalled
from hpa_jax.parallel.compile import publish_compiled
from hpa_jax.parallel.preemption import PreemptionSignal
from hpa_jax.parallel.process_group import ProcessGroup, SingleProcess
from hpa_jax.pretrained import Loaded
from hpa_jax.tracking.data_wait import DataWaitTimer
from hpa_jax.tracking.goodput import STEPS, Goodput
from hpa_jax.tracking.logger import RunLogger, SilentLogger
from hpa_jax.tracking.profiler import StepProfiler
from hpa_jax.tracking.throughput import StepTimer
from hpa_jax.tracking.tracker import open_tracker
from hpa_jax.training import messages
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.state import HEALTHY, TrainState
from hpa_jax.training.step_folders import has_checkpoint
from hpa_jax.training.step_memory import StepMemory
from hpa_jax.training.unlogged_steps import UnloggedSteps
from hpa_jax.workdir import check_same_datasets, claim

# Batches that the host may be ahead of the devices: enough to hide its work, few enough to
# bound what waits in memory. At most three are on the devices, as uint8, beyond those of the
# steps under way: two that wait, and one that is being put.
STEPS_AHEAD = 2


class Run:
    """One start of a run: a context that closes all it has opened.

    Args:
      experiment: the parts of the run.
      workdir: the run's folder.
      group: the processes of the run.
      preemption: whether a signal has asked it to stop.
      traces: as for `Experiment.compile_train_step`.
    """

    def __init__(
        self,
        experiment: Experiment,
        workdir: Path,
        group: SingleProcess | ProcessGroup,
        preemption: PreemptionSignal,
        traces: Path | None = None,
    ):
        self._experiment = experiment
        self._config = experiment.config
        self._workdir = workdir
        self._num_steps = experiment.num_steps
        self._group = group
        self._preemption = preemption
        self._traces = traces
        self._closing = contextlib.ExitStack()
        self._timer = StepTimer()
        self._goodput = Goodput(workdir if group.is_primary else None)
        self._unlogged = UnloggedSteps()
        self._program: jax.stages.Compiled | None = None
        self._utilization = None
        self._evaluated_at: int | None = None
        self._stalled = False
        self._stopping = False
        self._last_step = 0

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self._closing.__exit__(kind, error, traceback)

    # Opening and restoring.

    def restore_or_init(self) -> tuple[TrainState, int]:
        """The state to start with, and the number of steps that it has done."""
        state, loaded = self._initial_state()
        self._run_id = ""
        if self._group.is_primary:
            self._run_id = claim(self._workdir, self._config, self._experiment.data_identity).id
            if loaded is not None:
                write_json(self._workdir / "pretrained.json", loaded.to_dict())
        self._group.barrier("opening the checkpoints")
        self._checkpoints = Checkpoints(
            self._workdir / "checkpoints",
            metric=self._config.checkpoint.metric,
            keep=self._config.checkpoint.keep,
            run_id=self._group.broadcast(self._run_id),
            datasets=self._experiment.data_identity.datasets,
            group=self._group,
        )
        self._closing.callback(self._checkpoints.close)
        self._group.watch_work(self._checkpoints.failure)
        with self._goodput.phase("restore"):
            state = self._restore(state)
        self._goodput.resume_from(self._first_step)
        self._open_logger(state, loaded)
        self._open_batches()
        self._open_profiler()
        return state, self._first_step

    def _initial_state(self) -> tuple[TrainState, Loaded | None]:
        use_pretrained = False
        if self._experiment.starts_from_weights():
            # A run that resumes does not need the weights that it started from.
            is_new = not has_checkpoint(self._workdir / "checkpoints")
            use_pretrained = self._group.broadcast(is_new)
        return self._experiment.initial_state(use_pretrained=use_pretrained)

    def _restore(self, state: TrainState) -> TrainState:
        """Also sets where the run resumes: its step, and the position in the data."""
        state, restored = self._checkpoints.restore_newest(state)
        self._restored = restored
        self._first_step = restored or 0
        self._first_position = self._first_step * self._config.data.batch_size
        if restored is not None:
            # Of an older run this is the only record of its data.
            check_same_datasets(
                self._checkpoints.datasets(restored),
                self._experiment.data_identity.datasets,
                workdir=self._workdir,
                data_dir=self._config.data.data_dir,
            )
            saved = self._checkpoints.position(restored)
            self._first_position = saved or self._first_position
            # The next log line averages the steps before the save too.
            self._unlogged.extend(self._checkpoints.unlogged(restored))
            was_evaluated = bool(self._checkpoints.metrics(restored))
            if self._group.broadcast(was_evaluated):
                self._evaluated_at = restored
        self._stalled = has_stalled(state.progress, self._config.train.stop_after)
        self._last_step = self._first_step
        return state

    def _open_batches(self) -> None:
        batches = self._experiment.batches(self._first_position)
        put = self._experiment.put_batch
        self._batches = iter(prefetch(batches, put, ahead=STEPS_AHEAD))
        self._feed = DataWaitTimer(self._batches)
        self._closing.callback(self._feed.close)

    def _open_logger(self, state: TrainState, loaded: Loaded | None) -> None:
        if self._group.is_primary:
            tracker = open_tracker(
                self._config.train.tracker,
                self._workdir,
                first_step=self._first_step,
                run_id=self._run_id,
                settings=to_dict(self._config),
            )
            self._logger = RunLogger(
                self._workdir,
                first_step=self._first_step,
                total_steps=self._num_steps,
                tracker=tracker,
            )
        else:
            self._logger = SilentLogger()
        self._closing.callback(self._logger.close)
        self._logger.info(messages.start(self._experiment, self._workdir, state, self._first_step))
        if loaded is not None:
            self._logger.info(str(loaded))
        experiment = self._experiment
        notes = experiment.shape_notes() + experiment.channel_notes()
        notes += experiment.variation_notes()
        if experiment.mesh.devices.flat[0].platform == "cpu":
            notes += huge_pages.notes()
        for note in notes:
            self._logger.info(note)

    def _open_profiler(self) -> None:
        window = None
        if self._group.is_primary:
            window = profile_window(self._config.train.profile)
        self._profiler = StepProfiler(
            window,
            self._workdir / "profile",
            first_step=self._first_step,
            total_steps=self._num_steps,
            log=self._logger.info,
            untimed=self._untimed,
        )
        self._closing.callback(lambda: self._profiler.close(self._last_step))

    @contextlib.contextmanager
    def _untimed(self) -> Iterator[None]:
        """For work that belongs to no step: it is not timed, and other processes wait longer."""
        self._group.report_activity("writing a trace")
        with self._timer.paused():
            yield

    # What the loop does, in its order.

    def mark_progress(self, step: int) -> None:
        """Tells the watchdog of progress; all processes agree here whether to stop."""
        mounts.check(self._workdir)
        self._preemption.should_stop(f"reading the batch of step {step}")

    def maybe_evaluate(self, state: TrainState, step: int) -> tuple[TrainState, dict | None]:
        """Evaluates every `eval_every` steps and at the end, unless it was done before a resume.

        Returns:
          The state with what an evaluation changes in it, and the metrics; None without one.
        """
        is_due = self._is_done(step) or step % self._experiment.eval_every == 0
        if step == 0 or not is_due or step == self._evaluated_at or self._preemption:
            return state, None
        self._stop_if_not_finite(state)
        with self._timer.paused(), self._goodput.phase("evaluation"):
            scale_before = _learning_rate_scale(state)
            state, metrics = self._experiment.evaluate(state, self._preemption.should_stop)
        if metrics is None:
            return state, None
        self._log_evaluation(step, metrics)
        self._stalled = has_stalled(state.progress, self._config.train.stop_after)
        scale = _learning_rate_scale(state)
        if scale < scale_before and not self._is_done(step):
            self._logger.info(
                f"step {step}: the learning rate is {scale:.3g} of the schedule's from here on"
            )
        return state, metrics

    def maybe_save(self, state: TrainState, step: int, metrics: dict | None) -> None:
        """Saves with each evaluation, every `checkpoint.every` steps, and when asked to stop."""
        # Read once an iteration: a run that is stopped by it has saved.
        self._stopping = bool(self._preemption)
        every = self._config.checkpoint.every
        is_due = self._stopping or (step > 0 and every > 0 and step % every == 0)
        is_saved_already = step == self._restored
        if metrics is None and (not is_due or is_saved_already):
            return
        self._stop_if_not_finite(state)
        self._group.report_progress(f"saving step {step}", slow=True)
        unlogged = self._unlogged.to_lists()
        self._goodput.mark_saved(step)
        with self._goodput.phase("save"):
            self._goodput.write(at_once=True)
            self._checkpoints.save(step, state, self._position(step), metrics, unlogged=unlogged)

    def is_over(self, step: int) -> bool:
        """Whether the run ends before step `step`: it is finished, or it was asked to stop."""
        return self._stopping or self._is_done(step)

    def prepare_step(self, state: TrainState, step: int) -> None:
        """Compiles the step if it is the first, and starts a trace if it is the first of one."""
        if self._program is None:
            with self._goodput.phase("compile"):
                self._compile(state)
            self._goodput.switch(STEPS)
        self._profiler.before_step(step, state)

    def _compile(self, state: TrainState) -> None:
        self._group.report_progress("compiling the step", slow=True)
        memory = StepMemory(self._experiment, state, STEPS_AHEAD, self._group)
        # The first batches are read meanwhile.
        self._batches.start_prefetch()
        self._program, self._utilization = self._experiment.compile_train_step(state, self._traces)
        warning = memory.check(self._program)
        if warning:
            self._logger.info(warning)
        self._group.barrier("the first step")
        # In a bucket, which the steps do not wait for.
        threading.Thread(target=publish_compiled, name="compiled", daemon=True).start()
        self._timer.restart()

    def next_batch(self, step: int) -> dict[str, jax.Array]:
        """The batch of step `step`, on the devices."""
        batch = next(self._feed)
        self._group.report_progress(f"step {step}", slow=step == self._first_step)
        return batch

    def train_step(
        self, state: TrainState, batch: dict[str, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Starts a step on the devices, which are at most STEPS_AHEAD steps behind the host."""
        state, metrics = self._program(state, batch)
        self._feed.step_dispatched(metrics)
        self._unlogged.append(metrics)
        self._unlogged.wait(STEPS_AHEAD)
        return state, metrics

    def maybe_log(self, state: TrainState, step: int, step_metrics: dict[str, jax.Array]) -> None:
        """Logs every `log_every` steps and at the end: means over the steps since the last line.

        Args:
          state: after `step` steps.
          step: the number of steps done.
          step_metrics: of the last one.
        """
        self._last_step = step
        self._profiler.after_step(step - 1, state)
        self._timer.steps += 1
        self._logger.update_progress(step)
        is_last = step == self._num_steps
        if step % self._config.train.log_every == 0 or is_last:
            # Traced at the first log line, while the devices are still at work.
            learning_rate = self._experiment.learning_rate(step - 1)
            self._stop_if_not_finite(state)
            self._checkpoints.check()
            self._log_steps(state, step, learning_rate)
        elif step == self._first_step + 1:
            # The first step is not timed: its batch was waited for before anything ran.
            jax.block_until_ready(step_metrics)
            self._feed.idle_seconds()
            self._timer.restart()

    def finish(self, step: int) -> int:
        """Waits for the last save and says how the run ended; the exit status.

        Raises:
          RunStopped: it was asked to stop since its output is on a full disk.
        """
        with self._goodput.phase("save"):
            self._checkpoints.wait()
        self._goodput.write(at_once=True)
        was_evaluated = bool(self._checkpoints.metrics(step))
        if self._stopping and not (self._is_done(step) and was_evaluated):
            cause = self._preemption.signal_name
            lost = OSError(cause)
            if is_of_writing(lost):
                # Started again at once, it would end here once more.
                raise RunStopped(
                    f"{cause} after saving step {step} of {self._num_steps}; {advice(lost)}"
                )
            self._logger.info(
                f"stopped by {cause} after saving step {step} of {self._num_steps}; "
                "the same command resumes from there"
            )
            return EXIT_START_AGAIN
        if self._group.is_primary:
            self._write_thresholds_and_log_best()
        return EXIT_OK

    # Parts of the above.

    def _is_done(self, step: int) -> bool:
        return self._stalled or step >= self._num_steps

    def _position(self, step: int) -> int:
        """Position in the data of the batch of step `step`."""
        steps = step - self._first_step
        return self._first_position + steps * self._config.data.batch_size

    def _stop_if_not_finite(self, state: TrainState) -> None:
        failed_at = int(state.failed_at)
        if failed_at == HEALTHY:
            return
        self._checkpoints.wait()
        ids = self._experiment.batch_ids(self._position(failed_at))
        raise RunStopped(messages.not_finite(failed_at, self._checkpoints.latest(), ids))

    def _log_steps(self, state: TrainState, step: int, learning_rate: float) -> None:
        metrics = self._unlogged.mean()
        metrics["lr"] = learning_rate * _learning_rate_scale(state)
        metrics["goodput"] = self._goodput.fraction()
        self._goodput.write()
        self._logger.log_metrics(step, "train", metrics | self._throughput())
        self._unlogged.clear()
        self._timer.restart()

    def _throughput(self) -> dict[str, float]:
        """Since the last log line: speed, fraction of the time lost to waiting, utilization."""
        seconds = self._timer.seconds()
        steps_per_sec = self._timer.steps / seconds
        images_per_sec = self._timer.steps * self._config.data.batch_size / seconds
        metrics = {
            "images_per_sec": images_per_sec,
            "data_wait": min(1.0, self._feed.idle_seconds() / seconds),
        }
        return metrics | self._utilization.metrics(images_per_sec, steps_per_sec)

    def _log_evaluation(self, step: int, metrics: dict) -> None:
        split = self._config.data.eval_split
        self._logger.log_metrics(step, split, self._experiment.numbers_of(metrics))
        self._logger.info(messages.evaluation(self._experiment, step, metrics))

    def _write_thresholds_and_log_best(self) -> None:
        best = self._checkpoints.best()
        metrics = self._checkpoints.metrics(best)
        # Images of one label each are decided without thresholds.
        if "thresholds" in metrics:
            names = self._config.label_names()
            fitted = {
                "checkpoint": best,
                "split": metrics["thresholds_split"],
                "thresholds": dict(zip(names, metrics["thresholds"], strict=True)),
            }
            write_json(self._workdir / "thresholds.json", fitted)
        metric = self._config.checkpoint.metric
        if self._stalled:
            evaluations = self._config.train.stop_after
            self._logger.info(
                f"{evaluations} evaluations without a better {metric}: training ends here"
            )
        self._logger.info(self._goodput.summary())
        self._logger.info(messages.end(best, metric, metrics, self._workdir))


def _learning_rate_scale(state: TrainState) -> float:
    return 1.0 if state.progress is None else float(state.progress.rate_scale)
