"""A server under load, beside the same net called in this process.

    python benchmarks/serve_load.py EXPORT... [--images=64] [--clients=1,8,50] [--json=FILE]

For each export a server is started as users start it, and asked for scores of images of four PNG of
512 px, by so many clients at once. Prints requests a second, the median and the 99th percentile of
the time to an answer, and CPU milliseconds of the server for a request. The peer of a row is what
the server does, without a server: the same files read, prepared and scored one after the other in
this process by onnxruntime.
"""

import os
import re
import statistics
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import requests
from command_line import make_parser, run
from results import cpu_name, make_row, with_cores, write_rows

from hpa_jax.errors import InputError
from hpa_jax.images.field import read_channels
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.rule import any_image
from hpa_jax.labels import CHANNELS
from hpa_jax.serving import load
from hpa_jax.serving.server.archive import Parts

SIDE = 512
_WARM_UP = 4


def draw_files(number: int) -> dict[str, bytes]:
    """PNG of an image's channels: smooth, as fluorescence is, with noise."""
    values = np.random.default_rng(number)
    files = {}
    for channel in CHANNELS:
        blobs = cv2.GaussianBlur(values.random((SIDE, SIDE)), (0, 0), 12)
        blobs = (blobs - blobs.min()) / (blobs.max() - blobs.min())
        noise = values.normal(0, 2, (SIDE, SIDE))
        image = np.clip(blobs**2 * 255 + noise, 0, 255).astype(np.uint8)
        _, encoded = cv2.imencode(".png", image)
        files[channel] = encoded.tobytes()
    return files


def in_process(export: Path, images: Sequence[dict[str, bytes]]) -> float:
    """CPU milliseconds for an image, without a server."""
    net = load(export, "onnx", threads=1)
    preparation = Preparation.from_description(net.description)

    def score(files: dict[str, bytes]) -> None:
        pixels, _ = read_channels(Parts(files), CHANNELS, any_image(), ())
        net.run(preparation.prepare(pixels)[None], ("probabilities",))

    for files in images[:_WARM_UP]:
        score(files)
    begun = time.process_time()
    for files in images:
        score(files)
    return 1000 * (time.process_time() - begun) / len(images)


class Server:
    """`serve` in a process of its own; a context."""

    def __init__(self, export: Path):
        command = [sys.executable, "-m", "hpa_jax.serving", "serve", str(export)]
        flags = ["--port=0", "--threads=1", "--queue=256"]
        self._begun = time.perf_counter()
        self._process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
        found = re.search(r"http://\S+", self._process.stdout.readline())
        if not found:
            raise InputError(f"{export}: the server did not start")
        self.url = found[0]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def age(self) -> float:
        """Seconds since it was started."""
        return time.perf_counter() - self._begun

    def cpu_seconds(self) -> float:
        """That it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """MB that were resident at most."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def ask_all(server: Server, images: Sequence[dict[str, bytes]], clients: int) -> list[float]:
    """Seconds to each answer, asked by so many clients."""
    local = threading.local()

    def ask(files: dict[str, bytes]) -> float:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        begun = time.perf_counter()
        answer = local.session.post(f"{server.url}/v1/predict", files=files, timeout=600)
        answer.raise_for_status()
        return time.perf_counter() - begun

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, images))


def measure(args: Namespace, export: Path) -> list[dict]:
    """The rows of an export."""
    images = [draw_files(number) for number in range(args.images)]
    peer = in_process(export, images)
    rows = []
    with Server(export) as server:
        ask_all(server, images[:1], 1)
        first = server.age()
        print(f"{export}: first answer {first:.1f} s after the start")
        ask_all(server, images[:_WARM_UP], 1)
        for clients in args.clients:
            before = server.cpu_seconds()
            begun = time.perf_counter()
            seconds = sorted(ask_all(server, images, clients))
            wall = time.perf_counter() - begun
            cpu = 1000 * (server.cpu_seconds() - before) / len(images)
            median = 1000 * statistics.median(seconds)
            last = 1000 * seconds[int(0.99 * (len(seconds) - 1))]
            row = make_row(
                f"{export.name}, {clients} clients",
                cpu,
                "CPU ms a request",
                peer="in this process, no server",
                peer_value=peer,
                device=with_cores(cpu_name()),
                requests_per_second=len(images) / wall,
                p50_ms=median,
                p99_ms=last,
                first_answer_s=first,
                memory_mb=server.memory(),
            )
            print(
                f"  {clients} clients: {len(images) / wall:.1f} requests/s, p50 {median:.0f} ms, "
                f"p99 {last:.0f} ms, CPU {cpu:.1f} ms a request (in process {peer:.1f}), "
                f"{server.memory()} MB"
            )
            rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("exports", nargs="+", type=Path, metavar="EXPORT")
    parser.add_argument("--images", type=int, default=64, help="that are asked for, each time")
    parser.add_argument(
        "--clients",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[1, 8, 50],
        help="at once",
    )
    args = parser.parse_args(argv)

    def work() -> None:
        rows = []
        for export in args.exports:
            rows += measure(args, export)
        write_rows(args.json, rows)

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
