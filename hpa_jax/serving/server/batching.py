"""Images that wait for the net, and the one thread that runs it.

Design: nobody waits for others. While the net works on a batch, what arrives becomes the next one,
up to the largest batch; an image that comes alone is run alone and at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from hpa_jax.serving.server.metrics import Metrics

# Of the mean time an image takes: how much the last batch counts.
_WEIGHT = 0.2


class Net(Protocol):
    """What is run here; `hpa_jax.serving.load` returns it.

    Attributes:
      description: the contents of model.json.
      outputs: names of what it gives.
    """

    description: Mapping
    outputs: tuple[str, ...]

    def run(self, images: np.ndarray, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Runs the net on uint8 [B, S, S, 4]; arrays [B, ...] by name."""


class _Waiting(NamedTuple):
    image: np.ndarray
    outputs: tuple[str, ...]
    done: asyncio.Future


class Batcher:
    """Runs the net on whatever waits.

    Args:
      net: that is run.
      max_batch: images a call.
      metrics: of the server.
    """

    def __init__(self, net: Net, max_batch: int, metrics: Metrics):
        self._net = net
        self._max_batch = max_batch
        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "net")
        self._image_seconds = 0.0

    def wait_seconds(self) -> float:
        """How long what waits will take."""
        return self._image_seconds * (len(self._waiting) + self._max_batch)

    async def score(self, image: np.ndarray, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Runs the net on one image.

        Args:
          image: uint8 [S, S, 4].
          outputs: of the net.

        Returns:
          float32 arrays by name, without the batch's dimension.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(image, outputs, done))
        self._arrived.set()
        return await done

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._run_batch(batch)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    def _next_batch(self) -> list[_Waiting]:
        batch = []
        while self._waiting and len(batch) < self._max_batch:
            one = self._waiting.popleft()
            # Whoever has gone needs no scores.
            if not one.done.done():
                batch.append(one)
        return batch

    async def _run_batch(self, batch: list[_Waiting]) -> None:
        images = np.stack([one.image for one in batch])
        wanted = dict.fromkeys(name for one in batch for name in one.outputs)
        begun = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._thread, _finite, self._net.run, images, tuple(wanted)
            )
        except Exception as error:  # whatever a runtime raises, those who wait are told
            for one in batch:
                if not one.done.done():
                    one.done.set_exception(error)
            return
        seconds = time.perf_counter() - begun
        self._count(len(batch), seconds)
        for row, one in enumerate(batch):
            if not one.done.done():
                one.done.set_result({name: found[name][row] for name in one.outputs})

    def _count(self, images: int, seconds: float) -> None:
        self._metrics.images.inc(images)
        self._metrics.batches.observe(images)
        self._metrics.net_seconds.observe(seconds)
        last = seconds / images
        self._image_seconds += _WEIGHT * (last - self._image_seconds)


def _finite(run: Callable, images: np.ndarray, outputs: tuple[str, ...]) -> dict:
    found = run(images, outputs)
    if not np.isfinite(found["probabilities"]).all():
        raise FloatingPointError("the net gives probabilities that are no numbers")
    return found
