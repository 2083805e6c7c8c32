"""What goes wrong."""

import collections
import dataclasses
import random
import threading
import time

from support.fake_gcs.answers import FAILURES, TOKEN, GcsError


@dataclasses.dataclass
class Rule:
    """What happens to the next COUNT requests that it is for."""

    count: int
    method: str | None
    name: str | None
    status: int = 0
    after_bytes: int = 0
    retry_after: str | None = None

    def is_for(self, method: str, name: str) -> bool:
        if self.method not in (None, method):
            return False
        return self.name is None or self.name in name


class Faults:
    """What goes wrong; all of it can be changed at any time.

    Attributes:
      latency_s: seconds before the first byte of each answer.
      bytes_per_s: of each connection, in either direction; None: as fast as possible.
      list_lag_s: listings know what changed only so many seconds later. It holds for changes that
        are made while it is set.
      reorder_s: each request takes effect later by a random part of so many seconds, so that
        concurrent ones overtake each other.
    """

    def __init__(self, seed: int = 0):
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self.list_lag_s = 0.0
        self.reorder_s = 0.0
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._rules: dict[str, list[Rule]] = collections.defaultdict(list)
        self._forbidden: dict[str, set[str]] = {}
        self._expired = False

    def throttle(
        self,
        count: int,
        status: int = 429,
        method: str | None = None,
        name: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        """The next COUNT requests get a status: 429, 408, 500, 502, 503 or 504.

        Args:
          method: only those with this method.
          name: only those whose object's name contains this.
          retry_after: the header of the answer.
        """
        if status not in FAILURES:
            raise ValueError(f"throttle: status {status} is none of {sorted(FAILURES)}")
        self._add("throttle", Rule(count, method, name, status=status, retry_after=retry_after))

    def break_connections(
        self,
        count: int,
        after_bytes: int = 0,
        method: str | None = None,
        name: str | None = None,
    ) -> None:
        """The next COUNT downloads and uploads end after so many bytes of their body.

        An upload that is shorter than that takes effect, but its answer is lost.
        """
        self._add("break", Rule(count, method, name, after_bytes=after_bytes))

    def lose_answers(self, count: int, method: str | None = None, name: str | None = None) -> None:
        """The next COUNT requests take effect, but the connection ends instead of an answer."""
        self._add("lose", Rule(count, method, name))

    def forbid(self, bucket: str, methods=("GET", "LIST", "POST", "PUT", "PATCH", "DELETE")):
        """Requests of a bucket get 403, by their methods; that of listings is LIST, not GET."""
        with self._lock:
            self._forbidden[bucket] = set(methods)

    def allow(self, bucket: str) -> None:
        with self._lock:
            self._forbidden.pop(bucket, None)

    def expire_tokens(self) -> None:
        """All requests get 401 from now on."""
        self._expired = True

    def renew_tokens(self) -> None:
        self._expired = False

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.latency_s = 0.0
        self.bytes_per_s = None
        self.list_lag_s = 0.0
        self.reorder_s = 0.0
        self._expired = False
        with self._lock:
            self._rules.clear()
            self._forbidden.clear()

    def change(self, wanted: dict) -> None:
        """Sets attributes, and calls methods with a dict of their arguments."""
        for key, value in wanted.items():
            if key in ("latency_s", "bytes_per_s", "list_lag_s", "reorder_s"):
                setattr(self, key, value)
            elif key in FAULT_METHODS:
                getattr(self, key)(**value)
            else:
                raise GcsError(400, "invalid", f"No such fault: {key}")

    def take(self, kind: str, method: str, name: str) -> Rule | None:
        """The rule for this request, which then is for one request less."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules[kind]:
                if rule.count > 0 and rule.is_for(method, name):
                    rule.count -= 1
                    return rule
        return None

    def check_token(self, authorization: str | None, anonymous: bool) -> None:
        if authorization is None:
            right = anonymous
        else:
            right = authorization == f"Bearer {TOKEN}"
        if self._expired or not right:
            headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
            raise GcsError(401, "authError", "Invalid Credentials", headers)

    def check_access(self, bucket: str, method: str, is_listing: bool) -> None:
        with self._lock:
            forbidden = self._forbidden.get(bucket, ())
        if ("LIST" if is_listing else method) in forbidden:
            message = (
                "The caller does not have storage.objects access to the Google Cloud Storage "
                "object. Permission 'storage.objects' denied on resource (or it may not exist)."
            )
            raise GcsError(403, "forbidden", message)

    def overtake(self) -> None:
        """Waits before a request takes effect."""
        if self.reorder_s:
            with self._lock:
                part = self._random.random()
            time.sleep(part * self.reorder_s)

    def wait(self) -> None:
        """Waits before the first byte of an answer."""
        if self.latency_s:
            time.sleep(self.latency_s)

    def _add(self, kind: str, rule: Rule) -> None:
        with self._lock:
            self._rules[kind].append(rule)


FAULT_METHODS = (
    "throttle",
    "break_connections",
    "lose_answers",
    "forbid",
    "allow",
    "expire_tokens",
    "renew_tokens",
    "clear",
)
