"""Real runs in a fake Cloud Storage."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from support.fake_gcs import FakeGcsProcess

REPOSITORY = Path(__file__).resolve().parents[2]
BUCKET = "bucket"

# Of a log line: what no two runs have alike, and the checksum of that.
_OF_TIME = ("per_sec", "data_wait", "goodput", "mfu", "hbm", "crc")

STEPS = 10
RUN_FLAGS = (
    f"--config.train.steps={STEPS}",
    "--config.train.log_every=1",
    "--config.train.eval_every=4",
    "--config.checkpoint.every=2",
)
SLOW_RUN = (str(REPOSITORY / "tests" / "support" / "slow_run.py"),)


def run_environment(cache: Path, scratch: Path) -> dict[str, str]:
    """Variables for runs that find out soon what is wrong."""
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "HPA_LEASE_S": "3",
        "HPA_BUCKET_TIMEOUT_S": "20",
        "HPA_SCRATCH": str(scratch),
    }


class BucketRun:
    """Starts programs on the folder `gs://bucket/PREFIX`.

    Args:
      gcs: the service.
      prefix: the folder.
      flags: for all of them.
      environment: besides this process's.
    """

    def __init__(self, gcs: FakeGcsProcess, prefix: str, flags, environment: dict[str, str]):
        self.gcs = gcs
        self.prefix = prefix
        self.url = f"gs://{BUCKET}/{prefix}"
        self._flags = flags
        self._environment = environment
        self.processes: list[subprocess.Popen] = []

    def start(self, *flags: str, mode: str = "train", step_s: float = 0.0, **environment):
        """Starts a program; `step_s` is how long each step takes at least."""
        program = SLOW_RUN if step_s else ("-m", "hpa_jax.main")
        environment["SECONDS_A_STEP"] = str(step_s)
        command = [sys.executable, *program, f"--workdir={self.url}", f"--mode={mode}"]
        command += [*self._flags, *flags] if mode == "train" else flags
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | self.gcs.environment() | self._environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def run(self, *flags: str, **options) -> tuple[int, str, str]:
        return ended(self.start(*flags, **options))

    def names(self) -> list[str]:
        start = len(self.prefix) + 1
        return [name[start:] for name in self.gcs.names(BUCKET, f"{self.prefix}/")]

    def get(self, name: str) -> bytes:
        return self.gcs.get(BUCKET, f"{self.prefix}/{name}")

    def until(self, condition, process: subprocess.Popen, seconds: float = 120) -> None:
        """Waits for a condition, or for the end of a process."""
        deadline = time.monotonic() + seconds
        while process.poll() is None and not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def contents(self) -> dict:
        try:
            return json.loads(self.get("contents.json"))
        except KeyError:
            return {"files": {}, "owner": None, "unfinished": []}

    def steps(self) -> list[int]:
        """Those that count."""
        found = set()
        for name in self.contents()["files"] or ():
            words = name.split("/")
            if words[0] == "checkpoints" and words[-1] == "manifest.json" and len(words) == 3:
                found.add(words[1])
        return sorted(int(step) for step in found if step.isdecimal())

    def arrays(self, step: int) -> dict:
        """The digests of a checkpoint's arrays."""
        return json.loads(self.get(f"checkpoints/{step}/manifest.json"))["arrays"]

    def log(self) -> list[dict]:
        """The lines of metrics.jsonl, but for what tells the time."""
        found = []
        for line in self.get("metrics.jsonl").decode().splitlines():
            values = json.loads(line)
            found.append({key: values[key] for key in values if not _is_of_time(key)})
        return found

    def copy(self, prefix: str, but=()) -> "BucketRun":
        """A copy of the folder in the bucket."""
        for name in self.names():
            if name not in but:
                self.gcs.put(BUCKET, f"{prefix}/{name}", self.get(name))
        return BucketRun(self.gcs, prefix, self._flags, self._environment)

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def same_run(found: BucketRun, expected: BucketRun) -> None:
    """Whether two runs have learned the same, to the bit, and logged it."""
    assert found.steps()[-1] == expected.steps()[-1] == STEPS
    assert found.arrays(STEPS) == expected.arrays(STEPS)
    same_log(found, expected)
    assert set(found.names()) == {*found.contents()["files"], "contents.json"}
    # No path of a local copy is written down, but for Orbax's own note.
    for name in found.names():
        if name.endswith("commit_success.txt"):
            continue
        assert str(found._environment["HPA_SCRATCH"]).encode() not in found.get(name), name


def same_log(found: BucketRun, expected: BucketRun) -> None:
    """Whether two runs have logged the same, but for what tells the time."""
    lines = found.log()
    others = expected.log()
    assert [line["step"] for line in lines] == [line["step"] for line in others]
    for line, other in zip(lines, others, strict=True):
        assert line == other, (line, other)


def _is_of_time(key: str) -> bool:
    return any(word in key for word in _OF_TIME)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """The status, output and errors of a process, when it has ended."""
    out, err = process.communicate(timeout=280)
    return process.returncode, out, err


def one_line(status: int, err: str, expected: int) -> str:
    """The only line of an error, of the status that is expected."""
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert status == expected and len(lines) == 1, err
    return lines[0]
