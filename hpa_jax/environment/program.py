"""How every program of this project begins and ends, whatever the shell it was started from."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from hpa_jax.environment.causes import is_input, reason_and_advice
from hpa_jax.environment.streams import guard_streams, write_now
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_RUN_STOPPED, InputError


def run_program(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs `main` with the arguments of the command line and exits with its status.

    Ctrl-C ends it with one line and status 130, an error of the user's or of the file system with
    one line too; signals are `main`'s own matter.
    """
    guard_streams()
    try:
        os.getcwd()
    except OSError:
        print(
            "error: the current folder is gone; change into one that exists (cd), "
            "and start again there",
            file=sys.stderr,
        )
        sys.exit(EXIT_BAD_INPUT)
    try:
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("stopped by SIGINT (Ctrl-C)", file=sys.stderr)
        status = 128 + signal.SIGINT
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = EXIT_BAD_INPUT
    except OSError as error:
        # Nothing that a file system answers is a defect of this program.
        status = EXIT_BAD_INPUT if is_input(error) else EXIT_RUN_STOPPED
        kind = "error" if is_input(error) else "stopped"
        print(f"{kind}: {reason_and_advice(error)}", file=sys.stderr)
    # The interpreter's end is not to be interrupted: it would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def is_ignored(number: int) -> bool:
    """Whether whoever started this program wants the signal ignored, as nohup does for SIGHUP."""
    return signal.getsignal(number) == signal.SIG_IGN


def exit_on_signals() -> None:
    """SIGTERM and SIGHUP end this program as Ctrl-C does: it removes what it has not finished.

    With status 143 or 129 (128 + the signal's number) and one line on stderr.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if not is_ignored(number):
            signal.signal(number, _exit)


def _exit(number: int, frame: object) -> NoReturn:
    # A second signal is not to interrupt the removing.
    signal.signal(number, signal.SIG_IGN)
    write_now(2, f"stopped by {signal.Signals(number).name}\n")
    raise SystemExit(128 + number)
