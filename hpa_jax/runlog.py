"""What a run tells: metrics.jsonl, TensorBoard, and a progress bar on a terminal or a line now and then in a file.

metrics.jsonl is the record; a run that resumes drops the lines past the step it resumes from, so that the file reads as
if the run had never been stopped.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tqdm import tqdm

from hpa_jax.workdir import write_atomically

SECONDS_BETWEEN_LINES = 15  # where there is no terminal


class RunLog:
    """Writes a run's records; the caller closes it.

    Args:
      workdir: the run's folder.
      first_step: where the run (re)starts; later records in the folder are dropped.
      total_steps: of the whole run, for the time left.
      log_ids: keep the Ids of every batch in ids.jsonl.
    """

    def __init__(self, workdir: Path, *, first_step: int, total_steps: int, log_ids: bool):
        self._metrics = _reopen(workdir / "metrics.jsonl", lambda record: record["step"] <= first_step)
        self._ids = _reopen(workdir / "ids.jsonl", lambda record: record["step"] < first_step) if log_ids else None
        # Not SummaryWriter: its thread dies on a full disk, and the run would then wait for it for ever.
        (workdir / "tensorboard").mkdir(exist_ok=True)
        self._board = EventsWriter(str(workdir / "tensorboard" / "events"))
        restart = Event(wall_time=time.time(), step=first_step + 1, session_log=SessionLog(status=SessionLog.START))
        self._board.write_event(restart)
        self._total = total_steps
        self._pace_from = None  # (step, time) of the first record: what was before it is mostly compilation
        self._last_line = float("-inf")
        self._bar = tqdm(
            total=total_steps, initial=first_step, unit="step", desc="train", dynamic_ncols=True, disable=None
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
        values = [Summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in figures.items()]
        self._board.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._board.flush()
        if split == "train":
            now = f"loss {figures['loss']:.4f}, {figures['images_per_sec']:.3g} images/s"
            self._bar.set_postfix_str(now)
            self._plain_line(step, now)

    def _plain_line(self, step: int, now: str) -> None:
        """The same for a file or a pipe: a line at most every SECONDS_BETWEEN_LINES, and at the end."""
        at = time.monotonic()
        self._pace_from = self._pace_from or (step, at)
        if not self._bar.disable or (at - self._last_line < SECONDS_BETWEEN_LINES and step < self._total):
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


class Pace:
    """Images a second since the last log line, without evaluations."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self.restart()

    def restart(self) -> None:
        self.steps, self._since = 0, time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._since += time.monotonic() - begun

    def images_per_sec(self) -> float:
        return self.steps * self._batch_size / max(time.monotonic() - self._since, 1e-9)


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
