"""What the command lines of the benchmarks share: the parser, and how a program ends."""

import argparse
import sys
from collections.abc import Callable

import checkout  # noqa: F401

from hpa_jax.environment.paths import path_flag
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, EXIT_RUN_STOPPED, InputError, RunStopped


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of a benchmark, with the flag `--json`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=path_flag("--json"), metavar="FILE", help="write the rows there too"
    )
    return parser


def run(work: Callable[[], None]) -> int:
    """Calls `work()`; returns the exit status, with one line on stderr for an expected error."""
    try:
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunStopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        return EXIT_RUN_STOPPED
    return EXIT_OK
