"""Downloads the JPGs of HPA v18: `python -m tfds_builder.hpa.download --csv=FILE --to=DIR`.

The folder is the `--manual_dir` of the builder configuration `hpav18`. With the table of S-BIAD2443
as the list, and its folder, it is that of `s_biad2443`. Files that are there are
left alone, so a download that was stopped, or killed, resumes with the same command.
"""

import argparse
import contextlib
import logging
import math
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from hpa_jax.environment.causes import advice
from hpa_jax.environment.early_signals import STOP_SIGNALS
from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import is_ignored, run_program
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    EXIT_START_AGAIN,
    InputError,
    RunStopped,
    one_line,
)
from hpa_jax.http_fetch import Policy
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download.folder import RESUME
from tfds_builder.hpa.download.run import Tally, download
from tfds_builder.hpa.files import csv_rows, csv_table, s_biad2443

URL = "https://images.proteinatlas.org/{antibody}/{rest}_{channel}.jpg"
MAX_BYTES = 64 << 20  # of a file; the largest JPG of the Atlas that was seen has 0.6 MB
_ID = re.compile(r"[0-9]+_[A-Za-z0-9_-]+")
_HOST = re.compile(r"https?://[^/{}]+/")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tfds_builder.hpa.download",
        description="Downloads the per-channel JPGs of Human Protein Atlas images: "
        "DIR/images/<Id>_<channel>.jpg and DIR/labels.csv, the --manual_dir of --config=hpav18. "
        "Resumes where it was stopped.",
        epilog="Images of the Human Protein Atlas (proteinatlas.org) are licensed CC BY-SA: name "
        "the source, and pass on under the same licence. All of v18 is 298,424 files of some "
        "0.2 MB, about 50 GB (estimated from 16 files): 4 hours at 20 requests a second. Exit "
        "status: 0 all there; 1 some failed (DIR/missing.csv) or the host is away; 2 bad input, "
        "one line says which; 75 stopped by a signal: start it again.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    all_channels = ",".join(CHANNELS)
    add(
        "--csv",
        required=True,
        type=path_flag("--csv"),
        metavar="FILE",
        help="what: columns Id,Target; or Master_fovHPA_512.csv of S-BIAD2443, of which the images "
        "of the Atlas's website are fetched",
    )
    add("--to", required=True, type=path_flag("--to"), metavar="DIR", help="where to")
    add("--workers", type=int, default=8, metavar="N", help="files at a time (default 8)")
    add("--rate", type=float, default=20.0, metavar="R", help="requests a second in all (20)")
    add("--retries", type=int, default=6, metavar="N", help="further tries of a file (6)")
    add(
        "--backoff", type=float, default=1.0, metavar="S", help="seconds before the first retry (1)"
    )
    add("--timeout", type=float, default=120.0, metavar="S", help="seconds for one try (120)")
    add("--url", default=URL, help=f"with {{antibody}} and {{rest}}, {{channel}} (default {URL})")
    add("--channels", default=all_channels, metavar="LIST", help=f"default {all_channels}")
    add("--limit", type=int, metavar="N", help="only the first N images, by Id")
    add("--verify", action="store_true", help="decode the files that are there too")
    return parser


def _rows(path: Path, folder: Path, limit: int | None) -> list[csv_rows.Row]:
    try:
        if path.resolve() == (folder / "labels.csv").resolve():
            raise InputError(
                f"--csv={path} is the file that a download writes; give the list under another name"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"--csv={path} cannot be read ({one_line(error)}); {advice(error)}"
        ) from None
    if s_biad2443.is_master(data):
        return s_biad2443.website_rows(data, str(path))[:limit]
    rows, faults = csv_table.read(data, str(path))
    if len(faults) > 1:
        raise InputError(f"{faults[0]} ({len(faults)} rows are faulty; this is the first)")
    if faults:
        raise InputError(str(faults[0]))
    for row in rows:
        id = row.original_id or row.id
        if not _ID.fullmatch(id):
            raise InputError(
                f"{path}: Id {id[:80]} is not <antibody number>_<rest> as in v18; take the row out"
            )
    return rows[:limit]


def _check_range(flag: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"--{flag}={value:g} is out of range; give {least:g} to {most:g}")


def _check(args: argparse.Namespace) -> None:
    """Refuses flags that make no sense."""
    _check_range("workers", args.workers, 1, 64)
    _check_range("retries", args.retries, 0, 100)
    _check_range("backoff", args.backoff, 0, 60)
    _check_range("timeout", args.timeout, 0.1, 3600)
    if args.limit is not None:
        _check_range("limit", args.limit, 1, math.inf)
    # A rate that is not a number is not above 0 either.
    if not args.rate > 0:
        raise InputError(
            f"--rate={args.rate:g} is out of range; give requests a second, more than 0"
        )
    names_image = "{id}" in args.url or ("{antibody}" in args.url and "{rest}" in args.url)
    names_file = names_image and "{channel}" in args.url
    if not (names_file and _HOST.match(args.url)):
        raise InputError(f"--url={args.url} is no address of each file; it looks like {URL}")


def _channels(text: str) -> list[str]:
    """The channels of a list with commas, each once."""
    channels = list(dict.fromkeys(text.split(",")))
    for name in channels:
        if name not in CHANNELS:
            raise InputError(f"--channels has the unknown {name!r}; there are {','.join(CHANNELS)}")
    return channels


def main(argv: list[str], stop: threading.Event | None = None) -> int:
    """Runs the command line; returns the exit status. Whoever sets `stop` ends it soon."""
    # urllib3's warnings of odd answers would break the bar.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        args = _parser().parse_args(argv)
        _check(args)
        channels = _channels(args.channels)
        rows = _rows(args.csv, args.to, args.limit)
        tally = download(
            rows,
            args.to,
            url=args.url,
            channels=channels,
            workers=args.workers,
            rate=args.rate,
            policy=Policy(args.retries, args.backoff, args.timeout, max_bytes=MAX_BYTES),
            verify=args.verify,
            stop=stop or threading.Event(),
            log=_log,
        )
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunStopped as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_RUN_STOPPED
    if tally.done < tally.asked:
        print(f"stopped: {tally}; {RESUME}", file=sys.stderr)
        return EXIT_START_AGAIN
    print(tally)
    if tally.failed:
        _report_failures(tally, rows, args.to)
        return EXIT_RUN_STOPPED
    return EXIT_OK


def _report_failures(tally: Tally, rows: Sequence[csv_rows.Row], folder: Path) -> None:
    images = len({outcome.file.id for outcome in tally.failed})
    missing = sum(outcome.missing for outcome in tally.failed)
    print(
        f"error: {len(tally.failed)} files of {images} images are not there "
        f"({missing} do not exist at the host): see {folder / 'missing.csv'}; "
        f"labels.csv has the other {len(rows) - images} images; "
        "start the same command again to try once more",
        file=sys.stderr,
    )


def _log(line: str) -> None:
    # A log that nobody reads any more is no reason to stop.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _handle_signals(stop: threading.Event) -> None:
    """SIGTERM, SIGHUP and Ctrl-C end the download soon; a second one, at once."""

    def request_stop(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in STOP_SIGNALS:
        if number == signal.SIGINT or not is_ignored(number):
            signal.signal(number, request_stop)


if __name__ == "__main__":
    stop_requested = threading.Event()
    _handle_signals(stop_requested)
    run_program(lambda arguments: main(arguments, stop_requested))
