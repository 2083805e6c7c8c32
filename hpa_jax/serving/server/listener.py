"""Sockets, signals and the end: a uvicorn that stops with status 0 once it has answered."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence

import uvicorn

from hpa_jax.environment.program import STOP_SIGNALS, is_ignored
from hpa_jax.errors import InputError, one_line
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.protocol import with_limits

BACKLOG = 256
"""Connections that may wait to be accepted."""


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Takes an address; nobody can connect yet.

    Args:
      host: a name or an address of this machine.
      port: 0 for any that is free.
      flag: that the user gave the port with.

    Raises:
      InputError: there is no such address here, or the port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind)
        # A server that has just ended must not keep the next one from starting.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port} ({one_line(error)}); choose another --host or "
            f"{flag}"
        ) from None
    return taken


def address_of(taken: socket.socket) -> str:
    """Host and port as in a URL."""
    host, port = taken.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """Stops at a signal, and does not raise it again: what was asked for has been done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # A library's own thread that fails must not print where from: paths, names of files.
        loop.set_exception_handler(_report)
        heeded = [number for number in STOP_SIGNALS if not is_ignored(number)]
        for number in heeded:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in heeded:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if not self.should_exit:
            name = signal.Signals(number).name
            print(f"stopping ({name}): answering what is under way", file=sys.stderr, flush=True)
        self.should_exit = True


def _report(loop: asyncio.AbstractEventLoop, context: dict) -> None:
    error = context.get("exception")
    reason = type(error).__name__ if error else context.get("message")
    print(f"a connection failed: {one_line(reason)}", file=sys.stderr, flush=True)


def serve_until_stopped(app, sockets: Sequence[socket.socket], limits: Limits) -> None:
    """Serves until SIGTERM, SIGHUP or Ctrl-C, then answers what is under way, and returns."""
    # Messages of libraries have what clients sent, and tracebacks; ours have neither.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    config = uvicorn.Config(
        app,
        http=with_limits(limits),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(limits.head_seconds)),
        timeout_graceful_shutdown=round(limits.drain_seconds),
    )
    asyncio.run(_Server(config).serve(sockets=list(sockets)))
