"""Downloads, and uploads in several requests."""

import base64
import dataclasses
import email.utils
import hashlib
import re
import threading

import google_crc32c
from support.fake_gcs.answers import Answer, GcsError
from support.fake_gcs.messages import Request
from support.fake_gcs.objects import StoredObject

CHUNK = 256 * 1024
"""Of an unfinished resumable upload, a multiple of so many bytes is kept."""


@dataclasses.dataclass
class Upload:
    """A resumable upload that is not complete, or was completed as an object."""

    bucket: str
    name: str
    fields: dict
    query: dict
    data: bytearray = dataclasses.field(default_factory=bytearray)
    stored: StoredObject | None = None
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


def media_answer(stored: StoredObject, wanted: str | None) -> Answer:
    """An object's bytes, or a range of them."""
    hashes = [f"crc32c={stored.crc32c}"]
    if stored.md5 is not None:
        hashes.append(f"md5={stored.md5}")
    headers = {
        "Content-Type": stored.fields.get("contentType", "application/octet-stream"),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Stored-Content-Length": str(len(stored.data)),
        "X-Goog-Stored-Content-Encoding": "identity",
        "ETag": f'"{stored.etag()}"',
        "Last-Modified": email.utils.formatdate(stored.updated, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    size = len(stored.data)
    view = memoryview(stored.data)
    found = _read_range(wanted, size)
    if found is None:
        return Answer(200, headers, view)
    start, end = found
    if start >= end:
        refused = {"Content-Range": f"bytes */{size}"}
        raise GcsError(
            416, "requestedRangeNotSatisfiable", "Request range not satisfiable", refused
        )
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(206, headers, view[start:end])


def _read_range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of a range; None: all, as for a header that is no single range."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if not last:
        return int(first), size
    if int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size)


def check_hashes(fields: dict, data) -> None:
    """Refuses data that are not what the client says that they are."""
    if "crc32c" in fields:
        found = google_crc32c.value(bytes(data)).to_bytes(4, "big")
        _check_hash("CRC32C", fields["crc32c"], found)
    if "md5Hash" in fields:
        found = hashlib.md5(data, usedforsecurity=False).digest()
        _check_hash("MD5 hash", fields["md5Hash"], found)


def _check_hash(kind: str, wanted: str, found: bytes) -> None:
    text = base64.b64encode(found).decode()
    if text != wanted:
        message = f'Provided {kind} "{wanted}" doesn\'t match calculated {kind} "{text}".'
        raise GcsError(400, "invalid", message)


def append_to(upload: Upload, request: Request) -> int | None:
    """Adds what came to an upload; returns the size of the whole, once it is known."""
    header = request.headers.get("content-range", "")
    found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header)
    if header and found is None:
        raise GcsError(400, "invalid", f"Invalid Content-Range: {header}")
    if found is None:
        # One request for all of it.
        start = 0
        total = int(request.headers.get("content-length", len(request.body)))
    else:
        start = int(found[1] or len(upload.data))
        total = None if found[3] == "*" else int(found[3])
    if start > len(upload.data):
        raise GcsError(400, "invalid", f"Invalid request: {len(upload.data)} bytes are there.")
    body = memoryview(request.body)[len(upload.data) - start :]
    if total is not None and len(upload.data) + len(body) > total:
        raise GcsError(400, "invalid", "Invalid request: more bytes than were announced.")
    is_last = total is not None and len(upload.data) + len(body) == total
    kept = len(body) if is_last else len(body) // CHUNK * CHUNK
    upload.data += body[:kept]
    return total


def kept_range(upload: Upload) -> dict:
    """The header that says how far an upload is."""
    if not upload.data:
        return {}
    return {"Range": f"bytes=0-{len(upload.data) - 1}"}
