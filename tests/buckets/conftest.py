"""A fake Cloud Storage, and this process's connection to it."""

import pytest
from support.bucket_runs import RUN_FLAGS, BucketRun, run_environment
from support.fake_gcs import FakeGcs, FakeGcsProcess

from hpa_jax.buckets import client, mounts, scratch
from hpa_jax.buckets.mount import Mount
from hpa_jax.buckets.url import parse

BUCKET = "bucket"


@pytest.fixture
def gcs():
    with FakeGcs(buckets=[BUCKET]) as started:
        yield started


@pytest.fixture
def connected(gcs, monkeypatch, tmp_path):
    """The fake service, to which clients of this process connect: they repeat at once and soon
    give up."""
    settings = {
        client.TIMEOUT: "2",
        "HPA_LEASE_S": "0.6",
        scratch.SCRATCH: str(tmp_path / "scratch"),
    }
    for name, value in (gcs.environment() | settings).items():
        monkeypatch.setenv(name, value)

    retry = client._retry
    quickly = {"initial": 0.01, "maximum": 0.02, "multiplier": 1}
    monkeypatch.setattr(client, "_retry", lambda: retry().with_delay(**quickly))

    def forget():
        mounts.forget()
        client._client.clear()
        scratch.remove_scratch_folder()

    forget()
    yield gcs
    forget()


@pytest.fixture
def bucket(connected):
    return client.Bucket(parse(f"gs://{BUCKET}"))


@pytest.fixture
def mount(connected):
    """Mounts a folder; each time as if by another process."""

    def make(prefix="run", pull=True):
        # Each has a local copy of its own.
        scratch._folders.clear()
        made = Mount(parse(f"gs://{BUCKET}/{prefix}"))
        if pull:
            made.pull()
            if made.url.prefix == "run":
                made.folder.mkdir(exist_ok=True)
        return made

    return make


@pytest.fixture(scope="module")
def gcs_process():
    """The service in a process of its own."""
    with FakeGcsProcess(buckets=[BUCKET]) as started:
        yield started


@pytest.fixture
def bucket_run(gcs_process, compilation_cache, small_run, tmp_path):
    """A folder of the bucket, for real runs; see support.bucket_runs.BucketRun."""
    environment = run_environment(compilation_cache, tmp_path)
    made = []

    def make(prefix="", *flags):
        flags = (*small_run, *RUN_FLAGS, *flags)
        made.append(BucketRun(gcs_process, prefix or tmp_path.name, flags, environment))
        return made[-1]

    yield make
    gcs_process.faults.clear()
    for run in made:
        run.kill()


@pytest.fixture(scope="module")
def reference(gcs_process, compilation_cache, small_run, tmp_path_factory):
    """A run in the bucket that nothing happened to."""
    environment = run_environment(compilation_cache, tmp_path_factory.mktemp("scratch"))
    run = BucketRun(gcs_process, "reference", (*small_run, *RUN_FLAGS), environment)
    status, _, err = run.run()
    assert status == 0 and err == "", err
    return run
