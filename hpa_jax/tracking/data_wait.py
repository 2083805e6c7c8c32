"""Whether the devices get their batches in time: how long they stand idle because the next one is not there.

Unusual: what counts is not how long the host waits, but for how much of that the devices had nothing to do. The host
runs ahead of them: where it waits for a batch while they still compute, nothing is lost. A thread notes when each step
ends on the devices; the host itself waits for them no more often than before.

Of several processes each counts its own: one that lacks a batch shows in the others as longer steps.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax


class Feed:
    """Batches, and the idle time between them.

    Args:
      batches: those of a run.
    """

    def __init__(self, batches: Iterator):
        self._batches = batches
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="step-ends")
        self._last: Future | None = (
            None  # when the devices are done with the last step that is under way
        )
        self._waits: list[tuple[float, float, Future | None]] = []

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        begun = time.monotonic()
        with jax.profiler.TraceAnnotation("wait for a batch"):
            batch = next(self._batches)
        self._waits.append((begun, time.monotonic(), self._last))
        return batch

    def under_way(self, outputs: Any) -> None:
        """The step that takes the last batch is on its way; `outputs` are arrays that it gives and nobody donates."""
        self._last = self._watcher.submit(_ready_at, outputs)

    def idle_seconds(self) -> float:
        """Seconds since the last call for which the devices had nothing to do and no batch was there.

        Waits until the devices have begun the last step.
        """
        waits, self._waits = self._waits, []
        return idle_in((begun, end, last.result() if last else begun) for begun, end, last in waits)

    def close(self) -> None:
        self._watcher.shutdown(wait=False, cancel_futures=True)


def idle_in(waits: Iterable[tuple[float, float, float]]) -> float:
    """Of each wait for a batch (its begin, its end, when the devices were done), what passed with the devices idle."""
    return sum(max(0.0, end - max(begun, done)) for begun, end, done in waits)


def _ready_at(outputs: Any) -> float:
    jax.block_until_ready(outputs)
    return time.monotonic()
