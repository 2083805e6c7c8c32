"""How long the devices stand idle because the next batch is not there.

Design: what counts is not how long the host waits, but for how much of that the devices had
nothing to do. The host runs ahead of them: where it waits for a batch while they still compute,
nothing is lost. A thread notes when each step ends on the devices; the host itself waits for them
no more often than before.

Of several processes each measures its own wait: a process that lacks a batch shows in the others
as longer steps.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax


class _Wait(NamedTuple):
    start: float
    end: float
    previous_step: Future | None  # when the devices are done with it


class DataWaitTimer:
    """Iterates over batches and measures the time lost between them; to be closed.

    Args:
      batches: of a run.
    """

    def __init__(self, batches: Iterator):
        self._batches = batches
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="step-ends")
        self._last_step: Future | None = None
        self._waits: list[_Wait] = []

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        start = time.monotonic()
        with jax.profiler.TraceAnnotation("wait for a batch"):
            batch = next(self._batches)
        self._waits.append(_Wait(start, time.monotonic(), self._last_step))
        return batch

    def step_dispatched(self, outputs: Any) -> None:
        """To be called when the step with the last batch is on its way.

        Args:
          outputs: arrays that the step returns and nobody donates.
        """
        # In the other thread, since waiting here would keep the host from running ahead.
        self._last_step = self._watcher.submit(_time_when_ready, outputs)

    def idle_seconds(self) -> float:
        """Seconds since the last call for which the devices were idle and no batch was there.

        Waits until the devices have started the last step.
        """
        waits = self._waits
        self._waits = []
        times = []
        for start, end, previous_step in waits:
            # Before the first step the devices are idle from the start.
            done = start if previous_step is None else previous_step.result()
            times.append((start, end, done))
        return idle_seconds_of(times)

    def close(self) -> None:
        self._watcher.shutdown(wait=False, cancel_futures=True)


def idle_seconds_of(waits: Iterable[tuple[float, float, float]]) -> float:
    """The part of the waits for batches in which the devices were idle.

    Args:
      waits: of each, its start, its end, and when the devices were done, in seconds.
    """
    total = 0.0
    for start, end, done in waits:
        total += max(0.0, end - max(start, done))
    return total


def _time_when_ready(outputs: Any) -> float:
    jax.block_until_ready(outputs)
    return time.monotonic()
