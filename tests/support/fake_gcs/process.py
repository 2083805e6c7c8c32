"""The fake service in a process of its own."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from support.fake_gcs.server import environment_of

TESTS = Path(__file__).resolve().parents[2]


class FakeGcsProcess:
    """`FakeGcs` in a process of its own, which ends with the `with` block.

    Args:
      buckets, root, port, anonymous, seed: as of FakeGcs.
    """

    def __init__(self, buckets=(), root=None, port=0, anonymous=True, seed=0):
        self._port = port
        self._command = [sys.executable, "-m", "support.fake_gcs", f"--seed={seed}"]
        self._command.append("--until_stdin_ends")
        self._command += [f"--bucket={bucket}" for bucket in buckets]
        if root is not None:
            self._command.append(f"--root={root}")
        if not anonymous:
            self._command.append("--no-anonymous")
        self.process: subprocess.Popen | None = None
        self.url = ""
        self.faults = FaultsOfProcess(self)

    def __enter__(self) -> "FakeGcsProcess":
        command = [*self._command, f"--port={self._port}"]
        # Its standard input ends with this process, however that ends.
        pipe = subprocess.PIPE
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the fake server did not start"
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def restart(self) -> None:
        """Kills it and starts it at the same address; without a root, all objects are gone."""
        self.kill()
        self._port = int(self.url.rpartition(":")[2])
        self.__enter__()

    def environment(self) -> dict[str, str]:
        return environment_of(self.url)

    def put(self, bucket: str, name: str, data: bytes) -> int:
        return json.loads(self.call("put", data, bucket=bucket, name=name))

    def get(self, bucket: str, name: str) -> bytes:
        return self.call("get", bucket=bucket, name=name)

    def delete(self, bucket: str, name: str) -> None:
        self.call("delete", bucket=bucket, name=name)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        return json.loads(self.call("names", bucket=bucket, prefix=prefix))

    def generation(self, bucket: str, name: str) -> int:
        return json.loads(self.call("generation", bucket=bucket, name=name))

    def flip_bit(self, bucket: str, name: str, position: int) -> None:
        self.call("flip_bit", bucket=bucket, name=name, position=position)

    def count(self, method: str | None = None, name: str | None = None) -> int:
        return self.request_counts(method, name)["count"]

    def request_counts(self, method: str | None = None, name: str | None = None) -> dict:
        """count, bytes, by_method and by_status of the requests that came."""
        query = {"method": method, "name": name}
        given = {key: value for key, value in query.items() if value is not None}
        return json.loads(self.call("requests", **given))

    def clear_requests(self) -> None:
        self.call("clear_requests")

    def call(self, operation: str, data: bytes | None = None, **query) -> bytes:
        address = f"{self.url}/_fake/{operation}?{urllib.parse.urlencode(query)}"
        try:
            with DIRECT.open(urllib.request.Request(address, data), timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            if error.code == 404:
                raise KeyError(text) from None
            raise ValueError(text) from None


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the proxy that the environment may name."""


class FaultsOfProcess:
    """`Faults` of another process; what is set here is set there."""

    def __init__(self, process: FakeGcsProcess):
        # Not through __setattr__, which would send it.
        vars(self)["_process"] = process

    def __setattr__(self, name: str, value) -> None:
        self._change({name: value})

    def _change(self, wanted: dict) -> None:
        self._process.call("faults", json.dumps(wanted).encode())

    def throttle(self, count: int, status: int = 429, **filters) -> None:
        self._change({"throttle": {"count": count, "status": status, **filters}})

    def break_connections(self, count: int, after_bytes: int = 0, **filters) -> None:
        wanted = {"count": count, "after_bytes": after_bytes, **filters}
        self._change({"break_connections": wanted})

    def lose_answers(self, count: int, **filters) -> None:
        self._change({"lose_answers": {"count": count, **filters}})

    def forbid(self, bucket: str, **filters) -> None:
        wanted = {key: list(value) for key, value in filters.items()}
        self._change({"forbid": {"bucket": bucket, **wanted}})

    def allow(self, bucket: str) -> None:
        self._change({"allow": {"bucket": bucket}})

    def expire_tokens(self) -> None:
        self._change({"expire_tokens": {}})

    def renew_tokens(self) -> None:
        self._change({"renew_tokens": {}})

    def clear(self) -> None:
        self._change({"clear": {}})
