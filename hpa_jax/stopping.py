"""Being asked to stop: by a signal, which the loop obeys once it has saved."""

import signal


class StopRequest:
    """True once SIGTERM or Ctrl-C came; the loop then saves and stops. A second Ctrl-C stops at once."""

    def __init__(self):
        self.name = ""
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number: int, frame) -> None:
        self.name = signal.Signals(number).name
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])

    def __bool__(self) -> bool:
        return bool(self.name)

    def restore_handlers(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
