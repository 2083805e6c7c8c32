"""One pass over a list of files: workers, counts, progress, and giving up.

Where file after file fails, the host is away or the address is wrong: the download stops with one
line, rather than knocking 298,424 times.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from hpa_jax.errors import RunStopped
from hpa_jax.http_fetch import HttpClient, Policy, RateLimiter
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download import folder as target
from tfds_builder.hpa.download.workers import work
from tfds_builder.hpa.files import csv_rows

MAX_FAILURES_IN_A_ROW = 20  # files, but those that do not exist: then the host is away
# The files of some 17 antibodies. If none of a list's first ones exists, the address is wrong.
MAX_MISSING_AT_START = 400
LOG_EVERY = 60.0  # seconds between lines where no terminal shows a bar


class Tally:
    """Counts what became of the files.

    Attributes:
      asked: files of the list.
      there: files that were there already.
      fetched: files that were fetched.
      size: bytes of those.
      failed: the outcomes of the others.
    """

    def __init__(self, asked: int):
        self.asked = asked
        self.there = 0
        self.fetched = 0
        self.size = 0
        self.failed: list[target.Outcome] = []
        self._failures_in_a_row = 0

    def add(self, outcome: target.Outcome) -> None:
        """Counts one file.

        Raises:
          RunStopped: there is no sense in asking for more.
        """
        if outcome.reason:
            self.failed.append(outcome)
            self._check_failure(outcome)
        elif outcome.fetched:
            self.fetched += 1
            self.size += outcome.fetched
            self._failures_in_a_row = 0
        else:
            # Says nothing about the host.
            self.there += 1

    def _check_failure(self, outcome: target.Outcome) -> None:
        if not outcome.missing:
            self._failures_in_a_row += 1
            if self._failures_in_a_row == MAX_FAILURES_IN_A_ROW:
                raise RunStopped(
                    f"{MAX_FAILURES_IN_A_ROW} files in a row could not be fetched; "
                    f"the last one: {outcome.reason}"
                )
            return
        # The host answered.
        self._failures_in_a_row = 0
        if len(self.failed) >= MAX_MISSING_AT_START and not self.fetched + self.there:
            raise RunStopped(
                f"none of the first {len(self.failed)} files exists; is --url right? "
                f"{outcome.reason}"
            )

    @property
    def done(self) -> int:
        """Files tried so far."""
        return self.there + self.fetched + len(self.failed)

    def __str__(self) -> str:
        left = f", {self.asked - self.done} not tried yet" if self.done < self.asked else ""
        return (
            f"{self.asked} files asked for: {self.there} there already, {self.fetched} fetched "
            f"({self.size / 1e6:.1f} MB), {len(self.failed)} failed{left}"
        )


def download(
    rows: Sequence[csv_rows.Row],
    folder: Path,
    *,
    url: str,
    channels: Sequence[str] = CHANNELS,
    workers: int = 8,
    rate: float = 20.0,
    policy: Policy,
    verify: bool = False,
    stop: threading.Event,
    log: Callable[[str], None] = print,
) -> Tally:
    """Fetches the files of the rows into a folder, with its missing.csv and labels.csv.

    Args:
      rows: the images.
      folder: made if it is not there.
      url: of a file, as `folder.files` takes it.
      channels: which files of an image.
      workers: files at a time.
      rate: requests per second, over all workers.
      policy: of each file.
      verify: decodes the files that are there, instead of looking at their headers and ends alone.
      stop: ends the download soon when set; set at the end.
      log: takes a line of progress where no terminal shows a bar.

    Returns:
      The counts. labels.csv is written only if all files were tried.

    Raises:
      InputError: the folder cannot be written, or another download is filling it.
      RunStopped: the host is away, or knows none of the files.
    """
    limiter = RateLimiter(rate, stop)
    clients = [HttpClient(policy, limiter, accept="image/jpeg, */*;q=0.5") for _ in range(workers)]
    tally = Tally(len(rows) * len(channels))
    with (
        target.opened(folder),
        tqdm(total=tally.asked, unit=" files", desc="downloading", disable=None) as bar,
    ):
        progress = _ProgressLog(tally, log)

        def tick() -> None:
            if stop.is_set():
                for client in clients:
                    client.abort()
            size = f"{tally.size / 1e6:.0f} MB"
            bar.set_postfix_str(f"{size}, {len(tally.failed)} failed", refresh=False)
            if bar.disable:
                progress.tick()

        def fetch(client: HttpClient, file: target.File) -> target.Outcome:
            return target.fetch_file(client, file, folder, verify)

        try:
            files = target.files(rows, channels, url)
            with contextlib.closing(work(fetch, files, clients, stop, tick)) as outcomes:
                for outcome in outcomes:
                    bar.update()
                    tally.add(outcome)
        except RunStopped as error:
            raise RunStopped(f"{error} ({tally}); {target.RESUME}") from None
        finally:
            target.write_missing(folder, tally.failed)
        if tally.done == tally.asked:
            target.write_labels(folder, rows, tally.failed)
    return tally


class _ProgressLog:
    """Logs every minute how far the download is."""

    def __init__(self, tally: Tally, log: Callable[[str], None]):
        self._tally = tally
        self._log = log
        self._last = time.monotonic()
        self._files = 0
        self._size = 0

    def tick(self) -> None:
        now = time.monotonic()
        seconds = now - self._last
        if seconds < LOG_EVERY:
            return
        tally = self._tally
        files_per_sec = (tally.done - self._files) / seconds
        mb_per_sec = (tally.size - self._size) / seconds / 1e6
        self._last = now
        self._files = tally.done
        self._size = tally.size
        self._log(
            f"{tally.done} of {tally.asked} files, {len(tally.failed)} failed; "
            f"{files_per_sec:.1f} files/s, {mb_per_sec:.2f} MB/s"
        )
