"""Connections: uvicorn's HTTP/1.1, with what it leaves open.

Design:
- uvicorn waits for ever for the rest of a request line or of the headers. Here a connection on
  which no request is being answered has one deadline: it covers clients that send nothing, half a
  head, or the rest of a body that was refused, and idle connections too.
- While a request is being answered, `app` has the deadlines.
- What is no HTTP gets the same one line of JSON as everything else, and no line in the log.
"""

import asyncio
import http

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.refusal import error_body

# After a signal, for requests that were sent before it and are still on their way here.
_LAST_CALL = 0.5
# After an answer that ends a connection: closed at once, it could be lost on its way, because the
# system resets a connection on which something arrives that nobody reads.
_LINGER = 1.0


class GuardedProtocol(H11Protocol):
    """One connection. `with_limits` gives the class that uvicorn takes."""

    limits = Limits()

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self._idle: asyncio.TimerHandle | None = None
        self._blocked: asyncio.TimerHandle | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._is_last = False
        self._is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._answer(503, "too many connections; try again in 1 s", {"Retry-After": "1"})
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._is_over or self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._stop_idle()
        self.resume_writing()
        if self._giving_up:
            self._giving_up.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """An answer has been sent; the connection may bring another request."""
        if self._is_last:
            self._close()
        super().on_response_complete()
        self._watch()

    def shutdown(self) -> None:
        """The server stops: this connection ends with its current or its next answer."""
        self._is_last = True
        if self._is_over:
            return
        if self._is_answering():
            super().shutdown()
            return
        self._stop_idle()
        self._idle = self.loop.call_later(_LAST_CALL, self._close)

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        self._blocked = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client takes it again."""
        if self._blocked:
            self._blocked.cancel()
            self._blocked = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What has arrived is no HTTP: of the request's head, or of its body."""
        if self._is_answering():
            # Whoever waits for the rest of the body is told that there is none.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._answer(400, "this is no complete HTTP/1.1 request")

    def _should_upgrade(self) -> bool:
        # Neither WebSockets nor HTTP/2: the request is answered as it is, which HTTP allows.
        return False

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Starts the deadline where no request is being answered, stops it where one is."""
        if self._is_over:
            return
        if self.transport.is_closing():
            self._close()
            return
        if self._is_answering():
            self._stop_idle()
            return
        # uvicorn's own, which a single byte of the next request would stop.
        self._unset_keepalive_if_required()
        if self._idle is None:
            seconds = _LAST_CALL if self._is_last else self.limits.head_seconds
            self._idle = self.loop.call_later(seconds, self._close)

    def _stop_idle(self) -> None:
        if self._idle:
            self._idle.cancel()
            self._idle = None

    def _close(self) -> None:
        """Closes the connection, at the latest when a client has had time to take the rest."""
        self._stop_idle()
        if not self.transport.is_closing():
            self.transport.close()
        if self._giving_up is None:
            # What was written waits for the client, and the connection with it: for ever.
            self._giving_up = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        """Answers without the application, and closes."""
        body = error_body(text)
        lines = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **(headers or {}),
        }
        reason = http.HTTPStatus(status).phrase.encode()
        response = h11.Response(status_code=status, headers=list(lines.items()), reason=reason)
        try:
            output = self.conn.send(response)
            output += self.conn.send(h11.Data(data=body))
            output += self.conn.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            # An answer to an earlier request has begun: there is no place for another.
            output = b""
        self._is_over = True
        self._stop_idle()
        if not output:
            self._close()
            return
        self.transport.write(output)
        self.transport.write_eof()
        self._idle = self.loop.call_later(_LINGER, self._close)


def with_limits(limits: Limits) -> type[GuardedProtocol]:
    """The protocol with these limits: uvicorn takes a class."""
    return type("LimitedProtocol", (GuardedProtocol,), {"limits": limits})
