"""A run's records: metrics.jsonl, a tracker, and its progress on a terminal or in a file.

metrics.jsonl is the record. A run that resumes drops the lines past the step that it resumes from,
so that the file reads as if the run had never been stopped.

Of several processes the primary one has a RunLogger and the others a SilentLogger.
"""

import contextlib
import time
from pathlib import Path

from tqdm import tqdm

from hpa_jax.tracking.metrics_file import FILE_NAME, format_record, reopen
from hpa_jax.tracking.tracker import Tracker

SECONDS_BETWEEN_LINES = 15
"""Of progress, where there is no terminal."""


class RunLogger:
    """Writes a run's records; to be closed.

    Args:
      workdir: the run's folder.
      first_step: the step at which the run starts or resumes; later records in the folder are
        dropped.
      total_steps: of the complete run, for the time left.
      tracker: shows the metrics as well; is closed with the logger.

    Raises:
      OSError: a record cannot be written, or something else is in its place.
    """

    def __init__(self, workdir: Path, *, first_step: int, total_steps: int, tracker: Tracker):
        self._total_steps = total_steps
        self._metrics = reopen(workdir / FILE_NAME, last_step=first_step)
        self._tracker = tracker
        self._last_line_at = float("-inf")
        # Of the first record. The time before it is mostly compilation, and says nothing about the
        # time left.
        self._reference_step: int | None = None
        self._reference_time = 0.0
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            desc="train",
            dynamic_ncols=True,
            # Shown on a terminal only.
            disable=None,
        )

    def update_progress(self, step: int) -> None:
        """Moves the progress bar: `step` steps are done or under way."""
        self._bar.update(step - self._bar.n)

    def log_metrics(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Records the metrics of the state after `step` steps.

        Args:
          step: of the run.
          split: that the metrics are of.
          metrics: by name. Those of training steps also show as progress; an evaluation may be of
            the split `train` as well.
        """
        values = {name: float(value) for name, value in metrics.items()}
        record = {"step": step, "split": split, **values}
        self._metrics.append(format_record(record).encode())
        scalars = {f"{split}/{name}": value for name, value in values.items()}
        self._tracker.write_scalars(step, scalars)
        if "images_per_sec" in values:
            summary = _summary(values)
            self._bar.set_postfix_str(summary)
            self._print_progress(step, summary)

    def info(self, message: str) -> None:
        """Prints a line for the person at the terminal, above the progress bar."""
        self._bar.clear()
        print(message, flush=True)

    def close(self) -> None:
        # Each of them is closed, whatever another one raises.
        with contextlib.ExitStack() as stack:
            stack.callback(self._bar.close)
            stack.callback(self._tracker.close)
            stack.callback(self._metrics.close)

    def _print_progress(self, step: int, summary: str) -> None:
        """Prints a line now and then, and at the end, where there is no terminal."""
        now = time.monotonic()
        if self._reference_step is None:
            self._reference_step = step
            self._reference_time = now
        has_terminal = not self._bar.disable
        is_last = step >= self._total_steps
        is_due = now - self._last_line_at >= SECONDS_BETWEEN_LINES
        if has_terminal or not (is_due or is_last):
            return
        self._last_line_at = now
        line = f"step {step} of {self._total_steps}: {summary}"
        steps_done = step - self._reference_step
        if steps_done:
            seconds_per_step = (now - self._reference_time) / steps_done
            seconds_left = seconds_per_step * (self._total_steps - step)
            line += f", {tqdm.format_interval(seconds_left)} left"
        print(line, flush=True)


class SilentLogger:
    """The interface of RunLogger; writes nothing. For processes that are not the primary one."""

    def update_progress(self, step: int) -> None:
        pass

    def log_metrics(self, step: int, split: str, metrics: dict[str, float]) -> None:
        pass

    def info(self, message: str) -> None:
        pass

    def close(self) -> None:
        pass


def _summary(metrics: dict[str, float]) -> str:
    """Metrics of training steps on one line; fractions of a chip's peak where it is known."""
    parts = [f"loss {metrics['loss']:.4f}", f"{metrics['images_per_sec']:.3g} images/s"]
    if "data_wait" in metrics:
        parts.append(f"{metrics['data_wait']:.0%} waiting for data")
    if "mfu" in metrics:
        parts.append(f"MFU {metrics['mfu']:.1%}")
    if "hbm_fraction" in metrics:
        traffic = f"{metrics['hbm_gb_per_sec']:.0f} GB/s"
        parts.append(f"HBM {traffic} ({metrics['hbm_fraction']:.0%})")
    return ", ".join(parts)
