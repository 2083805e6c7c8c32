"""Grain's batches of a prepared dataset's fields.

What is unusual here:

- A run is a list of positions. Order, sampling, sharding over processes, evaluation's padding and the place to go on
  from are arithmetic on positions, so the order depends on the seed alone, not on the number of threads or processes.
- Threads, not processes: the decoders release the GIL, and nothing has to be copied between processes.
"""

from collections.abc import Callable

import grain
import numpy as np

from hpa_jax.data.dataset import ConcatDataset, ImageDataset
from hpa_jax.data.sampler import Order
from hpa_jax.errors import InputError

_ENDLESS = 2**40  # positions that a run may reach: a million fields for a million epochs


def train_batches(
    fields: ImageDataset | ConcatDataset,
    order: Order,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    start: int = 0,
) -> grain.IterDataset:
    """Endless batches in an order that is drawn anew for every epoch; an iterator's state is one position.

    Step k's batches of all processes, one after the other, are positions [k * batch_size, (k + 1) * batch_size) of
    `order`, from `start` on: the same fields in the same rows, whatever the number of processes. A batch may reach from
    one epoch into the next: none is short and no field is left out.

    Args:
      fields: at least one.
      order: which field stands at which position.
      batch_size: over all processes; a process gets batch_size // process_count.
      start: the position that the first batch begins with.

    Returns:
      A dataset of `{"id": str [b], "image": uint8 [b, H, W, 4], "targets": uint8 [b, L]}`, NumPy arrays; of `ConcatDataset`
      fields with `"source": int32 [b]`.
    """
    fields.check_one_size()
    local = _local_batch(batch_size, process_count)
    part = _Part(_Ordered(fields, order), batch_size, local, process_index, start)
    return _batches(grain.MapDataset.source(part), local, threads)


def eval_batches(
    fields: ImageDataset,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
) -> grain.IterDataset:
    """One pass in stored order, in as many batches for every process: the last is filled up with zeros.

    Arguments and batches as in `train_batches`, and `"mask": bool [b]`, False where a row is filling (id "", zeros).
    """
    fields.check_one_size()
    local = _local_batch(batch_size, process_count)
    part = _Part(_Padded(fields, batch_size), batch_size, local, process_index)
    return _batches(grain.MapDataset.source(part), local, threads)


class _Ordered:
    """The field at each position of an order, as far as any run goes."""

    def __init__(self, fields: ImageDataset | ConcatDataset, order: Order):
        self._fields, self._order = fields, order

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, position: int) -> dict:
        return self._fields[self._order[position]]


class _Padded:
    """Fields, then empty ones up to a whole number of batches, with a mask."""

    def __init__(self, fields: ImageDataset, batch_size: int):
        self._fields = fields
        self._length = -(-len(fields) // batch_size) * batch_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict:
        if i < len(self._fields):
            return {**self._fields[i], "mask": np.True_}
        empty = np.zeros(self._fields.image_shape, np.uint8)
        return {
            "id": "",
            "image": empty,
            "targets": np.zeros(self._fields.n_labels, np.uint8),
            "mask": np.False_,
        }


class _Part:
    """One process's rows of every batch: `local` of them, side by side, so that all parts together are the batch."""

    def __init__(
        self, source: _Ordered | _Padded, batch_size: int, local: int, index: int, start: int = 0
    ):
        self._source, self._batch, self._local, self._first = (
            source,
            batch_size,
            local,
            start + index * local,
        )

    def __len__(self) -> int:
        return len(self._source) // self._batch * self._local

    def __getitem__(self, i: int) -> dict:
        step, row = divmod(i, self._local)
        return self._source[self._first + step * self._batch + row]


def _local_batch(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise InputError(
            f"batch size {batch_size} cannot be shared out evenly to {process_count} processes"
        )
    return batch_size // process_count


def _batches(order: grain.MapDataset, local: int, threads: int) -> grain.IterDataset:
    # Grain would hold 500 decoded images ready, 2 GB at 1,024 px; a batch ahead keeps the threads as busy.
    ready = max(local, 2 * threads)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ready if threads else 0)
    return order.to_iter_dataset(options).batch(local)


def prefetched(
    batches: grain.IterDataset, transform: Callable[[dict], dict], ahead: int
) -> grain.IterDataset:
    """Applies `transform` (a copy onto the devices) to each batch in a thread of its own, up to `ahead` batches early.

    Batches that wait are not counted in an iterator's position.
    """
    return grain.experimental.ThreadPrefetchIterDataset(
        batches.map(transform), prefetch_buffer_size=ahead
    )
