"""Requests, and what is read out of them."""

import contextlib
import json
import re
import urllib.parse

from support.fake_gcs.answers import GcsError, number


class Request:
    """A request whose head was read.

    Attributes:
      path: without the query, as it came.
      headers: by name in small letters.
      body: what came of it.
      is_whole: whether all of it came.
      object_name: that of the object, once it is known.
    """

    def __init__(self, method: str, target: str, headers: dict[str, str]):
        self.method = method
        self.headers = headers
        self.path, _, query = target.partition("?")
        # Clients without a proxy send the path, those with one the whole address.
        if self.path.startswith("http://"):
            self.path = "/" + self.path.split("/", 3)[3]
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.body: bytes | memoryview = b""
        self.is_whole = True
        self.object_name = ""
        parts = self.path.split("/")[1:]
        self.service = "xml"
        for service, prefix in SERVICES.items():
            if parts[: len(prefix)] == prefix:
                self.service = service
                parts = parts[len(prefix) :]
                break
        if self.path == "/" and "metadata-flavor" in headers:
            self.service = "metadata"
        self.parts = [urllib.parse.unquote(part) for part in parts]

    @property
    def bucket(self) -> str:
        if self.service == "xml":
            return self.parts[0]
        is_known = self.parts[:1] == ["b"] and len(self.parts) > 1
        return self.parts[1] if is_known else ""

    @property
    def is_listing(self) -> bool:
        is_objects = len(self.parts) == 3 and self.parts[2] == "o"
        return self.method == "GET" and self.service == "api" and is_objects

    @property
    def is_download(self) -> bool:
        if self.method != "GET":
            return False
        is_media = self.service in ("api", "download") and self.query.get("alt") == "media"
        return is_media or self.service == "xml"

    @property
    def is_upload(self) -> bool:
        """Whether it brings data, and does not only announce them."""
        if self.service != "upload" or self.method not in ("POST", "PUT"):
            return False
        return "upload_id" in self.query or self.query.get("uploadType") != "resumable"

    def name(self) -> str:
        """The object; of a listing its prefix."""
        if self.service == "xml":
            return "/".join(self.parts[1:])
        if self.is_listing:
            return self.query.get("prefix", self.query.get("startOffset", ""))
        if self.service == "upload":
            if "name" in self.query:
                return self.query["name"]
            if self.query.get("uploadType") == "multipart":
                with contextlib.suppress(GcsError):
                    return read_multipart(self)[0].get("name", "")
            return ""
        return self.parts[3] if len(self.parts) > 3 else ""


# The first that fits is meant.
SERVICES = {
    "control": ["_fake"],
    "upload": ["upload", "storage", "v1"],
    "api": ["storage", "v1"],
    "download": ["download", "storage", "v1"],
    "batch": ["batch", "storage", "v1"],
    "metadata": ["computeMetadata", "v1"],
}


def optional_number(query: dict, parameter: str) -> int | None:
    if query.get(parameter) is None:
        return None
    return number(query[parameter], parameter)


def read_json(body) -> dict:
    if not len(body):
        return {}
    try:
        return json.loads(bytes(body))
    except ValueError:
        raise GcsError(400, "parseError", "Parse Error") from None


def boundary_of(request: Request) -> str:
    found = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    if found is None:
        raise GcsError(400, "badContent", "Missing boundary.")
    return found[1]


def split_head(part: bytes) -> tuple[bytes, bytes]:
    """A head and what follows the empty line behind it; some clients end lines with LF alone."""
    found = re.search(rb"\r?\n\r?\n", part)
    if found is None:
        return part, b""
    return part[: found.start()], part[found.end() :]


def read_multipart(request: Request) -> tuple[dict, memoryview]:
    """What is said of an object, and its data."""
    mark = b"--" + re.escape(boundary_of(request).encode())
    body = request.body
    line_end = rb"\r?\n"
    first = re.compile(
        mark + line_end + rb".*?" + line_end * 2 + rb"(.*?)" + line_end + mark + line_end,
        re.DOTALL,
    ).search(body)
    if first is None:
        raise GcsError(400, "badContent", "Malformed multipart body.")
    fields = read_json(first[1])
    head = re.compile(rb"(.*?)" + line_end * 2, re.DOTALL).match(body, first.end())
    if head is None:
        raise GcsError(400, "badContent", "Malformed multipart body.")
    # The data may have anything within, so that their end is searched for from behind.
    tail = bytes(body[max(head.end() - 2, len(body) - 200) :])
    last = list(re.finditer(line_end + mark + b"--", tail))
    end = len(body) - len(tail) + last[-1].start() if last else len(body)
    headers = read_headers(head[1].decode("latin-1").splitlines())
    if "content-type" in headers:
        fields.setdefault("contentType", headers["content-type"])
    return fields, memoryview(body)[head.end() : end]


def read_headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers
