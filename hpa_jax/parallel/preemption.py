"""Requests to stop, which the training loop obeys once it has saved: a signal, or lost output.

SIGHUP (a terminal that is closed) counts unless nohup had it ignored. So does a stdout or stderr
whose reader is gone, as with `| tee log` when tee ends: whoever watched the run is not there any
more, and the line that would say so neither.

With several processes, one of them may be asked: all then stop at the same place, on which they
agree through `hpa_jax.parallel.watchdog`.
"""

import signal

from hpa_jax.environment.early_signals import STOP_SIGNALS
from hpa_jax.environment.program import is_ignored
from hpa_jax.environment.streams import when_output_is_lost
from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess


class PreemptionSignal:
    """True once SIGTERM, SIGHUP or Ctrl-C came, or output was lost; the loop then saves and stops.

    A second Ctrl-C stops at once.
    With several processes it becomes True in `should_stop` alone, at the same call in all of them.

    Args:
      group: the processes of the run.
    """

    def __init__(self, group: SingleProcess | ProcessGroup = SINGLE_PROCESS):
        self._group = group
        self._received = ""
        self._agreed = False
        self._handlers = {}
        for number in STOP_SIGNALS:
            if number == signal.SIGHUP and is_ignored(number):
                continue
            self._handlers[number] = signal.signal(number, self._receive)
        when_output_is_lost(self._output_lost)

    def _receive(self, number: int, frame) -> None:
        self._request(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _output_lost(self, how: str) -> None:
        self._request(f"lost output ({how})")

    def _request(self, cause: str) -> None:
        self._received = cause
        self._group.request_stop(cause)

    def should_stop(self, where: str, *, slow: bool = False) -> bool:
        """Whether to stop at this place, which every process passes.

        Args:
          where: what comes next, for messages.
          slow: whether that may take long.
        """
        if self._group.report_progress(where, slow=slow):
            self._agreed = True
        return bool(self)

    def __bool__(self) -> bool:
        if self._group.count == 1:
            return bool(self._received)
        return self._agreed

    @property
    def signal_name(self) -> str:
        """The signal or the loss; with several processes, also which of them received it."""
        return self._group.stop_requested_by or self._received

    def restore_handlers(self) -> None:
        when_output_is_lost(None)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
