"""Small datasets that TFDS itself writes: the other side of what `hpa_jax.data` reads."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from hpa_jax.data.loader import train_batches
from hpa_jax.data.records import write_index
from hpa_jax.data.sampler import Order
from hpa_jax.labels import LABELS

COUNTS = {"train": 23, "validation": 7, "test": 5}
IDS = {split: [f"{split}-{i}" for i in range(count)] for split, count in COUNTS.items()}
ALL_IDS = [*IDS["train"], *IDS["validation"], *IDS["test"]]


def pixels_of(image_id, shape=(6, 8)):
    """The image of an Id: noise, so that no two channels, rows or columns are alike."""
    return np.random.default_rng(list(image_id.encode())).integers(0, 256, (*shape, 4), np.uint8)


def labels_of(image_id):
    number = int(image_id.rsplit("-", 1)[1])
    return [number % 28, 27] if number % 3 else [number % 28]


def fold_of(image_id):
    split, number = image_id.rsplit("-", 1)
    return {"train": 1 + int(number) % 3, "validation": 0, "test": -1}[split]


def targets_of(ids):
    return np.array(
        [[label in labels_of(image_id) for label in range(28)] for image_id in ids], np.uint8
    )


def build_dataset(data_dir, name, ids=IDS, image_of=pixels_of, label_names=LABELS):
    """Writes `data_dir/hpa/NAME/1.0.0` with TFDS's own writer, ten images a shard, and indexes."""
    folder = Path(data_dir) / "hpa" / name / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(
                shape=(None, None, 4), dtype=np.uint8, encoding_format="png"
            ),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=list(label_names))),
            "fold": tfds.features.Scalar(np.int64),
            "group": tfds.features.Scalar(np.int64),
        }
    )
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="hpa",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name="",
        config_name=name,
    )
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(builder=identity, features=features), 10
    )
    writer.initialize_splits(list(ids))
    for split, names in ids.items():
        for i in names:
            metadata = {"labels": labels_of(i), "fold": fold_of(i), "group": len(i)}
            writer.add_examples({split: [{"id": i, "image": image_of(i), **metadata}]})
    writer.close_all()
    for shard in folder.glob("*.tfrecord*"):
        write_index(shard)
    return folder


def take(batches, count):
    iterator = iter(batches)
    return [next(iterator) for _ in range(count)]


def shuffled(dataset, *, batch_size, seed, **options):
    """Training batches in which every image comes once an epoch."""
    order = Order(np.ones(len(dataset)), seed)
    return train_batches(dataset, order, batch_size=batch_size, **options)
