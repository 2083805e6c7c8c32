"""A request's files as they come in: bounded in bytes, in parts and in time.

Two forms are read: a form (`multipart/form-data`), as browsers and `curl -F` send it, and a single
file as the body itself, as `curl --data-binary` sends it, whatever it calls its type. All of it
stays in memory: a client's images are on no disk of the server.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from hpa_jax.serving.server.admission import Share
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.refusal import ClientGone, Refusal

_MAX_FIELDS = 16
_LONGEST_FIELD = 1024
FORM = "multipart/form-data"

_ADVICE = "send a form: curl -F red=@R.png -F green=@G.png -F blue=@B.png -F yellow=@Y.png URL"


class Part(NamedTuple):
    """One file of a request.

    Attributes:
      name: of the form's part; empty for a body that is the file.
      file_name: as the client calls it; to be shown to nobody else.
      data: the file.
    """

    name: str
    file_name: str
    data: bytes


class Body(NamedTuple):
    """What a request has brought.

    Attributes:
      parts: its files, at least one.
      fields: what else a form had, names and texts.
    """

    parts: list[Part]
    fields: list[tuple[str, str]]


class _InMemory(MultiPartParser):
    spool_max_size = 2**62
    has_ended = False

    def on_end(self) -> None:
        self.has_ended = True


async def read_body(request: Request, share: Share, limits: Limits) -> Body:
    """Reads the files of a request.

    Args:
      request: whose body has not been read.
      share: what it takes of the memory for all requests.
      limits: of the server.

    Raises:
      Refusal: 400 no form, 408 too slow, 413 too large, 422 nothing in it, 503 no memory now.
      ClientGone: the connection was closed meanwhile.
    """
    _check_length(request, limits)
    pieces = _pieces(request, share, limits)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == FORM:
            body = await _form(request, pieces, limits)
        else:
            data = b"".join([piece async for piece in pieces])
            parts = [Part("", "", data)] if data else []
            body = Body(parts, [])
    except ClientDisconnect:
        raise ClientGone from None
    if not body.parts:
        raise Refusal(422, f"the request has no file in it; {_ADVICE}")
    return body


async def _form(request: Request, pieces: AsyncIterator[bytes], limits: Limits) -> Body:
    parser = _InMemory(
        request.headers,
        pieces,
        max_files=limits.members,
        max_fields=_MAX_FIELDS,
        max_part_size=_LONGEST_FIELD,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        # Too many parts: as too many bytes are.
        status = 413 if error.message.startswith("Too many") else 400
        reason = error.message.rstrip(".")
        raise Refusal(status, f"the form cannot be read ({reason}); {_ADVICE}") from None
    except UnicodeError:
        # A character set that decodes nothing.
        raise Refusal(400, f"the form's charset is none that is read; {_ADVICE}") from None
    if not parser.has_ended:
        raise Refusal(400, "the form is cut short: it has no end; send it again")
    parts = []
    fields = []
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields.append((name, value))
            continue
        data = await value.read()
        # Two copies of all files together would be twice the memory.
        await value.close()
        # A browser sends an empty part for a file that was not chosen.
        if data or value.filename:
            parts.append(Part(name, value.filename or "", data))
    return Body(parts, fields)


def _check_length(request: Request, limits: Limits) -> None:
    """Refuses what says of itself that it is too large, before any of it is read."""
    length = request.headers.get("content-length", "")
    if length and "transfer-encoding" in request.headers:
        # A proxy that believes the other one sees another request behind this one.
        raise Refusal(
            400,
            "the request has both Content-Length and Transfer-Encoding; send one of them",
            {"Connection": "close"},
        )
    if length.isascii() and length.isdigit() and int(length) > limits.body:
        raise _too_large(limits)


async def _pieces(request: Request, share: Share, limits: Limits) -> AsyncIterator[bytes]:
    """The body, piece by piece, each counted and each in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.body_seconds
    stream = aiter(request.stream())
    while True:
        wait = min(limits.pause_seconds, end - loop.time())
        try:
            async with asyncio.timeout(wait):
                piece = await anext(stream, None)
        except TimeoutError:
            raise Refusal(408, "the body did not arrive in time; send it again") from None
        if piece is None:
            return
        if share.size + len(piece) > limits.body:
            raise _too_large(limits)
        share.take(len(piece))
        yield piece


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        f"a request has more than {limits.body} bytes, as many as it may; send fewer images at "
        "once, or start the server with a larger --max-body",
    )
