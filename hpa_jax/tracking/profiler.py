"""A trace of some steps of a run, for TensorBoard and Perfetto.

Unusual:
- the run waits for the devices at both ends of the window, so that a trace holds its steps whole and no others;
- Python's own calls are left out: they would be most of the file and slow the loop that is looked at. The loop names
  its steps, and its waiting for a batch, instead;
- a trace that cannot be written is told of and ends no run.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax


class Trace:
    """Traces the steps START to STOP - 1 into a folder.

    Args:
      window: (START, STOP), steps counted from 0; None: traces nothing.
      folder: of traces; each start of a run that traces makes one of its own in it, named by the time.
      first_step, total_steps: where this start of the run begins, and where the run ends.
      say: takes a line for the person at the terminal.
      aside: a context whose time does not count as the steps'; a trace is begun and written in it.
    """

    def __init__(
        self,
        window: tuple[int, int] | None,
        folder: Path,
        *,
        first_step: int,
        total_steps: int,
        say: Callable[[str], None],
        aside: Callable[[], AbstractContextManager] = nullcontext,
    ):
        self._folder, self._say, self._aside, self._running = folder, say, aside, False
        start, stop = window or (0, 0)
        self._start, self._stop = max(start, first_step), min(stop, total_steps)
        if window is not None:
            self._tell(f"config.train.profile={start}:{stop}", window, first_step, total_steps)

    def _tell(self, asked: str, window: tuple[int, int], first_step: int, total_steps: int) -> None:
        if self._start < self._stop:
            if (self._start, self._stop) != window:
                self._say(
                    f"{asked}: steps {self._start} to {self._stop - 1} are left of it to trace"
                )
        elif window[0] >= total_steps:
            self._say(f"{asked}: nothing is traced, the run ends with step {total_steps - 1}")
        else:
            self._say(
                f"{asked}: nothing is traced, this start of the run goes on at step {first_step}"
            )

    def before(self, step: int, state: Any) -> None:
        """Begins with step `step` (from 0) if that is the first to trace; `state` is what the steps before it give."""
        if step != self._start or step >= self._stop or self._running:
            return
        jax.block_until_ready(state)
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        try:
            with self._aside():
                jax.profiler.start_trace(
                    self._folder, create_perfetto_trace=True, profiler_options=options
                )
            self._running = True
        except (OSError, RuntimeError) as error:
            self._say(f"step {step} cannot be traced ({_reason(error)}); training goes on")

    def after(self, step: int, state: Any) -> None:
        """Ends with step `step` if that is the last to trace; `state` is what it gives."""
        if self._running and step == self._stop - 1:
            jax.block_until_ready(state)
            self._end(step)

    def close(self, done: int) -> None:
        """Ends a trace that is under way when the run stops after `done` steps."""
        if self._running:
            self._end(done - 1)

    def _end(self, last: int) -> None:
        self._running, begun = False, time.monotonic()
        try:
            with self._aside():
                jax.profiler.stop_trace()
            written = max(
                self._folder.glob("plugins/profile/*/perfetto_trace.json.gz"),
                key=lambda p: p.stat().st_mtime,
            )
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            self._say(
                f"the trace of steps {self._start} to {last} is not in {self._folder}: {_reason(error)}"
            )
            return
        self._say(
            f"steps {self._start} to {last} (from 0) are traced, written in {time.monotonic() - begun:.0f} s: "
            f"tensorboard --logdir={self._folder} (with the package xprof), or open {written} at ui.perfetto.dev"
        )


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
