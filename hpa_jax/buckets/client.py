"""The one file that talks to Cloud Storage: objects of a bucket, read and written by name.

Google's own client does the work: credentials, checksums, and repeating what failed for a reason
that passes (429, 5xx, a connection that broke) at growing intervals. A large upload that breaks
goes on behind what has arrived.

A write that names the generation which it replaces is repeated too. Where the first attempt has
arrived and its answer is what got lost, the second one finds its own content there.

Here its errors become one line each. What a person can put right (no such bucket, no permission,
credentials that have ended) is an InputError, and a service that does not answer for TIMEOUT_S
stops the run.
"""

import base64
import contextlib
import functools
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import google_crc32c

from hpa_jax.buckets.url import BucketUrl
from hpa_jax.errors import InputError, RunStopped, one_line

TIMEOUT = "HPA_BUCKET_TIMEOUT_S"
"""Environment variable: seconds for which a request is repeated, 300 without it."""

_TIMEOUT_S = 300.0

_REQUEST_S = 60.0
"""Seconds without a byte after which a request is given up and repeated."""

_ATTEMPTS = 3
"""At what arrives otherwise than it was sent, and at uploads that the service has forgotten."""

_BLOCK_BYTES = 2**20

_POOL_SIZE = 512
"""Connections that are kept open: as many as config.data.connections can ask for."""

_UPLOAD_PART_BYTES = 8 * 2**20
"""A larger file goes up in parts of this size, so that a broken connection costs one of them."""


class Changed(Exception):
    """An object is not of the generation that a write or read was to be of."""


class Missing(Exception):
    """There is no such object."""


class Damaged(InputError):
    """What is read of an object is not what its checksum says."""


class ObjectInfo(NamedTuple):
    """
    Attributes:
      name: in the bucket.
      size: bytes.
      generation: another one after each write.
      crc32c: of the content, in base64.
    """

    name: str
    size: int
    generation: int
    crc32c: str


class Bucket:
    """The objects of one bucket. Safe to share between threads.

    Args:
      url: of the bucket, or of a place in it.

    Raises:
      InputError: the package that talks to Cloud Storage is not installed, or there are no
        credentials.
    """

    def __init__(self, url: BucketUrl):
        self.name = url.bucket
        self._bucket = _connect().bucket(url.bucket)
        self._retry = _retry()
        self._timeout = min(_REQUEST_S, _timeout())

    @functools.cached_property
    def _transport(self) -> Any:
        return _transport_of(self._bucket.client)

    def stat(self, name: str) -> ObjectInfo | None:
        """What is known of an object; None where there is none."""
        try:
            with self._explained(name, "storage.objects.get"):
                blob = self._bucket.get_blob(name, retry=self._retry, timeout=self._timeout)
        except Missing:
            return None
        return None if blob is None else _info(blob)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """The objects whose names start with `prefix`."""
        with self._explained(prefix, "storage.objects.list"):
            return [_info(blob) for blob in self._listed(prefix=prefix)]

    def _listed(self, **options: Any) -> Iterator[Any]:
        try:
            yield from self._bucket.client.list_blobs(
                self._bucket, retry=self._retry, timeout=self._timeout, **options
            )
        except _errors().NotFound as error:
            raise self._no_bucket() from error

    def read(self, name: str) -> tuple[bytes, int]:
        """The content of an object and its generation.

        Raises:
          Missing: there is no such object.
          Damaged: its content is not what its checksum says.
        """

        def read(blob: Any) -> bytes:
            return blob.download_as_bytes(
                checksum="crc32c", retry=self._retry, timeout=self._timeout
            )

        return self._intact(name, read)

    def _intact(self, name: str, read: Callable[[Any], Any]) -> tuple[Any, int]:
        """What `read` makes of an object, once it arrives as it is, and its generation."""
        for _ in range(_ATTEMPTS):
            blob = self._bucket.blob(name)
            with contextlib.suppress(_corruption()), self._explained(name, "storage.objects.get"):
                content = read(blob)
                return content, int(blob.generation)
        raise Damaged(
            f"gs://{self.name}/{name} is damaged: its content is not what its checksum says; put "
            "it back from a copy"
        )

    def read_range(self, name: str, start: int, size: int, generation: int) -> bytes:
        """`size` bytes from `start` on, fewer at the end of the object.

        Raises:
          Changed: the object is of another generation.
          Missing: there is no such object.
        """
        if size == 0:
            return b""
        # The client's own download takes 1.3 ms of a core for what takes 0.5 here, most of it with
        # the interpreter to itself: a host reads thousands of records a second.
        url = (
            f"{self._bucket.client.api_endpoint}/download/storage/v1/b/{quote(self.name, '')}"
            f"/o/{quote(name, '')}?alt=media&ifGenerationMatch={generation}"
        )
        with self._explained(name, "storage.objects.get"):
            return self._retry(_get_range)(self._transport, url, start, size, self._timeout)

    def download(self, name: str, path: Path) -> int:
        """Writes the content of an object to a file; returns its generation.

        Raises:
          Missing: there is no such object.
          Damaged: its content is not what its checksum says.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{threading.get_ident():016x}.part")

        def read(blob: Any) -> None:
            blob.download_to_filename(
                str(part), checksum="crc32c", retry=self._retry, timeout=self._timeout
            )

        try:
            _, generation = self._intact(name, read)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return generation

    def write(self, name: str, content: bytes, generation: int | None = None) -> ObjectInfo:
        """Writes an object.

        Args:
          name: of the object.
          content: of it.
          generation: of the object that is replaced, 0 for none; None: whatever is there.

        Raises:
          Changed: another one is there.
        """

        def send(blob: Any) -> None:
            blob.upload_from_string(
                content,
                content_type="application/octet-stream",
                if_generation_match=generation,
                checksum="crc32c",
                retry=self._retry,
                timeout=self._timeout,
            )

        try:
            return self._sent(self._bucket.blob(name), send)
        except Changed:
            return self._own(name, len(content), google_crc32c.value(content))

    def upload(self, path: Path, name: str, generation: int | None = None) -> ObjectInfo:
        """Writes an object with the content of a file.

        Args:
          path: of the file.
          name, generation: as of `write`.

        Raises:
          Changed: another one is there.
          FileNotFoundError: there is no such file any more.
        """

        def send(blob: Any) -> None:
            blob.upload_from_filename(
                str(path),
                content_type="application/octet-stream",
                if_generation_match=generation,
                checksum="crc32c",
                retry=self._retry,
                timeout=self._timeout,
            )

        try:
            return self._sent(self._bucket.blob(name, chunk_size=_UPLOAD_PART_BYTES), send)
        except Changed:
            return self._own(name, *_size_and_checksum(path))

    def _sent(self, blob: Any, send: Callable[[Any], None]) -> ObjectInfo:
        for _ in range(_ATTEMPTS):
            # Missing: of an upload in several requests, which the service has forgotten.
            with contextlib.suppress(_corruption(), Missing):
                with self._explained(blob.name, "storage.objects.create"):
                    send(blob)
                return _info(blob)
        raise RunStopped(
            f"gs://{self.name}/{blob.name}: an upload was cut short {_ATTEMPTS} times; start again "
            "to resume"
        )

    def _own(self, name: str, size: int, checksum: int) -> ObjectInfo:
        """The object that is there, if it is the one that was to be written."""
        info = self.stat(name)
        crc32c = base64.b64encode(checksum.to_bytes(4, "big")).decode()
        if info is None or (info.size, info.crc32c) != (size, crc32c):
            raise Changed(f"gs://{self.name}/{name}")
        return info

    def delete(self, name: str, generation: int | None = None) -> None:
        """Removes an object, if it is there and, where that is given, of a generation."""
        with contextlib.suppress(Missing, Changed):
            with self._explained(name, "storage.objects.delete"):
                self._bucket.blob(name).delete(
                    if_generation_match=generation, retry=self._retry, timeout=self._timeout
                )

    def _no_bucket(self) -> InputError:
        return InputError(
            f"gs://{self.name}: there is no such bucket; look for its name in "
            "`gcloud storage ls`, or make it"
        )

    @contextlib.contextmanager
    def _explained(self, name: str, permission: str) -> Iterator[None]:
        """What the client raises, as an error of this package.

        Args:
          name: of the object, or its start.
          permission: that the request takes.
        """
        place = f"gs://{self.name}/{name}"
        errors = _errors()
        try:
            yield
        except errors.NotFound as error:
            # The same answer for an object as for a bucket, but for the words.
            if "no such object" not in str(error).lower():
                self._check_exists()
            raise Missing(place) from error
        except errors.PreconditionFailed as error:
            raise Changed(place) from error
        except errors.Forbidden as error:
            raise InputError(
                f"{place}: no permission ({_reason(error)}); the account needs {permission} on "
                f"gs://{self.name}, as the role Storage Object User has it"
            ) from error
        except (errors.Unauthorized, *_credential_errors()) as error:
            raise InputError(
                f"{place}: the credentials are not accepted ({_reason(error)}); renew them, with "
                "`gcloud auth application-default login` or the machine's service account"
            ) from error
        except (errors.GoogleAPICallError, errors.RetryError, *_connection_errors()) as error:
            what = f"has not answered for {_timeout():g} s"
            if isinstance(error, errors.ClientError) and not isinstance(
                error, errors.TooManyRequests
            ):
                what = "has refused a request"
            raise RunStopped(
                f"{place}: Cloud Storage {what} ({_reason(error)}); start again to resume"
            ) from error

    def _check_exists(self) -> None:
        """Raises an InputError if there is no such bucket, as far as that can be told."""
        # Of the requests that tell, the one that needs no more permission than others here.
        with contextlib.suppress(_errors().GoogleAPICallError, _errors().RetryError):
            next(self._listed(max_results=1), None)


def _get_range(transport: Any, url: str, start: int, size: int, timeout: float) -> bytes:
    """Asks once for `size` bytes of an object.

    Raises:
      Exception: of google.api_core or urllib3, as the client's download does.
    """
    # With that encoding an object comes as it is stored.
    headers = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "gzip"}
    answer = transport.urlopen(
        "GET",
        url,
        headers=headers,
        timeout=timeout,
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
    )
    try:
        content = answer.read(decode_content=False)
    except BaseException:
        answer.close()
        raise
    finally:
        answer.release_conn()
    if answer.status == 206:
        return content
    if answer.status == 200:
        return content[start : start + size]
    text = content[:2000].decode(errors="replace")
    raise _errors().from_http_status(answer.status, text or answer.reason or "")


def _info(blob: Any) -> ObjectInfo:
    return ObjectInfo(blob.name, int(blob.size), int(blob.generation), blob.crc32c or "")


def _size_and_checksum(path: Path) -> tuple[int, int]:
    checksum = google_crc32c.Checksum()
    size = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum.update(block)
            size += len(block)
    return size, int.from_bytes(checksum.digest(), "big")


def _reason(error: BaseException) -> str:
    # Of a request that was repeated until it was too late: the last answer.
    error = getattr(error, "cause", None) or error
    return one_line(getattr(error, "message", None) or error, limit=200)


def _timeout() -> float:
    text = os.environ.get(TIMEOUT, "")
    try:
        return float(text) if text else _TIMEOUT_S
    except ValueError:
        raise InputError(f"{TIMEOUT}={text} is no number of seconds") from None


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    seconds = _timeout()
    return DEFAULT_RETRY.with_timeout(seconds).with_delay(initial=0.5, maximum=30, multiplier=2)


@functools.cache
def _corruption() -> type[BaseException]:
    from google.cloud.storage.exceptions import DataCorruption

    return DataCorruption


@functools.cache
def _errors() -> Any:
    from google.api_core import exceptions

    return exceptions


@functools.cache
def _credential_errors() -> tuple[type[BaseException], ...]:
    from google.auth import exceptions

    return (exceptions.DefaultCredentialsError, exceptions.RefreshError)


@functools.cache
def _connection_errors() -> tuple[type[BaseException], ...]:
    import requests
    import urllib3
    from google.auth import exceptions

    return (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        exceptions.TransportError,
        ConnectionError,
    )


_client: list[Any] = []
_connecting = threading.Lock()


def _connect() -> Any:
    """The client of this process, connected when it is first asked for."""
    with _connecting:
        if not _client:
            _client.append(_new_client())
        return _client[0]


def _new_client() -> Any:
    try:
        from google.cloud import storage
    except ImportError:
        raise InputError(
            "a gs:// path needs the package google-cloud-storage; install it with "
            "`pip install -r requirements/gcs.lock`, or let launch/local.sh do it"
        ) from None
    import requests

    # Now, and not by a thread that needs them: TFDS replaces Python's import for a while.
    for load in (_errors, _corruption, _credential_errors, _connection_errors):
        load()
    try:
        # No project is asked for: objects belong to buckets.
        client = storage.Client(project="none")
    except _credential_errors() as error:
        raise InputError(
            f"there are no credentials for Cloud Storage ({_reason(error)}); get them with "
            "`gcloud auth application-default login`, or run on a machine with a service account"
        ) from error
    adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=_POOL_SIZE)
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, adapter)
    return client


@functools.lru_cache(maxsize=1)
def _transport_of(client: Any) -> Any:
    """Google's other transport, with the client's credentials: it does less for each request."""
    import requests
    import urllib3
    from google.auth.transport.urllib3 import AuthorizedHttp

    # Proxy and certificates of the environment, as the client has them.
    url = client.api_endpoint
    settings = client._http.merge_environment_settings(url, {}, None, None, None)
    certificates = settings["verify"]
    if certificates is True:
        certificates = requests.certs.where()
    is_folder = os.path.isdir(certificates)
    # One for all connections: reading the certificates takes as long as many a request.
    context = ssl.create_default_context(
        cafile=None if is_folder else certificates, capath=certificates if is_folder else None
    )
    options = {"maxsize": _POOL_SIZE, "ssl_context": context}
    proxy = requests.utils.select_proxy(url, settings["proxies"])
    if proxy:
        manager = urllib3.ProxyManager(proxy, **options)
    else:
        manager = urllib3.PoolManager(**options)
    return AuthorizedHttp(client._credentials, http=manager)
