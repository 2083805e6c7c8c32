"""`python -m hpa_jax.main`, which also keeps the Ids of each batch as the loop takes it.

WORKDIR/ids.jsonl has one object a line, `{"step", "ids"}`; the Ids of the other processes of a run
are in ids.1.jsonl and so on. As in metrics.jsonl, a run that resumes drops the lines past the step
that it resumes from. The Ids are those of the arrays that were put on the devices: recorded where
the reader hands a batch over, not computed again from the order.
"""

import json
import os
import runpy
import sys
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hpa_jax.training.experiment import Experiment
from hpa_jax.training.run import Run

_read_ahead: deque[list[str]] = deque()


def _record() -> None:
    put_batch, open_batches, next_batch = Experiment.put_batch, Run._open_batches, Run.next_batch

    def put_and_note(self, batch):
        _read_ahead.append([str(image_id) for image_id in batch["id"]])
        return put_batch(self, batch)

    def open_batches_and_record(self):
        if self._group.is_primary:
            # Also of processes that the run has no longer.
            for path in self._workdir.glob("ids*.jsonl"):
                number = path.name.split(".")[1]
                if number == "jsonl" or int(number) >= self._group.count:
                    _drop_from(path, self._first_step)
        else:
            _drop_from(_path(self), self._first_step)
        open_batches(self)

    def next_batch_and_write(self, step):
        batch = next_batch(self, step)
        with open(_path(self), "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "ids": _read_ahead.popleft()}) + "\n")
        time.sleep(float(os.environ.get("SECONDS_A_STEP", "0")))
        return batch

    Experiment.put_batch = put_and_note
    Run._open_batches = open_batches_and_record
    Run.next_batch = next_batch_and_write


def _path(run: Run) -> Path:
    name = "ids.jsonl" if run._group.is_primary else f"ids.{run._group.index}.jsonl"
    return run._workdir / name


def _drop_from(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        # A line that a kill has cut short has no end.
        if line.endswith("\n") and json.loads(line)["step"] < step:
            kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")


if __name__ == "__main__":
    _record()
    runpy.run_module("hpa_jax.main", run_name="__main__")
