"""`python -m support.fake_gcs`, with tests/ in PYTHONPATH."""

import argparse
import contextlib
import json
import sys
import threading

from support.fake_gcs.server import FakeGcs


def main() -> int:
    parser = argparse.ArgumentParser(prog="fake_gcs", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--root", help="folder in which the objects lie as files")
    parser.add_argument("--bucket", action="append", default=[], help="that there is; repeatable")
    parser.add_argument("--seed", type=int, default=0, help="of the random delays")
    parser.add_argument("--anonymous", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--faults", type=json.loads, default={}, help="JSON, as for /_fake/faults")
    parser.add_argument("--until_stdin_ends", action="store_true")
    flags = parser.parse_args()
    gcs = FakeGcs(flags.bucket, flags.root, flags.port, flags.anonymous, flags.seed)
    gcs.faults.change(flags.faults)
    with gcs:
        print(gcs.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            if flags.until_stdin_ends:
                sys.stdin.read()
            else:
                threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
