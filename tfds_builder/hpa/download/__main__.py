"""Downloads the JPGs of HPA v18: `python -m tfds_builder.hpa.download --csv=FILE --to=DIR`.

The folder is the `--manual_dir` of the builder configuration `hpav18`. Files that are there are left alone, so that a
download that was stopped, or killed, goes on with the same command.
"""

import argparse
import contextlib
import logging
import re
import signal
import sys
import threading
from pathlib import Path

from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    EXIT_START_AGAIN,
    InputError,
    RunStopped,
)
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download.fetch import Policy
from tfds_builder.hpa.download.folder import AGAIN
from tfds_builder.hpa.download.run import download
from tfds_builder.hpa.files import csv_table

URL = "https://images.proteinatlas.org/{antibody}/{rest}_{channel}.jpg"
_ID = re.compile(r"[0-9]+_[A-Za-z0-9_-]+")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message}; see python -m tfds_builder.hpa.download --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m tfds_builder.hpa.download",
        description="Downloads the per-channel JPGs of Human Protein Atlas fields: DIR/images/<Id>_<channel>.jpg and "
        "DIR/labels.csv, the --manual_dir of --config=hpav18. Goes on where it was stopped.",
        epilog="Images of the Human Protein Atlas (proteinatlas.org) are licensed CC BY-SA: name the source, and pass "
        "on under the same licence. All of v18 is 298,424 files of some 0.2 MB, about 50 GB (estimated from 16 files): "
        "4 hours at 20 requests a second. Exit status: 0 all there; 1 some failed (DIR/missing.csv) or the host is "
        "away; 2 bad input, told in one line; 75 stopped by a signal: start it again.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--csv",
        required=True,
        type=Path,
        metavar="FILE",
        help="columns Id,Target: what to download",
    )
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="where to")
    parser.add_argument(
        "--workers", type=int, default=8, metavar="N", help="files at a time (default 8)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=20.0,
        metavar="R",
        help="requests a second, over all workers (default 20)",
    )
    parser.add_argument(
        "--retries", type=int, default=6, metavar="N", help="further tries of a file (default 6)"
    )
    parser.add_argument(
        "--backoff",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds before the first retry, then doubled (1)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds for one try (default 120)",
    )
    parser.add_argument(
        "--url", default=URL, help=f"with {{antibody}} and {{rest}}, {{channel}} (default {URL})"
    )
    parser.add_argument(
        "--channels",
        default=",".join(CHANNELS),
        metavar="LIST",
        help="with commas between them (default all four)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N fields, by Id")
    parser.add_argument("--verify", action="store_true", help="decode the files that are there too")
    return parser


def _rows(path: Path, folder: Path, limit: int | None) -> list[csv_table.Row]:
    try:
        if path.resolve() == (folder / "labels.csv").resolve():
            raise InputError(
                f"--csv={path} is the file that a download writes; give the list under another name"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"--csv={path} cannot be read ({error.strerror}); give a csv with columns Id,Target"
        ) from None
    rows, faults = csv_table.read(data, str(path), "Id", "Target")
    if faults:
        more = f" ({len(faults)} rows are faulty; this is the first)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")
    for row in rows:
        if not _ID.fullmatch(row.id):
            raise InputError(
                f"{path}: Id {row.id[:80]} is not <antibody number>_<rest> as in v18; take the row out"
            )
    return rows[:limit]


def _check(args: argparse.Namespace) -> list[str]:
    """Refuses flags that make no sense; returns the channels."""
    for flag, value, least, most in (
        ("workers", args.workers, 1, 64),
        ("retries", args.retries, 0, 100),
        ("backoff", args.backoff, 0, 60),
        ("timeout", args.timeout, 0.1, 3600),
        ("limit", 1 if args.limit is None else args.limit, 1, float("inf")),
    ):
        if not least <= value <= most:
            raise InputError(f"--{flag}={value:g} is out of range; give {least:g} to {most:g}")
    if not args.rate > 0:
        raise InputError(
            f"--rate={args.rate:g} is out of range; give requests a second, more than 0"
        )
    names_field = "{id}" in args.url or ("{antibody}" in args.url and "{rest}" in args.url)
    if (
        not re.match(r"https?://[^/{}]+/", args.url)
        or not names_field
        or "{channel}" not in args.url
    ):
        raise InputError(f"--url={args.url} is no address of each file; it looks like {URL}")
    channels = args.channels.split(",")
    if unknown := [name for name in channels if name not in CHANNELS]:
        raise InputError(
            f"--channels has the unknown {unknown[0]!r}; there are {','.join(CHANNELS)}"
        )
    return list(dict.fromkeys(channels))


def main(argv: list[str], stop: threading.Event | None = None) -> int:
    """Runs the command line; returns the exit status. Whoever sets `stop` ends it soon."""
    stop = stop or threading.Event()
    logging.getLogger("urllib3").setLevel(
        logging.ERROR
    )  # its warnings of odd answers would break the bar
    try:
        args = _parser().parse_args(argv)
        channels = _check(args)
        rows = _rows(args.csv, args.to, args.limit)
        tally = download(
            rows,
            args.to,
            url=args.url,
            channels=channels,
            workers=args.workers,
            rate=args.rate,
            policy=Policy(args.retries, args.backoff, args.timeout),
            verify=args.verify,
            stop=stop,
            say=_say,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunStopped as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_RUN_STOPPED
    if tally.done < tally.asked:
        print(f"stopped: {tally}; {AGAIN}", file=sys.stderr)
        return EXIT_START_AGAIN
    print(tally)
    if tally.failed:
        fields = len({outcome.file.id for outcome in tally.failed})
        absent = sum(outcome.missing for outcome in tally.failed)
        print(
            f"error: {len(tally.failed)} files of {fields} fields are not there ({absent} do not exist at the host): "
            f"see {args.to / 'missing.csv'}; labels.csv has the other {len(rows) - fields} fields; start the same "
            "command again to try once more",
            file=sys.stderr,
        )
        return EXIT_RUN_STOPPED
    return EXIT_OK


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads the log any more: no reason to stop
        print(line, file=sys.stderr, flush=True)


def _handle(stop: threading.Event) -> None:
    """SIGTERM and Ctrl-C end the download soon; a second one, at once."""

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)


if __name__ == "__main__":
    asked_to_stop = threading.Event()
    _handle(asked_to_stop)
    sys.exit(main(sys.argv[1:], asked_to_stop))
