"""A prepared dataset as a sequence of fields, and Grain's batches of it.

What is unusual here:

- A TFDS directory of TFRecords is read without TensorFlow, and at random: a run is a list of positions. Shuffling,
  sharding over processes, evaluation's padding and the place to go on from are arithmetic on positions, so the order
  depends on the seed alone, not on the number of threads or processes.
- Ids, labels and sizes come from the shards' indexes; only images are read from the shards, with both CRCs checked.
- Threads, not processes: the decoder releases the GIL, and nothing has to be copied between processes.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.records import Records
from hpa_jax.shard_index import REMEDY, example_image

PARTS = ("train", "validation", "test")
"""The splits of a dataset; `all` is their union, in this order."""

cv2.setNumThreads(1)  # Grain's threads are the parallelism; OpenCV's own would fight them for the same cores


class Fields:
    """The fields of a split in stored order: `fields[i]` is `{"id", "image", "targets"}`. Made by `open_fields`.

    `id` str; `image` uint8 [H, W, 4], red, green, blue, yellow; `targets` uint8 [L], 0 or 1. `image_shape` is the
    (H, W, 4) that all of them have, `n_labels` is L. Safe to share between threads; can be pickled.
    """

    def __init__(self, records: Records, *, image_size: int | None, label_ids: Sequence[int] | None):
        self._records = records
        targets = records.labels(len(LABELS))
        self._kept = np.arange(len(records))
        if label_ids is not None:
            targets = targets[:, list(label_ids)]
            self._kept = np.flatnonzero(targets.any(axis=1))
        self._targets = targets[self._kept]
        self.n_labels = targets.shape[1]
        sizes = records.sizes()[self._kept]
        if not sizes.all():
            broken = records.where(int(self._kept[np.flatnonzero(~sizes.all(axis=1))[0]]))
            raise InputError(f"{broken}: its image is not a PNG: build the dataset again")
        stored = np.unique(sizes, axis=0)
        if image_size:
            side = (image_size, image_size)
        elif len(stored) == 1:
            side = tuple(stored[0].tolist())
        elif len(stored) == 0:
            side = (0, 0)
        else:
            few = ", ".join(f"{h}x{w}" for h, w in stored[:3]) + (", ..." if len(stored) > 3 else "")
            raise InputError(
                f"{records.shards[0].parent}: fields of {len(stored)} sizes ({few}) cannot be batched as stored: "
                "choose one with --config.data.image_size=PIXELS"
            )
        self.image_shape = (*side, len(CHANNELS))

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> dict:
        record = int(self._kept[i])
        pixels = np.frombuffer(example_image(self._records[record]), np.uint8)
        image = cv2.imdecode(pixels, cv2.IMREAD_UNCHANGED) if len(pixels) else None
        if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != len(CHANNELS):
            found = "not an image" if image is None else f"{image.dtype} {list(image.shape)}"
            raise InputError(f"{self._records.where(record)}: {found}, not uint8 [H, W, 4]: {REMEDY}")
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
        if image.shape != self.image_shape:
            height, width = self.image_shape[:2]
            shrinks = height * width < image.shape[0] * image.shape[1]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return {"id": self._records.id(record), "image": image, "targets": self._targets[i].copy()}

    def ids(self) -> list[str]:
        """All Ids, from the indexes."""
        return [self._records.id(int(record)) for record in self._kept]

    def targets(self) -> np.ndarray:
        """`uint8 [fields, labels]`, 0 or 1, from the indexes."""
        return self._targets.copy()

    def fingerprint(self) -> str:
        """SHA-256 over the data CRC of every field in order, as 64 hexadecimal digits; reads no shard."""
        crcs = np.concatenate([np.zeros(0, "<u4"), *(index.rows["crc"] for index in self._records.indexes)])
        return hashlib.sha256(crcs[self._kept].astype("<u4").tobytes()).hexdigest()


def open_fields(
    data_dir: str | Path,
    name: str,
    split: str,
    *,
    image_size: int | None = None,
    label_ids: Sequence[int] | None = None,
) -> Fields:
    """Opens a part of the newest version of `DATA_DIR/hpa/NAME`.

    Args:
      data_dir: what the builder was given as `--data_dir`.
      name: builder config, `kaggle_512` for instance.
      split: one of PARTS that the dataset has, or `all`.
      image_size: every image is resized to a square of so many pixels a side (area when it shrinks, else bilinear);
        None or 0: as stored, and then all must have one size.
      label_ids: the labels that `targets` has, in this order; only fields that bear one of them are kept. None: all.

    Raises InputError: no such dataset or split, labels that are not ours, damage (shard, record, Id), several sizes.
    """
    info = _find_dataset(data_dir, name).info
    if info.file_format != tfds.core.FileFormat.TFRECORD:
        raise InputError(f"{info.data_dir}: stored as {info.file_format.value}: build it with TFRecords")
    if not {"id", "image", "labels"} <= set(info.features):
        raise InputError(f"{info.data_dir}: features {sorted(info.features)}, not id, image, labels: build it again")
    if tuple(info.features["labels"].feature.names or ()) != LABELS:
        raise InputError(f"{info.data_dir}: its labels are not the 28 of hpa_jax/labels.py: build the dataset again")
    parts = [part for part in PARTS if part in info.splits]
    if split not in (*parts, "all"):
        raise InputError(f"{info.data_dir}: no split {split!r}: choose one of {', '.join((*parts, 'all'))}")
    used = [info.splits[part] for part in (parts if split == "all" else [split])]
    records = Records(
        [Path(path) for part in used for path in part.filepaths], [n for part in used for n in part.shard_lengths]
    )
    return Fields(records, image_size=image_size, label_ids=label_ids)


def _find_dataset(data_dir: str | Path, name: str) -> tfds.core.DatasetBuilder:
    """The newest version of the dataset NAME, or InputError saying what there is and how to build it."""
    if "://" in str(data_dir):
        raise InputError(f"{data_dir}: not a local directory: mount the bucket (gcsfuse) or copy the dataset")
    found = {}
    for path in sorted(Path(data_dir).glob("hpa/*/*/dataset_info.json")):
        if tfds.core.Version.is_valid(path.parent.name):
            found.setdefault(path.parent.parent.name, []).append(path.parent)
    if name not in found:
        build = f"python -m tfds_builder.hpa --config={name} --manual_dir=DIR --data_dir={data_dir}"
        raise InputError(f"{data_dir}/hpa/{name}: no such dataset (there: {', '.join(found) or 'none'}): {build}")
    newest = max(found[name], key=lambda path: tfds.core.Version(path.name))
    try:
        return tfds.builder_from_directory(newest)
    except Exception as error:  # TFDS has no type of its own for metadata that it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{newest}: its metadata cannot be read ({reason}): {REMEDY}") from error


def train_batches(
    fields: Fields, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1, threads: int = 2
) -> grain.IterDataset:
    """Endless batches, shuffled anew over all fields in every epoch; an iterator's state is one position.

    Step k's batches of all processes together are positions [k * batch_size, (k + 1) * batch_size) of one order, which
    depends on `seed` alone. A batch may reach from one epoch into the next: none is short and no field is left out.

    Args:
      fields: at least one.
      batch_size: over all processes; a process gets batch_size // process_count.
      seed: of the order; any integer from 0.

    Returns:
      A dataset of `{"id": str [b], "image": uint8 [b, H, W, 4], "targets": uint8 [b, L]}`, NumPy arrays.
    """
    local = _local_batch(batch_size, process_count)
    if not len(fields):
        raise InputError("no fields to train on: choose another --config.data.train_split or --config.data.labels")
    # Grain shuffles epoch e with seed + e. Spread, so that runs with seeds 0 and 1 do not share their epochs' orders.
    seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    order = grain.MapDataset.source(fields).shuffle(seed=seed).repeat()
    return _batches(order[process_index::process_count], local, threads)


def eval_batches(
    fields: Fields, *, batch_size: int, process_index: int = 0, process_count: int = 1, threads: int = 2
) -> grain.IterDataset:
    """One pass in stored order, in as many batches for every process: the last is filled up with zeros.

    Arguments and batches as in `train_batches`, and `"mask": bool [b]`, False where a row is filling (id "", zeros).
    """
    local = _local_batch(batch_size, process_count)
    padded = grain.MapDataset.source(_Padded(fields, batch_size))
    return _batches(padded[process_index::process_count], local, threads)


class _Padded:
    """Fields, then empty ones up to a whole number of batches, with a mask."""

    def __init__(self, fields: Fields, batch_size: int):
        self._fields = fields
        self._length = -(-len(fields) // batch_size) * batch_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict:
        if i < len(self._fields):
            return {**self._fields[i], "mask": np.True_}
        empty = np.zeros(self._fields.image_shape, np.uint8)
        return {"id": "", "image": empty, "targets": np.zeros(self._fields.n_labels, np.uint8), "mask": np.False_}


def _local_batch(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise InputError(f"batch size {batch_size} cannot be shared out evenly to {process_count} processes")
    return batch_size // process_count


def _batches(order: grain.MapDataset, local: int, threads: int) -> grain.IterDataset:
    # Grain would hold 500 decoded images ready, 2 GB at 1,024 px; a batch ahead keeps the threads as busy.
    ready = max(local, 2 * threads)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ready if threads else 0)
    return order.to_iter_dataset(options).batch(local)


def prefetched(batches: grain.IterDataset, transform: Callable[[dict], dict], ahead: int) -> grain.IterDataset:
    """Applies `transform` (a copy onto the devices) to each batch in a thread of its own, up to `ahead` batches early.

    Batches that wait are not counted in an iterator's position.
    """
    return grain.experimental.ThreadPrefetchIterDataset(batches.map(transform), prefetch_buffer_size=ahead)
