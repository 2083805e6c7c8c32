"""What a client is told instead of scores: a status, and one line of JSON."""

import json

from hpa_jax.errors import one_line

_LONGEST = 500


class Refusal(Exception):
    """A request that is not answered with what it asked for.

    Attributes:
      status: of HTTP.
      text: one line: what is wrong, and what to do.
      headers: that go with it.
    """

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None):
        super().__init__(status)
        self.status = status
        self.text = one_line(text, limit=_LONGEST)
        self.headers = headers or {}


class ClientGone(Exception):
    """The client has closed its connection: nobody is told anything."""


def busy(seconds: float, reason: str) -> Refusal:
    """Refuses for now.

    Args:
      seconds: after which it is worth another try.
      reason: one line.
    """
    wait = max(1, round(seconds))
    return Refusal(503, f"{reason}; try again in {wait} s", {"Retry-After": str(wait)})


def error_body(text: str) -> bytes:
    """The JSON that says what was wrong."""
    return (json.dumps({"error": text}) + "\n").encode()
