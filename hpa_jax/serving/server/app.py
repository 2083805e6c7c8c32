"""From a request to an answer, whatever it is: one line of JSON where it is no scores.

Design: this is the only place where an exception becomes a status. What a client did wrong is told
to the client and to nobody else; what the server did wrong is one line in the log, with the place
in the program and nothing of the request: neither its address nor its files' names.
"""

import asyncio
import sys
import time
import traceback
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from hpa_jax.errors import one_line
from hpa_jax.serving.server.access import Access
from hpa_jax.serving.server.metrics import Metrics
from hpa_jax.serving.server.refusal import ClientGone, Refusal, busy, error_body
from hpa_jax.serving.server.routes import PREDICT

# For browsers: nothing is guessed, framed, kept, or read by another site.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_WORDS = {
    404: "there is nothing at this path; there are /, /v1/predict, /v1/model, /healthz and /readyz",
    405: "this path has another method; /v1/predict takes POST, all others GET",
}


class App:
    """The ASGI application.

    Args:
      main: what clients ask.
      metrics_router: what is asked at `metrics_port`.
      metrics_port: a port of its own, or None.
      access: who may ask.
      metrics: of the server.
      start: called when the loop runs.
      stop: called, and waited for, when all is answered.
    """

    def __init__(
        self,
        main: Router,
        metrics_router: Router,
        metrics_port: int | None,
        access: Access,
        metrics: Metrics,
        start: Callable[[], None],
        stop: Callable[[], None],
    ):
        self._main = main
        self._metrics_router = metrics_router
        self._metrics_port = metrics_port
        self._access = access
        self._metrics = metrics
        self._start = start
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        started = time.perf_counter()
        answer = _Answer(send)
        try:
            await self._answered(scope, receive, answer)
        finally:
            path = self._known_path(scope)
            self._metrics.requests.labels(path, answer.status).inc()
            if path == PREDICT:
                self._metrics.seconds.observe(time.perf_counter() - started)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        router = self._main
        if scope["server"][1] == self._metrics_port:
            router = self._metrics_router
        # With it, the router raises where nothing is found, instead of answering itself.
        scope["app"] = self
        try:
            self._access.check(scope["path"], Headers(scope=scope))
            await router(scope, receive, answer.send)
            return
        except ClientGone:
            return
        except Refusal as refusal:
            status = refusal.status
            text = refusal.text
            headers = refusal.headers
        except HTTPException as error:
            status = error.status_code
            text = _WORDS.get(status, one_line(str(error.detail)))
            headers = dict(error.headers or {})
        except asyncio.CancelledError:
            # The server ends now; whoever asks again meets the next one.
            refusal = busy(1, "the server stops and has not come to this request")
            status = refusal.status
            text = refusal.text
            headers = refusal.headers
        except Exception as error:  # a defect: the client is told, and the log where
            _log(error)
            status = 500
            text = "the server could not answer this; its log has a line about it"
            headers = {}
        if not answer.status:
            body = error_body(text)
            response = Response(body, status, headers, media_type="application/json")
            await response(scope, receive, answer.send)

    def _known_path(self, scope: Scope) -> str:
        """The path, if it is one of the server's: clients must not choose names of counters."""
        routes = [*self._main.routes, *self._metrics_router.routes]
        paths = {route.path for route in routes}
        return scope["path"] if scope["path"] in paths else "other"

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._stop()
        await send({"type": "lifespan.shutdown.complete"})


class _Answer:
    """Passes an answer on, with the headers that each has.

    Attributes:
      status: of the answer; 0 while there is none.
    """

    def __init__(self, send: Send):
        self.status = 0
        self._send = send

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await self._send(message)


def _log(error: Exception) -> None:
    place = traceback.extract_tb(error.__traceback__)[-1]
    name = place.filename.rpartition("/")[2]
    line = f"internal error: {type(error).__name__} at {name}:{place.lineno} in {place.name}"
    print(line, file=sys.stderr, flush=True)
