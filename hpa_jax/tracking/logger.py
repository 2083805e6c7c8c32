"""What a run tells: metrics.jsonl, TensorBoard, and a progress bar on a terminal or a line now and then in a file.

metrics.jsonl is the record; a run that resumes drops the lines past the step it resumes from, so that the file reads as
if the run had never been stopped.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from hpa_jax.files import write_atomically
from hpa_jax.tracking.tensorboard import EventWriter

SECONDS_BETWEEN_LINES = 15  # where there is no terminal


class RunLogger:
    """Writes a run's records; the caller closes it.

    Args:
      workdir: the run's folder.
      first_step: where the run (re)starts; later records in the folder are dropped.
      total_steps: of the whole run, for the time left.
      log_ids: keep the Ids of every batch in ids.jsonl.
    """

    def __init__(self, workdir: Path, *, first_step: int, total_steps: int, log_ids: bool):
        self._metrics = _reopen(
            workdir / "metrics.jsonl", lambda record: record["step"] <= first_step
        )
        self._ids = (
            _reopen(workdir / "ids.jsonl", lambda record: record["step"] < first_step)
            if log_ids
            else None
        )
        self._board = EventWriter(workdir / "tensorboard")
        self._board.restart(first_step + 1)
        self._total = total_steps
        self._pace_from = (
            None  # (step, time) of the first record: what was before it is mostly compilation
        )
        self._last_line = float("-inf")
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            desc="train",
            dynamic_ncols=True,
            disable=None,
        )

    def ids(self, step: int, ids) -> None:
        """The Ids of the batch with which step `step` (from 0) is done."""
        if self._ids is not None:
            self._ids.write(json.dumps({"step": step, "ids": [str(i) for i in ids]}) + "\n")
            self._ids.flush()

    def tick(self, step: int) -> None:
        """Step number `step` is under way."""
        self._bar.update(step - self._bar.n)

    def record(self, step: int, split: str, figures: dict[str, float]) -> None:
        """One line of metrics.jsonl: the state after `step` steps."""
        figures = {name: float(value) for name, value in figures.items()}
        self._metrics.write(json.dumps({"step": step, "split": split, **figures}) + "\n")
        self._metrics.flush()
        self._board.scalars(step, {f"{split}/{name}": value for name, value in figures.items()})
        if split == "train":
            now = _now(figures)
            self._bar.set_postfix_str(now)
            self._plain_line(step, now)

    def _plain_line(self, step: int, now: str) -> None:
        """The same for a file or a pipe: a line at most every SECONDS_BETWEEN_LINES, and at the end."""
        at = time.monotonic()
        self._pace_from = self._pace_from or (step, at)
        if not self._bar.disable or (
            at - self._last_line < SECONDS_BETWEEN_LINES and step < self._total
        ):
            return
        self._last_line = at
        done, since = step - self._pace_from[0], at - self._pace_from[1]
        left = f", {tqdm.format_interval(since / done * (self._total - step))} left" if done else ""
        print(f"step {step} of {self._total}: {now}{left}", flush=True)

    def say(self, text: str) -> None:
        """A line for the person at the terminal, above the bar."""
        self._bar.clear()
        print(text, flush=True)

    def close(self) -> None:
        with contextlib.ExitStack() as all_of_them:  # each of them, whatever another raises
            for part in (self._bar, self._board, self._metrics, self._ids):
                if part is not None:
                    all_of_them.callback(part.close)


class IdsLog:
    """What a process that is not the first one keeps of a run: the Ids of its part of every batch, ids.N.jsonl."""

    def __init__(
        self, workdir: Path, *, first_step: int, total_steps: int, log_ids: bool, process: int
    ):
        path = workdir / f"ids.{process}.jsonl"
        self._ids = _reopen(path, lambda record: record["step"] < first_step) if log_ids else None

    def ids(self, step: int, ids) -> None:
        if self._ids is not None:
            self._ids.write(json.dumps({"step": step, "ids": [str(i) for i in ids]}) + "\n")
            self._ids.flush()

    def tick(self, step: int) -> None:
        pass

    def record(self, step: int, split: str, figures: dict[str, float]) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        if self._ids is not None:
            self._ids.close()


def forget_ids(workdir: Path, *, first_step: int, processes: int) -> None:
    """Drops the Ids past the step that a run resumes from, of processes that it has no longer."""
    for path in workdir.glob("ids.*.jsonl"):
        if int(path.name.split(".")[1]) >= processes:
            _reopen(path, lambda record: record["step"] < first_step).close()


def _now(figures: dict[str, float]) -> str:
    """What a line says of a training step; shares of a chip's peak where it is known."""
    parts = [f"loss {figures['loss']:.4f}", f"{figures['images_per_sec']:.3g} images/s"]
    if "data_wait" in figures:
        parts.append(f"{figures['data_wait']:.0%} waiting for data")
    if "mfu" in figures:
        parts.append(f"MFU {figures['mfu']:.1%}")
    if "hbm_share" in figures:
        parts.append(f"HBM {figures['hbm_gb_per_sec']:.0f} GB/s ({figures['hbm_share']:.0%})")
    return ", ".join(parts)


class StepTimer:
    """Steps, and the seconds that they took, since the last log line, without evaluations."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        self.steps, self._since = 0, time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._since += time.monotonic() - begun

    def seconds(self) -> float:
        return max(time.monotonic() - self._since, 1e-9)


def _reopen(path: Path, keep):
    """Opens a file of JSON lines for appending, with only those lines that are whole and that `keep` accepts."""
    if path.exists():
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                record = json.loads(line)
            except ValueError:
                continue  # a line cut short by a kill
            if line.endswith("\n") and keep(record):
                kept.append(line)
        write_atomically(path, "".join(kept))
    return open(path, "a", encoding="utf-8")
