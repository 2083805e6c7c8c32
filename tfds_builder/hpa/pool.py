"""An ordered map over processes: results come in the order of the items, whatever the number of workers.

Unusual: at most a few results a worker wait to be taken (`Executor.map` would read all of 13 GB ahead of a slow
disk), and a worker ends itself when the process that started it is killed (a killed parent cannot tell it to).
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

import cv2

from hpa_jax.errors import InputError

_AHEAD = 4  # results a worker that may wait


class Pool:
    """`workers` processes, or with one worker this very process. A context manager that maps any number of times."""

    def __init__(self, workers: int):
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        cv2.setNumThreads(1)  # one process a core already
        if self.workers > 1:
            # spawn, not fork: TensorFlow's threads do not survive a fork.
            self._executor = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """function(item) for each item, in the items' order; an exception is raised in its item's place."""
        if not self._executor:
            yield from map(function, items)
            return
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(self._executor.submit(function, item))
                if len(waiting) >= _AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed (out of memory?); start again with fewer --workers"
            ) from None


def _start_worker() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
