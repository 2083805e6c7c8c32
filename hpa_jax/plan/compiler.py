"""Runs `python -m hpa_jax.plan.worker` and shows what it is at, for how long already.

Unusual:
- libtpu lies in a folder of its own (.venv/tpu), and only these processes see it: where it can be imported, JAX looks
  for a TPU at every start;
- the compiler for a v6e overflows any stack that has a limit, and a limit holds from the start of a process: so they
  are started without one, as far as the system allows;
- they end when this process does, however it ends: their input closes (compile.py).
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
from pathlib import Path

import hpa_jax
from hpa_jax.errors import InputError

SECONDS_BETWEEN_LINES = 15  # where there is no terminal

_FOR_LIBTPU = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",  # no look for a TPU of this machine
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several plans at a time
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # these four only keep it quiet
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


def find_libtpu() -> list[str]:
    """The folders that a process needs on its path to import libtpu: none where it is installed.

    Raises:
      InputError: it is nowhere; what installs it.
    """
    if importlib.util.find_spec("libtpu"):
        return []
    beside = Path(sys.prefix) / "tpu"
    if (beside / "libtpu").is_dir():
        return [str(beside)]
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError(
            "the TPU compiler is made for Linux on x86-64 alone; here, --config.plan.topologies=here works"
        )
    raise InputError(
        f"the TPU compiler (libtpu) is missing: pip install 'hpa_jax[plan]', or start the plan with launch/local.sh "
        f"plan ..., which puts it into {beside}"
    )


def environment_of(libtpu: list[str] | None) -> dict[str, str]:
    """The variables of a process that compiles; arguments as in `ask`."""
    environment = os.environ | (_FOR_LIBTPU if libtpu is not None else {})
    path = [str(Path(hpa_jax.__file__).resolve().parents[1]), *(libtpu or [])]
    environment["PYTHONPATH"] = os.pathsep.join(
        [*path, *filter(None, [environment.get("PYTHONPATH")])]
    )
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # compile times are to be those of compiling
    return environment


class Died(Exception):
    """A process that gave no row; its text says why, in one line."""


class Refused(Exception):
    """The configuration and the devices do not go together; its text says why, in one line."""


def ask(request: dict, what: str, libtpu: list[str] | None) -> dict:
    """One row from a process of its own.

    Args:
      request: as compile.py takes it.
      what: is being done, for the person who waits, until the process says itself.
      libtpu: folders for its path (`find_libtpu`); None: the devices at hand are what it is for.

    Raises:
      Refused, Died: there is none.
    """
    command = [sys.executable, "-m", "hpa_jax.plan.worker"]
    if libtpu is not None:
        command = [
            "sh",
            "-c",
            'ulimit -s unlimited 2>/dev/null || ulimit -s "$(ulimit -H -s)"; exec "$@"',
            "sh",
            *command,
        ]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            env=environment_of(libtpu),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is this process's to answer
        )
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            return _answer(child, what)
        except (Died, BrokenPipeError) as error:
            status = child.wait()
            errors.seek(0)
            lines = [
                line for line in errors.read().decode(errors="replace").splitlines() if line.strip()
            ]
            raise Died(
                str(error) if isinstance(error, Died) and str(error) else _why(status, lines)
            ) from None
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


def _why(status: int, lines: list[str]) -> str:
    how = f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
    said = f": {lines[-1].strip()[:300]}" if lines else ""
    return f"the compiler's process ended with {how}{said}"


def _answer(child: subprocess.Popen, what: str) -> dict:
    progress, begun, text = Progress(), time.monotonic(), b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while True:
                progress.show(what, time.monotonic() - begun)
                if not selector.select(timeout=0.5):
                    continue
                read = os.read(child.stdout.fileno(), 2**16)
                if not read:
                    raise Died("")
                *lines, text = (text + read).split(b"\n")
                for answer in map(json.loads, lines):
                    if "row" in answer:
                        return answer["row"]
                    if "refused" in answer:
                        raise Refused(answer["refused"])
                    if "failed" in answer:
                        raise Died(answer["failed"])
                    what = answer["stage"]
    finally:
        progress.clear()


class Progress:
    """One line on a terminal, written over; in a file or a pipe a line when something else begins, and now and then."""

    def __init__(self):
        self._terminal, self._what, self._last = sys.stdout.isatty(), "", float("-inf")
        self._began = 0.0

    def show(self, what: str, seconds: float) -> None:
        if what != self._what:
            self._what, self._began, self._last = what, seconds, float("-inf")
        if self._terminal:
            print(f"\r\x1b[K{what}, {seconds - self._began:.0f} s", end="", flush=True)
        elif seconds - self._last >= SECONDS_BETWEEN_LINES:
            self._last = seconds
            print(f"{what}, {seconds - self._began:.0f} s", flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", flush=True)
