"""What starting on a million images costs: indexes, splits, sampler and first batch.

    python benchmarks/input_million.py [--images=1000000] [--work_dir=DIR] [--json=FILE]

The records are real (Id, labels, fold, group and image) but the images are of 4 x 4 pixels: what
grows with the number of images is measured, not what grows with their pixels. Indexes are written
as a build does; then a process of its own opens the dataset, and each thing that a run does before
its first step has its seconds and megabytes. Labels are drawn with the frequencies 1/2, 1/3, ...
1/29: a long tail.
"""

import argparse
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import checkout  # noqa: F401
import google_crc32c
import numpy as np
from command_line import make_parser, run
from processes import call_again, memory_bytes, peak_bytes
from results import make_row, write_rows

from hpa_jax.data import codec
from hpa_jax.data.records import write_index
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.labels import LABELS

NAME = "million"
VERSION = "1.0.0"
FOLDS = 5
SHARDS = {"train": 32, "validation": 8}


def _folder(data_dir: Path) -> Path:
    return data_dir / "hpa" / NAME / VERSION


def _numbers(split: str, images: int) -> np.ndarray:
    """The images of a split: fold 0 is `validation`, the others are `train`."""
    numbers = np.arange(images)
    in_validation = numbers % FOLDS == 0
    return numbers[in_validation == (split == "validation")]


def _masked_crc(data: bytes) -> bytes:
    """As TFRecord files have it."""
    crc = google_crc32c.value(data)
    rotated = crc >> 15 | crc << 17
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def write_shard(path: Path, numbers: np.ndarray) -> None:
    """Writes one shard of tiny records."""
    from tensorflow_datasets.proto import tf_example_pb2

    rng = np.random.default_rng(int(numbers[0]) if len(numbers) else 0)
    frequencies = 1 / np.arange(2, 2 + len(LABELS))
    targets = rng.random((len(numbers), len(LABELS))) < frequencies
    targets[:, 0] |= ~targets.any(axis=1)
    image = codec.encode(np.zeros((4, 4, 4), np.uint8), "zstd")
    with open(path, "wb") as file:
        for number, row in zip(numbers.tolist(), targets, strict=True):
            example = tf_example_pb2.Example()
            feature = example.features.feature
            feature["id"].bytes_list.value.append(f"{number:032x}".encode())
            feature["image"].bytes_list.value.append(image)
            feature["labels"].int64_list.value.extend(np.flatnonzero(row).tolist())
            feature["fold"].int64_list.value.append(number % FOLDS)
            feature["group"].int64_list.value.append(number)
            data = example.SerializeToString(deterministic=True)
            length = struct.pack("<Q", len(data))
            file.write(length + _masked_crc(length) + data + _masked_crc(data))


def index_shard(path: Path) -> float:
    """Writes the index of a shard; returns the seconds that it takes."""
    start = time.perf_counter()
    write_index(path)
    return time.perf_counter() - start


def write_dataset(data_dir: Path, images: int) -> float:
    """Writes shards, indexes and TFDS's metadata.

    Returns:
      The seconds that all indexes took, on one core.
    """
    import tensorflow_datasets as tfds

    from tfds_builder.hpa.hpa_dataset_builder import Builder

    folder = _folder(data_dir)
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(folder, dataset_name="hpa", filetype_suffix="tfrecord")
    paths = []
    numbers_of_shards = []
    split_infos = []
    for split, shards in SHARDS.items():
        pieces = np.array_split(_numbers(split, images), shards)
        numbers_of_shards += pieces
        for shard in range(shards):
            paths.append(folder / f"hpa-{split}.tfrecord-{shard:05d}-of-{shards:05d}")
        info = tfds.core.SplitInfo(
            split,
            [len(piece) for piece in pieces],
            num_bytes=0,
            filename_template=template.replace(split=split),
        )
        split_infos.append(info)
    features = Builder(config="kaggle_512", data_dir=data_dir / "unused").info.features
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_shard, paths, numbers_of_shards))
        # Before the indexes: TFDS takes every file there for a shard.
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=features,
            split_infos=split_infos,
            version=VERSION,
            check_data=False,
        )
        return sum(pool.map(index_shard, paths))


def _resident_megabytes() -> float:
    """Of this process now; without /proc, its peak so far."""
    resident = memory_bytes(os.getpid(), "VmRSS")
    if resident is None:
        resident = peak_bytes()
    return resident / 1024e3


def start_a_run(data_dir: Path) -> Iterator[tuple[str, object]]:
    """What a run does before its first step: the name and the result of one thing after another."""
    from hpa_jax.data.catalog import load_dataset
    from hpa_jax.data.loader import train_batches
    from hpa_jax.data.sampler import Order, sampling_factors

    yield "imports", None
    dataset = load_dataset(data_dir, NAME, split="train")
    yield "open_train_part", dataset
    yield "open_another_fold", load_dataset(data_dir, NAME, split="train", fold=3)
    targets = dataset.targets()
    repeats = sampling_factors(
        targets, "repeat_factor", rare_below=0, rare_copies=1, repeat_threshold=0.05
    )
    yield "sampling_factors", (targets, repeats)
    order = Order(repeats, seed=0)
    order.epoch(0)
    yield "order_of_an_epoch", order
    batches = iter(train_batches(dataset, order, batch_size=256, threads=2))
    yield "first_batch_of_256", next(batches)
    yield "fingerprint", dataset.fingerprint()


def measure(data_dir: Path) -> list[dict]:
    """Seconds of each step, the megabytes that it added, and those in use after it."""
    steps = []
    results = []  # all are kept to the end, as a run does
    memory_before = _resident_megabytes()
    start = time.perf_counter()
    for name, result in start_a_run(data_dir):
        seconds = time.perf_counter() - start
        memory = _resident_megabytes()
        results.append(result)
        step = {
            "name": name,
            "seconds": seconds,
            "added_mb": memory - memory_before,
            "resident_mb": memory,
        }
        steps.append(step)
        memory_before = memory
        start = time.perf_counter()
    return steps


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--images", "--fields", type=int, default=1_000_000)
    parser.add_argument(
        "--work_dir",
        type=path_flag("--work_dir"),
        help="keep the dataset here (default: a temporary folder)",
    )
    parser.add_argument("--measure", type=path_flag("--measure"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps({"steps": measure(args.measure)}))
        return 0
    return run(lambda: report(args))


def report(args) -> None:
    """Writes the dataset, has it measured, prints the table and writes the rows."""
    on_disk = []
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = args.work_dir or Path(temporary)
        folder = _folder(data_dir)
        if not folder.exists():
            seconds = write_dataset(data_dir, args.images)
            unit = "s on one core, at the build"
            on_disk.append(make_row("million_write_indexes", seconds, unit, device="cpu"))
        index_bytes = sum(path.stat().st_size for path in folder.glob("*.index-*"))
        row = make_row("million_indexes", index_bytes / 1e6, "MB on disk", device="cpu")
        on_disk.append(row)
        steps = call_again(__file__, f"--measure={data_dir}")["steps"]

    print(f"{args.images} images\n{'':24s}{'s':>8s}{'MB added':>10s}{'MB then':>9s}")
    in_memory = []
    for step in steps:
        added = step["added_mb"]
        resident = step["resident_mb"]
        print(f"{step['name']:24s}{step['seconds']:8.2f}{added:10.0f}{resident:9.0f}")
        row = make_row(
            f"million_{step['name']}",
            step["seconds"],
            "s",
            device="cpu",
            added_mb=added,
            resident_mb=resident,
        )
        in_memory.append(row)
    for row in on_disk:
        print(f"{row['name']:24s}{row['value']:8.1f} {row['unit']}")
    rows = [row | {"images": args.images} for row in on_disk + in_memory]
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
