"""Objects, and the preconditions of requests for them."""

import base64
import dataclasses
import mmap
import urllib.parse

from support.fake_gcs.answers import GcsError, number, timestamp

# Fields of an object that a client sets.
SETTABLE = (
    "metadata",
    "contentType",
    "contentEncoding",
    "cacheControl",
    "contentDisposition",
    "contentLanguage",
    "customTime",
)


@dataclasses.dataclass
class StoredObject:
    """An object and what is known of it."""

    bucket: str
    name: str
    data: bytes | mmap.mmap
    generation: int
    crc32c: str
    md5: str | None
    created: float
    updated: float
    metageneration: int = 1
    fields: dict = dataclasses.field(default_factory=dict)
    components: int | None = None

    def resource(self, url: str) -> dict:
        """What the service says of it."""
        quoted = urllib.parse.quote(self.name, safe="")
        path = f"storage/v1/b/{self.bucket}/o/{quoted}"
        found = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{url}/{path}",
            "mediaLink": f"{url}/download/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "size": str(len(self.data)),
            "crc32c": self.crc32c,
            "etag": self.etag(),
            "timeCreated": timestamp(self.created),
            "updated": timestamp(self.updated),
            "timeStorageClassUpdated": timestamp(self.created),
        }
        if self.md5 is not None:
            found["md5Hash"] = self.md5
        if self.components is not None:
            found["componentCount"] = self.components
        return found | self.fields

    def etag(self) -> str:
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def description(self) -> dict:
        """All of it except its data, as it lies on disk."""
        found = dict(vars(self))
        del found["data"]
        return found


class Conditions:
    """The preconditions in the query of a request.

    Args:
      query: parameters by name.
      word: between `if` and what follows, as in ifSourceGenerationMatch.
    """

    def __init__(self, query: dict, word: str = ""):
        self._wanted = {}
        for field in ("generation", "metageneration"):
            for kind in ("Match", "NotMatch"):
                parameter = f"if{word}{field.capitalize()}{kind}"
                if parameter in query:
                    self._wanted[field, kind] = number(query[parameter], parameter)

    def check(self, stored: StoredObject | None, reading: bool = False) -> None:
        """Refuses unless they hold; of what is not there, the generation is 0."""
        for (field, kind), wanted in self._wanted.items():
            found = getattr(stored, field) if stored else 0
            if (found == wanted) == (kind == "Match"):
                continue
            if reading and kind == "NotMatch":
                raise GcsError(304, "notModified", "Not Modified")
            message = "At least one of the pre-conditions you specified did not hold."
            raise GcsError(412, "conditionNotMet", message)


def settable(fields: dict) -> dict:
    return {key: value for key, value in fields.items() if key in SETTABLE}
