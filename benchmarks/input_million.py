"""What starting on a million fields costs: seconds and megabytes of indexes, splits, sampler and first batch.

    python benchmarks/input_million.py [--fields=1000000] [--work_dir=DIR] [--json=FILE]

The fields are real records, Id, labels, fold, group and image, but the image is one of 4 x 4 pixels: what grows with
the number of fields is measured, not what grows with their pixels. Indexes are written as a build does; then a process
of its own opens the dataset. Labels are drawn with the shares 1/2, 1/3, ... 1/29: a long tail.
"""

import argparse
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import google_crc32c
import numpy as np
from input_rounds import row

from hpa_jax.data import codec
from hpa_jax.data.records import write_index
from hpa_jax.labels import LABELS

NAME, VERSION, FOLDS, PARTS = (
    "million",
    "1.0.0",
    5,
    {"train": 32, "validation": 8},
)  # shards of each part


def _folder(data_dir: Path) -> Path:
    return data_dir / "hpa" / NAME / VERSION


def _numbers(part: str, fields: int) -> np.ndarray:
    """The fields of a part: fold 0 is `validation`, the others are `train`."""
    numbers = np.arange(fields)
    return numbers[(numbers % FOLDS == 0) == (part == "validation")]


def _masked_crc(data: bytes) -> bytes:
    """As TFRecord files have it."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_shard(path: Path, numbers: np.ndarray) -> None:
    """One shard of tiny records."""
    from tensorflow_datasets.proto import tf_example_pb2

    rng = np.random.default_rng(int(numbers[0]) if len(numbers) else 0)
    bears = rng.random((len(numbers), len(LABELS))) < 1 / np.arange(2, 2 + len(LABELS))
    bears[:, 0] |= ~bears.any(axis=1)
    image = codec.encode(np.zeros((4, 4, 4), np.uint8), "zstd")
    with open(path, "wb") as file:
        for number, labels in zip(numbers.tolist(), bears, strict=True):
            example = tf_example_pb2.Example()
            feature = example.features.feature
            feature["id"].bytes_list.value.append(f"{number:032x}".encode())
            feature["image"].bytes_list.value.append(image)
            feature["labels"].int64_list.value.extend(np.flatnonzero(labels).tolist())
            feature["fold"].int64_list.value.append(number % FOLDS)
            feature["group"].int64_list.value.append(number)
            data = example.SerializeToString(deterministic=True)
            length = struct.pack("<Q", len(data))
            file.write(length + _masked_crc(length) + data + _masked_crc(data))


def index_shard(path: Path) -> float:
    """Seconds that writing its index takes."""
    start = time.perf_counter()
    write_index(path)
    return time.perf_counter() - start


def write_dataset(data_dir: Path, fields: int) -> float:
    """Shards, indexes and TFDS's metadata; returns the seconds that all indexes took, on one core."""
    import tensorflow_datasets as tfds

    from tfds_builder.hpa.hpa_dataset_builder import Builder

    folder = _folder(data_dir)
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(folder, dataset_name="hpa", filetype_suffix="tfrecord")
    tasks, infos = [], []
    for part, shards in PARTS.items():
        pieces = np.array_split(_numbers(part, fields), shards)
        names = [folder / f"hpa-{part}.tfrecord-{i:05d}-of-{shards:05d}" for i in range(shards)]
        tasks += zip(names, pieces, strict=True)
        lengths = [len(piece) for piece in pieces]
        infos.append(
            tfds.core.SplitInfo(
                part, lengths, num_bytes=0, filename_template=template.replace(split=part)
            )
        )
    features = Builder(config="kaggle_512", data_dir=data_dir / "unused").info.features
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_shard, *zip(*tasks, strict=True)))
        # Before the indexes: TFDS takes every file there for a shard.
        tfds.folder_dataset.write_metadata(
            data_dir=folder, features=features, split_infos=infos, version=VERSION, check_data=False
        )
        return sum(pool.map(index_shard, [path for path, _ in tasks]))


def _resident() -> float:
    """Megabytes of this process now; where there is no /proc, the most so far."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmRSS:")[2].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def steps(data_dir: Path) -> Iterator[tuple[str, object]]:
    """What a run does before its first step, one thing after another."""
    from hpa_jax.data.catalog import load_dataset
    from hpa_jax.data.loader import train_batches
    from hpa_jax.data.sampler import Order, sampling_factors

    yield "imports", None
    fields = load_dataset(data_dir, NAME, split="train")
    yield "open_train_part", fields
    yield "open_another_fold", load_dataset(data_dir, NAME, split="train", fold=3)
    targets = fields.targets()
    shown = sampling_factors(
        targets, "repeat_factor", rare_below=0, rare_copies=1, repeat_threshold=0.05
    )
    yield "sampling_factors", (targets, shown)
    order = Order(shown, seed=0)
    order.epoch(0)
    yield "order_of_an_epoch", order
    batches = iter(train_batches(fields, order, batch_size=256, threads=2))
    yield "first_batch_of_256", next(batches)
    yield "fingerprint", fields.fingerprint()


def measure(data_dir: Path) -> list[dict]:
    """Seconds of each step, and the megabytes that it added and that are in use after it; all are held to the end."""
    found, held = [], []
    start, before = time.perf_counter(), _resident()
    for name, thing in steps(data_dir):
        seconds, now = time.perf_counter() - start, _resident()
        held.append(thing)
        found.append(
            {"name": name, "seconds": seconds, "added_mb": now - before, "resident_mb": now}
        )
        start, before = time.perf_counter(), now
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=1_000_000)
    parser.add_argument(
        "--work_dir", type=Path, help="keep the dataset here (default: a temporary folder)"
    )
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = args.work_dir or Path(temporary)
        if not _folder(data_dir).exists():
            seconds = write_dataset(data_dir, args.fields)
            rows.append(
                row("million_write_indexes", seconds, "s on one core, at the build", None, None)
            )
        index_mb = sum(path.stat().st_size for path in _folder(data_dir).glob("*.index-*")) / 1e6
        run = subprocess.run(
            [sys.executable, __file__, f"--measure={data_dir}"], stdout=subprocess.PIPE, check=True
        )
    rows.append(row("million_indexes", index_mb, "MB on disk", None, None))
    print(f"{args.fields} fields\n{'':24s}{'s':>8s}{'MB added':>10s}{'MB then':>9s}")
    for step in json.loads(run.stdout):
        print(
            f"{step['name']:24s}{step['seconds']:8.2f}{step['added_mb']:10.0f}{step['resident_mb']:9.0f}"
        )
        extra = {"added_mb": step["added_mb"], "resident_mb": step["resident_mb"]}
        rows.append(row(f"million_{step['name']}", step["seconds"], "s", None, None) | extra)
    for line in rows[:-7]:
        print(f"{line['name']:24s}{line['value']:8.1f} {line['unit']}")
    if args.json:
        args.json.write_text(
            json.dumps([line | {"fields": args.fields} for line in rows], indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
