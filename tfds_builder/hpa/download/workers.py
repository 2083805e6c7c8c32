"""Threads that take items from one iterator, each with a tool of its own, and hand the results to whoever iterates.

Unusual: nothing is queued ahead, so that a list of any length costs no memory; and the threads are daemons that a
stuck look-up of a host's name cannot keep the program from ending with.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Tool = TypeVar("Tool")

TICK = 0.25  # seconds
_PATIENCE = 5.0  # seconds that threads have for ending once they are to stop


class Stopped(Exception):
    """Raised inside a task that is to end because of `stop`: its item counts as not done."""


def work(
    task: Callable[[Tool, Item], Result],
    items: Iterable[Item],
    tools: Sequence[Tool],
    stop: threading.Event,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Result]:
    """Runs `task(tool, item)` for every item, with one thread a tool; results come in the order of their being done.

    Whoever sets `stop` (from a signal handler too) ends it soon: no further item is begun, results that still come are
    yielded. An exception of a task stops all and is raised here. At the end, however it comes, `stop` is set.

    Args:
      tick: called in the thread that iterates, every `TICK` seconds or so, and oftener once `stop` is set.
    """
    source, lock = iter(items), threading.Lock()
    done: queue.Queue = queue.Queue(maxsize=1024)
    nothing = object()

    def labour(tool: Tool) -> None:
        error = None
        try:
            while not stop.is_set():
                with lock:
                    item = next(source, nothing)
                if item is nothing:
                    break
                done.put((task(tool, item), None))
        except Stopped:
            pass
        except BaseException as raised:  # raised again where the results are taken
            error = raised
        done.put((nothing, error))

    threads = [threading.Thread(target=labour, args=(tool,), daemon=True) for tool in tools]
    for thread in threads:
        thread.start()
    at_work, last_tick, ends = len(threads), time.monotonic(), float("inf")
    try:
        while at_work and (now := time.monotonic()) < ends:
            if stop.is_set():
                ends = min(ends, now + _PATIENCE)
            if stop.is_set() or now - last_tick >= TICK:
                tick()
                last_tick = now
            try:
                result, error = done.get(timeout=TICK / 5 if stop.is_set() else TICK)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if result is nothing:
                at_work -= 1
            else:
                yield result
    finally:
        stop.set()
        ends = min(ends, time.monotonic() + _PATIENCE)
        while any(thread.is_alive() for thread in threads) and time.monotonic() < ends:
            tick()
            with contextlib.suppress(queue.Empty):
                done.get(timeout=TICK / 5)
