"""Every bound of the server in one place."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a client may ask for, and for how long it may take.

    Attributes:
      body: bytes of a request; also of each file of a zip, unpacked.
      bodies: bytes of all requests together, as far as they have arrived.
      unpacked: bytes that the files of one zip may have together, unpacked.
      members: entries of a zip, and parts of a form.
      images: that one request may bring.
      queue: requests that are worked on or wait; one more is told to come back.
      connections: open at once.
      head_seconds: from a connection, or the last answer on it, to a complete request head.
      pause_seconds: between two pieces of a body.
      body_seconds: for a complete body.
      answer_seconds: from a complete body to the answer.
      write_seconds: in which a client has to take some of what it is sent.
      drain_seconds: for the requests under way, after a signal.
    """

    body: int = 64 * MIB
    bodies: int = 256 * MIB
    unpacked: int = 512 * MIB
    members: int = 512
    images: int = 128
    queue: int = 32
    connections: int = 256
    head_seconds: float = 5
    pause_seconds: float = 10
    body_seconds: float = 120
    answer_seconds: float = 120
    write_seconds: float = 30
    drain_seconds: float = 30
