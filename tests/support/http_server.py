"""A real server in a process of its own, and clients that keep to no rule.

    python tests/support/http_server.py EXPORT [flags of serve] head_seconds=0.5 ...

is `python -m hpa_jax.serving serve` with other limits than a user can set, so that tests of time
need not wait.
"""

import contextlib
import dataclasses
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LONG = 60
"""Seconds in which anything that happens at all has happened, on any machine."""


class Server:
    """A server that runs.

    Args:
      export: folder that it serves.
      arguments: flags and limits.
      program: of Python, and what comes before EXPORT.
      python: that runs it.
      cwd: where it starts.
      environment: in which it starts; None: this process's, and this checkout.
    """

    def __init__(
        self,
        export: Path,
        *arguments: str,
        program=(__file__,),
        python=sys.executable,
        cwd=REPOSITORY,
        environment=None,
    ):
        command = [python, *program, str(export), "--port=0", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment or os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        self.lines: list[str] = []
        self._ready = threading.Event()
        self._threads = []
        for stream in (self.process.stdout, self.process.stderr):
            thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _read(self, stream) -> None:
        for line in stream:
            self.lines.append(line)
            if line.startswith("manifest"):
                self._ready.set()
        self._ready.set()

    def wait(self) -> "Server":
        """Until it can be asked; a server that ends is a failure."""
        self._ready.wait(LONG)
        assert self.process.poll() is None and self.lines, self.log()
        return self

    @property
    def url(self) -> str:
        return re.search(r"serving .* at (http://\S+)", self.log())[1]

    @property
    def metrics_url(self) -> str:
        return re.search(r"metrics at (http://\S+)", self.log())[1]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def log(self) -> str:
        return "".join(self.lines)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.address)
        connection.settimeout(LONG)
        return connection

    def memory(self) -> int:
        """MB of it that were resident at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024

    def stop(self) -> int:
        """Asks it to stop; returns its exit status."""
        self.process.terminate()
        return self.end()

    def end(self) -> int:
        """Waits for its end; returns its exit status."""
        try:
            status = self.process.wait(LONG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        for thread in self._threads:
            thread.join(LONG)
        return status


def exchange(server: Server, *pieces: bytes) -> bytes:
    """Sends bytes and returns all that comes back until the server closes the connection."""
    with server.connect() as connection:
        # On a busy machine the server may have closed before the next piece.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    found = b""
    while True:
        try:
            piece = connection.recv(2**16)
        except ConnectionResetError:
            return found
        if not piece:
            return found
        found += piece


def head(path: str = "/v1/predict", method: str = "POST", **headers: str) -> bytes:
    """The head of a request; names of headers with `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1"]
    for name, value in {"Host": "localhost", **headers}.items():
        lines.append(f"{name.replace('_', '-')}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def until(condition, what: str) -> None:
    """Waits for a condition."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def main(arguments: list[str]) -> int:
    from hpa_jax.serving.server import command
    from hpa_jax.serving.server.limits import Limits

    changed = {}
    flags = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in {field.name for field in dataclasses.fields(Limits)}:
            changed[name] = type(getattr(Limits(), name))(float(value))
        else:
            flags.append(argument)
    parsed = command.parser().parse_args(flags)
    limits = dataclasses.replace(command.limits_of(parsed), **changed)
    command.serve(parsed, limits)
    return 0


if __name__ == "__main__":
    from hpa_jax.environment.program import run_program

    run_program(main)
