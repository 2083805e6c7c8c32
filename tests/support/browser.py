"""A real browser for tests: headless Chromium, driven by the DevTools protocol through two pipes.

No package is needed, and no port: a message is a JSON object that ends in a zero byte, to the
browser's file 3, from its file 4.
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
    """Returns the path of a browser: what HPA_BROWSER names, else the first of NAMES on PATH."""
    if named := os.environ.get("HPA_BROWSER"):
        return named
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return None


class Tab:
    """A page in the browser.

    Attributes:
      requests: URLs of everything that it requested.
      complaints: errors and warnings that the browser logged about it.
      place: what was opened last.
    """

    def __init__(self, write: int, read: int):
        self.requests = []
        self.complaints = []
        self.place = None
        self._write = write
        self._read = read
        self._unread = b""
        self._number = 0
        self._session = None
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """Makes one call of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._until(lambda event: event.get("id") == self._number)["result"]

    def open(
        self, path: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """Opens a file or an address, and waits until it is loaded with its pictures."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 800,
        )
        self.place = path
        self._loaded = False
        url = path if isinstance(path, str) else path.as_uri()
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer["errorText"]
        if not self._loaded:
            self._until(lambda event: self._loaded)

    def value(self, script: str):
        """Returns the value of an expression of JavaScript, as far as JSON has it.

        Of a promise it is what that comes to.
        """
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Waits until an expression of JavaScript is true."""
        end = time.monotonic() + 180
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.02)

    def choose(self, selector: str, files: list[Path]) -> None:
        """Chooses files in an input of the page, as a person does."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def _until(self, wanted) -> dict:
        end = time.monotonic() + 180
        while True:
            while b"\0" not in self._unread:
                ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
                assert ready, "the browser does not answer"
                more = os.read(self._read, 1 << 20)
                assert more, "the browser has stopped"
                self._unread += more
            head, _, self._unread = self._unread.partition(b"\0")
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
    """Starts the browser with a new profile in the folder `profile`, and stops it afterwards."""
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    flags = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    )
    # No name is ever resolved: a page that calls home cannot, even by mistake. A server of a test
    # is called by its address.
    flags += (
        "--remote-debugging-pipe",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
    )
    # The shell moves the two pipes to where the browser expects them.
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
        process.wait(timeout=120)
    finally:
        os.close(write), os.close(read)
        if process.poll() is None:
            process.kill()
            process.wait()
