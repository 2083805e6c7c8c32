"""The sides that `bucket_reading.py` compares, each to run in a process of its own.

    python benchmarks/bucket_reading_sides.py SIDE BATCH

For each line of JSON on stdin there is one on stdout: what two epochs have taken (`--help` of
`bucket_reading.py`). A line has `place`, the folder that is read, and `connections`.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import cpu_seconds

DATASET = "kaggle_512"
THREADS = 2
SHUFFLED = 256
"""Records among which tf.data draws the next one."""

Batches = Iterator[np.ndarray]


def read_ours(place: str, connections: int, batch: int) -> tuple[Batches, int]:
    """What training reads, with empty caches."""
    from hpa_jax.buckets import mounts
    from hpa_jax.config import Data
    from hpa_jax.data.loader import train_batches
    from hpa_jax.data.pipeline import open_split
    from hpa_jax.data.sampler import Order

    mounts.forget()
    if place.startswith("gs://"):
        place = str(mounts.local_copy(place))
    data = Data(data_dir=place, name=DATASET, connections=connections)
    dataset = open_split(data, "all")
    order = Order(np.ones(len(dataset)), seed=0)
    batches = train_batches(dataset, order, batch_size=batch, threads=THREADS)
    return (found["image"] for found in batches), len(dataset)


def read_tf_data(place: str, connections: int, batch: int) -> tuple[Batches, int]:
    """tf.data on the same records: shards in turn, a shuffle buffer, and our decoder."""
    import tensorflow as tf

    from hpa_jax.data import codec
    from hpa_jax.data.tfrecord import example_image

    def decode(record: bytes) -> np.ndarray:
        return codec.decode(example_image(record))

    def decode_in_python(record):
        return tf.numpy_function(decode, [record], tf.uint8)

    shards = sorted(tf.io.gfile.glob(f"{place}/*.tfrecord-*"))
    count = sum(int(shard.rpartition("-")[2]) for shard in shards)
    files = tf.data.Dataset.from_tensor_slices(shards).shuffle(len(shards), seed=0)
    records = files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=connections,
        num_parallel_calls=connections,
        deterministic=False,
    )
    images = records.shuffle(SHUFFLED, seed=0).repeat()
    images = images.map(decode_in_python, num_parallel_calls=THREADS, deterministic=False)
    return images.batch(batch).prefetch(2).as_numpy_iterator(), count


SIDES: dict[str, Callable[[str, int, int], tuple[Batches, int]]] = {
    "ours": read_ours,
    "tf_data": read_tf_data,
}


def measure(side: str, place: str, connections: int, batch: int) -> dict:
    """Reads two epochs; of each the seconds and CPU seconds for an image."""
    batches, count = SIDES[side](place, connections, batch)
    found = {"seconds": [], "cpu_seconds": []}
    for _ in range(2):
        cpu_start = cpu_seconds(resource.RUSAGE_SELF)
        start = time.perf_counter()
        images = 0
        while images + batch <= count:
            images += len(next(batches))
        found["seconds"].append((time.perf_counter() - start) / images)
        found["cpu_seconds"].append((cpu_seconds(resource.RUSAGE_SELF) - cpu_start) / images)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=tuple(SIDES))
    parser.add_argument("batch", type=int)
    args = parser.parse_args(argv)
    for line in sys.stdin:
        wanted = json.loads(line)
        found = measure(args.side, wanted["place"], wanted["connections"], args.batch)
        print(json.dumps(found), flush=True)
    # What is under way is of no use any more.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
