"""Threads that take items from one iterator, each with a tool of its own, and yield results.

Design:
- Nothing is queued ahead, so a list of any length costs no memory.
- The threads are daemons: a look-up of a host's name that is stuck does not keep the program alive.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from hpa_jax.http_fetch import Stopped

Item = TypeVar("Item")
Result = TypeVar("Result")
Tool = TypeVar("Tool")

TICK = 0.25  # seconds
_PATIENCE = 5.0  # seconds that threads have to end once they are to stop
_END = object()  # what a thread puts last


def work(
    task: Callable[[Tool, Item], Result],
    items: Iterable[Item],
    tools: Sequence[Tool],
    stop: threading.Event,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Result]:
    """Runs `task(tool, item)` for every item and yields the results as they come.

    Whoever sets `stop`, from a signal handler too, ends it soon: no further item is started, and
    results that still come are yielded. At the end, however it comes, `stop` is set.

    Args:
      task: may raise `Stopped` once `stop` is set, which leaves its item undone. Any other
        exception stops all threads and is raised here.
      items: taken one at a time.
      tools: one thread for each.
      stop: see above.
      tick: called in the thread that iterates, about every `TICK` seconds, and more often once
        `stop` is set.
    """
    pending = iter(items)
    taking = threading.Lock()
    done: queue.Queue = queue.Queue(maxsize=1024)

    def run(tool: Tool) -> None:
        failure = None
        try:
            while not stop.is_set():
                with taking:
                    item = next(pending, _END)
                if item is _END:
                    break
                done.put((task(tool, item), None))
        except Stopped:
            pass
        except BaseException as error:
            failure = error  # raised again where the results are taken
        done.put((_END, failure))

    threads = [threading.Thread(target=run, args=(tool,), daemon=True) for tool in tools]
    for thread in threads:
        thread.start()
    running = len(threads)
    last_tick = time.monotonic()
    give_up = float("inf")
    try:
        while running and (now := time.monotonic()) < give_up:
            stopping = stop.is_set()
            if stopping:
                give_up = min(give_up, now + _PATIENCE)
            if stopping or now - last_tick >= TICK:
                tick()
                last_tick = now
            try:
                result, error = done.get(timeout=TICK / 5 if stopping else TICK)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if result is _END:
                running -= 1
            else:
                yield result
    finally:
        stop.set()
        give_up = min(give_up, time.monotonic() + _PATIENCE)
        while any(thread.is_alive() for thread in threads) and time.monotonic() < give_up:
            tick()
            # A thread may wait for room in the queue.
            with contextlib.suppress(queue.Empty):
                done.get(timeout=TICK / 5)
