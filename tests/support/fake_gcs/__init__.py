"""A stand-in for Google Cloud Storage: a real web server that speaks enough of its JSON API.

Google's client, TensorStore's `gcs` driver and plain HTTP work against it, unchanged:
`environment()` has the variables that point them here. Within a test:

    with FakeGcs(buckets=["bucket"]) as gcs:
        gcs.put("bucket", "name", b"data")
        gcs.faults.throttle(3)

`FakeGcsProcess` is the same in a process of its own, for benchmarks and for runs that are killed:

    PYTHONPATH=tests python -m support.fake_gcs --port=0 --bucket=bucket --root=FOLDER

Its first line says its address. `/_fake/OPERATION` has what is no part of the service, and is
subject to no fault: see `FakeGcs.control`.

Unlike the real service, all errors have a JSON body (there, those of downloads are plain text),
no object has an older generation, and buckets need no project.
"""

from support.fake_gcs.answers import TOKEN, LoggedRequest
from support.fake_gcs.process import FakeGcsProcess
from support.fake_gcs.server import FakeGcs, environment_of

__all__ = ["TOKEN", "FakeGcs", "FakeGcsProcess", "LoggedRequest", "environment_of"]
