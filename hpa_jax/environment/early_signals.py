"""Signals that come while a program is still being imported.

Imports take up to seconds on a busy machine or a slow file system, and a scheduler may stop a run
right then. So this is installed before them, and needs nothing but the standard library's smallest.
"""

import os
import signal
from collections.abc import Callable, Sequence

from hpa_jax.errors import EXIT_START_AGAIN

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""What asks a program to stop: a scheduler, a terminal that is closed, Ctrl-C."""

# What was there before, to be put back.
_replaced: dict[int, Callable | int | None] = {}


def install_early(arguments: Sequence[str]) -> None:
    """Has signals end this program in one line from here on, as they do once it has begun.

    Args:
      arguments: of the command line. They are looked at for `--mode` alone, and not checked.
    """
    stop = stop_training if mode_of(arguments) in ("train", "sweep") else _stop
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            _replaced[number] = signal.signal(number, stop)


def handlers_of_others() -> dict[int, Callable | int | None]:
    """The handler of each of STOP_SIGNALS, without those of `install_early`."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in handlers.items():
        if handler in (stop_training, _stop):
            handlers[number] = _replaced[number]
    return handlers


def stop_training(number: int, frame: object) -> None:
    """Handler of a training run that has not begun: status 75."""
    name = signal.Signals(number).name
    line = f"stopped by {name} before there was anything to save; start it again\n"
    _end(1, line, EXIT_START_AGAIN)


def _stop(number: int, frame: object) -> None:
    name = signal.Signals(number).name
    how = " (Ctrl-C)" if number == signal.SIGINT else ""
    _end(2, f"stopped by {name}{how}\n", 128 + number)


def _end(descriptor: int, line: str, status: int) -> None:
    try:
        os.write(descriptor, line.encode())
    except OSError:
        # Nobody reads it.
        pass
    # SystemExit would be swallowed where the signal falls into a callback of the interpreter.
    os._exit(status)


def mode_of(arguments: Sequence[str]) -> str:
    """The value of `--mode` in a command line that nobody has checked."""
    mode = "train"
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name not in ("--mode", "-mode"):
            continue
        if not equals:
            value = "".join(arguments[place + 1 : place + 2])
        mode = value
    return mode
