"""Makes the pictures of a folder's or split's images that are not there yet, a batch at a time."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
from tqdm import tqdm

from hpa_jax.serving.synthesize.filling import Filler, filled_planes
from hpa_jax.serving.synthesize.images import Images, Prepared
from hpa_jax.serving.synthesize.pictures import Pictures


def make_pictures(
    filler: Filler,
    images: Images,
    pictures: Pictures,
    wanted: Sequence[str],
    shown: Sequence[str],
    *,
    batch: int,
    threads: int,
) -> None:
    """Makes what is missing.

    Args:
      filler: the net.
      images: whose channels are made.
      pictures: the folder of what is made.
      wanted: names of the channels to make.
      shown: of `filling.shown_sources`.
      batch: images at a time.
      threads: that read, while the net works on the batch before.

    Raises:
      InputError: an image cannot be read; all that were made by then are kept.
    """
    missing = []
    for number, image_id in enumerate(images.ids):
        if not all(pictures.has(image_id, channel) for channel in wanted):
            missing.append(number)
    done = len(images.ids) - len(missing)
    if done:
        print(f"{done} images were done before")
    # The threads that read are the parallelism: OpenCV's own would compete for the same cores.
    cv2.setNumThreads(1)
    bar = tqdm(
        total=len(images.ids),
        initial=done,
        unit="image",
        desc="synthesize",
        dynamic_ncols=True,
        disable=None,
    )
    with bar, ThreadPoolExecutor(max(1, threads)) as pool:
        for numbers, futures in _read_ahead(images, missing, batch, pool):
            prepared = [future.result() for future in futures]
            squares = np.stack([one.square for one in prepared])
            shapes = [one.shape for one in prepared]
            planes = filled_planes(filler, squares, shapes, wanted, shown)
            for number, made in zip(numbers, planes, strict=True):
                for place, channel in enumerate(wanted):
                    pictures.write(images.ids[number], channel, made[..., place])
            bar.update(len(numbers))


def _read_ahead(
    images: Images, numbers: Sequence[int], size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[Sequence[int], list[Future[Prepared]]]]:
    """Batches of numbers and their images; while one is worked on, the next one is read."""
    waiting: deque = deque()
    for start in range(0, len(numbers), size):
        batch = numbers[start : start + size]
        waiting.append((batch, [pool.submit(images.read, number) for number in batch]))
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting
