"""A trace of some steps of a run, for TensorBoard and Perfetto.

Notes:
- The run waits for the devices at both ends of the window, so that a trace holds its steps
  completely and no others.
- Python's own calls are left out: they would be most of the file, and slow down the loop that is
  looked at. Instead the loop names its steps, and its waits for batches.
- A trace that cannot be written is reported and does not end the run.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax

from hpa_jax.errors import one_line

_LONGEST_ERROR = 160
"""Characters of an error of the profiler in a message."""


class StepProfiler:
    """Traces the steps START to STOP - 1 into a folder.

    Args:
      window: (START, STOP), steps counted from 0; None: traces nothing.
      folder: of traces; each start of a run that traces makes a folder of its own in it, named by
        the time.
      first_step: where this start of the run begins.
      total_steps: where the run ends.
      log: prints a line for the person at the terminal.
      untimed: makes a context whose time does not count as the steps'; traces are started and
        written in it.
    """

    def __init__(
        self,
        window: tuple[int, int] | None,
        folder: Path,
        *,
        first_step: int,
        total_steps: int,
        log: Callable[[str], None],
        untimed: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self._folder = folder
        self._log = log
        self._untimed = untimed
        self._is_tracing = False
        start, stop = window or (0, 0)
        self._start = max(start, first_step)
        self._stop = min(stop, total_steps)
        if window is not None:
            self._log_what_is_left(window, first_step, total_steps)

    def _log_what_is_left(self, window: tuple[int, int], first_step: int, total_steps: int) -> None:
        start, stop = window
        setting = f"config.train.profile={start}:{stop}"
        if self._start < self._stop:
            if (self._start, self._stop) != window:
                steps = f"steps {self._start} to {self._stop - 1}"
                self._log(f"{setting}: {steps} are left of it to trace")
        elif start >= total_steps:
            last = total_steps - 1
            self._log(f"{setting}: nothing is traced, the run ends with step {last}")
        else:
            self._log(f"{setting}: nothing is traced, the run resumes at step {first_step}")

    def before_step(self, step: int, state: Any) -> None:
        """Starts the trace if `step` (from 0) is the first to trace.

        Args:
          step: about to be done.
          state: arrays that the steps before it return.
        """
        if step != self._start or step >= self._stop or self._is_tracing:
            return
        # Else the trace would begin with what is left of earlier steps.
        jax.block_until_ready(state)
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        try:
            with self._untimed():
                jax.profiler.start_trace(
                    self._folder,
                    create_perfetto_trace=True,
                    profiler_options=options,
                )
            self._is_tracing = True
        except (OSError, RuntimeError) as error:
            reason = one_line(error, limit=_LONGEST_ERROR)
            self._log(f"step {step} cannot be traced ({reason}); training continues")

    def after_step(self, step: int, state: Any) -> None:
        """Ends the trace if `step` is the last to trace; `state` is what it returns."""
        if self._is_tracing and step == self._stop - 1:
            jax.block_until_ready(state)
            self._write(step)

    def close(self, steps_done: int) -> None:
        """Ends a trace that is under way when the run stops after `steps_done` steps."""
        if self._is_tracing:
            self._write(steps_done - 1)

    def _write(self, last_step: int) -> None:
        self._is_tracing = False
        writing_since = time.monotonic()
        steps = f"steps {self._start} to {last_step}"
        try:
            with self._untimed():
                jax.profiler.stop_trace()
            trace = self._latest_trace()
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            reason = one_line(error, limit=_LONGEST_ERROR)
            self._log(f"the trace of {steps} is not in {self._folder}: {reason}")
            return
        seconds = time.monotonic() - writing_since
        self._log(
            f"{steps} (from 0) are traced, written in {seconds:.0f} s: "
            f"tensorboard --logdir={self._folder} (with the package xprof), "
            f"or open {trace} at ui.perfetto.dev"
        )

    def _latest_trace(self) -> Path:
        traces = self._folder.glob("plugins/profile/*/perfetto_trace.json.gz")
        return max(traces, key=lambda path: path.stat().st_mtime)
