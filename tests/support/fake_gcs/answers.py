"""What the fake service answers: its errors, and how an answer looks."""

import json
import time
from typing import NamedTuple

TOKEN = "fake-token"
"""The access token that is right."""


REASONS = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    308: "Resume Incomplete",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    416: "Requested Range Not Satisfiable",
    429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

# What the service says of its own failures: the reason and the message.
FAILURES = {
    408: ("requestTimeout", "Request Timeout"),
    429: ("rateLimitExceeded", "The request rate exceeded the limit. Please reduce your rate."),
    500: ("internalError", "We encountered an internal error. Please try again."),
    502: ("badGateway", "Bad Gateway"),
    503: ("backendError", "Backend Error"),
    504: ("gatewayTimeout", "Gateway Timeout"),
}


class GcsError(Exception):
    """What a request is refused with."""

    def __init__(self, status: int, reason: str, message: str, headers=None):
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = headers or {}

    def body(self) -> bytes:
        if self.status == 304:
            return b""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [detail]}
        return json.dumps({"error": error}).encode()


class BrokenConnection(Exception):
    """No answer, and no further request on this connection."""


class LoggedRequest(NamedTuple):
    """A request that was answered.

    Attributes:
      name: the object; of a listing its prefix; "" if there is none.
      status: 0: the connection ended instead.
      bytes: of the body, as sent for downloads and as received for uploads.
    """

    method: str
    path: str
    name: str
    status: int
    bytes: int


class Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes | memoryview = b""


def json_answer(value, status: int = 200, headers=None) -> Answer:
    body = json.dumps(value).encode()
    head = {"Content-Type": "application/json; charset=UTF-8"}
    return Answer(status, head | (headers or {}), body)


def timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    milliseconds = int(seconds % 1 * 1000)
    return f"{whole}.{milliseconds:03}Z"


def number(text: str, parameter: str) -> int:
    try:
        return int(text)
    except ValueError:
        message = f"Invalid long value: '{text}' for {parameter}."
        raise GcsError(400, "invalidParameter", message) from None
