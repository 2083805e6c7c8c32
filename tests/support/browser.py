"""A real browser for tests: headless Chromium, spoken to through a pair of pipes (the DevTools protocol).

No package is needed, and no port: a message is a JSON object that ends in a zero byte, to the browser's file 3, from
its file 4.
"""

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """The path of a browser: what HPA_BROWSER names, else the first of NAMES that is there."""
    named = os.environ.get("HPA_BROWSER")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """A page in the browser.

    Attributes:
      requests: URLs of everything that it asked for.
      complaints: errors and warnings that the browser logged about it.
    """

    def __init__(self, write: int, read: int):
        self._write, self._read, self._left, self._number = write, read, b"", 0
        self._session = None
        self.requests, self.complaints, self._loaded = [], [], False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """One call of the protocol; its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._until(lambda event: event.get("id") == self._number)["result"]

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Shows a file and waits until it is there with its pictures."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 800,
        )
        self._loaded = False
        assert "errorText" not in self.call("Page.navigate", url=path.as_uri())
        if not self._loaded:
            self._until(lambda event: self._loaded)

    def value(self, script: str):
        """What an expression of JavaScript gives, as JSON can tell it."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def _until(self, wanted) -> dict:
        end = time.monotonic() + 60
        while True:
            while b"\0" not in self._left:
                ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
                assert ready, "the browser does not answer"
                more = os.read(self._read, 1 << 20)
                assert more, "the browser has ended"
                self._left += more
            head, _, self._left = self._left.partition(b"\0")
            event = json.loads(head)
            assert "error" not in event, event
            self._note(event.get("method"), event.get("params", {}))
            if wanted(event):
                return event

    def _note(self, method: str | None, params: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.complaints.append(params["entry"]["text"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(params))
        elif method == "Page.loadEventFired":
            self._loaded = True


@contextlib.contextmanager
def tab(browser: str, profile: Path) -> Iterator[Tab]:
    """Starts the browser with a new profile in the folder `profile`, and ends it."""
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    flags = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    )
    # No name is ever resolved: a page that calls home cannot, even by mistake.
    flags += (
        "--remote-debugging-pipe",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
    )
    # The shell moves the two pipes to where the browser looks for them.
    script = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["bash", "-c", script, browser, *flags],
        pass_fds=(to_browser, from_browser),
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser), os.close(from_browser)
    try:
        opened = Tab(write, read)
        yield opened
        opened._session = None
        opened.call("Browser.close")
        process.wait(timeout=20)
    finally:
        os.close(write), os.close(read)
        if process.poll() is None:
            process.kill()
            process.wait()
