"""The fake service within this process."""

import collections
import threading
from pathlib import Path

from support.fake_gcs.answers import TOKEN, Answer, GcsError, LoggedRequest, json_answer
from support.fake_gcs.connection import Server
from support.fake_gcs.faults import Faults, Rule
from support.fake_gcs.messages import Request, read_json
from support.fake_gcs.objects import StoredObject
from support.fake_gcs.service import Service
from support.fake_gcs.store import Store


def environment_of(url: str) -> dict[str, str]:
    """Variables with which TensorStore and Google's libraries find the server at a URL."""
    address = url.removeprefix("http://")
    return {
        "STORAGE_EMULATOR_HOST": url,
        # TensorStore
        "TENSORSTORE_GCS_HTTP_URL": url,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": TOKEN,
        # Where these look for an access token: TensorStore, google-auth.
        "GCE_METADATA_ROOT": address,
        "GCE_METADATA_HOST": address,
        "GCE_METADATA_IP": address,
    }


class FakeGcs:
    """The service; listens within its `with` block.

    Args:
      buckets: that there are from the start.
      root: folder in which the objects lie as files; None: they are in memory.
      port: 0: a free one.
      anonymous: whether requests without a token are answered.
      seed: of the random delays.

    Attributes:
      url: address.
      faults: what goes wrong, see `Faults`.
      requests: all that came, in the order in which they were answered.
    """

    def __init__(
        self,
        buckets=(),
        root: str | Path | None = None,
        port: int = 0,
        anonymous: bool = True,
        seed: int = 0,
    ):
        self.faults = Faults(seed)
        self.requests: list[LoggedRequest] = []
        self.store = Store(Path(root) if root is not None else None, self.faults)
        there = {bucket.name for bucket in self.store.buckets()}
        for bucket in buckets:
            if bucket not in there:
                self.store.create_bucket(bucket)
        self.service = Service(self.store, self.faults, anonymous)
        self._port = port
        self._server: Server | None = None
        self.url = ""

    def __enter__(self) -> "FakeGcs":
        self._server = Server(self._port, self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.service.url = self.url
        # Asked often whether it shall end, so that a test's end takes no time.
        serve = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        serve.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()

    def environment(self) -> dict[str, str]:
        return environment_of(self.url)

    def put(self, bucket: str, name: str, data: bytes) -> int:
        """Writes an object; returns its generation."""
        return self.store.put(bucket, name, bytes(data)).generation

    def get(self, bucket: str, name: str) -> bytes:
        return bytes(self._stored(bucket, name).data)

    def delete(self, bucket: str, name: str) -> None:
        self._stored(bucket, name)
        self.store.delete(bucket, name)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        return self.store.names(bucket, prefix)

    def generation(self, bucket: str, name: str) -> int:
        return self._stored(bucket, name).generation

    def flip_bit(self, bucket: str, name: str, position: int) -> None:
        """Flips the lowest bit of the byte at a position; checksums and generation stay."""
        self._stored(bucket, name)
        self.store.flip_bit(bucket, name, position)

    def count(self, method: str | None = None, name: str | None = None) -> int:
        """How many requests came: with a method, and with this within their object's name."""
        wanted = Rule(0, method, name)
        return sum(wanted.is_for(entry.method, entry.name) for entry in list(self.requests))

    def clear_requests(self) -> None:
        self.requests.clear()

    def _stored(self, bucket: str, name: str) -> StoredObject:
        try:
            return self.store.get(bucket, name)
        except GcsError as error:
            raise KeyError(error.message) from None

    def control(self, request: Request) -> Answer:
        """/_fake/OPERATION?bucket=...&name=...: this class's methods over HTTP.

        faults (POST, JSON: see `Faults.change`), requests (the log's counts, and what of it matches
        the query's method and name), put (the body is the data), get, delete, names (prefix),
        generation, flip_bit (position), clear_requests.
        """
        query = dict(request.query)
        try:
            match request.parts:
                case ["faults"]:
                    self.faults.change(read_json(request.body))
                    return json_answer({})
                case ["requests"]:
                    return json_answer(self._request_counts(**query))
                case ["put"]:
                    return json_answer(self.put(data=request.body, **query))
                case ["get"]:
                    return Answer(200, {}, self.get(**query))
                case ["flip_bit"]:
                    query["position"] = int(query["position"])
                    return json_answer(self.flip_bit(**query))
                case ["delete" | "names" | "generation" | "clear_requests" as operation]:
                    return json_answer(getattr(self, operation)(**query))
        except GcsError as error:
            return Answer(error.status, {}, error.body())
        except KeyError as error:
            return Answer(404, {}, str(error.args[0]).encode())
        except (TypeError, ValueError, IndexError) as error:
            return Answer(400, {}, str(error).encode())
        return Answer(404, {}, b"No such operation.")

    def _request_counts(self, method: str | None = None, name: str | None = None) -> dict:
        wanted = Rule(0, method, name)
        found = [entry for entry in list(self.requests) if wanted.is_for(entry.method, entry.name)]
        return {
            "count": len(found),
            "bytes": sum(entry.bytes for entry in found),
            "by_method": collections.Counter(entry.method for entry in found),
            "by_status": collections.Counter(entry.status for entry in found),
        }
