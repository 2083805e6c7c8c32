"""Being asked to stop: by a signal, which the loop obeys once it has saved.

Of several processes one may be asked: all of them then stop at the same place, which they settle between them
(hpa_jax.parallel.watchdog).
"""

import signal

from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess


class PreemptionSignal:
    """True once SIGTERM or Ctrl-C came; the loop then saves and stops. A second Ctrl-C stops at once.

    With several processes it becomes True in `here` alone, and at the same call in all of them.
    """

    def __init__(self, peers: SingleProcess | ProcessGroup = SINGLE_PROCESS):
        self._peers, self._asked, self._reached = peers, "", False
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number: int, frame) -> None:
        self._asked = signal.Signals(number).name
        self._peers.ask_to_stop(self._asked)
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])

    def here(self, where: str, *, slow: bool = False) -> bool:
        """Whether to stop at this place, which all processes come by; `where` names it, and `slow` says it may last."""
        self._reached = self._peers.at(where, slow=slow) or self._reached
        return bool(self)

    def __bool__(self) -> bool:
        return self._reached or (self._peers.count == 1 and bool(self._asked))

    @property
    def name(self) -> str:
        """The signal; of several processes, to which one."""
        return self._peers.asked_by or self._asked

    def restore_handlers(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
