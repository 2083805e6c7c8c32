"""Starts `python -m hpa_jax.plan.worker`, and shows what it does and for how long.

Design:
- each compiler lies in a folder of its own (.venv/tpu, .venv/cuda) that only these processes see:
  where it can be imported, JAX looks for such devices at every start. That for GPUs needs JAX's
  plugin and nothing else of CUDA;
- the compiler for a v6e overflows any limited stack, and a stack limit applies from the start of
  a process: the processes are started without one, as far as the system allows;
- they end when this process does, however it ends, because their input closes (worker.py).
"""

import importlib.util
import json
import os
import platform
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import hpa_jax
from hpa_jax.errors import InputError
from hpa_jax.plan.topologies import platform_of

SECONDS_BETWEEN_LINES = 15
"""Between two progress lines where standard output is not a terminal."""

_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",  # do not look for a TPU of this machine
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several plans at a time
    # The others only silence warnings.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}

_CUDA_PLUGIN = "jax_plugins.xla_cuda13"

_UNLIMITED_STACK = 'ulimit -s unlimited 2>/dev/null || ulimit -s "$(ulimit -H -s)"; exec "$@"'


class CompilerFailed(Exception):
    """A worker that returned no row; the text says why, in one line."""


class NotPossible(Exception):
    """The configuration and the devices do not go together; the text says why, in one line."""


def find_compilers(topologies: Sequence[str]) -> list[str]:
    """The folders that a process needs on its path to compile for topologies that are not there.

    Raises:
      InputError: a compiler was not found; the message says how to install it.
    """
    folders = []
    for kind in dict.fromkeys(map(platform_of, topologies)):
        folders += find_cuda() if kind == "cuda" else find_libtpu()
    return folders


def find_libtpu() -> list[str]:
    """The folders that libtpu needs on the path; empty where it is installed.

    Raises:
      InputError: libtpu was not found; the message says how to install it.
    """
    if importlib.util.find_spec("libtpu"):
        return []
    beside_packages = Path(sys.prefix) / "tpu"
    if (beside_packages / "libtpu").is_dir():
        return [str(beside_packages)]
    _refuse_other_machines("TPU")
    raise InputError(
        "the TPU compiler (libtpu) is missing: pip install 'hpa_jax[plan]', or start the plan with "
        f"launch/local.sh plan ..., which installs it into {beside_packages}"
    )


def find_cuda() -> list[str]:
    """The folders that JAX's plugin for CUDA needs on the path; empty where it is installed.

    Raises:
      InputError: the plugin was not found; the message says how to install it.
    """
    if importlib.util.find_spec("jax_plugins") and importlib.util.find_spec(_CUDA_PLUGIN):
        return []
    beside_packages = Path(sys.prefix) / "cuda"
    if (beside_packages / _CUDA_PLUGIN.replace(".", "/")).is_dir():
        return [str(beside_packages)]
    _refuse_other_machines("GPU")
    raise InputError(
        "the compiler for NVIDIA GPUs (JAX's plugin for CUDA) is missing: start the plan with "
        f"launch/local.sh plan ..., which installs it into {beside_packages}"
    )


def _refuse_other_machines(kind: str) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError(
            f"the {kind} compiler exists for Linux on x86-64 alone; on this machine use "
            "--config.plan.topologies=here"
        )


def environment_of(compilers: list[str] | None) -> dict[str, str]:
    """The environment variables of a worker; `compilers` as in `run_worker`."""
    environment = dict(os.environ)
    if compilers is not None:
        environment |= _ENVIRONMENT
    path = [str(Path(hpa_jax.__file__).resolve().parents[1])]
    path += compilers or []
    if environment.get("PYTHONPATH"):
        path.append(environment["PYTHONPATH"])
    environment["PYTHONPATH"] = os.pathsep.join(path)
    # Reported compile times are those of compiling, not of reading a cache.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return environment


def run_worker(request: dict, stage: str, compilers: list[str] | None) -> dict:
    """Asks a new worker process for one row.

    Args:
      request: as worker.py takes it.
      stage: what to show as being done until the worker says so itself.
      compilers: folders to add to its path (`find_compilers`); None: it runs on the devices of
        this machine.

    Raises:
      NotPossible, CompilerFailed: there is no row.
    """
    command = [sys.executable, "-m", "hpa_jax.plan.worker"]
    if compilers is not None:
        command = ["sh", "-c", _UNLIMITED_STACK, "sh", *command]
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(
            command,
            env=environment_of(compilers),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for this process to handle
        )
        try:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
            row = _read_row(worker, stage)
            if row is None:
                raise CompilerFailed(_cause_of_death(worker, errors))
            return row
        except BrokenPipeError:
            raise CompilerFailed(_cause_of_death(worker, errors)) from None
        finally:
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()


def _cause_of_death(worker: subprocess.Popen, errors) -> str:
    status = worker.wait()
    how = f"status {status}"
    if status < 0:
        how = f"signal {signal.Signals(-status).name}"
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines()]
    last_words = next((line for line in reversed(lines) if line), "")
    reason = f": {last_words[:300]}" if last_words else ""
    return f"the compiler's process ended with {how}{reason}"


def _read_row(worker: subprocess.Popen, stage: str) -> dict | None:
    """Reads answers until the row comes; None where the output ends before."""
    progress = Progress()
    start = time.monotonic()
    unread = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(worker.stdout, selectors.EVENT_READ)
            while True:
                progress.show(stage, time.monotonic() - start)
                if not selector.select(timeout=0.5):
                    continue
                received = os.read(worker.stdout.fileno(), 2**16)
                if not received:
                    return None
                *lines, unread = (unread + received).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "row" in answer:
                        return answer["row"]
                    if "refused" in answer:
                        raise NotPossible(answer["refused"])
                    if "failed" in answer:
                        raise CompilerFailed(answer["failed"])
                    stage = answer["stage"]
    finally:
        progress.clear()


class Progress:
    """One line that is overwritten on a terminal; else a line per stage, and one now and then."""

    def __init__(self):
        self._is_terminal = sys.stdout.isatty()
        self._stage = ""
        self._stage_start = 0.0
        self._last_line = float("-inf")

    def show(self, stage: str, seconds: float) -> None:
        """Shows `stage`; `seconds` since the worker was started."""
        if stage != self._stage:
            self._stage = stage
            self._stage_start = seconds
            self._last_line = float("-inf")
        text = f"{stage}, {seconds - self._stage_start:.0f} s"
        if self._is_terminal:
            print(f"\r\x1b[K{text}", end="", flush=True)
        elif seconds - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = seconds
            print(text, flush=True)

    def clear(self) -> None:
        """Removes the line from a terminal."""
        if self._is_terminal:
            print("\r\x1b[K", end="", flush=True)
