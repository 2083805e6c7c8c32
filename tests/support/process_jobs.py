"""Several real processes of one run on loopback."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DEVICES = 4
"""In all."""


class Job:
    """The processes of one run, each with its part of the devices.

    Args:
      cache: folder of compiled programs.
      folder: the run's.
      count: of processes.
      flags: for all of them.
      programs: another program than the module, by process.
      each: further flags, by process.
      prefix: words before each command, such as `SmallDisk.prefix`.
      prefixes: others, by process.
    """

    def __init__(
        self,
        cache: Path,
        folder: Path,
        count: int,
        *flags: str,
        programs: dict[int, Sequence[str]] | None = None,
        each: dict[int, Sequence[str]] | None = None,
        prefix: Sequence[str] = (),
        prefixes: dict[int, Sequence[str]] | None = None,
    ):
        self.workdir = folder
        self.processes = []
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(DEVICES // count),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles in a third of the time
        }
        flags = (f"--workdir={folder}", *flags, f"--config.devices.processes={count}")
        if count > 1:
            flags += (f"--config.devices.coordinator={free_address()}",)
        for index in range(count):
            program = (programs or {}).get(index, ["-m", "hpa_jax.main"])
            own_flags = (f"--config.devices.process={index}", *(each or {}).get(index, ()))
            before = (prefixes or {}).get(index, prefix)
            process = subprocess.Popen(
                [*before, sys.executable, *program, *flags, *own_flags],
                cwd=REPOSITORY,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self.processes.append(process)

    def until_step(self, step: int) -> None:
        self.until(lambda: len(losses(self.workdir)) >= step)

    def until(self, condition: Callable[[], bool], seconds: float = 280) -> None:
        """Waits for the condition, or for the end of the first process."""
        deadline = time.monotonic() + seconds
        while self.processes[0].poll() is None and not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def signal(self, process: int, number: int) -> None:
        self.processes[process].send_signal(number)

    def end(self, *processes: int) -> list[tuple[int, str, str]]:
        """Statuses, outputs and errors of these processes, or all, once they have ended."""
        found = []
        for index in processes or range(len(self.processes)):
            process = self.processes[index]
            out, err = process.communicate(timeout=280)
            found.append((process.returncode, out, err))
        return found

    def kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()


def free_address() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{server.getsockname()[1]}"


def records(workdir: Path, split: str) -> list[dict]:
    """The lines of metrics.jsonl about a split."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["split"] == split]


def losses(workdir: Path) -> dict[int, float]:
    """The loss of each step, from 1."""
    return {record["step"]: record["loss"] for record in records(workdir, "train")}


def stopped_line(text: str) -> str:
    """The last line that says why a run has stopped."""
    return [line for line in text.splitlines() if "stopped: " in line][-1]


def restart_patterns() -> dict[str, re.Pattern]:
    """What each launch script looks for in a run's last words, to start it again."""
    found = {}
    for name in ("slurm.sh", "tpu_worker.sh"):
        text = (REPOSITORY / "launch" / name).read_text()
        (pattern,) = re.findall(r"['/](stopped: [^'/]*start[^'/]*)['/]", text)
        found[name] = re.compile(pattern)
    return found


def starts_again(text: str) -> bool:
    """Whether the launch scripts start a run again whose processes said this."""
    answers = set()
    for pattern in restart_patterns().values():
        answers.add(bool(pattern.search(text)))
    (answer,) = answers
    return answer
