"""Who trains in a folder: one at a time, and nothing of who has lost it counts."""

import json
import threading
import time

import pytest

from hpa_jax.buckets import lease as lease_module
from hpa_jax.buckets.lease import Contents, Lease, read_contents
from hpa_jax.errors import InputError, RunStopped

NAME = "run/contents.json"
FILES = {"config.json": {"size": 1, "crc32c": "abcd"}}


@pytest.fixture
def lease(bucket):
    """Makes leases, of which none looks like one of a process that has died here."""

    def make():
        made = Lease(bucket, NAME, "gs://bucket/run")
        made._owner["host"] = "elsewhere"
        return made

    return make


def test_what_counts_goes_from_one_to_the_next(lease, bucket):
    first = lease()
    first.acquire()
    assert first.contents.files is None
    first.renew(FILES, ["checkpoints/4/manifest.json"])
    contents, _ = read_contents(bucket, NAME)
    assert contents.owner["renewals"] == 1
    first.release()
    second = lease()
    second.acquire()
    assert second.contents == Contents(FILES, None, ["checkpoints/4/manifest.json"])


def test_a_second_one_is_told_whose_it_is(lease, capsys):
    first = lease()
    first.acquire()
    stop = threading.Event()

    def renew():
        while not stop.wait(0.1):
            first.renew()

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(InputError) as caught:
            lease().acquire()
    finally:
        stop.set()
        thread.join()
    name = first._owner["name"]
    assert f"on elsewhere (lease {name})" in str(caught.value)
    assert str(caught.value).endswith(f"--config.devices.break_lease={name}")
    assert "looking for 0.6 s whether it is alive" in capsys.readouterr().out


def test_one_that_is_not_renewed_is_taken_over(lease):
    first = lease()
    first.acquire()
    start = time.monotonic()
    second = lease()
    second.acquire()
    assert time.monotonic() - start > 0.5
    for use in (first.check, first.renew, first.release):
        with pytest.raises(RunStopped, match=f"was taken over by .*{second._owner['name']}"):
            use()
    second.renew(FILES)


def test_one_that_is_late_is_renewed_before_anything_is_written(lease, monkeypatch):
    first = lease()
    first.acquire()
    first.renew_if_late()
    lease().acquire(first._owner["name"])
    # In time: it can only have been broken, and the next renewal will say so.
    first.renew_if_late()
    now = lease_module._clock_s()
    monkeypatch.setattr(lease_module, "_clock_s", lambda: now + 0.7)
    with pytest.raises(RunStopped, match="was taken over"):
        first.renew_if_late()


def test_the_owner_says_how_long_it_may_be_silent(lease, monkeypatch):
    monkeypatch.setenv("HPA_LEASE_S", "1.2")
    lease().acquire()
    monkeypatch.setenv("HPA_LEASE_S", "0.1")
    start = time.monotonic()
    lease().acquire()
    assert time.monotonic() - start > 1.1


def test_one_is_broken_by_name_at_once(lease, monkeypatch):
    monkeypatch.setenv("HPA_LEASE_S", "60")
    first = lease()
    first.acquire()
    second = lease()
    second.acquire(first._owner["name"])
    with pytest.raises(RunStopped, match="was taken over"):
        first.renew()


def test_one_of_a_process_that_died_here_is_taken_over_at_once(bucket, lease, monkeypatch):
    monkeypatch.setenv("HPA_LEASE_S", "60")
    first = Lease(bucket, NAME, "gs://bucket/run")
    # No process has so high a number.
    first._owner["process"] = 2**22 + 1
    first.acquire()
    lease().acquire()


def test_two_at_the_same_time(lease, connected):
    connected.faults.reorder_s = 0.05
    outcomes = []

    def acquire():
        made = lease()
        try:
            made.acquire()
        except InputError:
            outcomes.append("refused")
            return
        outcomes.append("owner")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            made.renew()
            time.sleep(0.1)

    threads = [threading.Thread(target=acquire) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["owner", "refused", "refused", "refused"]


def test_lost_answers_lose_no_lease(lease, connected, bucket):
    made = lease()
    connected.faults.lose_answers(1, method="POST")
    made.acquire()
    for _ in range(2):
        connected.faults.lose_answers(1, method="POST")
        made.renew(FILES)
    connected.faults.lose_answers(1, method="POST")
    made.release()
    assert read_contents(bucket, NAME)[0] == Contents(FILES)


@pytest.mark.parametrize(
    "changed",
    [
        b"",
        b"[]",
        b"null",
        b'{"format": 1}',
        {"files": 3},
        {"files": {"a": 3}},
        {"files": {"a": {"size": "x", "crc32c": ""}}},
        {"files": {"a": {"size": 1}}},
        {"files": {"../../a": {"size": 1, "crc32c": ""}}},
        {"files": {"a": {"size": 1, "crc32c": "", "object": "/a"}}},
        {"unfinished": ["../a"]},
        {"unfinished": None},
        {"owner": []},
        {"owner": "me"},
    ],
)
def test_contents_that_nobody_wrote(connected, bucket, changed):
    if isinstance(changed, dict):
        changed = json.dumps(json.loads(Contents({}).to_bytes()) | changed).encode()
    connected.put("bucket", NAME, changed)
    with pytest.raises(InputError, match="gs://bucket/run/contents.json is not as it was written"):
        read_contents(bucket, NAME)


def test_contents_of_a_later_version(connected, bucket):
    connected.put("bucket", NAME, b'{"format": 2}')
    with pytest.raises(InputError, match="is of format 2: install a newer hpa_jax"):
        read_contents(bucket, NAME)


def test_contents_that_go_or_break_under_a_run_stop_it(lease, connected):
    first = lease()
    first.acquire()
    connected.put("bucket", NAME, b"?")
    with pytest.raises(RunStopped, match="is not as it was written"):
        first.renew()
    connected.delete("bucket", NAME)
    with pytest.raises(RunStopped, match="contents.json was removed while"):
        first.renew()
    assert connected.names("bucket") == []


@pytest.mark.parametrize("text", ["0", "-1", "soon"])
def test_seconds_that_are_none(lease, monkeypatch, text):
    monkeypatch.setenv("HPA_LEASE_S", text)
    with pytest.raises(InputError, match=f"HPA_LEASE_S={text}"):
        lease()
