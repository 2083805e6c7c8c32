"""Folders that are not an export's are left alone, whatever they hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.foreign_folders import FOREIGN, snapshot

from hpa_jax.errors import InputError
from hpa_jax.folders.export_manifest import foreign_content
from hpa_jax.folders.replace import refuse_foreign_folder, replace_folder

ROOT = Path(__file__).resolve().parents[2]
OLD_EXPORT = ROOT / "tests" / "golden" / "version_0_1" / "run" / "export"


def replace(place: Path) -> None:
    with replace_folder(place, foreign_content) as new:
        (new / "new").write_text("new")


@pytest.mark.parametrize("name", FOREIGN)
def test_it_is_left_alone(name, tmp_path):
    place = tmp_path / "export"
    FOREIGN[name](place, OLD_EXPORT)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="choose another folder") as refusal:
        replace(place)
    assert "\n" not in str(refusal.value) and str(place) in str(refusal.value)
    assert snapshot(tmp_path) == before


def test_what_it_turns_into_while_the_new_one_is_written_is_left_alone(tmp_path):
    place = tmp_path / "export"
    shutil.copytree(OLD_EXPORT, place)
    with pytest.raises(InputError, match=r"it holds notes\.txt"):
        with replace_folder(place, foreign_content) as new:
            (new / "new").write_text("new")
            (place / "notes.txt").write_text("mine")
            before = snapshot(place)
    assert snapshot(place) == before and os.listdir(tmp_path) == ["export"]


def test_a_mount_point_is_left_alone(tmp_path):
    """In namespaces of its own, where mounting needs no rights; so it fails, and never skips."""
    shutil.copytree(OLD_EXPORT, tmp_path / "export")
    (tmp_path / "mounted").mkdir()
    code = (
        "import os, sys; from pathlib import Path\n"
        "from hpa_jax.errors import InputError\n"
        "from hpa_jax.folders.replace import replace_folder\n"
        "from hpa_jax.folders.export_manifest import foreign_content\n"
        "place = Path(sys.argv[1])\n"
        "try:\n"
        "    with replace_folder(place, foreign_content): pass\n"
        "except InputError as error: print(error)\n"
        "print(sorted(os.listdir(place)))"
    )
    script = 'mount --bind "$1/export" "$1/mounted" && exec "$2" -c "$3" "$1/mounted"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, "-"]
    done = subprocess.run(
        [*command, str(tmp_path), sys.executable, code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    message, names = done.stdout.splitlines()
    assert "it is a mount point" in message
    assert names == str(sorted(os.listdir(OLD_EXPORT)))


@pytest.mark.parametrize("name", ["", "new/er/", "../w/export"])
def test_paths_are_taken_as_they_are_meant(name, tmp_path, monkeypatch):
    work = tmp_path / "w"
    work.mkdir()
    if not name:
        shutil.copytree(OLD_EXPORT, work, dirs_exist_ok=True)
    monkeypatch.chdir(work)
    place = Path(name)
    replace(place)
    assert os.listdir(tmp_path) == ["w"]
    assert (tmp_path / "w" / name / "new").read_text() == "new"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written: Not a directory; mend it"):
        refuse_foreign_folder(tmp_path / "file" / "export", foreign_content, "mend it")
