"""An export on a server: damage is told from soundness, with and without the packages to run it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.folders import export_manifest
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving import artifact
from hpa_jax.serving.jax_backend import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "golden" / "version_0_1" / "run" / "export"
OLD_2 = ROOT / "tests" / "golden" / "version_0_3" / "run" / "export"
FLIPS = 500


@pytest.fixture(params=["format 1", "format 2", "format 3"])
def folder(request, tmp_path):
    """An export of version 0.1, one of 0.3, and the first with a manifest as it is written now."""
    if request.param == "format 2":
        return shutil.copytree(OLD_2, tmp_path / "export")
    folder = shutil.copytree(OLD, tmp_path / "export")
    if request.param == "format 3":
        export_manifest.write_manifest(folder)
    return folder


def serve(folder, *, hidden=(), code=""):
    """`python -m hpa_jax.serving FOLDER` in an environment that lacks some packages."""
    code = (
        f"import sys\nfor name in {tuple(hidden)!r}: sys.modules[name] = None\n{code}\n"
        "from hpa_jax.serving.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def test_every_flipped_bit_is_refused(folder):
    """One of each byte's bits over all files, as many as FLIPS, the small files' above all."""
    rng = np.random.default_rng(0)
    names = [*export_manifest.FILES, export_manifest.MANIFEST]
    contents = {name: (folder / name).read_bytes() for name in names}
    # Hashing the large files again for every flip would take minutes.
    chances = np.array([1, 2, 10, 1, 12])
    for name in rng.choice(names, FLIPS, p=chances / chances.sum()):
        damaged = bytearray(contents[name])
        position = int(rng.integers(len(damaged)))
        damaged[position] ^= 1 << int(rng.integers(8))
        (folder / name).write_bytes(damaged)
        with pytest.raises(InputError, match="is not what was exported"):
            export_manifest.check_digests(folder)
        (folder / name).write_bytes(contents[name])
    assert export_manifest.check_digests(folder)


@pytest.mark.parametrize("name", [*export_manifest.FILES, export_manifest.MANIFEST])
def test_a_file_that_is_cut_missing_or_none_is_refused(folder, name):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"{name} is not what was exported"):
        artifact.load(folder)
    path.write_bytes(content + b"\n")
    with pytest.raises(InputError, match=f"{name} is not what was exported"):
        artifact.load(folder)
    path.unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        artifact.load(folder)
    path.mkdir()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        artifact.load(folder)
    path.rmdir()
    # Opening it would wait for someone to write into it.
    os.mkfifo(path)
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        artifact.load(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "1", "[" * 10_000, '{"format": 2}', '{"format": 3}', '{"format": []}']
    + ['{"format": 3, "sha256": {"model.onnx": "0", "../../x": "0"}}'],
)
def test_a_manifest_that_is_none_is_refused(folder, text):
    (folder / export_manifest.MANIFEST).write_text(text)
    expected = r"manifest\.json is not what was exported|model\.onnx cannot be read"
    with pytest.raises(InputError, match=expected):
        export_manifest.check_digests(folder)


def test_a_later_format_says_what_to_do_and_a_flipped_one_does_not(tmp_path, monkeypatch):
    folder = shutil.copytree(OLD, tmp_path / "export")
    with monkeypatch.context() as later:
        later.setattr(export_manifest, "FORMAT", 9)
        later.setattr(export_manifest, "_NUMBERED", (2, 3, 4, 5, 9))
        export_manifest.write_manifest(folder)
        assert export_manifest.check_digests(folder)
    with pytest.raises(InputError, match="of format 9; this is hpa_jax .* install a later version"):
        export_manifest.check_digests(folder)
    text = (folder / export_manifest.MANIFEST).read_text()
    (folder / export_manifest.MANIFEST).write_text(text.replace('"format": 9', '"format": 8'))
    with pytest.raises(InputError, match="is not what was exported"):
        export_manifest.check_digests(folder)


def test_the_manifest_says_format_and_version(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "export")
    export_manifest.write_manifest(folder)
    manifest = json.loads((folder / export_manifest.MANIFEST).read_text())
    assert manifest["format"] == export_manifest.FORMAT and manifest["program"] == "hpa_jax"
    assert manifest["sha256"] == export_manifest.check_digests(folder)
    assert export_manifest.foreign_content(folder) == ""


def test_optional_files_are_those_that_the_manifest_lists(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "export")
    (folder / export_manifest.ONNX).write_bytes(b"a model")
    (folder / "README.md").write_text("a card")
    assert "which is no export's" in export_manifest.foreign_content(folder)
    export_manifest.write_manifest(folder)
    assert set(export_manifest.check_digests(folder)) == {
        *export_manifest.FILES,
        export_manifest.ONNX,
        "README.md",
    }
    assert export_manifest.foreign_content(folder) == ""
    (folder / export_manifest.ONNX).write_bytes(b"another")
    with pytest.raises(InputError, match=r"model\.onnx is not what was exported"):
        export_manifest.check_digests(folder)
    (folder / export_manifest.ONNX).unlink()
    with pytest.raises(InputError, match=r"model\.onnx cannot be read"):
        export_manifest.check_digests(folder)


def test_digests_are_checked_with_python_alone(folder):
    """In an interpreter that sees no installed package at all."""
    code = (
        "import sys; from hpa_jax.folders.export_manifest import check_digests\n"
        "check_digests(sys.argv[1]); print('sound')\n"
        "print([name for name in ('numpy', 'jax', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sound\n[]\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_one_line(package):
    done = serve(OLD, hidden=[package])
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert (
        "its digests agree" in done.stderr
        and "pip install numpy safetensors flatbuffers jax" in done.stderr
    )


def test_a_platform_that_is_not_there_is_one_line():
    code = "import os; os.environ['JAX_PLATFORMS'] = 'nonesuch'"
    done = serve(OLD, code=code)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "nonesuch" in done.stderr and done.stderr.count("\n") == 1


def test_an_export_with_right_digests_and_wrong_content_is_one_line(tmp_path):
    """As of a version of JAX that reads other bytes."""
    faults = {
        export_manifest.FORWARD: "cannot be loaded by jax",
        export_manifest.PARAMETERS: "cannot be loaded by jax",
        export_manifest.DESCRIPTION: "is no JSON object",
        export_manifest.ONNX: "is no ONNX file",
    }
    for name, fault in faults.items():
        folder = shutil.copytree(OLD, tmp_path / name)
        (folder / name).write_bytes(b"\0" * 64)
        export_manifest.write_manifest(folder)
        with pytest.raises(InputError, match=fault) as refusal:
            artifact.load(folder)
        assert "\n" not in str(refusal.value)


def test_a_folder_that_is_no_export_is_told_where_one_is(tmp_path):
    run = OLD.parent
    with pytest.raises(InputError, match=f"{run} is no complete export: .*; give {OLD}$"):
        artifact.load(run)
    shutil.copy(run / "config.json", tmp_path)
    with pytest.raises(InputError, match=f"--mode=export --workdir={tmp_path}$"):
        artifact.load(tmp_path)
    with pytest.raises(InputError, match="^predic is no command .*predict.* and no export's"):
        serving.main(["predic", str(OLD), "images", "--out=a.csv"])
