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

_JOIN_S = 5  # that an ending worker is waited for
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
            raise InputError(self._why_broken()) from None

    def _why_broken(self) -> str:
        """How the first worker ended, as far as its exit status says."""
        # A private attribute, since there is no other way to see it; it may have been emptied.
        workers = dict(getattr(self._executor, "_processes", None) or {})
        for worker in workers.values():
            worker.join(_JOIN_S)
            status = worker.exitcode
            if status is not None and status < 0 and -status != signal.SIGTERM:
                return _ending(-status)
        return "a worker process ended before its work was done; start again with fewer --workers"


def _ending(number: int) -> str:
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        advice = "as the system does when memory runs out: start again with fewer --workers"
    else:
        advice = "in a library that it uses: --workers=1 shows at which image"
    return f"a worker process was ended by {name}, {advice}"


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent decides what to do about it.
    # So does the SIGHUP of a terminal that is closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
