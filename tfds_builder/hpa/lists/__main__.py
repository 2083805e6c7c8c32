"""Fetches a public list: `python -m tfds_builder.hpa.lists --list=NAME --to=DIR`.

`subcell` is read by the builder's `--split=subcell`, `s_biad2443` by its `--config=s_biad2443`.
"""

import argparse
import re
import sys

from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import exit_on_signals, run_program
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    InputError,
    RunStopped,
    one_line,
)
from hpa_jax.http_fetch import Policy
from tfds_builder.hpa.lists.catalog import PUBLIC_LISTS, PublicList
from tfds_builder.hpa.lists.fetch import fetch

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"https?://[^/{}]+/?")


def _parser() -> argparse.ArgumentParser:
    contents = "; ".join(f"{name}: {known.note}" for name, known in PUBLIC_LISTS.items())
    parser = Parser(
        prog="python -m tfds_builder.hpa.lists",
        description="Fetches the files of a public list that are not in DIR, each only with a "
        "SHA-256 that is known or given.",
        epilog=f"{contents}. They are their publishers': see docs/public_splits.md. Exit status: 0 "
        "all there; 1 the host does not give a file; 2 bad input, or a digest is missing or "
        "another one, and nothing was written.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--list", required=True, choices=PUBLIC_LISTS, help="which")
    add("--to", required=True, type=path_flag("--to"), metavar="DIR", help="where to")
    add(
        "--sha256",
        action="append",
        default=[],
        metavar="FILE=HEX",
        help="the digest of a file, where none is known here; once for each",
    )
    add("--url", metavar="URL", help="of the folder with the files (default: its publisher's)")
    add("--retries", type=int, default=6, metavar="N", help="further tries of a file (6)")
    add(
        "--backoff", type=float, default=1.0, metavar="S", help="seconds before the first retry (1)"
    )
    return parser


def _digests(given: list[str], public: PublicList) -> dict[str, str]:
    """The digests of `--sha256`, by the names of files."""
    names = [file.name for file in public.files]
    found = {}
    for text in given:
        name, _, digest = text.partition("=")
        digest = digest.lower()
        if name not in names or not _SHA256.fullmatch(digest):
            raise InputError(
                f"--sha256={text[:120]} is no FILE=HEX with 64 hex digits and one of the files "
                f"{', '.join(names)}; put it right"
            )
        if found.setdefault(name, digest) != digest:
            raise InputError(f"--sha256 gives two digests of {name}; leave one of them out")
    return found


def main(argv: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    try:
        args = _parser().parse_args(argv)
        public = PUBLIC_LISTS[args.list]
        url = args.url or public.url
        if not _HOST.match(url):
            raise InputError(f"--url={url} is no address; it looks like {public.url}")
        if not 0 <= args.retries <= 100 or not 0 <= args.backoff <= 60:
            raise InputError("--retries or --backoff is out of range; give 0 to 100, and 0 to 60")
        policy = Policy(args.retries, args.backoff, min_rate=1000.0, max_bytes=public.max_bytes)
        lines = fetch(
            public,
            args.to,
            url=url,
            digests=_digests(args.sha256, public),
            policy=policy,
            log=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunStopped as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_RUN_STOPPED
    print("\n".join(lines))
    return EXIT_OK


if __name__ == "__main__":
    exit_on_signals()
    run_program(main)
