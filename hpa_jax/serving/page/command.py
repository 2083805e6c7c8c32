"""Makes a page that runs a net in a browser, of an export.

    python -m hpa_jax.serving page EXPORT OUT.html

One file: it works from disk, with no server and no request. Exit status: 0 written; 2 bad input,
reported in one line.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from hpa_jax.environment.flags import Parser
from hpa_jax.environment.paths import path_flag
from hpa_jax.errors import EXIT_OK, InputError, one_line
from hpa_jax.files import check_writable, write_atomically
from hpa_jax.folders.export_manifest import DESCRIPTION, ONNX, check_digests, read_file
from hpa_jax.folders.results import GENERATOR
from hpa_jax.serving.decision import check_labels
from hpa_jax.serving.onnx.screen import check_self_contained
from hpa_jax.serving.page.render import Net, render
from hpa_jax.serving.page.runtime import PACKAGE, load_runtime
from hpa_jax.serving.page.weights import WEIGHTS, halve

_HEAD_BYTES = 4096
_MAX_MODEL = 300 * 10**6
"""Bytes: as base64, more would be a longer text than a browser can hold."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = _parser().parse_args(arguments)
    _check_place(flags.out)
    description, model = _read_export(flags.export)
    if flags.weights == "fp16":
        model = halve(model)
    if len(model) > _MAX_MODEL:
        raise InputError(
            f"{flags.export / ONNX}: {len(model) // 10**6} MB are too many for a page; "
            "try --weights=fp16, or serve the net: python -m hpa_jax.serving serve"
        )
    page = render(description, "file", net=Net(load_runtime(flags.runtime), model))
    _write(flags.out, page)
    megabytes = os.path.getsize(flags.out) / 10**6
    print(
        f"wrote {flags.out}: {megabytes:.0f} MB, one file that needs no server and makes no "
        "request; open it in a browser"
    )
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hpa_jax.serving page",
        description="Makes one HTML file that runs a net in a browser: drop a field's images, see "
        "its labels. It needs no server and makes no request.",
        epilog="Exit status: 0 written; 2 bad input, reported in one line.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("export", metavar="EXPORT", type=path_flag(""), help="folder of an export, with model.onnx")
    add("out", metavar="OUT.html", type=path_flag(""), help="the page")
    add(
        "--runtime",
        metavar="FILE.tgz",
        type=path_flag("--runtime"),
        help=f"{PACKAGE} as npm packs it (default: npm fetches it once, into the cache)",
    )
    add(
        "--weights",
        choices=WEIGHTS,
        default=WEIGHTS[0],
        help="fp16: parameters in half as many bytes; scores differ by less than 0.002 "
        "(default %(default)s)",
    )
    return parser


def _read_export(folder: Path) -> tuple[dict, bytes]:
    """model.json and model.onnx, each of the bytes that the manifest has a digest of."""
    digests = check_digests(folder)
    if ONNX not in digests:
        raise InputError(
            f"{folder} has no {ONNX}, which a page runs: export the run again, "
            "python -m hpa_jax.main --mode=export --workdir=RUN"
        )
    contents = {}
    for name in (DESCRIPTION, ONNX):
        try:
            content = read_file(folder / name)
        except OSError as error:
            raise InputError(f"{folder / name} cannot be read ({one_line(error)})") from None
        if hashlib.sha256(content).hexdigest() != digests[name]:
            raise InputError(f"{folder / name} changes while it is read; copy the export elsewhere")
        contents[name] = content
    # A browser would look for what lies outside of it, beside the page.
    check_self_contained(contents[ONNX], str(folder / ONNX))
    description = json.loads(contents[DESCRIPTION])
    check_labels(description, folder, "a page shows labels")
    return description, contents[ONNX]


def _check_place(out: Path) -> None:
    """Refuses a place where no page can be put, before the seconds of work."""
    check_writable(out.parent, "choose another place")
    if not os.path.lexists(out):
        return
    advice = "choose another name"
    if out.is_symlink() or not out.is_file():
        raise InputError(f"{out} is there and is no file; {advice}")
    try:
        with open(out, encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{out} cannot be read ({one_line(error)}); {advice}") from None
    if GENERATOR not in head:
        raise InputError(
            f"{out} is there and is not written over: this program did not write it; {advice}"
        )


def _write(out: Path, page: str) -> None:
    try:
        write_atomically(out, page)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({one_line(error)}); choose another place"
        ) from None
