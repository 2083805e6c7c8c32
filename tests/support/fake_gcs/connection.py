"""Connections: how requests come and answers go."""

import contextlib
import socket
import socketserver
import threading
import time

from support.fake_gcs.answers import REASONS, Answer, BrokenConnection, LoggedRequest
from support.fake_gcs.faults import Rule
from support.fake_gcs.messages import Request, read_headers


class _Connection(socketserver.BaseRequestHandler):
    """The requests of one connection, one after the other."""

    server: "Server"

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.request.makefile("rb", 2**16)
        self.server.opened(self.request)

    def finish(self) -> None:
        self.reader.close()
        self.server.closed(self.request)

    def handle(self) -> None:
        try:
            while self._serve_one():
                pass
        except (BrokenConnection, OSError):
            pass

    def _serve_one(self) -> bool:
        """Answers one request; returns whether another may follow."""
        request = self._read_head()
        if request is None:
            return False
        gcs = self.server.gcs
        if request.service in ("control", "metadata"):
            self._read_body(request, None)
            is_control = request.service == "control"
            answer = gcs.control(request) if is_control else gcs.service.metadata(request)
            self._send(request, answer, paced=False)
            return True
        rule = self._read_body(request, gcs)
        name = request.object_name
        if not request.is_whole:
            # Of a resumable upload, what came is kept.
            if "upload_id" in request.query:
                gcs.service.answer(request)
            self._log(request, 0, len(request.body))
            raise BrokenConnection
        gcs.faults.overtake()
        answer = gcs.service.answer(request)
        gcs.faults.wait()
        is_lost = rule is not None or gcs.faults.take("lose", request.method, name) is not None
        if is_lost:
            self._log(request, 0, len(request.body))
            raise BrokenConnection
        broken = None
        if request.is_download and answer.status in (200, 206):
            broken = gcs.faults.take("break", request.method, name)
        if broken is not None:
            kept = min(len(answer.body), broken.after_bytes)
            self._log(request, 0, kept)
            self._send(request, answer, kept)
            raise BrokenConnection
        moved = len(request.body) if request.method in ("POST", "PUT") else len(answer.body)
        self._log(request, answer.status, moved)
        self._send(request, answer)
        return request.headers.get("connection", "").lower() != "close"

    def _log(self, request: Request, status: int, moved: int) -> None:
        entry = LoggedRequest(request.method, request.path, request.object_name, status, moved)
        self.server.gcs.requests.append(entry)

    def _read_head(self) -> Request | None:
        first = self.reader.readline(2**16).decode("latin-1").rstrip("\r\n")
        if not first:
            return None
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            # TLS, or HTTP/2: gRPC.
            raise BrokenConnection
        method, target, _ = words
        lines = []
        while True:
            line = self.reader.readline(2**16)
            if not line:
                return None
            if line in (b"\r\n", b"\n"):
                return Request(method, target, read_headers(lines))
            lines.append(line.decode("latin-1"))

    def _read_body(self, request: Request, gcs) -> Rule | None:
        """Reads what follows a head; returns the rule by which the connection is to break."""
        if request.headers.get("expect", "").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.headers.get("transfer-encoding", "").lower() == "chunked":
            request.body = self._read_chunks()
            length = filled = len(request.body)
            buffer = request.body
        else:
            length = int(request.headers.get("content-length", 0))
            buffer = bytearray(length)
            # First the beginning, which names the object.
            filled = self._fill(buffer, 0, min(length, 2**16))
            request.body = memoryview(buffer)[:filled]
        rule = None
        end = length
        if gcs is not None:
            request.object_name = gcs.service.object_name(request)
            if request.is_upload and length:
                rule = gcs.faults.take("break", request.method, request.object_name)
            if rule is not None:
                end = min(length, rule.after_bytes)
        filled = min(end, self._fill(buffer, filled, end))
        request.body = memoryview(buffer)[:filled]
        request.is_whole = filled == length
        return rule

    def _fill(self, buffer: bytearray, start: int, end: int) -> int:
        """Reads bytes START to END of a body; returns how far it came."""
        view = memoryview(buffer)
        while start < end:
            rate = self.server.gcs.faults.bytes_per_s
            step = 2**20 if rate is None else max(1024, int(rate / 50))
            try:
                count = self.reader.readinto1(view[start : min(end, start + step)])
            except OSError:
                return start
            if not count:
                return start
            start += count
            if rate is not None:
                time.sleep(count / rate)
        return start

    def _read_chunks(self) -> bytearray:
        body = bytearray()
        while True:
            size = int(self.reader.readline().split(b";")[0], 16)
            chunk = self.reader.read(size)
            self.reader.readline()
            if not size:
                return body
            body += chunk

    def _send(self, request, answer: Answer, end: int | None = None, paced: bool = True) -> None:
        """Sends an answer, or its head and the body's first END bytes."""
        lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status not in (204, 304):
            lines.append(f"Content-Length: {len(answer.body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        body = memoryview(answer.body)[:end]
        if request.method == "HEAD" or not len(body):
            self.request.sendall(head)
            return
        # Both in one packet.
        self.request.sendall(head, getattr(socket, "MSG_MORE", 0))
        rate = self.server.gcs.faults.bytes_per_s if paced else None
        if rate is None:
            self.request.sendall(body)
            return
        step = max(1024, int(rate / 50))
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            self.request.sendall(piece)
            time.sleep(len(piece) / rate)


class Server(socketserver.ThreadingTCPServer):
    """Listens on this machine, with a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, port: int, gcs):
        self.gcs = gcs
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Connection)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def close_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
