"""Segments fields one after the other, each completely or not at all; a second start goes on."""

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
from tqdm import tqdm

from hpa_jax.environment.cores import available_cores
from hpa_jax.errors import InputError
from hpa_jax.files import exclusive_lock, write_csv
from hpa_jax.images.flag_words import with_flags
from hpa_jax.images.folder import FaultyImage
from hpa_jax.serving.predict import outputs as predict_outputs
from hpa_jax.serving.segment.fields import Fields, digest
from hpa_jax.serving.segment.methods import Segmenter
from hpa_jax.serving.segment.outputs import HEADER, Outputs, rows
from hpa_jax.serving.segment.progress import Progress, Record
from hpa_jax.serving.segment.request import SegmentRequest


class _Job(NamedTuple):
    """What is to be done: fields, by what, and where the files go."""

    fields: Fields
    segmenter: Segmenter
    outputs: Outputs
    policy: str

    def stamp(self, number: int) -> str:
        """A digest that changes when the field does, or what its masks come from."""
        more = self.segmenter.stamp(self.fields.ids[number])
        return digest(f"{self.fields.stamp(number)} {more}")

    def segment(self, number: int) -> Record:
        """Reads a field, finds its cells and writes its files."""
        image_id = self.fields.ids[number]
        try:
            stamp = self.stamp(number)
            field = self.fields.read(number)
            instances = self.segmenter.find(image_id, field)
        except FaultyImage as fault:
            return Record(image_id, "", file=fault.file, reason=with_flags(fault.reason))
        except InputError as error:
            # Of somebody's masks; it names the file.
            return Record(image_id, "", reason=str(error))
        cells = self.outputs.write(image_id, field, instances)
        return Record(image_id, stamp, cells)

    def done(self, number: int, progress: Progress) -> Record | None:
        """The record of a field that need not be done again."""
        image_id = self.fields.ids[number]
        record = progress.get(image_id)
        if record is None or record.reason or not self.outputs.has(image_id):
            return None
        try:
            current = self.stamp(number)
        except InputError:
            return None
        return record if record.stamp == current else None


def segment_fields(request: SegmentRequest, fields: Fields, segmenter: Segmenter) -> None:
    """Finds the cells of all fields, and writes FOLDER as `outputs` has it.

    A second call after a kill goes on where the first was.

    Args:
      request: what is asked for.
      fields: the images.
      segmenter: what finds cells.

    Raises:
      InputError: anything that another call or other files put right; at a field that cannot be
        read if the policy is strict: all others that were done by then are kept.
    """
    print(f"{fields.where}: {len(fields.ids)} images, {fields.layout}")
    outputs = Outputs(request.out, request.format)
    job = _Job(fields, segmenter, outputs, request.policy)
    # The threads are the parallelism: OpenCV's own would compete for the same cores.
    cv2.setNumThreads(1)
    with _progress(request, job) as progress:
        bar = tqdm(
            total=len(fields.ids), unit="image", desc="segment", dynamic_ncols=True, disable=None
        )
        records = []
        with bar, ThreadPoolExecutor(request.threads or available_cores()) as pool:
            try:
                for record in _records(job, progress, pool):
                    _heed(job, record)
                    records.append(record)
                    bar.update(1)
            finally:
                # What is under way is waited for, so that its files are whole.
                pool.shutdown(cancel_futures=True)
        _write_table(job, records)


@contextlib.contextmanager
def _progress(request: SegmentRequest, job: _Job) -> Iterator[Progress]:
    settings = {
        "method": job.segmenter.name,
        "version": job.segmenter.version,
        "format": request.format,
        **job.fields.settings,
    }
    lock = exclusive_lock(
        request.out / ".lock",
        busy=f"--out={request.out} is being written",
        advice="wait for it, or choose another --out",
    )
    with lock, Progress(request.out, settings) as progress:
        job.outputs.remove_partial()
        yield progress


def _records(job: _Job, progress: Progress, pool: ThreadPoolExecutor) -> Iterator[Record]:
    """The record of each field, in their order; those that are new are kept in `progress`."""
    waiting: deque[Record | Future] = deque()
    ahead = 2 * pool._max_workers
    for number in range(len(job.fields.ids)):
        waiting.append(job.done(number, progress) or pool.submit(job.segment, number))
        if len(waiting) > ahead:
            yield _kept(waiting.popleft(), progress)
    while waiting:
        yield _kept(waiting.popleft(), progress)


def _kept(one: Record | Future, progress: Progress) -> Record:
    if isinstance(one, Record):
        return one
    record = one.result()
    progress.put(record)
    return record


def _heed(job: _Job, record: Record) -> None:
    if record.reason and job.policy == "strict":
        file = f"{record.file} " if record.file else ""
        raise InputError(f"{record.id}: {file}{record.reason} (--policy=skip leaves such out)")


def _write_table(job: _Job, records: list[Record]) -> None:
    """Writes the csv of all cells, and what was left out."""
    good = [record for record in records if not record.reason]
    rejects = [(one.id, one.file, one.reason) for one in records if one.reason]
    table = job.outputs.table
    if not good:
        raise predict_outputs.none_can_be_read(job.fields.where, rejects)
    predict_outputs.write_rejects(table, rejects)
    write_csv(table, HEADER, rows(good))
    count = sum(len(record.cells) for record in good)
    empty = sum(not record.cells for record in good)
    if empty:
        print(f"without a cell: {empty} of {len(good)} images")
    print(f"wrote {job.outputs.folder}: {len(good)} images, {count} cells, by {job.segmenter.name}")
    predict_outputs.print_rejects(table, rejects)
