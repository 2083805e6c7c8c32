"""Stored fields as a sequence, of one dataset or of several. No TensorFlow, no Grain.

Unusual: TFRecords are read at random. Ids, labels, folds and sizes come from the shards' indexes; only images are read
from the shards, with both CRCs checked.
"""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np

from hpa_jax.data import codec
from hpa_jax.data.records import Records
from hpa_jax.data.shard_index import REMEDY
from hpa_jax.data.tfrecord import example_image
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS

cv2.setNumThreads(
    1
)  # the readers' threads are the parallelism; OpenCV's own would fight them for the same cores


class ImageDataset:
    """The fields of a part in stored order: `fields[i]` is `{"id", "image", "targets"}`. Made by datasets.py.

    `id` str; `image` uint8 [H, W, 4], red, green, blue, yellow; `targets` uint8 [L], 0 or 1. `image_shape` is the
    (H, W, 4) that all of them have, `n_labels` is L. Safe to share between threads; can be pickled.
    """

    def __init__(
        self,
        records: Records,
        *,
        image_size: int | None,
        label_ids: Sequence[int] | None,
        folds: Sequence[int] | None = None,
    ):
        self._records = records
        targets = records.labels(len(LABELS))
        kept = np.ones(len(records), bool) if folds is None else np.isin(records.folds(), folds)
        if label_ids is not None:
            targets = targets[:, list(label_ids)]
            kept &= targets.any(axis=1)
        self._kept = np.flatnonzero(kept)
        self._targets = targets[self._kept]
        self.n_labels = targets.shape[1]
        sizes = self.sizes()
        if not sizes.all():
            broken = records.where(int(self._kept[np.flatnonzero(~sizes.all(axis=1))[0]]))
            raise InputError(
                f"{broken}: its image is in no codec of {', '.join(codec.CODECS)}: build the dataset again"
            )
        self._several = ""
        stored = np.unique(sizes, axis=0)
        if image_size:
            side = (image_size, image_size)
        elif len(stored) == 1:
            side = tuple(stored[0].tolist())
        else:
            side = (0, 0)
            few = ", ".join(f"{h}x{w}" for h, w in stored[:3]) + (
                ", ..." if len(stored) > 3 else ""
            )
            self._several = f"fields of {len(stored)} sizes ({few})" if len(stored) else ""
        self.image_shape = (*side, len(CHANNELS))

    def check_one_size(self) -> None:
        """Raises InputError where the fields have several sizes and none was chosen: they cannot be batched."""
        if self._several:
            raise InputError(
                f"{self._records.shards[0].parent}: {self._several} cannot be batched as stored: "
                "choose one with --config.data.image_size=PIXELS"
            )

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> dict:
        return {
            "id": self._records.id(int(self._kept[i])),
            "image": self.image(i),
            "targets": self._targets[i].copy(),
        }

    def image(self, i: int) -> np.ndarray:
        """`uint8 [H, W, 4]` of field `i`: resized to `image_shape`, or as stored where the sizes differ."""
        record = int(self._kept[i])
        try:
            image = codec.decode(example_image(self._records[record]))
        except ValueError as error:
            raise InputError(f"{self._records.where(record)}: {error}: {REMEDY}") from None
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != len(CHANNELS):
            found = f"{image.dtype} {list(image.shape)}"
            raise InputError(
                f"{self._records.where(record)}: {found}, not uint8 [H, W, 4]: {REMEDY}"
            )
        height, width = self.image_shape[:2]
        if height and image.shape != self.image_shape:
            shrinks = height * width < image.shape[0] * image.shape[1]
            image = cv2.resize(
                image,
                (width, height),
                interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
            )
        return image

    def ids(self) -> list[str]:
        """All Ids, from the indexes."""
        return [self._records.id(int(record)) for record in self._kept]

    def targets(self) -> np.ndarray:
        """`uint8 [fields, labels]`, 0 or 1, from the indexes."""
        return self._targets.copy()

    def sizes(self) -> np.ndarray:
        """Stored (height, width) in pixels, `int64 [fields, 2]`, from the indexes."""
        return self._records.sizes()[self._kept]

    def folds(self) -> np.ndarray:
        """`int64 [fields]`: each field's fold, -1 in the test part, from the indexes."""
        return self._records.folds()[self._kept]

    def groups(self) -> np.ndarray:
        """`int64 [fields]`: each field's group (near-duplicates, one antibody), which no split cuts."""
        return self._records.groups()[self._kept]

    def fingerprint(self) -> str:
        """SHA-256 over the data CRC of every field in order, as 64 hexadecimal digits; reads no shard."""
        crcs = np.concatenate(
            [np.zeros(0, "<u4"), *(index.rows["crc"] for index in self._records.indexes)]
        )
        return hashlib.sha256(crcs[self._kept].astype("<u4").tobytes()).hexdigest()


class ConcatDataset:
    """The fields of several datasets one after another; `fields[i]` has `"source"` too, the dataset's number (int32).

    Raises InputError where their images differ in size.
    """

    def __init__(self, sources: Sequence[ImageDataset], names: Sequence[str]):
        self._sources = list(sources)
        self.check_one_size()
        if len({fields.image_shape for fields in sources}) > 1:
            sizes = ", ".join(
                f"{n} {f.image_shape[0]}x{f.image_shape[1]}"
                for n, f in zip(names, sources, strict=True)
            )
            raise InputError(
                f"the datasets' sizes differ ({sizes}): choose one with --config.data.image_size=PIXELS"
            )
        self.image_shape, self.n_labels = sources[0].image_shape, sources[0].n_labels
        self._ends = np.cumsum([len(fields) for fields in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> dict:
        number = int(np.searchsorted(self._ends, i, side="right"))
        start = int(self._ends[number - 1]) if number else 0
        return {**self._sources[number][i - start], "source": np.int32(number)}

    def check_one_size(self) -> None:
        """As of `ImageDataset`."""
        for fields in self._sources:
            fields.check_one_size()

    def targets(self) -> np.ndarray:
        """`uint8 [fields, labels]`, 0 or 1."""
        return np.concatenate([fields.targets() for fields in self._sources])

    def fingerprint(self) -> str:
        """SHA-256 over those of the datasets."""
        return hashlib.sha256(
            "".join(fields.fingerprint() for fields in self._sources).encode()
        ).hexdigest()

    def lengths(self) -> list[int]:
        """Number of fields of each dataset."""
        return [len(fields) for fields in self._sources]
