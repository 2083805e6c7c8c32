"""The processes of a run watch each other, so that none waits forever for a dead or stuck one.

Each process writes a report about itself into the key-value store of `jax.distributed`, which is
in process 0, and reads the others' from a thread of its own. `GroupHealth` judges them: a process
that is not heard of, or that holds up the others, is named by every process that is left, and the
run ends with status 1. What is saved is complete, and the same command resumes.

Notes:
- A process that waits for devices cannot be interrupted, so the watchdog's thread ends the entire
  process.
- A background thread of this process may fail while the main thread waits for the others, as in a
  save that all write together. The watchdog then tells the others and ends this process.
- Time counts only while this process itself runs, so one that was suspended and resumes does not
  blame the others.
- When process 0 is gone, JAX calls abort() within a second, with a C++ stack trace and no name.
  `delay_abort` puts that off by six seconds, in which the watchdog says who is gone.
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
from hpa_jax.parallel.group_health import RESTART_HINT, SILENCE_S, GroupHealth, Report

_INTERVAL_S = 0.5
"""Between two judgments."""

_PROCESSES_AT_FULL_RATE = 64
"""With more of them the store is asked less often, down to a quarter of the rate."""

_ABORT_SILENCE_S = 3
"""Without an answer of process 0 for so long, an abort is attributed to its loss."""

_CLOSE_S = 5
_GOODBYE_S = 10


class Watchdog:
    """This process's part in the watching, which starts when it is made.

    Two threads: one exchanges reports and may hang with the store, the other judges.

    Args:
      index: of this process.
      count: of processes.
      host: this process's machine, for the others to name.
      exchange: takes this process's report as a line of text, returns all processes' lines by
        number; may raise RuntimeError, or hang.
      timeout_s: as in GroupHealth.
      log: prints a line about the end of the run.

    Attributes:
      is_ending: whether it has said why the run ends, and is about to end this process.
    """

    def __init__(
        self,
        index: int,
        count: int,
        *,
        host: str,
        exchange: Callable[[str], dict[int, str]],
        timeout_s: float,
        log: Callable[[str], None],
    ):
        self.index = index
        self._exchange = exchange
        self._log = log
        self._report = Report(host=host)
        self._health = GroupHealth(index, count, timeout_s)
        slowdown = min(4.0, max(1.0, count / _PROCESSES_AT_FULL_RATE))
        self._interval = _INTERVAL_S * slowdown
        self._silence = min(timeout_s, SILENCE_S)
        self.is_ending = False
        self._failure: Callable[[], str] = str
        self._stop_at: int | None = None
        # Guards the reports; notified when the place to stop becomes known.
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._goodbye_sent = threading.Event()
        # Seconds for which this process itself has run, and when the store last answered.
        self._now = 0.0
        self._answered_at = 0.0
        self._threads = []
        for work in (self._exchange_reports, self._judge):
            thread = threading.Thread(target=work, daemon=True, name="watchdog")
            self._threads.append(thread)
            thread.start()

    def report_progress(self, where: str, *, slow: bool = False) -> bool:
        """Passes a milestone, which every process passes in the same order.

        Args:
          where: what comes next, for messages.
          slow: whether that may take long.

        Returns:
          Whether the run is to stop here, the same in all processes.
        """
        with self._changed:
            while self._report.paused_at >= 0 and self._stop_at is None:
                self._changed.wait()
            self._report.milestones += 1
            self._report.where = where
            self._report.slow = slow
            return self._stop_at is not None and self._report.milestones >= self._stop_at

    def report_activity(self, where: str) -> None:
        """Reports what this process alone is doing, which may take long. Not a milestone."""
        with self._changed:
            self._report.where = where
            self._report.slow = True

    def request_stop(self, signal_name: str) -> None:
        """Asks all processes to stop. Takes no lock, so a signal handler may call it."""
        self._report.stop_signal = signal_name

    @property
    def stop_requested_by(self) -> str:
        """By which signal to which process the run was asked to stop, or ''."""
        return self._health.stop_requested_by()

    def name_hosts(self, hosts: list[str]) -> None:
        """Names the machine of each process, for one that is gone before its first report."""
        with self._changed:
            for process, host in enumerate(hosts):
                self._health.reports[process].host = host

    def watch_work(self, failure: Callable[[], str]) -> None:
        """Watches work of this process's background threads, too.

        Args:
          failure: returns why the run has to stop, or ''; called from another thread twice a
            second. It must not wait.
        """
        self._failure = failure

    def wait_for_verdict(self) -> None:
        """For a process that lost its connection to another one.

        The watchdog soon knows which one, and ends this process; else this returns.
        """
        self._closed.wait(self._silence + 10)

    def end(self, reason: str = "") -> None:
        """Tells the others that this process has done its part, or why it ends."""
        self._report.ended = reason
        self._goodbye_sent.clear()
        self._goodbye_sent.wait(_GOODBYE_S)
        if reason and self.index == 0:
            # The store goes with this process: the others have to read the reason before.
            time.sleep(4 * self._interval)

    def close(self) -> None:
        """Ends the watching."""
        self._closed.set()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def _exchange_reports(self) -> None:
        while not self._closed.wait(self._interval):
            with self._changed:
                if self._health.stop_requested_by() and self._report.paused_at < 0:
                    self._report.paused_at = self._report.milestones
                self._report.heartbeat += 1
                line = json.dumps(dataclasses.asdict(self._report))
                is_goodbye = self._report.ended is not None
            try:
                lines = self._exchange(line)
            except RuntimeError:
                # The other thread notices that no answer comes.
                continue
            reports = {process: Report(**json.loads(text)) for process, text in lines.items()}
            self._answered_at = self._now
            with self._changed:
                self._health.update(reports, self._now)
                if self._stop_at is None:
                    self._stop_at = self._health.stop_at()
                self._changed.notify_all()
            if is_goodbye:
                self._goodbye_sent.set()

    def _judge(self) -> None:
        before = time.monotonic()
        while not self._closed.wait(_INTERVAL_S):
            now = time.monotonic()
            # A longer time is one in which this process was suspended.
            self._now += min(now - before, 4 * _INTERVAL_S)
            before = now
            if self._report.ended:
                # It has a reason of its own, which it has told.
                continue
            with self._changed:
                verdict = self._health.verdict(self._now)
            unanswered = self._now - self._answered_at
            verdict = verdict or self._verdict_about_store(unanswered)
            if verdict:
                self._exit(verdict, others_can_read=unanswered < _ABORT_SILENCE_S)
            failure = self._failure()
            if failure:
                self.is_ending = True
                self._log(f"stopped: {failure}")
                self.end(f"stopped: {failure}")
                os._exit(EXIT_RUN_STOPPED)

    def _verdict_about_store(self, unanswered: float) -> str:
        """Why the run has to end if process 0, which has the store, is gone or hangs; or ''."""
        if self.index == 0 or self._report.ended == "":
            return ""
        store = f"{self._health.name(0)}, at which all meet,"
        if unanswered > _ABORT_SILENCE_S and _is_aborting():
            return f"{store} is gone{RESTART_HINT}"
        if unanswered > self._silence:
            return f"{store} gave no answer for {unanswered:.0f} s{RESTART_HINT}"
        return ""

    def _exit(self, verdict: str, *, others_can_read: bool) -> None:
        self.is_ending = True
        self._report.verdict = verdict
        self._log(f"stopped: {verdict}")
        if others_can_read:
            # Process 0 stays longest, since the store goes with it.
            intervals = 4 if self.index == 0 else 2
            time.sleep(intervals * self._interval)
        os._exit(EXIT_RUN_STOPPED)


def delay_abort() -> None:
    """Makes abort() take six seconds in this process, by handling SIGABRT with libc's sleep().

    Why so: the thread that calls abort() is one of JAX's, in C++, when it has lost process 0. A
    handler set with Python's `signal` module would be of no use: it only sets a flag, and Python
    runs it later in the main thread, while abort() ends the process as soon as the C handler
    returns. So the C handler itself has to block, in code that is allowed in a signal handler. A
    handler is called with the number of the signal as its only argument, SIGABRT is 6, and POSIX
    lists sleep() among the functions that are safe there: as a handler it is `sleep(6)`, in the
    aborting thread alone. Meanwhile the watchdog's thread runs on, sees that thread's blocked
    signal (`_is_aborting`), prints which process is gone, and ends with status 1. Any other
    abort() ends the process as before, six seconds later.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _is_aborting() -> bool:
    """Whether a thread of this process is inside the handler of SIGABRT (on Linux).

    The kernel blocks a signal in the thread that handles it, and lists it in the thread's status.
    """
    for status in Path("/proc/self/task").glob("*/status"):
        try:
            text = status.read_text()
        except OSError:
            # The thread has ended.
            continue
        blocked = re.search(r"^SigBlk:\s*([0-9a-f]+)", text, re.MULTILINE)
        if blocked and int(blocked[1], 16) >> (signal.SIGABRT - 1) & 1:
            return True
    return False
