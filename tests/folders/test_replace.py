"""A folder that is replaced: all of the new one or all of the old one, and nothing beside it."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.foreign_folders import snapshot

from hpa_jax.files import write_atomically
from hpa_jax.folders import replace as module
from hpa_jax.folders.mark import MARK, has_mark, write_mark
from hpa_jax.folders.replace import replace_folder, unfinished_folder

ROOT = Path(__file__).resolve().parents[2]


def foreign(folder: Path) -> str:
    """As an export does: the folder's content proves whose it is, or does not."""
    names = {path.name for path in folder.iterdir()} - {MARK}
    if names == {"content"} and (folder / "content").read_text().startswith("ours"):
        return ""
    return "it is not ours"


def fill(place: Path, text: str) -> None:
    with replace_folder(place, foreign) as new:
        (new / "content").write_text(text)


@pytest.fixture(params=["exchanged at once", "one after the other"])
def every_system(request, monkeypatch):
    """With the system call that exchanges two names, and as on systems that have none."""
    if request.param == "one after the other":
        monkeypatch.setattr(module, "_renameat2", lambda one, other: False)


def test_the_new_one_takes_the_place_of_the_old_one(tmp_path, every_system):
    place = tmp_path / "a" / "b"
    for text in ("ours 1", "ours 2"):
        fill(place, text)
        assert os.listdir(place) == ["content"] and (place / "content").read_text() == text
    assert os.listdir(tmp_path / "a") == ["b"]


def test_an_error_leaves_everything_as_it_was(tmp_path, every_system):
    with pytest.raises(ZeroDivisionError):
        with replace_folder(tmp_path / "new" / "a", foreign) as new:
            (new / "content").write_text(str(1 / 0))
    assert os.listdir(tmp_path) == []
    fill(tmp_path / "a", "ours")
    before = snapshot(tmp_path)
    with pytest.raises(ZeroDivisionError):
        with replace_folder(tmp_path / "a", foreign) as new:
            (new / "content").write_text("ours, half")
            1 / 0  # noqa: B018
    assert snapshot(tmp_path) == before


def killed_while_writing(place: Path) -> None:
    """A process that is killed in the block of `replace_folder`."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from hpa_jax.folders.replace import replace_folder\n"
        "with replace_folder(Path(sys.argv[1]), lambda folder: 'not ours') as new:\n"
        "    (new / 'content').write_text('ours, half')\n"
        "    print('writing', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout.readline() == "writing\n"
        try:
            yield
        finally:
            writer.send_signal(signal.SIGKILL)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    place = tmp_path / "a"
    other = tmp_path / ".a.0123456789abcdef.part"
    other.mkdir()
    (other / "film").write_text("of somebody else, under a name of ours")
    with contextlib.contextmanager(killed_while_writing)(place):
        fill(place, "ours 1")
        assert len(list(tmp_path.glob(".a.*.part"))) == 2  # the other one's, and a stranger's
    assert len(list(tmp_path.glob(".a.*.part"))) == 2
    fill(place, "ours 2")
    assert sorted(os.listdir(tmp_path)) == [other.name, "a"]
    assert os.listdir(other) == ["film"]


def test_an_old_one_that_a_killed_process_did_not_remove_is_known_by_its_content(tmp_path):
    left = tmp_path / ".a.0123456789abcdef.part"
    left.mkdir()
    (left / "content").write_text("ours, replaced")
    fill(tmp_path / "a", "ours")
    assert os.listdir(tmp_path) == ["a"]


def test_the_half_of_an_old_one_that_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    fill(tmp_path / "a", "ours 1")
    with monkeypatch.context() as killed:
        # As of a kill after the first file is gone.
        killed.setattr(module.shutil, "rmtree", lambda old, **_: os.unlink(old / "content"))
        fill(tmp_path / "a", "ours 2")
    assert len(os.listdir(tmp_path)) == 2
    fill(tmp_path / "a", "ours 3")
    assert os.listdir(tmp_path) == ["a"]


def test_a_mark_that_a_killed_process_left_does_not_make_a_folder_foreign(tmp_path):
    fill(tmp_path / "a", "ours 1")
    write_mark(tmp_path / "a", "unfinished")
    fill(tmp_path / "a", "ours 2")
    assert os.listdir(tmp_path / "a") == ["content"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_and_folders_have_the_modes_that_the_umask_gives(mask, tmp_path):
    before = os.umask(mask)
    try:
        with unfinished_folder(tmp_path / "a") as folder:
            write_atomically(folder / "file", "")
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o777 & ~mask
            for path in folder.iterdir():
                assert stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~mask
    finally:
        os.umask(before)


def test_every_file_is_on_the_disk_before_the_new_one_is_in_place(tmp_path, monkeypatch):
    """What is flushed, in order, beside what is in place by then: on real files."""
    place = tmp_path / "a"
    events = []
    flush = os.fsync

    def recorded(descriptor: int) -> None:
        events.append((os.readlink(f"/proc/self/fd/{descriptor}"), place.exists()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    with replace_folder(place, foreign) as new:
        (new / "content").write_text("ours")
        (new / "deep").mkdir()
        (new / "deep" / "file").write_text("ours")
    before = {path for path, is_there in events if not is_there}
    assert {str(new), str(new / "content"), str(new / "deep"), str(new / "deep" / "file")} <= before
    assert (str(tmp_path), True) in events


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"program": "hpa_jax"}', '{"program": "x", "kind": "download"}'],
)
def test_a_mark_is_what_is_inside_it(tmp_path, text):
    assert not has_mark(tmp_path, "download")
    (tmp_path / MARK).write_text(text)
    assert not has_mark(tmp_path, "download")
    write_mark(tmp_path, "download")
    assert has_mark(tmp_path, "download") and not has_mark(tmp_path, "unfinished")
    shutil.move(tmp_path / MARK, tmp_path / "elsewhere")
    (tmp_path / MARK).symlink_to(tmp_path / "elsewhere")
    assert not has_mark(tmp_path, "download")
