"""A real web server on this machine with one small JPG at every path, that misbehaves as planned.

`server.plan[path]` lists the behaviours for the requests of a path, one after the other, after
which it is served well; `server.always` is the behaviour for all requests. Each is a method of
`_Answer` below, with its argument after a space: "status 500".
"""

import functools
import gzip
import io
import socket
import struct
import threading
import time
import zlib
from collections import Counter, defaultdict
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


@functools.cache
def jpg(path: str) -> bytes:
    """The image at a path: 48 x 48 pixels, drawn from the path."""
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    pixels = rng.integers(0, 255, (48, 48, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


def claims(width: int, height: int) -> bytes:
    """A JPG whose header claims another size."""
    data = bytearray(jpg("/"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


class Server(ThreadingHTTPServer):
    """Listens within its `with` block.

    Attributes:
      plan, always: see above.
      bodies: what is served at a path instead of an image.
      delay: seconds before each answer.
      log: (seconds, path, headers) of each request.
      connections: how many were opened.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0):
        self.plan: dict[str, list[str]] = defaultdict(list)
        self.always: str | None = None
        self.bodies: dict[str, bytes] = {}
        self.delay = 0.0
        self.log: list[tuple[float, str, dict]] = []
        self.connections = 0
        self._open = 0
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{{antibody}}/{{rest}}_{{channel}}.jpg"

    def asked(self) -> Counter:
        """How often each path was asked for."""
        return Counter(path for _, path, _ in self.log)

    def next_behaviour(self, path: str, headers: dict) -> str:
        with self._lock:
            self.log.append((time.monotonic(), path, headers))
            return self.always or (self.plan[path].pop(0) if self.plan.get(path) else "good")

    def settle(self) -> None:
        """Waits until what clients that are gone have asked for is in the log."""
        # Connections are taken in the order in which they came.
        with socket.create_connection(self.server_address) as last:
            last.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            last.recv(1)
        while self._open:
            time.sleep(0.01)

    def process_request(self, request, client_address):
        with self._lock:
            self._open += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open -= 1

    def __enter__(self):
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that went away are what this server is for."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.connections += 1

    def log_message(self, *_):
        pass

    def do_GET(self):
        behaviour = self.server.next_behaviour(self.path, dict(self.headers))
        name, _, value = behaviour.partition(" ")
        path = self.path.removeprefix("/elsewhere")
        self.image = self.server.bodies.get(path) or jpg(path)
        time.sleep(self.server.delay)
        getattr(self, name)(*([value] if value else []))

    def do_HEAD(self):
        self.answer(200, b"")

    def answer(self, status, body, **headers):
        self.send_response(status)
        for header, value in ({"Content_Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(header.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self, rudely=False):
        self.close_connection = True
        if rudely:
            # A reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(self.connection.detach())
        else:
            self.connection.shutdown(socket.SHUT_WR)

    # The behaviours.

    def good(self):
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if not start:
            self.answer(200, self.image)
        elif start >= len(self.image):
            self.answer(416, b"")
        else:
            self.answer_range(start)

    def answer_range(self, start):
        range_ = f"bytes {start}-{len(self.image) - 1}/{len(self.image)}"
        self.answer(206, self.image[start:], Content_Range=range_)

    def without_range(self):
        self.answer(200, self.image)

    def another_range(self):
        self.answer_range(5)

    def status(self, status):
        self.answer(int(status), b"<html>no</html>")

    def zipped(self):
        self.answer(200, gzip.compress(self.image), Content_Encoding="gzip")

    def escape_codes(self):
        self.wfile.write(b"HTTP/1.1 404 Not\x1b[31m \xff Found\r\nContent-Length: 0\r\n\r\n")

    def slow_down(self, seconds):
        self.answer(429, b"", Retry_After=seconds)

    def back_soon(self, seconds):
        self.answer(503, b"", Retry_After=seconds)

    def back_at(self, seconds):
        date = formatdate(time.time() + float(seconds), usegmt=True)
        self.answer(503, b"", Retry_After=date)

    def web_page(self):
        self.answer(200, b"<!DOCTYPE html><html>Please sign in</html>", Content_Type="text/html")

    def empty(self):
        self.answer(200, b"")

    def empty_without_length(self):
        self.answer(200, b"", Content_Length=None, Connection="close")
        self.hang_up()

    def half(self):
        return self.image[: len(self.image) // 2]

    def truncated_with_length(self):
        self.answer(200, self.half(), Content_Length=len(self.image))
        self.hang_up()

    def truncated_without_length(self):
        self.answer(200, self.half(), Content_Length=None, Connection="close")
        self.hang_up()

    def wrong_length(self):
        self.answer(200, self.half())

    def chunked(self, body=None, ended=True):
        self.answer(200, b"", Content_Length=None, Transfer_Encoding="chunked")
        body = self.image if body is None else body
        for at in range(0, len(body), 500):
            piece = body[at : at + 500]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if ended:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.hang_up()

    def chunked_truncated(self):
        self.chunked(self.half(), ended=False)

    def chunked_half(self):
        self.chunked(self.half())

    def dropped(self):
        self.answer(200, self.half(), Content_Length=len(self.image))
        self.hang_up(rudely=True)

    def dropped_at_once(self):
        self.hang_up(rudely=True)

    def nonsense(self):
        self.wfile.write(b"\x00\xffwhat?\r\n\r\n")
        self.hang_up()

    def redirect(self):
        self.answer(302, b"", Location=f"/elsewhere{self.path}")

    def redirect_to(self, address):
        self.answer(302, b"", Location=address)

    def redirect_in_circles(self):
        self.server.plan[self.path].append("redirect_in_circles")
        self.answer(302, b"", Location=self.path)

    def redirect_nowhere(self):
        self.answer(302, b"", Location="http://[not/an address\xff")

    def slowly(self, seconds):
        self.drip(seconds, self.image, 8)

    def drip(self, seconds="600", body=b"\xff", pieces=10**4):
        self.answer(200, b"", Content_Length=max(len(body), pieces))
        for piece in range(pieces):
            start = len(body) * piece // pieces
            stop = len(body) * (piece + 1) // pieces
            self.wfile.write(body[start:stop] or b"\xff")
            time.sleep(float(seconds) / pieces)

    def drip_headers(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10**4):
            self.wfile.write(b"X-%d: y\r\n" % number if number % 90 == 0 else b"y")
            time.sleep(0.05)

    def silent(self):
        time.sleep(600)

    def endless(self):
        self.answer(200, b"", Content_Length=None, Connection="close")
        while True:
            self.wfile.write(bytes(1 << 20))
