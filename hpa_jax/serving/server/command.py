"""python -m hpa_jax.serving serve EXPORT: a net behind HTTP, for people and for programs.

It answers POST /v1/predict with the scores of the images that it is sent, and / with a page. Only
this machine can ask, unless --host and --token-file are given.
"""

import argparse
import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from hpa_jax.environment.cores import available_cores
from hpa_jax.environment.paths import path_flag
from hpa_jax.errors import EXIT_OK, InputError
from hpa_jax.folders.export_manifest import MANIFEST, ONNX, check_digests, read_file
from hpa_jax.serving import artifact
from hpa_jax.serving.kinds import LABELS
from hpa_jax.serving.predict.arguments import Parser
from hpa_jax.serving.served import default_batch
from hpa_jax.serving.server import access, batching, listener
from hpa_jax.serving.server.app import App
from hpa_jax.serving.server.limits import MIB, Limits
from hpa_jax.serving.server.metrics import Metrics
from hpa_jax.serving.server.routes import Routes
from hpa_jax.serving.server.scoring import Scorer

_PORT = 8000


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal; returns the exit status.

    Raises:
      InputError: a wrong call, or an export that cannot be served.
    """
    flags = parser().parse_args(arguments)
    serve(flags, limits_of(flags))
    return EXIT_OK


def limits_of(flags: argparse.Namespace) -> Limits:
    """The limits that the user has set, and those that follow from them."""
    body = flags.max_body * MIB
    return Limits(body=body, bodies=4 * body, unpacked=8 * body, queue=flags.queue)


def serve(flags: argparse.Namespace, limits: Limits) -> None:
    """Serves until a signal.

    Args:
      flags: of the command line, parsed.
      limits: of the server.

    Raises:
      InputError: an export that cannot be served, or no address to serve it at.
    """
    token = access.read_token(flags.token_file) if flags.token_file else None
    rules = access.make_access(flags.host, token, flags.allow_host)
    sockets = [listener.listen(flags.host, flags.port, "--port")]
    if flags.metrics_port is not None:
        sockets.append(listener.listen(flags.host, flags.metrics_port, "--metrics-port"))
    threads = flags.threads or available_cores()
    # What is told is what was loaded, also where the folder is changed meanwhile.
    digest = flags.expect_sha256 or _digest(flags.export)
    if ONNX not in check_digests(flags.export, expect_sha256=digest):
        raise InputError(
            f"{flags.export} has no {ONNX}, which a server runs: it was exported with "
            "--config.export.onnx=none, or by version 0.2 or before; export the run again"
        )
    net = artifact.load(
        flags.export, "onnx", threads=threads, expect_sha256=digest, kinds=(LABELS,)
    )
    net.check_golden()
    size = net.description["input"]["shape"][1]
    max_batch = flags.max_batch or default_batch(size)
    # The threads that read are the parallelism: OpenCV's own would compete for the same cores.
    cv2.setNumThreads(1)
    app = make_app(net, rules, limits, sockets, max_batch, threads, digest)
    for taken, flag in zip(sockets, ("--port", "--metrics-port"), strict=False):
        listener.open_to_clients(taken, flag)

    def announce() -> None:
        print(f"serving {flags.export} at http://{listener.address_of(sockets[0])}", flush=True)
        if len(sockets) > 1:
            print(f"metrics at http://{listener.address_of(sockets[1])}/metrics", flush=True)
        print(f"manifest SHA-256 {digest}; {size} px, images at once: {max_batch}", flush=True)

    listener.serve_until_stopped(app, sockets, limits, announce)
    print("stopped", file=sys.stderr, flush=True)


def make_app(
    net: batching.Net,
    rules: access.Access,
    limits: Limits,
    sockets: Sequence,
    max_batch: int,
    threads: int,
    digest: str,
) -> App:
    """The application over a net.

    Args:
      net: that scores.
      rules: who may ask.
      limits: of the server.
      sockets: of the server itself and, if there are two, of the metrics.
      max_batch: images a call of the net.
      threads: that read images.
      digest: of the export's manifest.
    """
    metrics = Metrics()
    batcher = batching.Batcher(net, max_batch, metrics)
    scorer = Scorer(net, batcher, threads, limits)
    model = {
        **net.description,
        "export": {"manifest_sha256": digest, "outputs": list(net.outputs)},
        "limits": {
            "body_bytes": limits.body,
            "images": limits.images,
            "files": limits.members,
        },
    }
    routes = Routes(model, page(net.description), net.outputs, scorer, batcher, metrics, limits)
    running: list[asyncio.Task] = []

    def start() -> None:
        running.append(asyncio.get_running_loop().create_task(batcher.run()))

    def stop() -> None:
        running.pop().cancel()
        scorer.close()
        batcher.close()

    port = sockets[1].getsockname()[1] if len(sockets) > 1 else None
    return App(routes.main(), routes.metrics_alone(), port, rules, metrics, start, stop)


def _digest(folder: Path) -> str:
    """SHA-256 of the manifest, which has those of all other files."""
    try:
        return hashlib.sha256(read_file(folder / MANIFEST)).hexdigest()
    except OSError:
        # Loading has the words for it.
        return ""


def page(description: dict) -> str:
    """The page at /."""
    from hpa_jax.serving.page.render import render

    return render(description)


def parser() -> Parser:
    """The flags."""
    limits = Limits()
    made = Parser(
        prog="python -m hpa_jax.serving serve",
        description=__doc__,
        epilog="SIGTERM and Ctrl-C: what is under way is answered, then it ends with status 0. "
        "Exit status 2: a wrong call or bad input, in one line. docs/server.md has the rest.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("export", type=path_flag("EXPORT", buckets=True), metavar="EXPORT")
    add(
        "--port", type=_port("--port"), default=_PORT, metavar="N", help=f"0: any (default {_PORT})"
    )
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="to listen at: 0.0.0.0 for other machines too, which takes a token (default "
        "%(default)s)",
    )
    add(
        "--token-file",
        type=path_flag("--token-file"),
        metavar="FILE",
        help="its only line is what clients have to send: Authorization: Bearer TOKEN",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients know this server, such as a reverse proxy's; may be repeated",
    )
    add(
        "--max-batch",
        type=_count("--max-batch"),
        metavar="N",
        help="images that the net works on at once (default: 8 up to 128 px, above 1)",
    )
    add(
        "--queue",
        type=_count("--queue"),
        default=limits.queue,
        metavar="N",
        help="requests that are worked on or wait; more are told to come back (default "
        "%(default)s)",
    )
    add(
        "--threads",
        type=_count("--threads"),
        metavar="N",
        help="of the net, and to read (default: the cores that this process may use)",
    )
    add(
        "--max-body",
        type=_count("--max-body"),
        default=limits.body // MIB,
        metavar="MIB",
        help="of one request (default %(default)s MiB)",
    )
    add(
        "--expect-sha256",
        type=_sha256,
        metavar="HEX",
        help=f"of the export's {MANIFEST}: another export is refused",
    )
    add(
        "--metrics-port",
        type=_port("--metrics-port"),
        metavar="N",
        help="for Prometheus: /metrics, at the same address (default: none)",
    )
    return made


def _port(flag: str) -> Callable[[str], int]:
    return _number(flag, 0, 65535, "a port")


def _count(flag: str) -> Callable[[str], int]:
    return _number(flag, 1, 4096, "a number")


def _number(flag: str, low: int, high: int, what: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and low <= int(text) <= high
        if not is_number:
            raise InputError(f"{flag}={text}: give {what} from {low} to {high}")
        return int(text)

    return parse


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise InputError(f"--expect-sha256={text}: give 64 hexadecimal digits")
    return text.lower()
