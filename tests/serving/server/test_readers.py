"""Threads, and who waits for them."""

import asyncio
import gc
import threading
import weakref

from hpa_jax.serving.server.readers import Readers


class Files:
    """Of a request."""


def test_what_nobody_waits_for_is_not_begun_and_not_kept():
    async def main() -> None:
        readers = Readers(1)
        begun = threading.Event()
        end = threading.Event()
        seen = []

        def slow(files: Files) -> None:
            begun.set()
            end.wait()
            seen.append(files)

        running = asyncio.ensure_future(readers.run(slow, "first"))
        await asyncio.to_thread(begun.wait)
        files = Files()
        kept = weakref.ref(files)
        waiting = asyncio.ensure_future(readers.run(seen.append, files))
        await asyncio.sleep(0)
        for task in (running, waiting):
            task.cancel()
        await asyncio.wait([running, waiting])
        assert waiting.cancelled()
        del files, waiting, task
        gc.collect()
        assert kept() is None
        # The one thread is taken until its work has ended, and free then.
        last = asyncio.ensure_future(readers.run(seen.append, "last"))
        await asyncio.sleep(0)
        assert seen == []
        end.set()
        await last
        assert seen == ["first", "last"]
        readers.close()

    asyncio.run(main())
