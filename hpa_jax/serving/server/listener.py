"""Sockets, signals and the end: a uvicorn that stops with status 0 once it has answered."""

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from hpa_jax.environment.early_signals import STOP_SIGNALS
from hpa_jax.environment.program import is_ignored
from hpa_jax.errors import InputError, one_line
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.protocol import with_limits

BACKLOG = 256
"""Connections that may wait to be accepted."""

# Between two lines of the same words.
_SILENCE = 60


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
    except (OSError, UnicodeError) as error:
        # UnicodeError: a name that no name server could be asked for.
        raise _refused(host, port, flag, error) from None
    return taken


def open_to_clients(taken: socket.socket, flag: str) -> None:
    """Lets clients connect; they wait until they are accepted.

    Raises:
      InputError: another program has come first, since the address was taken.
    """
    try:
        taken.listen(BACKLOG)
    except OSError as error:
        host, port = taken.getsockname()[:2]
        raise _refused(host, port, flag, error) from None


def _refused(host: str, port: int, flag: str, error: Exception) -> InputError:
    return InputError(
        f"cannot listen at {host}, port {port} ({one_line(error)}); choose another --host or {flag}"
    )


def address_of(taken: socket.socket) -> str:
    """Host and port as in a URL."""
    host, port = taken.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """Stops at a signal, and does not raise it again: what was asked for has been done.

    Args:
      config: of uvicorn.
      announce: called when connections are accepted and signals are heeded.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]):
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts connections from here on."""
        await super().startup(sockets)
        self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # A library's own thread that fails must not print where from: paths, names of files.
        loop.set_exception_handler(_Reporter().report)
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
            # From here on connections end in every way: asyncio even tries to accept at a socket
            # that is closed, where it had no files left before.
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            name = signal.Signals(number).name
            print(f"stopping ({name}): answering what is under way", file=sys.stderr, flush=True)
        self.should_exit = True


class _Reporter:
    """Prints what fails outside of any request, each reason once a minute: clients cause some."""

    def __init__(self):
        self._next: dict[str, float] = {}

    def report(self, loop: asyncio.AbstractEventLoop, context: dict) -> None:
        """A handler of asyncio."""
        error = context.get("exception")
        reason = type(error).__name__ if error else context.get("message")
        text = f"a connection failed: {one_line(reason)}"
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            text = (
                f"a connection has to wait: {one_line(error)}; give the server more (ulimit -n), "
                "or its clients fewer connections"
            )
        now = loop.time()
        if now >= self._next.get(text, now):
            self._next[text] = now + _SILENCE
            print(text, file=sys.stderr, flush=True)


def allow_files(count: int) -> None:
    """Raises this process's limit of open files, where it may be raised and is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def serve_until_stopped(
    app, sockets: Sequence[socket.socket], limits: Limits, announce: Callable[[], None]
) -> None:
    """Serves until SIGTERM, SIGHUP or Ctrl-C, then answers what is under way, and returns.

    Args:
      app: of ASGI.
      sockets: that are open to clients.
      limits: of the server.
      announce: called when connections are accepted.
    """
    # Those that are refused linger for a moment.
    allow_files(4 * limits.connections)
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
    asyncio.run(_Server(config, announce).serve(sockets=list(sockets)))
