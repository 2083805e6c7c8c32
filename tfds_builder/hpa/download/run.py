"""One pass over a list of files: workers, counts, progress, and giving up.

Unusual: where file after file fails, it is the host that is away, or the address that is wrong: the download stops
with one line, rather than to knock 298,424 times.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from hpa_jax.errors import RunStopped
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.download import check
from tfds_builder.hpa.download import folder as target
from tfds_builder.hpa.download import workers as crew
from tfds_builder.hpa.download.fetch import Line, Policy
from tfds_builder.hpa.download.rate import Turns
from tfds_builder.hpa.files import csv_table

FAILED_IN_A_ROW = 20  # files, for whatever reason but that they do not exist: then the host is away
NONE_EXISTS = (
    400  # files of a list's start (some 17 antibodies) that do not exist: then the address is wrong
)
LOG_EVERY = 60.0  # seconds between lines where there is no terminal to draw a bar on


class Tally:
    """Counts what became of the files, and tells when to give up."""

    def __init__(self, asked: int):
        self.asked, self.there, self.fetched, self.size = asked, 0, 0, 0
        self.failed: list[target.Outcome] = []
        self._in_a_row = 0

    def add(self, outcome: target.Outcome) -> None:
        """Counts one file; RunStopped if there is no sense in asking for more."""
        if not outcome.reason:
            self.fetched += outcome.fetched > 0
            self.there += outcome.fetched == 0
            self.size += outcome.fetched
        else:
            self.failed.append(outcome)
        if not outcome.reason and not outcome.fetched:
            return  # was there: says nothing about the host
        self._in_a_row = self._in_a_row + 1 if outcome.reason and not outcome.missing else 0
        if self._in_a_row == FAILED_IN_A_ROW:
            raise RunStopped(
                f"{FAILED_IN_A_ROW} files in a row could not be had, the last one: {outcome.reason}"
            )
        if len(self.failed) >= NONE_EXISTS and not self.fetched + self.there and outcome.missing:
            raise RunStopped(
                f"none of the first {len(self.failed)} files exists; is --url right? {outcome.reason}"
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
    rows: Sequence[csv_table.Row],
    folder: Path,
    *,
    url: str,
    channels: Sequence[str] = CHANNELS,
    workers: int = 8,
    rate: float = 20.0,
    policy: Policy = Policy(),  # noqa: B008, it is immutable
    verify: bool = False,
    stop: threading.Event,
    say: Callable[[str], None] = print,
) -> Tally:
    """Brings the files of the rows into a folder and writes its missing.csv and, if all were tried, its labels.csv.

    Args:
      rate: requests a second, over all workers.
      verify: decodes the files that are there, instead of looking at their headers and ends alone.
      stop: to be set by whoever wants it ended soon; set at the end.
      say: takes a line of progress where there is no terminal.

    Raises:
      InputError: the folder cannot be written, or another download does.
      RunStopped: the host is away, or does not know any file.
    """
    turns = Turns(rate, stop)
    lines = [Line(turns, policy, check.fault) for _ in range(workers)]
    tally = Tally(len(rows) * len(channels))
    with (
        target.opened(folder),
        tqdm(total=tally.asked, unit=" files", desc="downloading", disable=None) as bar,
    ):
        clock = _Clock(tally, say if bar.disable else lambda line: None)

        def tick() -> None:
            for line in lines:
                line.cut()
            bar.set_postfix_str(
                f"{tally.size / 1e6:.0f} MB, {len(tally.failed)} failed", refresh=False
            )
            clock.tick()

        def obtain(line: Line, file: target.File) -> target.Outcome:
            return target.obtain(line, file, folder, verify)

        try:
            work = crew.work(obtain, target.files(rows, channels, url), lines, stop, tick)
            with contextlib.closing(work) as outcomes:
                for outcome in outcomes:
                    bar.update()
                    tally.add(outcome)
        except RunStopped as error:
            raise RunStopped(f"{error} ({tally}); {target.AGAIN}") from None
        finally:
            target.write_missing(folder, tally.failed)
        if tally.done == tally.asked:
            target.write_labels(folder, rows, tally.failed)
    return tally


class _Clock:
    """Says every minute how far it is."""

    def __init__(self, tally: Tally, say: Callable[[str], None]):
        self._tally, self._say, self._last, self._before = tally, say, time.monotonic(), (0, 0)

    def tick(self) -> None:
        now, tally = time.monotonic(), self._tally
        if (seconds := now - self._last) < LOG_EVERY:
            return
        files, size = tally.done - self._before[0], tally.size - self._before[1]
        self._last, self._before = now, (tally.done, tally.size)
        self._say(
            f"{tally.done} of {tally.asked} files, {len(tally.failed)} failed; "
            f"{files / seconds:.1f} files/s, {size / seconds / 1e6:.2f} MB/s"
        )
