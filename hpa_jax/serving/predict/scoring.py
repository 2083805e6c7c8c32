"""Reads, prepares and scores the images of a folder, and keeps what was found.

Images are read by threads while the net works on those before. A batch is always of the same
images, whether the program was stopped between or not: the sums of a net depend on its batch in
their last bits.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.images.flag_words import with_flags
from hpa_jax.images.folder import FaultyImage, ImageFolder
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.store import Refused
from hpa_jax.serving.predict.net import Net
from hpa_jax.serving.predict.overlays import Overlays
from hpa_jax.serving.predict.progress_file import ProgressFile
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.synthesis import Synthesis

POLICIES = ("strict", "skip")


class Prepared(NamedTuple):
    """An image that is ready for the net.

    Attributes:
      pixels: uint8 [S, S, 4].
      pixel_size: micrometres a pixel of its files, or None.
    """

    pixels: np.ndarray
    pixel_size: float | None


@dataclass(frozen=True)
class Job:
    """What is to be scored, and how.

    Attributes:
      images: of the folder.
      preparation: of the net.
      net: that scores them.
      outputs: of the net that are kept: `probabilities`, but of nets without labels.
      batch: images a batch.
      threads: that read.
      policy: one of POLICIES: what happens at an image that cannot be read.
      pixel_size: micrometres a pixel, which overrides what files say; None: as they say.
      overlays: writes pictures of what the net looked at; None: none are wanted.
      synthesis: makes missing channels from the others; None: they are black.
    """

    images: ImageFolder
    preparation: Preparation
    net: Net
    outputs: tuple[str, ...]
    batch: int
    threads: int
    policy: str
    pixel_size: float | None
    overlays: Overlays | None = None
    synthesis: Synthesis | None = None

    def prepare(self, number: int) -> Prepared:
        """Reads an image and makes it what the net takes.

        Raises:
          FaultyImage: it cannot be read, or not be made so.
        """
        pixels, facts = self.images.read(number)
        pixel_size = self.pixel_size or facts.pixel_size
        try:
            if self.synthesis is not None:
                pixels = self.synthesis(pixels, pixel_size)
            prepared = self.preparation.prepare(pixels, pixel_size)
        except Refused as refused:
            image_id = self.images.ids[number]
            file = self.images.images.where(facts.files[0])
            raise FaultyImage(image_id, file, str(refused)) from None
        return Prepared(prepared, pixel_size)

    def stamp(self, number: int) -> str:
        """Changes when what an image's row follows from does: its files."""
        return digest_of(self.images.stamp(number))

    def rows(self, numbers: range, stamps: list[str], futures: list[Future]) -> list[Row]:
        """The rows of a batch.

        Args:
          numbers: of its images.
          stamps: of each.
          futures: what `prepare` gives for each.
        """
        return _scored(self, numbers, stamps, futures)


def score(job: Job, progress: ProgressFile, bar) -> None:
    """Scores all images that `progress` does not have yet.

    Args:
      job: what is to be done.
      progress: where rows are kept.
      bar: of tqdm, which is moved on.

    Raises:
      InputError: an image cannot be read, and the policy is strict; all others that were scored by
        then are kept.
    """
    with ThreadPoolExecutor(job.threads) as pool:
        try:
            for numbers, stamps, found in _batches(job, progress, pool, bar):
                for row, number in zip(job.rows(numbers, stamps, found), numbers, strict=True):
                    progress.put(number, row)
                    _heed(job, row)
                progress.flush()
                bar.update(len(numbers))
        finally:
            # What is being read is waited for; what is not, is not read.
            pool.shutdown(cancel_futures=True)
            progress.flush(now=True)


def _batches(
    job: Job, progress: ProgressFile, pool: ThreadPoolExecutor, bar
) -> Iterator[tuple[range, list[str], list[Future]]]:
    """Batches that are to be scored: numbers and stamps of their images, and what is read."""
    waiting: deque = deque()
    ahead = 1 + -(-job.threads // job.batch)
    for start in range(0, len(job.images), job.batch):
        numbers = range(start, min(start + job.batch, len(job.images)))
        stamps = [job.stamp(number) for number in numbers]
        rows = [progress.get(number) for number in numbers]
        if _are_current(job, numbers, stamps, rows):
            for row in rows:
                _heed(job, row)
            bar.update(len(numbers))
            continue
        futures = [pool.submit(job.prepare, number) for number in numbers]
        waiting.append((numbers, stamps, futures))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _are_current(job: Job, numbers: range, stamps: list[str], rows: list[Row | None]) -> bool:
    """Whether the rows of a batch are there, and of the files as they are now."""
    for number, stamp, row in zip(numbers, stamps, rows, strict=True):
        if row is None or row.stamp != stamp or row.id != job.images.ids[number]:
            return False
        if job.overlays is not None and row.is_scored and not job.overlays.has(row.id):
            return False
    return True


def _heed(job: Job, row: Row) -> None:
    if row.reason and job.policy == "strict":
        raise InputError(
            f"{row.id}: {row.file} {row.reason} (--policy=skip leaves such images out)"
        )


def _scored(job: Job, numbers: range, stamps: list[str], futures: list[Future]) -> list[Row]:
    """The rows of a batch."""
    rows, good = read_or_refused(job, numbers, stamps, futures)
    if not good:
        return rows
    outputs = job.net.run(np.stack([one.pixels for one in good]), job.outputs, job.batch)
    probabilities = np.zeros((len(good), 0), np.float32)
    if "probabilities" in outputs:
        probabilities = outputs["probabilities"]
    for name in ("probabilities", "embedding"):
        if name in outputs:
            check_finite(name, outputs[name], job)
    at = 0
    for place, (number, stamp) in enumerate(zip(numbers, stamps, strict=True)):
        if rows[place] is not None:
            continue
        embedding = None
        if "embedding" in outputs:
            embedding = outputs["embedding"][at]
        if job.overlays is not None:
            job.overlays.write(
                job.images.ids[number],
                good[at].pixels,
                probabilities[at],
                outputs["maps"][at],
            )
        rows[place] = Row(
            id=job.images.ids[number],
            stamp=stamp,
            probabilities=probabilities[at],
            embedding=embedding,
            pixel_size=good[at].pixel_size,
            means=channel_means(good[at].pixels),
        )
        at += 1
    return rows


def read_or_refused(
    job: Job, numbers: range, stamps: list[str], futures: list[Future]
) -> tuple[list[Row | None], list]:
    """Waits for the images of a batch.

    Returns:
      For each image None, or the row of one that cannot be read; and what was read of the others.
    """
    rows: list[Row | None] = []
    good = []
    for number, stamp, future in zip(numbers, stamps, futures, strict=True):
        try:
            good.append(future.result())
            rows.append(None)
        except FaultyImage as fault:
            image_id = job.images.ids[number]
            reason = with_flags(fault.reason)
            rows.append(Row(image_id, stamp, file=fault.file, reason=reason))
    return rows, good


def channel_means(pixels: np.ndarray) -> tuple[float, ...]:
    """The mean of each channel of uint8 [H, W, C], as a fraction of 255."""
    means = pixels.mean(axis=(0, 1)) / 255
    return tuple(round(mean, 6) for mean in means.tolist())


def check_finite(name: str, values: np.ndarray, job: Job) -> None:
    """Refuses a net that gives what is no number.

    Raises:
      InputError: it does.
    """
    if not np.isfinite(values).all():
        raise InputError(
            f"{job.net.name} gives {_SPELLED[name]} that are no numbers; check it with: python -m "
            "hpa_jax.serving check"
        )


_SPELLED = {"probabilities": "probabilities", "embedding": "embeddings"}


def digest_of(stamp: tuple) -> str:
    """A stamp as 16 hex digits."""
    return hashlib.sha256(repr(stamp).encode()).hexdigest()[:16]
