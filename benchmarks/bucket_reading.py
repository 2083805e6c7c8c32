"""Images a second that training reads from a bucket, beside a local disk and beside tf.data.

    python benchmarks/bucket_reading.py [--images=N] [--rounds=N] [--json=FILE]

The bucket is the fake one of the tests, in a process of its own, which waits before each answer
and sends no faster than so many bytes a second and connection. What is read are images in Kaggle's
layout (default: $HPA_SAMPLE_DIR/kaggle_512) in their eight symmetries, built with --codec=zstd.
Two epochs in shuffled order, with two threads that decode: nothing is cached in the first, and all
of it in the second, on the local disk. The bound is connections / (latency + size / rate).

tf.data reads the same records through TensorFlow's own `gs://`, in 32 shards, whose addresses are
built in: a tunnel that speaks TLS leads them to the fake bucket. Ours is measured through that
tunnel once more, for a fair comparison. tf.data interleaves as many shards as ours has connections,
shuffles in a buffer of 256, and decodes with our decoder; it has no cache.

Rounds go through everything in turn, and the table has medians. CPU ms are of the process that
reads, all its threads; the bucket and the tunnel work on the same cores.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bucket_reading_sides import DATASET
from checkout import BENCHMARKS
from command_line import make_parser, run
from kaggle_layout import read_image, red_files, write_image
from results import make_row, write_rows
from tls_tunnel import CERTIFICATE

from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.records import Records
from hpa_jax.data.tfrecord import CRC, FRAME_HEAD, masked_crc
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS

sys.path.append(str(BENCHMARKS.parent / "tests"))

from support.fake_gcs import FakeGcsProcess

BUCKET = "training-data"
SYMMETRIES = 8
TF_SHARDS = 32
TF_CONNECTIONS = 32


def write_symmetries(manual_dir: Path, folder: Path, count: int) -> None:
    """Writes `count` images in Kaggle's layout: those of a folder, turned and mirrored."""
    reds = red_files(manual_dir)
    if not 0 < count <= len(reds) * SYMMETRIES:
        raise InputError(f"--images={count}: {manual_dir} makes 1 to {len(reds) * SYMMETRIES}")
    (folder / "train").mkdir(parents=True)
    lines = ["Id,Target\n"]
    for number in range(count):
        turns, source = divmod(number, len(reds))
        image = np.rot90(read_image(reds[source]), turns % 4)
        if turns >= 4:
            image = image[:, ::-1]
        write_image(folder, f"image{number:05d}", np.ascontiguousarray(image))
        lines.append(f"image{number:05d},{number % len(LABELS)}\n")
    (folder / "train.csv").write_text("".join(lines))


def build_dataset(manual_dir: Path, data_dir: Path, count: int) -> None:
    """Builds the dataset that is read."""
    from tfds_builder.hpa.__main__ import main as build

    with tempfile.TemporaryDirectory() as temporary:
        images = Path(temporary, "kaggle")
        write_symmetries(manual_dir, images, count)
        flags = [
            f"--config={DATASET}",
            "--codec=zstd",
            f"--manual_dir={images}",
            f"--data_dir={data_dir}",
            "--workers=1",
        ]
        with contextlib.redirect_stdout(sys.stderr):
            failed = build(flags)
    if failed:
        raise InputError(f"{manual_dir}: no dataset can be built of it, see above")


def upload(data_dir: Path, gcs: FakeGcsProcess) -> None:
    """Puts the dataset into the bucket, and its records in shards for tf.data."""
    for path in sorted(data_dir.rglob("*")):
        if path.is_file():
            name = path.relative_to(data_dir).as_posix()
            gcs.put(BUCKET, f"data/{name}", path.read_bytes())
    records = Records(sorted(data_dir.glob(f"hpa/{DATASET}/*/hpa-*.tfrecord-*")))
    crcs = records.crcs().tolist()
    frames = []
    for number in range(len(records)):
        data = records[number]
        length_crc = masked_crc(len(data).to_bytes(8, "little"))
        head = FRAME_HEAD.pack(len(data), length_crc)
        frames.append(head + data + CRC.pack(crcs[number]))
    shards = np.array_split(np.arange(len(frames)), min(TF_SHARDS, len(frames)))
    for number, chosen in enumerate(shards):
        content = b"".join(frames[i] for i in chosen)
        # The number of records is the end of the name, for whoever reads them.
        gcs.put(BUCKET, f"tf/{number:05d}.tfrecord-{len(chosen)}", content)


class Side:
    """A reader in its own process."""

    def __init__(self, side: str, batch: int, environment: dict[str, str]):
        program = BENCHMARKS / "bucket_reading_sides.py"
        self._process = subprocess.Popen(
            [sys.executable, program, side, str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        )

    def measure(self, place: str, connections: int) -> dict:
        wanted = {"place": place, "connections": connections}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise InputError(f"{place}: its reader ended early, see above")
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def tunnel(gcs: FakeGcsProcess) -> Iterator[dict[str, str]]:
    """The variables with which clients reach the bucket as they reach the real one."""
    address = gcs.url.removeprefix("http://")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, BENCHMARKS / "tls_tunnel.py"]
        command += [f"--to={address}", f"--folder={folder}"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            port = process.stdout.readline().strip()
            certificate = str(Path(folder, CERTIFICATE))
            environment = gcs.environment() | {
                "https_proxy": f"http://127.0.0.1:{port}",
                # Of TensorFlow, and of requests.
                "CURL_CA_BUNDLE": certificate,
                "REQUESTS_CA_BUNDLE": certificate,
            }
            # An emulator would be asked without TLS.
            environment["STORAGE_EMULATOR_HOST"] = ""
            try:
                yield environment
            finally:
                process.kill()


class Case:
    """One line of the table.

    Args:
      side: of which reader.
      place: that is read.
      latency_ms: of the bucket; None: it is not asked.
      connections: to it.
    """

    def __init__(
        self, title: str, side: Side, place: str, latency_ms: int | None, connections: int
    ):
        self.title = title
        self.side = side
        self.place = place
        self.latency_ms = latency_ms
        self.connections = connections
        self.rounds: list[dict] = []
        self.requests: list[dict] = []

    def measure(self, gcs: FakeGcsProcess, rate: float) -> None:
        if self.latency_ms is not None:
            gcs.faults.latency_s = self.latency_ms / 1e3
            gcs.faults.bytes_per_s = rate
        gcs.clear_requests()
        self.rounds.append(self.side.measure(self.place, self.connections))
        self.requests.append(gcs.request_counts("GET", "tfrecord"))

    def images_per_s(self, epoch: int) -> float:
        return 1 / float(np.median([found["seconds"][epoch] for found in self.rounds]))

    def cpu_ms(self, epoch: int) -> float:
        return 1e3 * float(np.median([found["cpu_seconds"][epoch] for found in self.rounds]))


def compare(args) -> None:
    """Measures all cases in turn, prints the table and writes the rows."""
    with contextlib.ExitStack() as stack:
        data_dir = args.data_dir
        if data_dir is None:
            if args.manual_dir is None:
                raise InputError("no images: give --manual_dir, or set HPA_SAMPLE_DIR")
            temporary = stack.enter_context(tempfile.TemporaryDirectory())
            data_dir = Path(temporary, "data")
            build_dataset(args.manual_dir, data_dir, args.images)
        dataset = load_dataset(data_dir, DATASET, split="all")
        shards = list(data_dir.glob(f"hpa/{DATASET}/*/hpa-*.tfrecord-*"))
        size = sum(shard.stat().st_size for shard in shards) / len(dataset)
        gcs = stack.enter_context(FakeGcsProcess([BUCKET]))
        upload(data_dir, gcs)
        plain = {**gcs.environment(), "GOOGLE_CLOUD_PROJECT": "none"}
        secure = stack.enter_context(tunnel(gcs))
        sides = {}
        for name, side, environment in (
            ("ours", "ours", plain),
            ("ours_tls", "ours", secure),
            ("tf_data", "tf_data", secure),
        ):
            sides[name] = Side(side, args.batch, environment)
            stack.callback(sides[name].stop)
        cases = make_cases(args, data_dir, sides)
        for _ in range(args.rounds):
            for case in cases:
                case.measure(gcs, args.rate * 1e6)
        load = os.getloadavg()[0]
    rows = report(cases, args, len(dataset), size, load)
    write_rows(args.json, rows)


def make_cases(args, data_dir: Path, sides: dict[str, Side]) -> list[Case]:
    ours, url = sides["ours"], f"gs://{BUCKET}/data"
    cases = [Case("local disk", ours, str(data_dir), None, 1)]
    for latency in args.latencies:
        for connections in args.connections:
            cases.append(Case("bucket", ours, url, latency, connections))
        secure = Case("bucket, TLS", sides["ours_tls"], url, latency, TF_CONNECTIONS)
        peer = f"gs://{BUCKET}/tf"
        other = Case("tf.data, TLS", sides["tf_data"], peer, latency, TF_CONNECTIONS)
        cases += [secure, other]
    return cases


def report(cases: list[Case], args, images: int, size: float, load: float) -> list[dict]:
    """Prints the table, and returns its rows."""
    print(
        f"{images} images of {size / 1e3:.0f} kB, batches of {args.batch}, {args.rate:g} MB/s a "
        f"connection, {args.rounds} rounds, {os.cpu_count()} cores at load {load:.1f}"
    )
    print(
        f"{'':14s}{'latency':>9s}{'connections':>13s}{'bound':>8s}{'first':>9s}{'second':>9s}"
        f"{'CPU ms':>8s}{'second':>8s}{'of local':>10s}{'bytes':>8s}{'requests':>10s}"
    )
    local = cases[0]
    rows = []
    for case in cases:
        bound = np.inf
        if case.latency_ms is not None:
            bound = case.connections / (case.latency_ms / 1e3 + size / (args.rate * 1e6))
        ratio = case.images_per_s(0) / local.images_per_s(0)
        epochs = 2 if case.title.startswith("tf") else 1
        fetched = np.median([found["bytes"] for found in case.requests]) / epochs
        requests = np.median([found["count"] for found in case.requests]) / epochs
        latency = "" if case.latency_ms is None else f"{case.latency_ms} ms"
        print(
            f"{case.title:14s}{latency:>9s}{case.connections:13d}{bound:8.0f}"
            f"{case.images_per_s(0):9.0f}{case.images_per_s(1):9.0f}"
            f"{case.cpu_ms(0):8.2f}{case.cpu_ms(1):8.2f}{ratio:9.2f}x"
            f"{fetched / (images * size):8.2f}{requests / images:10.2f}"
        )
        slug = case.title.replace(", ", "_").replace(" ", "_").replace(".", "_")
        name = f"bucket_reading_{slug}".lower()
        if case.latency_ms is not None:
            name += f"_{case.latency_ms}ms_{case.connections}"
        row = make_row(
            name,
            case.images_per_s(0),
            "images/s",
            device="cpu",
            peer=None if case is local else "the local disk",
            peer_value=None if case is local else local.images_per_s(0),
            second_epoch=case.images_per_s(1),
            cpu_ms=case.cpu_ms(0),
            cpu_ms_second_epoch=case.cpu_ms(1),
            bytes_an_image=size,
            load=load,
        )
        rows.append(row)
    for ours, peer in zip(cases, cases[1:], strict=False):
        if not peer.title.startswith("tf"):
            continue
        pairs = zip(ours.rounds, peer.rounds, strict=True)
        ratio = float(
            np.median([theirs["seconds"][0] / own["seconds"][0] for own, theirs in pairs])
        )
        cpu_ratio = peer.cpu_ms(0) / ours.cpu_ms(0)
        name = f"bucket_reading_vs_tf_data_{ours.latency_ms}ms"
        print(f"{name:40s} {ratio:.2f}x images/s, {cpu_ratio:.2f}x images a CPU second")
        row = make_row(
            name,
            ours.images_per_s(0),
            "images/s",
            device="cpu",
            peer="tf.data through TensorFlow's gs://, the same tunnel, records and decoder",
            peer_value=peer.images_per_s(0),
            ratio_to_peer=ratio,
            ratio_of_cpu_seconds=cpu_ratio,
        )
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    sample = os.environ.get("HPA_SAMPLE_DIR")
    parser = make_parser(__doc__)
    parser.add_argument(
        "--manual_dir",
        type=path_flag("--manual_dir"),
        default=Path(sample, "kaggle_512") if sample else None,
        help="images in Kaggle's layout",
    )
    parser.add_argument(
        "--data_dir",
        type=path_flag("--data_dir"),
        help=f"where a dataset {DATASET} was built, to be read in place of one that is built here",
    )
    parser.add_argument("--images", type=int, default=616, help="to build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=50.0, help="MB/s of a connection")
    parser.add_argument("--latencies", type=int, nargs="+", default=[0, 20, 100], metavar="MS")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32, 64, 128], metavar="N")
    return run(lambda: compare(parser.parse_args(argv)))


if __name__ == "__main__":
    run_program(main)
