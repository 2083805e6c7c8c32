"""How many requests are worked on, and how many bytes of them are held."""

import contextlib
from collections.abc import Iterator

from hpa_jax.serving.server.refusal import busy


class Admission:
    """Requests whose files have arrived, and that are not answered yet.

    Attributes:
      limit: of requests.
      count: of requests now.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        return self.count >= self.limit

    def check(self, seconds: float) -> None:
        """Refuses a request before its body has arrived.

        Args:
          seconds: that those who wait will take.

        Raises:
          Refusal: 503, there are as many as there may be.
        """
        if self.is_full:
            raise busy(seconds, f"{self.count} requests are waiting, as many as may")

    @contextlib.contextmanager
    def admitted(self, seconds: float) -> Iterator[None]:
        """Holds one place; see `check`."""
        self.check(seconds)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Allowance:
    """Bytes of all requests together.

    Attributes:
      limit: in bytes.
      used: in bytes.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.used = 0

    @contextlib.contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request takes of it; it is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.used -= share.size


class Share:
    """What one request has taken.

    Attributes:
      size: in bytes.
    """

    def __init__(self, allowance: Allowance):
        self._allowance = allowance
        self.size = 0

    def take(self, size: int) -> None:
        """Takes more.

        Raises:
          Refusal: 503, all requests together have too much.
        """
        if self._allowance.used + size > self._allowance.limit:
            raise busy(1, "the uploads under way are as large as they may be together")
        self._allowance.used += size
        self.size += size
