"""The loaders that `input.py` compares, each to run in a process of its own that measures itself.

    python benchmarks/input_contenders.py LOADER WORKERS BATCH FOLDER

FOLDER has images in Kaggle's layout (`kaggle/train/<Id>_<channel>.png`) and the datasets that were
built of them (`png`, `zstd`). For each line `SECONDS` on stdin there is one of JSON on stdout. All
loaders shuffle, batch, and yield uint8 `[batch, H, W, 4]` without end.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
from kaggle_layout import read_image, red_files
from processes import cpu_seconds, cpu_seconds_of, memory_bytes, peak_bytes

DATASET = "kaggle_512"
Batches = Iterator[np.ndarray]


def _shards(folder: Path, codec: str) -> list[Path]:
    files = (folder / codec).glob(f"hpa/{DATASET}/*/hpa-*")
    return sorted(path for path in files if ".tfrecord" in path.name)


def bytes_per_image(loader: str, folder: Path) -> float:
    """Of the files with the images: shards with their frames, Ids and labels, or four PNGs."""
    if loader == "dataloader_png":
        files = list((folder / "kaggle" / "train").glob("*.png"))
    else:
        files = _shards(folder, "zstd" if loader == "ours_zstd" else "png")
    total = sum(path.stat().st_size for path in files)
    return total / len(red_files(folder / "kaggle"))


def _ours(folder: Path, codec: str, workers: int, batch: int) -> Batches:
    """What training reads: both CRCs of each record are checked, any position can be read."""
    from hpa_jax.data.catalog import load_dataset
    from hpa_jax.data.loader import train_batches
    from hpa_jax.data.sampler import Order

    dataset = load_dataset(folder / codec, DATASET, split="all")
    order = Order(np.ones(len(dataset)), seed=0)
    batches = train_batches(dataset, order, batch_size=batch, threads=workers)
    return (found["image"] for found in batches)


def _ours_zstd(folder: Path, workers: int, batch: int) -> Batches:
    return _ours(folder, "zstd", workers, batch)


def _ours_png(folder: Path, workers: int, batch: int) -> Batches:
    return _ours(folder, "png", workers, batch)


def _grain_png(folder: Path, workers: int, batch: int) -> Batches:
    """A plain Grain pipeline over a list of encoded RGBA PNGs in memory."""
    import grain

    from hpa_jax.data.records import Records
    from hpa_jax.data.tfrecord import example_image

    cv2.setNumThreads(1)
    records = Records(_shards(folder, "png"))
    encoded = [example_image(records[i]) for i in range(len(records))]

    def decode(data: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)

    images = grain.MapDataset.source(encoded).shuffle(seed=0).repeat().map(decode)
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=max(batch, 2 * workers))
    return iter(images.to_iter_dataset(options).batch(batch))


def _tf_data_png(folder: Path, workers: int, batch: int) -> Batches:
    """tf.data over the shards of RGBA PNGs."""
    import tensorflow as tf

    features = {"image": tf.io.FixedLenFeature([], tf.string)}

    def decode(record):
        example = tf.io.parse_single_example(record, features)
        return tf.io.decode_png(example["image"], channels=4)

    options = tf.data.Options()
    options.threading.private_threadpool_size = workers
    options.threading.max_intra_op_parallelism = 1
    shards = [str(path) for path in _shards(folder, "png")]
    dataset = tf.data.TFRecordDataset(shards)
    dataset = dataset.shuffle(1000, seed=0).repeat().map(decode, num_parallel_calls=workers)
    dataset = dataset.batch(batch, drop_remainder=True).prefetch(1)
    return dataset.with_options(options).as_numpy_iterator()


class _FourFiles:
    """Images as the challenge's solutions read them, by position."""

    def __init__(self, reds: list[Path]):
        self._reds = reds

    def __len__(self) -> int:
        return len(self._reds)

    def __getitem__(self, i: int) -> np.ndarray:
        return read_image(self._reds[i])


def _use_one_thread(_: int) -> None:
    cv2.setNumThreads(1)


def _dataloader_png(folder: Path, workers: int, batch: int) -> Batches:
    """PyTorch's DataLoader over the four source files of each image."""
    import torch

    images = _FourFiles(red_files(folder / "kaggle"))
    # Repeated, so that few images do not make epochs of one batch.
    repeats = -(-4 * batch // len(images))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.ConcatDataset([images] * repeats),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        worker_init_fn=_use_one_thread,
    )
    epochs = itertools.repeat(loader)
    return (tensor.numpy() for tensor in itertools.chain.from_iterable(epochs))


LOADERS: dict[str, Callable[[Path, int, int], Batches]] = {
    "ours_zstd": _ours_zstd,
    "ours_png": _ours_png,
    "grain_png": _grain_png,
    "tf_data_png": _tf_data_png,
    "dataloader_png": _dataloader_png,
}


def _worker_pids() -> list[int]:
    return [process.pid for process in multiprocessing.active_children()]


def _cpu_seconds_with_workers() -> float:
    """Of this process and its workers; without /proc, of this process alone."""
    total = cpu_seconds(resource.RUSAGE_SELF)
    for pid in _worker_pids():
        total += cpu_seconds_of(pid) or 0.0
    return total


def _peak_bytes_with_workers() -> int:
    """Peak memory of this process and its workers; what they share counts for each."""
    own = memory_bytes(os.getpid(), "VmHWM")
    if own is None:
        return peak_bytes()
    return own + sum(memory_bytes(pid, "VmHWM") or 0 for pid in _worker_pids())


def measure(batches: Batches, seconds: float, settle: int) -> dict:
    """Reads for so many seconds or a little more.

    Args:
      batches: to read.
      seconds: of elapsed time.
      settle: batches to read before the clock starts, so that what lay ready is not counted.
    """
    for _ in range(settle):
        next(batches)
    images = 0
    cpu_start = _cpu_seconds_with_workers()
    start = time.perf_counter()
    passed = 0.0
    while passed < seconds:
        images += len(next(batches))
        passed = time.perf_counter() - start
    return {
        "images": images,
        "seconds": passed,
        "cpu_seconds": _cpu_seconds_with_workers() - cpu_start,
        "peak_bytes": _peak_bytes_with_workers(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("loader", choices=tuple(LOADERS))
    parser.add_argument("workers", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    batches = iter(LOADERS[args.loader](args.folder, args.workers, args.batch))
    first = next(batches)
    first_batch = {
        "shape": first.shape,
        "dtype": str(first.dtype),
        "bytes": bytes_per_image(args.loader, args.folder),
    }
    print(json.dumps(first_batch), flush=True)
    for line in sys.stdin:
        found = measure(batches, float(line), settle=2 * args.workers + 2)
        print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
