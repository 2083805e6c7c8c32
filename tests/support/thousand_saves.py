"""Saves a small state many times in one process, and prints what the process holds meanwhile.

    python thousand_saves.py FOLDER SAVES

A line of JSON after 20, 200, 400, ... saves: `saves`, `descriptors`, `threads`, `megabytes`. The
first has the largest numbers of the 20: pools start threads when they need them, fewer where the
machine is busy.
"""

import json
import os
import resource
import sys
from pathlib import Path

from support.made_checkpoints import METRIC, made_state, opened

OPEN_FILES = 256
"""The limit of a shell on macOS."""

WARM_UP = 20
"""Saves after which every pool has been needed."""


def held(saves: int) -> dict[str, float]:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "saves": saves,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "megabytes": resident * os.sysconf("SC_PAGE_SIZE") / 1e6,
    }


def main(folder: str, saves: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    checkpoints = opened(Path(folder), keep=2)
    state = made_state(1)
    start: dict[str, float] = {}
    for step in range(1, int(saves) + 1):
        metrics = {METRIC: (step % 7) / 7} if step % 3 == 0 else None
        checkpoints.save(step, state, 8 * step, metrics)
        if step <= WARM_UP:
            checkpoints.wait()
            for name, value in held(step).items():
                start[name] = max(value, start.get(name, value))
        if step == WARM_UP:
            print(json.dumps(start), flush=True)
        if step % 200 == 0:
            checkpoints.wait()
            print(json.dumps(held(step)), flush=True)
    checkpoints.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
