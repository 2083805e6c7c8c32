"""The loaders that `input.py` compares. Each runs in a process of its own, which measures itself when asked.

    python benchmarks/input_contenders.py LOADER WORKERS BATCH FOLDER

FOLDER has Kaggle's layout (`kaggle/train/<Id>_<channel>.png`) and the datasets that were built of it (`png`, `zstd`).
A line `SECONDS` on stdin is answered by one of JSON. All shuffle, batch, and give uint8 [batch, H, W, 4] for ever.
"""

import itertools
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS

DATASET = "kaggle_512"


def _shards(folder: Path, codec: str) -> list[Path]:
    return sorted(
        path for path in (folder / codec).glob(f"hpa/{DATASET}/*/hpa-*") if ".tfrecord" in path.name
    )


def _reds(folder: Path) -> list[Path]:
    return sorted((folder / "kaggle" / "train").glob("*_red.png"))


def bytes_an_image(loader: str, folder: Path) -> float:
    """Of the files that hold the images: shards with their frames, Ids and labels, or four PNGs."""
    if loader == "dataloader_png":
        files = [path for path in (folder / "kaggle" / "train").glob("*.png")]
    else:
        files = _shards(folder, "zstd" if loader == "ours_zstd" else "png")
    return sum(path.stat().st_size for path in files) / len(_reds(folder))


def _ours(folder: Path, codec: str, workers: int, batch: int) -> Iterator[np.ndarray]:
    """What training reads: both CRCs of each record checked, any position reachable."""
    from hpa_jax.data.catalog import load_dataset
    from hpa_jax.data.loader import train_batches
    from hpa_jax.data.sampler import Order

    fields = load_dataset(folder / codec, DATASET, split="all")
    order = Order(np.ones(len(fields)), seed=0)
    return (
        found["image"] for found in train_batches(fields, order, batch_size=batch, threads=workers)
    )


def _grain_png(folder: Path, workers: int, batch: int) -> Iterator[np.ndarray]:
    """A plain Grain pipeline over a list of encoded RGBA PNGs in memory."""
    import grain

    from hpa_jax.data.records import Records
    from hpa_jax.data.tfrecord import example_image

    cv2.setNumThreads(1)
    records = Records(_shards(folder, "png"))
    encoded = [example_image(records[i]) for i in range(len(records))]

    def decoded(data: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)

    order = grain.MapDataset.source(encoded).shuffle(seed=0).repeat().map(decoded)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=max(batch, 2 * workers))
    return iter(order.to_iter_dataset(options).batch(batch))


def _tf_data_png(folder: Path, workers: int, batch: int) -> Iterator[np.ndarray]:
    import tensorflow as tf

    def decoded(record):
        example = tf.io.parse_single_example(
            record, {"image": tf.io.FixedLenFeature([], tf.string)}
        )
        return tf.io.decode_png(example["image"], channels=4)

    options = tf.data.Options()
    options.threading.private_threadpool_size = workers
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.TFRecordDataset([str(path) for path in _shards(folder, "png")])
    dataset = dataset.shuffle(1000, seed=0).repeat().map(decoded, num_parallel_calls=workers)
    return (
        dataset.batch(batch, drop_remainder=True)
        .prefetch(1)
        .with_options(options)
        .as_numpy_iterator()
    )


class _FourFiles:
    """As the challenge's solutions read a field: four files, OpenCV, one stack."""

    def __init__(self, reds: list[Path]):
        self._stems = [str(path)[: -len("red.png")] for path in reds]

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, i: int) -> np.ndarray:
        planes = [
            cv2.imread(f"{self._stems[i]}{channel}.png", cv2.IMREAD_GRAYSCALE)
            for channel in CHANNELS
        ]
        return np.stack(planes, axis=-1)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)


def _dataloader_png(folder: Path, workers: int, batch: int) -> Iterator[np.ndarray]:
    import torch

    data = _FourFiles(_reds(folder))
    times = -(-4 * batch // len(data))  # so that few images do not make epochs of one batch
    loader = torch.utils.data.DataLoader(
        torch.utils.data.ConcatDataset([data] * times),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        worker_init_fn=_one_thread,
    )
    return (found.numpy() for found in itertools.chain.from_iterable(itertools.repeat(loader)))


LOADERS = {
    "ours_zstd": lambda folder, workers, batch: _ours(folder, "zstd", workers, batch),
    "ours_png": lambda folder, workers, batch: _ours(folder, "png", workers, batch),
    "grain_png": _grain_png,
    "tf_data_png": _tf_data_png,
    "dataloader_png": _dataloader_png,
}


def _children() -> list[int]:
    return [process.pid for process in multiprocessing.active_children()]


def _cpu_seconds() -> float:
    """Of this process and its workers; where there is no /proc, of this process alone."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    for pid in _children():
        if (stat := Path(f"/proc/{pid}/stat")).exists():
            total += sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) / os.sysconf(
                "SC_CLK_TCK"
            )
    return total


def _peak_bytes() -> int:
    """Peak resident memory of this process and its workers; what they share counts for each."""
    statuses = [Path(f"/proc/{pid}/status") for pid in (os.getpid(), *_children())]
    if not statuses[0].exists():
        return resource.getrusage(
            resource.RUSAGE_SELF
        ).ru_maxrss  # macOS: bytes, of this process alone
    return sum(
        1024 * int(path.read_text().partition("VmHWM:")[2].split()[0])
        for path in statuses
        if path.exists()
    )


def measure(batches: Iterator[np.ndarray], seconds: float, settle: int) -> dict:
    """Images, wall and CPU seconds of `seconds` or more, after `settle` batches: what lay ready is not counted."""
    for _ in range(settle):
        next(batches)
    images, cpu, start = 0, _cpu_seconds(), time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        images += len(next(batches))
    return {
        "images": images,
        "seconds": passed,
        "cpu_seconds": _cpu_seconds() - cpu,
        "peak_bytes": _peak_bytes(),
    }


def main(argv: list[str]) -> int:
    loader, workers, batch, folder = argv[0], int(argv[1]), int(argv[2]), Path(argv[3])
    batches = iter(LOADERS[loader](folder, workers, batch))
    first = next(batches)
    print(
        json.dumps(
            {
                "shape": first.shape,
                "dtype": str(first.dtype),
                "bytes": bytes_an_image(loader, folder),
            }
        ),
        flush=True,
    )
    for line in sys.stdin:
        print(json.dumps(measure(batches, float(line), settle=2 * workers + 2)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
