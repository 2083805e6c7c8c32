"""What the processes of a run report about themselves, and which one holds up the others.

Pure bookkeeping: the threads that exchange the reports are in `hpa_jax.parallel.watchdog`.

Design:
- Processes pass the same milestones in the same order (`ProcessGroup.report_progress`). A process
  that stands at an earlier milestone than the others, while nobody moves, is the one that holds
  them up; the others wait for it, however far behind it they look.
- The same milestones say where to stop: when one process is asked to, all pause at their next
  milestone until the one furthest ahead is known, and all stop one milestone after that. This
  costs a step nothing.
- Messages that end with `RESTART_HINT` are those after which a new start may do better. The
  scripts in `launch/` look for its first words.
"""

import dataclasses

RESTART_HINT = "; start all processes again: the run resumes from its last checkpoint"
SLOW_FACTOR = 6
"""How many timeouts a milestone may last that is declared slow, such as compiling, and one at which
all processes stand."""

SILENCE_S = 60
"""Seconds without a sign of life after which a process counts as gone; less if the timeout is."""

_NAMED_AT_MOST = 3


@dataclasses.dataclass(slots=True)
class Report:
    """What a process says about itself.

    Attributes:
      host: its machine.
      heartbeat: counts up as long as the process lives.
      milestones: how many it has passed.
      where: what it does since the last one.
      slow: whether that may take long.
      stop_signal: the signal by which it was asked to stop, or ''.
      paused_at: milestones passed when it heard that the run is to stop, and paused; -1 before.
      ended: None while it runs, '' when it has done its part, else why it has ended.
      verdict: its verdict about the run, or ''.
    """

    host: str = ""
    heartbeat: int = 0
    milestones: int = 0
    where: str = "its start"
    slow: bool = False
    stop_signal: str = ""
    paused_at: int = -1
    ended: str | None = None
    verdict: str = ""


class GroupHealth:
    """The reports of all processes, and when each process was heard of and made progress.

    Args:
      index: of this process.
      count: of processes.
      timeout_s: seconds for which the processes may stand at different milestones without any of
        them making progress.
      now: the time, in seconds of any clock.
    """

    def __init__(self, index: int, count: int, timeout_s: float, now: float = 0.0):
        self.reports = {process: Report() for process in range(count)}
        self._index = index
        self._timeout = timeout_s
        self._silence = min(timeout_s, SILENCE_S)
        self._heard_at = dict.fromkeys(range(count), now)
        self._progress_at = now

    def update(self, reports: dict[int, Report], now: float) -> None:
        """Takes in the latest reports, by process."""
        for process, report in reports.items():
            before = self.reports[process]
            if report.heartbeat != before.heartbeat:
                self._heard_at[process] = now
            if report.milestones != before.milestones:
                self._progress_at = now
            self.reports[process] = report

    def verdict(self, now: float) -> str:
        """Why the run has to end, or ''."""
        return self._reported() or self._silent(now) or self._stuck(now)

    def _reported(self) -> str:
        """What another process has found, or why it has ended, in its own words."""
        for process, report in self.reports.items():
            if report.verdict:
                return report.verdict
            if report.ended and process != self._index:
                return f"{self.name(process)} has ended: {report.ended}"
        return ""

    def _silent(self, now: float) -> str:
        for process, report in self._running().items():
            silence = now - self._heard_at[process]
            if silence > self._silence:
                return (
                    f"{self.name(process)} gave no sign of life for {silence:.0f} s, "
                    f"last at {report.where}{RESTART_HINT}"
                )
        return ""

    def _stuck(self, now: float) -> str:
        running = self._running()
        if not running:
            return ""
        still = now - self._progress_at
        earliest = min(report.milestones for report in running.values())
        last = [p for p, report in running.items() if report.milestones == earliest]
        where = running[last[0]].where
        if len(last) == len(running):
            if still <= SLOW_FACTOR * self._timeout:
                return ""
            return f"no process got on for {still:.0f} s, all of them at {where}{RESTART_HINT}"
        slow = any(running[process].slow for process in last)
        patience = self._timeout * (SLOW_FACTOR if slow else 1)
        if still <= patience:
            return ""
        names = " and ".join(self.name(process) for process in last[:_NAMED_AT_MOST])
        if len(last) > _NAMED_AT_MOST:
            names += " and more"
        return (
            f"{names} did not get on for {still:.0f} s at {where}, "
            f"and the others wait for that{RESTART_HINT}"
        )

    def _running(self) -> dict[int, Report]:
        running = {}
        for process, report in self.reports.items():
            if report.ended is None:
                running[process] = report
        return running

    def stop_at(self) -> int | None:
        """The milestone at which all stop: the first that none has passed; None: not known yet."""
        paused = [report.paused_at for report in self._running().values()]
        if not paused or min(paused) < 0:
            return None
        return max(paused) + 1

    def stop_requested_by(self) -> str:
        """By which signal to which process the run was asked to stop, or ''."""
        for process, report in self.reports.items():
            if report.stop_signal:
                return f"{report.stop_signal} to process {process}"
        return ""

    def name(self, process: int) -> str:
        """A process with its machine, where that is known."""
        host = self.reports[process].host
        return f"process {process} ({host})" if host else f"process {process}"
