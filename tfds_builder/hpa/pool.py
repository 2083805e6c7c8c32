"""An ordered map over processes: results come in the order of the items, on any number of workers.

Notes:
- At most a few results a worker wait to be taken; `Executor.map` would read all of 13 GB ahead of a
  slow disk.
- A worker ends itself when the process that started it is killed; a killed parent cannot tell it
  to.
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

_MAX_WAITING = 4  # results a worker that may wait to be taken


class Pool:
    """A context manager that maps any number of times over `workers` processes.

    With one worker it maps in this very process.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        # There is one process a core already.
        cv2.setNumThreads(1)
        if self.workers > 1:
            # spawn, not fork: TensorFlow's threads do not survive a fork.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.workers, context, initializer=_start_worker)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """Yields function(item) in the order of the items; an exception is raised in its place.

        Raises:
          InputError: a worker process was killed.
        """
        if not self._executor:
            yield from map(function, items)
            return
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(self._executor.submit(function, item))
                if len(waiting) >= _MAX_WAITING * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed (out of memory?); start again with fewer --workers"
            ) from None


def available_cpus() -> int:
    """The CPUs that this process may use; macOS knows only how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
