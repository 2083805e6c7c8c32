"""Several processes of one run that watch each other: none waits for ever for one that is dead or does not get on.

Each process writes a line about itself into the store that they all meet at (the one of jax.distributed, in process 0)
and reads the others', from a thread of its own. `Roll` judges: whoever is not heard of, or holds up the others, is
named by every process that is left, and the run ends with status 1; what is saved is whole, and the same command goes
on.

Unusual:
- a process that waits for devices cannot be interrupted, so the watching thread ends the whole process;
- processes pass the same marks in the same order. Who stands at an earlier mark than the others while nobody moves is
  the one that holds them up; the others wait for it, however far behind it they look;
- the same marks say where to stop: when one process is asked to, all stand still at their next mark until the one
  furthest ahead is known, and all stop one mark after that. No step costs anything for it;
- time counts only while this process itself runs, so one that was suspended and goes on does not blame the others;
- `AGAIN` ends the line where a new start may do better; the scripts in launch/ look for it;
- when process 0 is gone, JAX calls abort() within a second, with a C++ stack and no name. `delay_abort` puts that off
  by six seconds, in which the watch says who is gone and ends with status 1.
"""

import ctypes
import dataclasses
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hpa_jax.errors import EXIT_RUN_STOPPED

AGAIN = "; start all processes again: the run goes on from its last checkpoint"
SLOW = 6  # times as long may a mark last that is said to be slow, such as compiling; and one that all stand at
_INTERVAL = (
    0.5  # s between two looks; four times that between two questions where there are many processes
)
_SILENT = 60  # s without a sign of life, or less if the others wait no longer than that
_PUT_OFF = 3  # s without an answer of process 0 from which on an abort is put down to that


@dataclasses.dataclass(slots=True)
class Report:
    """What a process says of itself.

    Attributes:
      host: its machine.
      beat: counts up as long as the process lives.
      mark, where, slow: how many marks it has passed, what the last one is called, and whether it may last.
      asked: the signal by which it was asked to stop, or ''.
      held: the marks passed when it heard that the run is to stop, and stood still; -1 before.
      ended: None while it runs, '' when it has done its part, else why it has ended.
      verdict: of this process about another, or ''.
    """

    host: str = ""
    beat: int = 0
    mark: int = 0
    where: str = "its start"
    slow: bool = False
    asked: str = ""
    held: int = -1
    ended: str | None = None
    verdict: str = ""


class Roll:
    """All processes' reports and when each was heard of and got on; judges, and does nothing else.

    Args:
      me, count: this process, and how many there are.
      timeout_s: without any process getting on, while they stand at different marks.
    """

    def __init__(self, me: int, count: int, timeout_s: float, now: float = 0.0):
        self._me, self._timeout, self._silent = me, timeout_s, min(timeout_s, _SILENT)
        self.reports = {p: Report() for p in range(count)}
        self._heard = dict.fromkeys(range(count), now)
        self._moved = now

    def update(self, reports: dict[int, Report], now: float) -> None:
        for p, report in reports.items():
            if report.beat != self.reports[p].beat:
                self._heard[p] = now
            if report.mark != self.reports[p].mark:
                self._moved = now
            self.reports[p] = report

    def verdict(self, now: float) -> str:
        """Why the run has to end, or ''."""
        for p, report in self.reports.items():
            if report.verdict:
                return report.verdict
            if report.ended and p != self._me:
                return f"{self.name(p)} has ended: {report.ended}"  # in its own words
        live = {p: report for p, report in self.reports.items() if report.ended is None}
        for p, report in live.items():
            silent = now - self._heard[p]
            if silent > self._silent:
                return f"{self.name(p)} gave no sign of life for {silent:.0f} s, last at {report.where}{AGAIN}"
        still, first = now - self._moved, min((report.mark for report in live.values()), default=0)
        behind = [p for p, report in live.items() if report.mark == first]
        if len(behind) == len(live):
            if live and still > SLOW * self._timeout:
                return f"no process got on for {still:.0f} s, all of them at {live[behind[0]].where}{AGAIN}"
        elif still > self._timeout * (SLOW if any(live[p].slow for p in behind) else 1):
            names = " and ".join(self.name(p) for p in behind[:3]) + (
                " and more" if len(behind) > 3 else ""
            )
            where = live[behind[0]].where
            return f"{names} did not get on for {still:.0f} s at {where}, and the others wait for that{AGAIN}"
        return ""

    def stop_after(self) -> int | None:
        """The mark that ends the run where one was asked to stop: the first that no process had passed; or None."""
        held = [report.held for report in self.reports.values() if report.ended is None]
        return max(held) + 1 if held and min(held) >= 0 else None

    def asked_by(self) -> str:
        asked = [
            f"{report.asked} to process {p}" for p, report in self.reports.items() if report.asked
        ]
        return asked[0] if asked else ""

    def name(self, process: int) -> str:
        host = self.reports[process].host
        return f"process {process}" + (f" ({host})" if host else "")


class Watchdog:
    """This process's part in the watching, from its making on: two threads, one that asks and one that judges.

    Args:
      index, count: this process and how many there are.
      host: its machine, for the others to name.
      exchange: takes this process's line, gives all processes' lines by number; may fail or hang.
      timeout_s: as `Roll`.
      say: prints a line about the run's end.
    """

    def __init__(
        self,
        index: int,
        count: int,
        *,
        host: str,
        exchange: Callable[[str], dict[int, str]],
        timeout_s: float,
        say: Callable[[str], None],
    ):
        self.index, self._exchange, self._say = index, exchange, say
        self._me, self._roll = Report(host=host), Roll(index, count, timeout_s)
        self._interval = _INTERVAL * min(4.0, max(1.0, count / 64))
        self._silent = min(timeout_s, _SILENT)
        self._here, self._stop_after, self._over = threading.Condition(), None, threading.Event()
        self._told = threading.Event()  # the others have been given the last report
        self._now = self._answered = 0.0
        self._threads = [
            threading.Thread(target=f, daemon=True, name="watch")
            for f in (self._ask_all, self._judge)
        ]
        for thread in self._threads:
            thread.start()

    def at(self, where: str, *, slow: bool = False) -> bool:
        """This process passes a mark; whether the run is to stop here, the same for all processes."""
        with self._here:
            while self._me.held >= 0 and self._stop_after is None:
                self._here.wait()
            self._me.mark += 1
            self._me.where, self._me.slow = where, slow
            return self._stop_after is not None and self._me.mark >= self._stop_after

    def note(self, where: str) -> None:
        """What this process alone is at, and which may last. No mark: the others pass none for it."""
        with self._here:
            self._me.where, self._me.slow = where, True

    def ask_to_stop(self, signal_name: str) -> None:
        """May be called by a signal handler: takes no lock."""
        self._me.asked = signal_name

    @property
    def asked_by(self) -> str:
        """By which signal to which process the run was asked to stop."""
        return self._roll.asked_by()

    def wait_for_verdict(self) -> None:
        """For a process that lost its connection to another: the watch knows soon which, and ends the process."""
        self._over.wait(self._silent + 10)

    def end(self, why: str = "") -> None:
        """This process has done its part, or ends for a reason of its own: the others are told."""
        self._me.ended = why
        self._told.clear()
        self._told.wait(10)
        if why and self.index == 0:
            time.sleep(
                4 * self._interval
            )  # the store goes with this process: the others have to read it before

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5)

    def _ask_all(self) -> None:
        while not self._over.wait(self._interval):
            with self._here:
                if self._roll.asked_by() and self._me.held < 0:
                    self._me.held = self._me.mark
                self._me.beat += 1
                line, last = json.dumps(dataclasses.asdict(self._me)), self._me.ended is not None
            try:
                reports = {
                    p: Report(**json.loads(text)) for p, text in self._exchange(line).items()
                }
            except RuntimeError:
                continue  # the other thread sees that no answer comes
            self._answered = self._now
            with self._here:
                self._roll.update(reports, self._now)
                if self._stop_after is None:
                    self._stop_after = self._roll.stop_after()
                self._here.notify_all()
            if last:
                self._told.set()

    def _judge(self) -> None:
        before = time.monotonic()
        while not self._over.wait(_INTERVAL):
            now = time.monotonic()
            self._now += min(now - before, 4 * _INTERVAL)
            before = now
            with self._here:
                verdict = self._roll.verdict(self._now)
            unanswered = self._now - self._answered
            if not verdict and self.index > 0 and self._me.ended != "":
                if unanswered > _PUT_OFF and _aborting():
                    verdict = f"{self._roll.name(0)}, at which all meet, is gone{AGAIN}"
                elif unanswered > self._silent:
                    since = f"{unanswered:.0f} s"
                    verdict = f"{self._roll.name(0)}, at which all meet, gave no answer for {since}{AGAIN}"
            if verdict:
                self._me.verdict = verdict
                self._say(f"stopped: {verdict}")
                if unanswered < _PUT_OFF:
                    time.sleep(
                        (4 if self.index == 0 else 2) * self._interval
                    )  # until the others have read it
                os._exit(EXIT_RUN_STOPPED)


def delay_abort() -> None:
    """From here on abort() takes six seconds in this process: its handler is libc's sleep, and SIGABRT is signal 6."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _aborting() -> bool:
    """Whether a thread of this process is in the handler of SIGABRT, and so has that signal blocked (Linux)."""
    for status in Path("/proc/self/task").glob("*/status"):
        try:
            blocked = re.search(r"^SigBlk:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE)
        except OSError:
            continue  # the thread has ended
        if blocked and int(blocked[1], 16) >> (signal.SIGABRT - 1) & 1:
            return True
    return False
