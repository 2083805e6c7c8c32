"""Goodput: the fraction of the time since a run's first start that went into steps that count.

A step counts if the run has it in the end: steps after the checkpoint from which a later start
resumed were done for nothing. The rest of the time went into the phases that a start goes through,
and into waiting to be started again.

    {"first_start": 1796000000.0, "lost": 12.1,
     "starts": [{"began": ..., "until": ..., "seconds": {"start": 9.1, "compile": 20.4, ...},
                 "at_step": [[100, 31.5], [200, 62.9]]}]}

is `goodput.json` in the run's folder, written at log lines and saves; what a killed start did after
its last line counts as down.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpa_jax.files import write_json

FILE_NAME = "goodput.json"

STEPS = "steps"
PHASES = ("start", "compile", "restore", STEPS, "evaluation", "save")

# Saves that are remembered, of which one is the step that the next start resumes from.
_KEPT_SAVES = 20

_SECONDS_BETWEEN_WRITES = 10.0


class Goodput:
    """Where the time of a run goes.

    Args:
      workdir: the run's folder; None: nothing is written, as in processes that are not the first.
    """

    def __init__(self, workdir: Path | None):
        self._path = None if workdir is None else workdir / FILE_NAME
        now = time.time()
        self._record = _read(self._path)
        began = min(process_start(), now)
        self._record.setdefault("first_start", began)
        self._record.setdefault("lost", 0.0)
        self._start: dict[str, Any] = {"began": began, "until": now, "seconds": {}, "at_step": []}
        self._record.setdefault("starts", []).append(self._start)
        self._phase = "start"
        self._since = began
        self._written_at = float("-inf")

    def resume_from(self, step: int) -> None:
        """Says from which step this start goes on: later ones of earlier starts are lost."""
        for earlier in self._record["starts"][:-1]:
            counted = 0.0
            for saved_step, seconds in earlier["at_step"]:
                if saved_step <= step:
                    counted = max(counted, seconds)
            lost = earlier["seconds"].get(STEPS, 0.0) - counted
            if lost > 0:
                earlier["seconds"][STEPS] = counted
                self._record["lost"] += lost
            earlier["at_step"] = [entry for entry in earlier["at_step"] if entry[0] <= step]

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A context whose time goes into a phase, one of PHASES."""
        before = self._phase
        self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    def switch(self, name: str) -> None:
        """From now on time goes into a phase."""
        now = time.time()
        seconds = self._start["seconds"]
        # A clock that is set back is no reason for negative times.
        seconds[self._phase] = seconds.get(self._phase, 0.0) + max(0.0, now - self._since)
        self._start["until"] = now
        self._phase = name
        self._since = now

    def mark_saved(self, step: int) -> None:
        """Remembers how long the steps up to a save took."""
        self.switch(self._phase)
        marks = self._start["at_step"]
        marks.append([step, self._start["seconds"].get(STEPS, 0.0)])
        del marks[:-_KEPT_SAVES]

    def seconds(self) -> dict[str, float]:
        """Of all starts, by phase, with `lost` steps and the time that the run was `down`."""
        self.switch(self._phase)
        total = dict.fromkeys(PHASES, 0.0)
        for start in self._record["starts"]:
            for name, seconds in start["seconds"].items():
                total[name] = total.get(name, 0.0) + seconds
        total["lost"] = self._record["lost"]
        since_first_start = self._start["until"] - self._record["first_start"]
        total["down"] = max(0.0, since_first_start - sum(total.values()))
        return total

    def fraction(self) -> float:
        """The goodput so far, 0 to 1."""
        seconds = self.seconds()
        return seconds[STEPS] / max(sum(seconds.values()), 1e-9)

    def write(self, *, at_once: bool = False) -> None:
        """Writes the file, unless that was done a moment ago.

        Raises:
          OSError: it cannot be written.
        """
        is_due = time.monotonic() - self._written_at >= _SECONDS_BETWEEN_WRITES
        if self._path is None or not (is_due or at_once):
            return
        self.switch(self._phase)
        write_json(self._path, self._record)
        self._written_at = time.monotonic()

    def summary(self) -> str:
        """One line for people: the goodput, and what the rest went to."""
        seconds = self.seconds()
        total = sum(seconds.values())
        parts = []
        for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
            if name != STEPS and spent >= 0.05:
                parts.append(f"{name} {spent:.1f} s")
        counted = f"goodput {self.fraction():.0%} of {total:.1f} s since the first start"
        return f"{counted}; the rest: {', '.join(parts)}" if parts else counted


def process_start() -> float:
    """When this process started, in seconds since the epoch; now, where that is not known."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        # Field 22 of proc(5), of which the first two are left out here.
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - (uptime - started)
    except (OSError, ValueError, IndexError):
        return time.time()


def _read(path: Path | None) -> dict[str, Any]:
    """The record of earlier starts; a new one where there is none, or it makes no sense."""
    if path is None:
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        float(record["first_start"]), float(record["lost"])
        for start in record["starts"]:
            float(start["began"]), float(start["until"])
            {name: float(seconds) for name, seconds in start["seconds"].items()}
            [(int(step), float(seconds)) for step, seconds in start["at_step"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return record
