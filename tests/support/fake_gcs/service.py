"""Requests of the JSON API, answered out of a store."""

import urllib.parse
import uuid

from support.fake_gcs.answers import (
    FAILURES,
    REASONS,
    TOKEN,
    Answer,
    GcsError,
    json_answer,
    timestamp,
)
from support.fake_gcs.faults import Faults
from support.fake_gcs.messages import (
    Request,
    boundary_of,
    optional_number,
    read_headers,
    read_json,
    read_multipart,
    split_head,
)
from support.fake_gcs.objects import Conditions, StoredObject, settable
from support.fake_gcs.store import Bucket, Store, check_name
from support.fake_gcs.transfers import Upload, append_to, check_hashes, kept_range, media_answer


class Service:
    """Answers requests out of a store."""

    def __init__(self, store: Store, faults: Faults, anonymous: bool):
        self.store = store
        self.faults = faults
        self.anonymous = anonymous
        self.url = ""
        self._uploads: dict[str, Upload] = {}

    def answer(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except GcsError as error:
            head = {"Content-Type": "application/json; charset=UTF-8"} | error.headers
            return Answer(error.status, head, error.body())

    def _answer(self, request: Request) -> Answer:
        self.faults.check_token(request.headers.get("authorization"), self.anonymous)
        rule = self.faults.take("throttle", request.method, request.object_name)
        if rule is not None:
            reason, message = FAILURES[rule.status]
            headers = {"Retry-After": rule.retry_after} if rule.retry_after else {}
            raise GcsError(rule.status, reason, message, headers)
        return self._serve(request)

    def _serve(self, request: Request) -> Answer:
        self.faults.check_access(request.bucket, request.method, request.is_listing)
        match request.service:
            case "upload":
                return self._upload(request)
            case "batch":
                return self._batch(request)
            case "xml":
                return self._xml(request)
            case _:
                return self._api(request)

    def _api(self, request: Request) -> Answer:
        match request.parts:
            case ["b"]:
                return self._all_buckets(request)
            case ["b", bucket]:
                return self._one_bucket(request, bucket)
            case ["b", bucket, "storageLayout"]:
                self.store.bucket(bucket)
                return json_answer({"kind": "storage#storageLayout", "bucket": bucket})
            case ["b", bucket, "o"] if request.method == "GET":
                return self._list(request, bucket)
            case ["b", bucket, "o", name]:
                return self._object(request, bucket, name)
            case ["b", bucket, "o", name, "compose"]:
                return self._compose(request, bucket, name)
            case ["b", bucket, "o", name, "moveTo", "o", to_name]:
                stored = self._copy(request, bucket, name, bucket, to_name)
                self.store.delete(bucket, name)
                return json_answer(stored.resource(self.url))
            case ["b", bucket, "o", name, "copyTo", "b", to_bucket, "o", to_name]:
                stored = self._copy(request, bucket, name, to_bucket, to_name)
                return json_answer(stored.resource(self.url))
            case ["b", bucket, "o", name, "rewriteTo", "b", to_bucket, "o", to_name]:
                stored = self._copy(request, bucket, name, to_bucket, to_name)
                return json_answer(rewritten(stored, self.url))
        raise GcsError(404, "notFound", f"Not Found: {request.path}")

    # Buckets

    def _bucket_resource(self, bucket: Bucket) -> dict:
        return {
            "kind": "storage#bucket",
            "id": bucket.name,
            "name": bucket.name,
            "selfLink": f"{self.url}/storage/v1/b/{bucket.name}",
            "projectNumber": "1",
            "metageneration": "1",
            "location": "US-CENTRAL1",
            "locationType": "region",
            "storageClass": "STANDARD",
            "etag": "CAE=",
            "timeCreated": timestamp(bucket.created),
            "updated": timestamp(bucket.created),
        }

    def _all_buckets(self, request: Request) -> Answer:
        if request.method == "POST":
            name = read_json(request.body).get("name", "")
            self.store.create_bucket(name)
            return json_answer(self._bucket_resource(self.store.bucket(name)))
        found = [self._bucket_resource(bucket) for bucket in self.store.buckets()]
        return json_answer({"kind": "storage#buckets", "items": found})

    def _one_bucket(self, request: Request, name: str) -> Answer:
        if request.method == "DELETE":
            self.store.delete_bucket(name)
            return Answer(204, {})
        return json_answer(self._bucket_resource(self.store.bucket(name)))

    # Objects

    def _list(self, request: Request, bucket: str) -> Answer:
        objects, prefixes, token = self.store.page(bucket, request.query)
        found: dict = {"kind": "storage#objects"}
        if objects:
            found["items"] = [stored.resource(self.url) for stored in objects]
        if prefixes:
            found["prefixes"] = prefixes
        if token is not None:
            found["nextPageToken"] = token
        return json_answer(found)

    def _object(self, request: Request, bucket: str, name: str) -> Answer:
        generation = optional_number(request.query, "generation")
        conditions = Conditions(request.query)
        match request.method:
            case "GET" | "HEAD":
                stored = self.store.get(bucket, name, generation)
                conditions.check(stored, reading=True)
                if request.is_download:
                    return media_answer(stored, request.headers.get("range"))
                return json_answer(stored.resource(self.url))
            case "DELETE":
                self.store.delete(bucket, name, generation, conditions)
                return Answer(204, {})
            case "PATCH" | "PUT":
                fields = settable(read_json(request.body))
                stored = self.store.patch(bucket, name, fields, conditions)
                return json_answer(stored.resource(self.url))
        raise GcsError(405, "methodNotAllowed", "Method Not Allowed")

    def _xml(self, request: Request) -> Answer:
        """https://storage.googleapis.com/BUCKET/NAME, for reading only."""
        if request.method not in ("GET", "HEAD"):
            raise GcsError(405, "methodNotAllowed", "Method Not Allowed")
        stored = self.store.get(request.bucket, request.name())
        return media_answer(stored, request.headers.get("range"))

    def _copy(self, request: Request, bucket, name, to_bucket, to_name) -> StoredObject:
        generation = optional_number(request.query, "sourceGeneration")
        with self.store.lock:
            source = self.store.get(bucket, name, generation)
            Conditions(request.query, "Source").check(source)
            fields = source.fields | settable(read_json(request.body))
            conditions = Conditions(request.query)
            data = bytes(source.data)
            return self.store.put(
                to_bucket, to_name, data, fields, conditions, components=source.components
            )

    def _compose(self, request: Request, bucket: str, name: str) -> Answer:
        wanted = read_json(request.body)
        sources = wanted.get("sourceObjects", [])
        if not 1 <= len(sources) <= 32:
            raise GcsError(400, "invalid", "The number of source components must be 1 to 32.")
        fields = settable(wanted.get("destination", {}))
        with self.store.lock:
            parts = [self._component(bucket, source) for source in sources]
            components = sum(part.components or 1 for part in parts)
            data = b"".join(part.data for part in parts)
            stored = self.store.put(
                bucket, name, data, fields, Conditions(request.query), components=components
            )
        return json_answer(stored.resource(self.url))

    def _component(self, bucket: str, source: dict) -> StoredObject:
        generation = optional_number(source, "generation")
        stored = self.store.get(bucket, source["name"], generation)
        conditions = source.get("objectPreconditions", {})
        Conditions({key: str(value) for key, value in conditions.items()}).check(stored)
        return stored

    # Uploads

    def _upload(self, request: Request) -> Answer:
        if "upload_id" in request.query:
            return self._resume(request)
        match request.query.get("uploadType"):
            case "media":
                fields = {}
                data = request.body
            case "multipart":
                fields, data = read_multipart(request)
            case "resumable":
                return self._begin(request)
            case kind:
                raise GcsError(400, "invalid", f"Unknown uploadType: {kind}")
        name = request.query.get("name", fields.get("name", ""))
        content_type = request.headers.get("content-type")
        if request.query["uploadType"] == "media" and content_type:
            fields["contentType"] = content_type
        check_hashes(fields, data)
        conditions = Conditions(request.query)
        stored = self.store.put(request.bucket, name, bytes(data), settable(fields), conditions)
        return json_answer(stored.resource(self.url))

    def _begin(self, request: Request) -> Answer:
        """Starts a resumable upload."""
        fields = read_json(request.body)
        name = request.query.get("name", fields.get("name", ""))
        check_name(name)
        Conditions(request.query).check(self.store.find(request.bucket, name))
        content_type = request.headers.get("x-upload-content-type")
        if content_type:
            fields.setdefault("contentType", content_type)
        identifier = uuid.uuid4().hex
        self._uploads[identifier] = Upload(request.bucket, name, fields, request.query)
        query = {"uploadType": "resumable", "name": name, "upload_id": identifier}
        # After the others, as a client may take it out of the address again.
        query |= {key: value for key, value in request.query.items() if key.startswith("if")}
        path = f"/upload/storage/v1/b/{request.bucket}/o"
        location = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        return Answer(200, {"Location": location, "X-GUploader-UploadID": identifier})

    def _resume(self, request: Request) -> Answer:
        """Goes on with a resumable upload, or says how far it is."""
        identifier = request.query["upload_id"]
        upload = self._uploads.get(identifier)
        if upload is None:
            raise GcsError(404, "notFound", "No such upload.")
        if request.method == "DELETE":
            self._uploads.pop(identifier, None)
            raise GcsError(499, "cancelled", "The upload was cancelled.")
        with upload.lock:
            if upload.stored is not None:
                return json_answer(upload.stored.resource(self.url))
            total = append_to(upload, request)
            if total is None or len(upload.data) < total:
                return Answer(308, kept_range(upload))
            data = bytes(upload.data)
            check_hashes(upload.fields, data)
            fields = settable(upload.fields)
            conditions = Conditions(upload.query)
            upload.stored = self.store.put(upload.bucket, upload.name, data, fields, conditions)
            upload.data = bytearray()
            return json_answer(upload.stored.resource(self.url))

    def object_name(self, request: Request) -> str:
        """The object of a request, also of one that goes on with an upload."""
        upload = self._uploads.get(request.query.get("upload_id", ""))
        return upload.name if upload is not None else request.name()

    # Others

    def _batch(self, request: Request) -> Answer:
        """Requests within one, each with a head of its own."""
        boundary = boundary_of(request).encode()
        answers = []
        for part in bytes(request.body).split(b"--" + boundary)[1:-1]:
            _, inner = split_head(part.strip(b"\r\n"))
            head, body = split_head(inner)
            first, *lines = head.decode().splitlines()
            method, target, _ = first.split(" ")
            wanted = Request(method, target, request.headers | read_headers(lines))
            wanted.body = body
            answers.append(self._inner_answer(wanted))
        made = "batch_" + uuid.uuid4().hex
        text = b"".join(b"--%s\r\n%s\r\n" % (made.encode(), answer) for answer in answers)
        text += b"--%s--\r\n" % made.encode()
        return Answer(200, {"Content-Type": f"multipart/mixed; boundary={made}"}, text)

    def _inner_answer(self, request: Request) -> bytes:
        try:
            answer = self._serve(request)
        except GcsError as error:
            answer = Answer(error.status, {}, error.body())
        head = f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(answer.body)}\r\n\r\n"
        outer = b"Content-Type: application/http\r\n\r\n"
        return outer + head.encode() + bytes(answer.body)

    def metadata(self, request: Request) -> Answer:
        """What a machine of Google's would learn of itself: its access token."""
        headers = {"Metadata-Flavor": "Google"}
        path = "/".join(request.parts)
        if path.endswith("/token"):
            token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            return json_answer(token, headers=headers)
        if path.startswith("instance/service-accounts"):
            account = {"email": "fake@fake", "scopes": [], "aliases": ["default"]}
            return json_answer(account, headers=headers)
        texts = {
            "": b"computeMetadata/",
            "project/project-id": b"fake-project",
            "universe/universe-domain": b"googleapis.com",
        }
        if path not in texts:
            return Answer(404, headers)
        return Answer(200, headers | {"Content-Type": "text/plain"}, texts[path])


def rewritten(stored: StoredObject, url: str) -> dict:
    size = str(len(stored.data))
    return {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": size,
        "objectSize": size,
        "done": True,
        "resource": stored.resource(url),
    }
