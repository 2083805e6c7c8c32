"""An endless order of images, epoch by epoch, of which each is a function of its number alone.

Of NumPy's random functions it uses only the raw output of a counter-based generator, whose stream
NumPy promises to keep, and integer arithmetic: an order is the same on any machine and in any
version. So a run resumes at any position without replaying anything.
"""

import threading
from abc import ABC, abstractmethod

import numpy as np

_KEPT_EPOCHS = 2  # a batch may reach from one epoch into the next


class EpochOrder(ABC):
    """An endless sequence of image numbers: `order[position]`, in epochs of `epoch_length`.

    An epoch is computed when it is first asked for, and the last two are kept. Safe to share
    between threads, and can be pickled.

    Attributes:
      num_images: images to draw from.
      epoch_length: positions of an epoch.
    """

    num_images: int
    epoch_length: int

    def __init__(self):
        self._init_cache()

    def _init_cache(self) -> None:
        self._lock = threading.Lock()
        self._epochs: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict:
        state = dict(self.__dict__)
        del state["_lock"]
        del state["_epochs"]
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._init_cache()

    def __getitem__(self, position: int) -> int:
        if position < 0:
            raise IndexError(f"position {position} is before the first")
        epoch, place = divmod(position, self.epoch_length)
        return int(self.epoch(epoch)[place])

    def epoch(self, number: int) -> np.ndarray:
        """The image numbers of one epoch in their order, int32 [epoch_length], read-only."""
        images = self._epochs.get(number)
        if images is not None:
            return images
        # Other threads wait for the lock, rather than compute the same epoch.
        with self._lock:
            images = self._epochs.get(number)
            if images is None:
                images = self._draw_epoch(number)
                while len(self._epochs) >= _KEPT_EPOCHS:
                    oldest = next(iter(self._epochs))
                    del self._epochs[oldest]
                self._epochs[number] = images
        return images

    @abstractmethod
    def _draw_epoch(self, number: int) -> np.ndarray:
        """The image numbers of one epoch, int32 [epoch_length], read-only; always the same."""


def permutation(length: int, generator: np.random.Philox) -> np.ndarray:
    """The numbers 0 to `length` - 1 in random order, int64.

    Random 64-bit numbers are sorted, whose lowest bits were replaced by those numbers.
    """
    bits = max(1, (length - 1).bit_length())
    keys = generator.random_raw(length)
    keys >>= np.uint64(bits)
    keys <<= np.uint64(bits)
    keys |= np.arange(length, dtype=np.uint64)
    keys.sort()
    keys &= np.uint64((1 << bits) - 1)
    return keys.view(np.int64)
