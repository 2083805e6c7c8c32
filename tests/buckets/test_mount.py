"""A folder of a bucket and its local copy: what counts, what is left alone, and what is refused."""

import os
import shutil

import pytest
from support.bucket_folders import (
    BUCKET,
    MANIFEST,
    contents,
    files_of,
    save_step,
    step_files,
    steps,
)

from hpa_jax.buckets import mounts
from hpa_jax.buckets.client import Damaged
from hpa_jax.errors import InputError


def test_files_go_there_and_come_back(connected, mount):
    first = mount()
    with first.held():
        (first.folder / "tensorboard").mkdir()
        (first.folder / "tensorboard" / "notes").write_text("1")
        (first.folder / "empty").write_text("")
        (first.folder / ".lock").write_text("1")
        save_step(first, 4)
        first.push()
        assert contents(connected)["owner"]["process"] == os.getpid()
    assert contents(connected)["owner"] is None
    assert not [name for name in connected.names(BUCKET) if ".lock" in name or ".probe" in name]
    second = mount()
    assert (second.folder / "tensorboard" / "notes").read_text() == "1"
    assert (second.folder / "empty").read_text() == ""
    # Arrays come when they are asked for.
    assert not (second.folder / "checkpoints" / "4" / "state").exists()
    assert step_files(second, 4) == files_of(4)
    with second.held():
        shutil.rmtree(second.folder / "tensorboard")
        shutil.rmtree(second.folder / "checkpoints" / "4")
    assert connected.names(BUCKET) == ["run/contents.json", "run/empty"]


def test_nothing_is_uploaded_twice(connected, mount):
    made = mount()
    with made.held():
        save_step(made, 4)
        made.push()
        connected.clear_requests()
        made.push()
        assert connected.count("POST", "checkpoints") == 0
    with mount().held():
        pass
    assert connected.count("POST", "checkpoints") == 0
    assert connected.count("DELETE", "checkpoints") == 0


def test_a_file_that_goes_while_it_is_uploaded(connected, mount):
    made = mount()
    with made.held():
        (made.folder / "notes").write_text("1")
        scan = made._scan

        def scan_and_remove():
            found = scan()
            (made.folder / "notes").unlink(missing_ok=True)
            return found

        made._scan = scan_and_remove
        made.push()
        made._scan = scan
    assert "run/notes" not in connected.names(BUCKET)


def copied(gcs, source, target, but=()):
    for name in gcs.names(BUCKET, f"{source}/"):
        if name.removeprefix(f"{source}/") not in but:
            gcs.put(BUCKET, target + name.removeprefix(source), gcs.get(BUCKET, name))


@pytest.mark.parametrize("but", [(), ("contents.json",)])
def test_a_copy_of_a_run_counts(connected, mount, but):
    made = mount()
    with made.held():
        (made.folder / "config.json").write_text("1")
        save_step(made, 4)
    copied(connected, "run", "copy", but)
    assert step_files(mount("copy"), 4) == files_of(4)
    with mount("copy").held():
        pass
    second = mount("copy")
    with second.held():
        assert step_files(second, 4) == files_of(4)
        save_step(second, 8)
    third = mount("copy")
    assert [step_files(third, step) for step in steps(third)] == [files_of(4), files_of(8)]


def test_a_copy_of_a_step_does_not_count_and_is_not_removed(connected, mount, capsys):
    made = mount()
    with made.held():
        save_step(made, 4)
    copied(connected, "run/checkpoints/4", "run/checkpoints/6")
    copied(connected, "run/checkpoints/4", "run/checkpoints/4.copy")
    before = connected.names(BUCKET)
    for _ in range(2):
        made = mount()
        with made.held():
            assert steps(made) == ["4"]
            made.push()
    assert connected.names(BUCKET) == before
    warning = capsys.readouterr().err.splitlines()[-1]
    assert warning.startswith("warning: gs://bucket/run has checkpoints/4.copy, checkpoints/6,")
    # Until somebody says that it does.
    connected.delete(BUCKET, "run/contents.json")
    made = mount()
    with made.held():
        assert steps(made) == ["4", "4.copy", "6"]


def test_a_listing_that_lags(connected, mount):
    connected.faults.list_lag_s = 60
    first = mount()
    with first.held():
        (first.folder / "config.json").write_text("1")
        save_step(first, 4)
        first.push()
        save_step(first, 8)
        shutil.rmtree(first.folder / "checkpoints" / "4")
    second = mount()
    with second.held():
        assert (second.folder / "config.json").read_text() == "1"
        assert steps(second) == ["8"] and step_files(second, 8) == files_of(8)
        (second.folder / "config.json").write_text("2")
        save_step(second, 8, "again")
        shutil.rmtree(second.folder / "checkpoints" / "8")
        save_step(second, 12)
    third = mount()
    assert steps(third) == ["12"] and step_files(third, 12) == files_of(12)
    assert connected.get(BUCKET, "run/config.json") == b"2"
    assert not connected.names(BUCKET, "run/checkpoints/8")


def test_steps_that_go_while_somebody_reads(connected, mount):
    made = mount()
    with made.held():
        save_step(made, 4)
        save_step(made, 8)
        made.push()
        reader = mount()
        shutil.rmtree(made.folder / "checkpoints" / "4")
        made.push()
        assert step_files(reader, 4) == {}
        # No empty folder that looks like a damaged step.
        assert steps(reader) == ["8"]
        shutil.rmtree(made.folder / "checkpoints" / "8")
        save_step(made, 12)
        made.push()
        reader.pull()
        assert steps(reader) == ["12"]
        reader.push()
    assert step_files(mount(), 12) == files_of(12)


def test_damaged_and_lost_objects(connected, mount):
    made = mount()
    with made.held():
        (made.folder / "config.json").write_text("text")
        save_step(made, 4)
        save_step(made, 8)
    connected.delete(BUCKET, f"run/checkpoints/8/{MANIFEST}")
    connected.flip_bit(BUCKET, f"run/checkpoints/4/{MANIFEST}", 0)
    connected.flip_bit(BUCKET, "run/checkpoints/4/state/index", 0)
    before = connected.names(BUCKET)
    reader = mount()
    # The steps are there, without what is lost: whoever reads them says so.
    assert steps(reader) == ["4", "8"]
    assert set(step_files(reader, 4)) == {"state/d/array 4"}
    assert set(step_files(reader, 8)) == {"state/d/array 8", "state/index"}
    reader.push()
    assert connected.names(BUCKET) == before
    connected.flip_bit(BUCKET, "run/config.json", 0)
    with pytest.raises(Damaged, match="gs://bucket/run/config.json is damaged"):
        mount()
    connected.delete(BUCKET, "run/config.json")
    assert not (mount().folder / "config.json").exists()


def test_throttled_reordered_and_lost(connected, mount):
    connected.faults.reorder_s = 0.02
    made = mount()
    with made.held():
        for step in range(4, 24, 4):
            connected.faults.throttle(1, 429)
            connected.faults.throttle(1, 503)
            connected.faults.lose_answers(2)
            connected.faults.break_connections(2, after_bytes=3)
            save_step(made, step)
            shutil.rmtree(made.folder / "checkpoints" / str(step - 4), ignore_errors=True)
            made.push()
    assert {name: entry for name, entry in contents(connected)["files"].items()}.keys() == {
        f"checkpoints/20/{name}" for name in files_of(20)
    }
    assert step_files(mount(), 20) == files_of(20)
    assert len(connected.names(BUCKET)) == 4


@pytest.mark.parametrize("methods", [("POST",), ("DELETE",), ("LIST",), ("GET", "LIST")])
def test_missing_permissions_are_found_at_the_start(connected, mount, methods):
    made = mount()
    connected.faults.forbid(BUCKET, methods=methods)
    with pytest.raises(InputError, match="no permission .* needs storage.objects"):
        with made.held():
            pass


def test_a_folder_that_cannot_be_read_stays_as_it_is(connected, mount):
    made = mount()
    with made.held():
        save_step(made, 4)
    second = mount()
    connected.faults.forbid(BUCKET, methods=("DELETE",))
    with pytest.raises(InputError, match="no permission"):
        with second.held():
            pass
    connected.faults.clear()
    assert contents(connected)["owner"] is None
    assert step_files(mount(), 4) == files_of(4)


def test_names_that_are_no_files(connected, mount):
    for name in ("../a", "a//b", "/a", "a/./b"):
        connected.put(BUCKET, f"run/{name}", b"")
        with pytest.raises(InputError, match="no name of a file; rename the object"):
            mount()
        connected.delete(BUCKET, f"run/{name}")
    # As consoles make folders.
    connected.put(BUCKET, "run/folder/", b"")
    assert not (mount().folder / "folder").is_file()


def test_paths_of_mounts(connected, tmp_path):
    connected.put(BUCKET, "run/config.json", b"1")
    connected.put(BUCKET, "table.csv", b"2")
    assert mounts.mount_of(tmp_path) is None and mounts.remote_file(tmp_path) is None
    mounts.publish(tmp_path)
    mounts.fetch(tmp_path)
    folder = mounts.local_copy(f"gs://{BUCKET}/run")
    assert (folder / "config.json").read_text() == "1"
    assert mounts.local_copy(f"gs://{BUCKET}/run") == folder
    assert mounts.local_copy(f"gs://{BUCKET}/table.csv").read_text() == "2"
    outer = mounts.mount_of(mounts.local_copy(f"gs://{BUCKET}"))
    assert mounts.mount_of(folder / "config.json") is not outer
    (folder / "evaluation.json").write_text("3")
    mounts.publish(folder)
    assert connected.get(BUCKET, "run/evaluation.json") == b"3"
    connected.put(BUCKET, "run/config.json", b"4")
    mounts.refresh(folder)
    assert (folder / "config.json").read_text() == "4"


def test_shards_are_read_in_ranges(connected, mount):
    connected.put(BUCKET, "run/hpa/a.tfrecord-00000-of-00001", b"12345")
    made = mount()
    path = made.folder / "hpa" / "a.tfrecord-00000-of-00001"
    assert not path.exists()
    assert made.remote_file(path).read(1, 2) == b"23"
    assert made.remote_file(path.with_name("b")) is None
    made.fetch(path)
    assert path.read_bytes() == b"12345" and made.remote_file(path) is None
