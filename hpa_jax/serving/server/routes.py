"""What each path answers."""

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from hpa_jax.serving.server.admission import Admission, Allowance
from hpa_jax.serving.server.batching import Batcher
from hpa_jax.serving.server.body import read_body
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.metrics import MEDIA_TYPE, Metrics
from hpa_jax.serving.server.options import parse_options
from hpa_jax.serving.server.refusal import ClientGone, busy
from hpa_jax.serving.server.scoring import Scorer

PREDICT = "/v1/predict"


class Routes:
    """The paths of a server.

    Args:
      model: what /v1/model answers.
      page: HTML of /.
      outputs: that the net has.
      scorer: which scores.
      batcher: where images wait.
      metrics: of the server.
      limits: of the server.
    """

    def __init__(
        self,
        model: dict,
        page: str,
        outputs: tuple[str, ...],
        scorer: Scorer,
        batcher: Batcher,
        metrics: Metrics,
        limits: Limits,
    ):
        self._model = _json(model)
        self._page = page
        self._outputs = outputs
        self._scorer = scorer
        self._batcher = batcher
        self._metrics = metrics
        self._limits = limits
        self._admission = Admission(limits.queue)
        self._allowance = Allowance(limits.bodies)

    def main(self) -> Router:
        """What clients ask."""
        return _router(
            Route("/", self.page),
            Route(PREDICT, self.predict, methods=["POST"]),
            Route("/v1/model", self.model),
            Route("/healthz", self.health),
            Route("/readyz", self.ready),
        )

    def metrics_alone(self) -> Router:
        """What Prometheus asks, at a port of its own."""
        return _router(Route("/metrics", self.metrics))

    async def predict(self, request: Request) -> Response:
        """Scores of the images in the body."""
        wait = self._batcher.wait_seconds()
        # Before a client sends megabytes for nothing.
        self._admission.check(wait)
        # The same for what its address says.
        parse_options(request.query_params.multi_items(), self._outputs)
        with self._allowance.share() as share:
            body = await read_body(request, share, self._limits)
            given = [*request.query_params.multi_items(), *body.fields]
            options = parse_options(given, self._outputs)
            with self._admission.admitted(wait):
                work = self._scorer.score(body.parts, options)
                rows = await _while_there(request, work, self._limits.answer_seconds)
        return Response(_json({"images": rows}), media_type="application/json")

    async def model(self, request: Request) -> Response:
        """What the net is, and what this server accepts."""
        return Response(self._model, media_type="application/json")

    async def page(self, request: Request) -> Response:
        """The page for people."""
        return HTMLResponse(self._page)

    async def health(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Whether a request for scores would be taken now."""
        self._admission.check(self._batcher.wait_seconds())
        return PlainTextResponse("ok\n")

    async def metrics(self, request: Request) -> Response:
        """Counters."""
        self._metrics.waiting.set(self._admission.count)
        self._metrics.bytes.set(self._allowance.used)
        return Response(self._metrics.text(), headers={"Content-Type": MEDIA_TYPE})


def _router(*routes: Route) -> Router:
    return Router(routes, redirect_slashes=False)


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode()


async def _while_there(request: Request, work, seconds: float) -> list[dict]:
    """Waits for the scores as long as the client does.

    Raises:
      ClientGone: it does no more.
      Refusal: 503, they took too long.
    """
    scoring = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait(
            (scoring, watching), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if scoring.done():
            return scoring.result()
        if watching.done():
            raise ClientGone
        raise busy(seconds, f"the net did not come to this request within {seconds:g} s")
    except BaseExceptionGroup as group:
        # Of images that were read at the same time; one line is enough.
        raise group.exceptions[0] from None
    finally:
        scoring.cancel()
        watching.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
