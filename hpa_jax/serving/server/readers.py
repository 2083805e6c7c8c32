"""The threads that read images.

Design: an executor of the standard library keeps what it is given until a thread takes it up, also
the files of clients that have gone meanwhile, and however many those are. Here work is given to it
only when a thread is free; what waits is a coroutine, and is dropped with it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Readers:
    """So many threads.

    Args:
      count: of the threads.
    """

    def __init__(self, count: int):
        self._pool = ThreadPoolExecutor(count, "images")
        self._free = asyncio.Semaphore(count)

    async def run(self, work: Callable, *arguments: Any) -> Any:
        """The result of `work`, in one of the threads.

        Who waits may be cancelled; work that has begun then goes on to its end.
        """
        loop = asyncio.get_running_loop()
        await self._free.acquire()
        begun = self._pool.submit(work, *arguments)

        def release(_) -> None:
            # The loop has ended: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._free.release)

        begun.add_done_callback(release)
        return await asyncio.wrap_future(begun)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)
