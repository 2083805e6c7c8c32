"""Batches of a dataset's images, read by Grain.

Design:

- A run is a list of positions. Order, sampling, sharding over processes, padding in evaluation and
  the place from which a run resumes are arithmetic on positions, so the order depends on the seed
  alone, not on the number of threads or processes.
- Threads, not processes: the decoders release the GIL, and nothing has to be copied between
  processes.

Which image stands at which position is decided in `sampler.Order`, or another `epochs.EpochOrder`.
"""

import threading
from collections.abc import Callable, Sequence

import grain
import numpy as np

from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.epochs import EpochOrder
from hpa_jax.errors import InputError

# Grain wants a length. No run reaches it: it is a million images for a million epochs.
_ENDLESS = 2**40


def train_batches(
    dataset: ImageDataset | ConcatDataset,
    order: EpochOrder,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    start: int = 0,
    vary: Callable[[dict, int], dict] | None = None,
) -> grain.IterDataset:
    """Endless batches, in an order that is drawn anew for every epoch.

    The batches of step k of all processes, one after the other, are the positions
    [k * batch_size, (k + 1) * batch_size) of `order`, counted from `start`: the same images in the
    same rows, whatever the number of processes. A batch may reach from one epoch into the next, so
    that none is short and no image is left out. The state of an iterator is one position.

    Args:
      dataset: at least one image.
      order: which image stands at which position.
      batch_size: over all processes; a process gets batch_size // process_count of them.
      process_index: this process's number, from 0.
      process_count: number of processes.
      threads: that read and decode; 0: in the calling thread.
      start: position at which the first batch starts.
      vary: of an image and its position in the order to what is read in its place.

    Returns:
      A dataset of `{"id": str [b], "image": uint8 [b, H, W, 4], "targets": uint8 [b, L]}`, NumPy
      arrays; of a `ConcatDataset` with `"source": int32 [b]`.

    Raises:
      InputError: the images have several sizes, or the processes cannot share the batch evenly.
    """
    dataset.check_one_size()
    local = _local_batch_size(batch_size, process_count)
    rows = _ProcessRows(
        _OrderedImages(dataset, order, vary),
        batch_size=batch_size,
        local=local,
        process_index=process_index,
        start=start,
    )
    return _read_in_threads(grain.MapDataset.source(rows), local, threads)


def eval_batches(
    dataset: ImageDataset,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
) -> grain.IterDataset:
    """One pass in stored order, in the same number of batches for every process.

    Arguments and errors are those of `train_batches`. The last batch is padded.

    Returns:
      A dataset as of `train_batches`, with `"mask": bool [b]`, which is False for padding rows
      (id "", zeros).
    """
    dataset.check_one_size()
    local = _local_batch_size(batch_size, process_count)
    rows = _ProcessRows(
        _PaddedImages(dataset, batch_size),
        batch_size=batch_size,
        local=local,
        process_index=process_index,
    )
    return _read_in_threads(grain.MapDataset.source(rows), local, threads)


def prefetch(
    batches: grain.IterDataset, transform: Callable[[dict], dict], *, ahead: int
) -> grain.IterDataset:
    """Applies `transform` to each batch in a thread of its own, up to `ahead` batches early.

    `transform` is a copy to the devices, for instance. Batches that wait are not counted in the
    position of an iterator.
    """
    return grain.experimental.ThreadPrefetchIterDataset(
        batches.map(transform), prefetch_buffer_size=ahead
    )


class _OrderedImages:
    """The image at each position of an order, without end."""

    def __init__(
        self,
        dataset: ImageDataset | ConcatDataset,
        order: EpochOrder,
        vary: Callable[[dict, int], dict] | None,
    ):
        self._dataset = dataset
        self._order = order
        self._vary = vary

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, position: int) -> dict:
        example = self._dataset[self._order[position]]
        return self._vary(example, position) if self._vary else example

    def announce(self, positions: Sequence[int]) -> None:
        """Says which positions are read next."""
        self._dataset.announce(self._order[position] for position in positions)

    @property
    def read_ahead(self) -> int:
        return self._dataset.read_ahead


class _PaddedImages:
    """Images with a mask, and padding up to a multiple of the batch size."""

    def __init__(self, dataset: ImageDataset, batch_size: int):
        self._dataset = dataset
        self._length = -(-len(dataset) // batch_size) * batch_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict:
        if i < len(self._dataset):
            return {**self._dataset[i], "mask": np.True_}
        return {**self._dataset.padding(), "mask": np.False_}

    def announce(self, positions: Sequence[int]) -> None:
        """Says which positions are read next."""
        self._dataset.announce(i for i in positions if i < len(self._dataset))

    @property
    def read_ahead(self) -> int:
        return self._dataset.read_ahead


class _ProcessRows:
    """The `local` adjacent rows of every batch that one process reads.

    The rows of all processes, one process after another, are the batch.
    """

    def __init__(
        self,
        source: _OrderedImages | _PaddedImages,
        *,
        batch_size: int,
        local: int,
        process_index: int,
        start: int = 0,
    ):
        self._source = source
        self._batch_size = batch_size
        self._local = local
        self._first = start + process_index * local
        self._read_ahead = source.read_ahead
        self._announced = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source) // self._batch_size * self._local

    def __getitem__(self, i: int) -> dict:
        if self._read_ahead:
            self._announce_behind(i)
        return self._source[self._position(i)]

    def _position(self, i: int) -> int:
        step, row = divmod(i, self._local)
        return self._first + step * self._batch_size + row

    def _announce_behind(self, i: int) -> None:
        """Announces what is read after row `i`, some rows at a time."""
        with self._lock:
            start = max(self._announced, i)
            stop = min(i + self._read_ahead, len(self))
            is_due = start < stop and (i >= start or stop - start >= self._read_ahead // 4)
            if not is_due:
                return
            self._announced = stop
            # Within the lock: another thread would read its row, which comes with these.
            self._source.announce([self._position(row) for row in range(start, stop)])

    # A lock is of one process.
    def __getstate__(self) -> dict:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _local_batch_size(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise InputError(
            f"batch size {batch_size} cannot be divided evenly among {process_count} processes"
        )
    return batch_size // process_count


def images_held(batch_size: int, threads: int) -> int:
    """Decoded images that a process holds while it reads: those that wait, and one batch of them.

    Args:
      batch_size: of this process.
      threads: that read and decode.
    """
    return _images_waiting(batch_size, threads) + batch_size


def _images_waiting(batch_size: int, threads: int) -> int:
    # By default, Grain holds 500 decoded images ready, 2 GB at 1,024 px. One batch keeps the
    # threads as busy.
    return max(batch_size, 2 * threads) if threads else 0


def _read_in_threads(images: grain.MapDataset, batch_size: int, threads: int) -> grain.IterDataset:
    buffer_size = _images_waiting(batch_size, threads)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer_size)
    return images.to_iter_dataset(options).batch(batch_size)
