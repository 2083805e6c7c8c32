"""`gs://BUCKET/PREFIX`: a place in Google Cloud Storage, as people write it."""

import re
from dataclasses import dataclass

from hpa_jax.errors import InputError

# Also with the one slash that pathlib leaves of two.
_GS = re.compile(r"gs:/{1,2}(?P<bucket>[^/]*)/?(?P<prefix>.*)", re.DOTALL)

# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

# Characters that tools of Cloud Storage take for patterns, versions or queries.
_UNSAFE = re.compile(r"[#?*\[\]\r\n]")


@dataclass(frozen=True)
class BucketUrl:
    """A prefix of the names in a bucket, which stands for a folder.

    Attributes:
      bucket: its name.
      prefix: without slashes at its ends; "": the bucket as a whole.
    """

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")

    def name_of(self, relative: str) -> str:
        """The name of the object that stands for a file of the folder."""
        return f"{self.prefix}/{relative}" if self.prefix else relative

    def relative(self, object_name: str) -> str:
        """The file of the folder that an object of that name stands for."""
        return object_name[len(self.name_of("")) :]


def is_bucket_url(text: str) -> bool:
    """Whether a path is meant as a place in a bucket."""
    return text.startswith("gs:/")


def parse(text: str, shown: str = "") -> BucketUrl:
    """Reads a URL.

    Args:
      text: `gs://BUCKET/PREFIX`.
      shown: the flag with its value, for messages.

    Raises:
      InputError: it names no bucket, or a folder that would not be the same to other programs.
    """
    shown = shown or text
    found = _GS.fullmatch(text)
    if found is None or not _BUCKET.fullmatch(found["bucket"]):
        raise InputError(f"{shown}: not a bucket of Cloud Storage; write gs://BUCKET/FOLDER")
    prefix = found["prefix"].strip("/")
    steps = prefix.split("/") if prefix else []
    if "" in steps or "." in steps or ".." in steps or _UNSAFE.search(prefix):
        raise InputError(
            f"{shown}: a folder of a bucket has no empty parts, no . or .., and none of # ? * [ ]"
        )
    return BucketUrl(found["bucket"], prefix)
