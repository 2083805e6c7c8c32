"""Folders of runs that are killed, or that another process takes over."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.bucket_folders import (
    BUCKET,
    MANIFEST,
    Killed,
    contents,
    files_of,
    save_step,
    step_files,
    steps,
)

from hpa_jax.errors import InputError, RunStopped

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def killed(monkeypatch):
    """Holds a mount until it is killed, in a request if `dying` says so."""

    def hold(mount, work):
        # A process that was killed does nothing more.
        mount._give_up = lambda end: end()
        with pytest.raises(Killed):
            with mount.held():
                work(mount)
                raise Killed

    return hold


def dying_after(mount, count):
    """Has the process of a mount die in its next but COUNT request that changes an object."""
    bucket = mount._bucket
    lock = threading.Lock()
    left = [count]

    for name in ("write", "upload", "delete"):
        call = getattr(bucket, name)

        def last_call(*arguments, call=call):
            with lock:
                left[0] -= 1
                is_dead = left[0] < 0
            if is_dead:
                raise Killed
            return call(*arguments)

        setattr(bucket, name, last_call)
    return left


# There are fewer requests than the largest number.
@pytest.mark.parametrize("requests", range(0, 30, 3))
def test_a_kill_at_any_request_leaves_a_step_or_the_one_before(connected, mount, killed, requests):
    def train(made):
        save_step(made, 4)
        made.push()
        left = dying_after(made, requests)
        save_step(made, 8)
        shutil.rmtree(made.folder / "checkpoints" / "4")
        # The number of the step that a run resumes from is saved again when it is evaluated.
        made.push()
        save_step(made, 8, "again")
        made.push()
        # All requests were answered.
        left[0] = 10**6

    killed(mount(), train)
    reader = mount()
    expected = [[files_of(4)], [files_of(8)], [files_of(8, "again")]]
    assert [step_files(reader, step) for step in steps(reader)] in expected
    second = mount()
    with second.held():
        assert [step_files(second, step) for step in steps(second)] in expected
        save_step(second, 12)
    third = mount()
    assert step_files(third, 12) == files_of(12)
    # Neither what was left on its way is there, nor objects of another name.
    left = set(connected.names(BUCKET, "run/checkpoints/"))
    known = {f"run/{name}" for name in contents(connected)["files"]}
    assert left <= known
    assert not any("object" in entry for entry in contents(connected)["files"].values())


def test_who_has_lost_a_folder_changes_nothing_there(connected, mount, killed):
    first, second = mount(), mount()
    with pytest.raises(RunStopped, match="was taken over"):
        with first.held():
            save_step(first, 4)
            (first.folder / "config.json").write_text("first")
            first.push()
            # It is suspended.
            first._lease.renew, renew = lambda *_: time.sleep(0.01), first._lease.renew
            with second.held(first._lease._owner["name"]):
                for made, text in ((second, "second"), (first, "first")):
                    save_step(made, 8, text)
                    save_step(made, 4, text)
                    shutil.rmtree(made.folder / "checkpoints" / "12", ignore_errors=True)
                    (made.folder / "config.json").write_text(f"{text} again")
                    if made is first:
                        first._lease.renew = renew
                        with pytest.raises(RunStopped, match="was taken over"):
                            first.push()
                    else:
                        second.push()
                save_step(second, 12, "second")
                second.push()
                with pytest.raises(RunStopped, match="was taken over"):
                    first.check()
    third = mount()
    for step in (4, 8, 12):
        assert step_files(third, step) == files_of(step, "second")
    assert (third.folder / "config.json").read_text() == "second again"


def test_what_the_loser_has_put_there_first_is_replaced(connected, mount):
    second = mount()
    with second.held():
        connected.put(BUCKET, f"run/checkpoints/8/{MANIFEST}", b"first")
        connected.put(BUCKET, "run/metrics.jsonl", b"first")
        assert step_files(mount(), 8) == {}
        save_step(second, 8)
        (second.folder / "metrics.jsonl").write_text("second")
    assert step_files(mount(), 8) == files_of(8)
    assert connected.get(BUCKET, "run/metrics.jsonl") == b"second"


def test_the_lease_is_renewed_while_logs_are_uploaded(connected, mount):
    made = mount()
    with made.held():
        connected.faults.bytes_per_s = 100_000
        (made.folder / "notes").write_bytes(bytes(140_000))
        # In the thread that uploads logs, and then here.
        time.sleep(0.3)
        with pytest.raises(InputError, match="is in use by"):
            with mount(pull=False).held():
                pass


def test_a_failure_in_the_background_is_told_once(connected, mount):
    made = mount()
    with pytest.raises(InputError, match="no permission"):
        with made.held():
            connected.faults.forbid(BUCKET, methods=("POST",))
            (made.folder / "notes").write_text("1")
            end = time.monotonic() + 5
            while time.monotonic() < end:
                made.check()
                time.sleep(0.02)


def test_who_holds_a_folder_is_past_imports_that_are_in_the_way_of_threads():
    code = (
        "import builtins, sys\n"
        "from etils import epy\n"
        "from hpa_jax.buckets import mount\n"
        "for name in mount._REPLACE_IMPORT:\n"
        "    __import__(name)\n"
        "def refuse(*_, **__):\n"
        "    raise AssertionError\n"
        "epy.lazy_imports = epy.lazy_imports_utils.lazy_imports = refuse\n"
        "import hpa_jax.training.loop, tfds_builder.hpa.prepare\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
