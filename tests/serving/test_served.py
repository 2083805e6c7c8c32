"""One interface over both backends of an export, with and without JAX."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.exports import tiny_export

from hpa_jax.errors import InputError
from hpa_jax.folders import export_manifest
from hpa_jax.main import main
from hpa_jax.serving import check, load

ROOT = Path(__file__).resolve().parents[2]
OLD = (
    ROOT / "tests" / "golden" / "version_0_1" / "run" / "export",
    ROOT / "tests" / "golden" / "version_0_3" / "run" / "export",
)
OUTPUTS = ("probabilities", "embedding", "maps")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("tiny") / "export")


@pytest.fixture
def images(folder):
    size = json.loads((folder / "model.json").read_text())["input"]["shape"][1]
    return np.random.default_rng(3).integers(0, 256, (3, size, size, 4)).astype(np.uint8)


def test_both_backends_give_the_same(folder, images):
    by_onnx = load(folder, "onnx")
    by_jax = load(folder, "jax")
    assert by_onnx.outputs == by_jax.outputs == OUTPUTS
    found = by_onnx.run(images, OUTPUTS)
    expected = by_jax.run(images, OUTPUTS)
    assert list(found) == list(OUTPUTS)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    for name in ("embedding", "maps"):
        scale = expected[name].max()
        assert scale > 0
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4 * scale)
    np.testing.assert_array_equal(by_onnx.probabilities(images), found["probabilities"])
    assert list(by_jax.run(images, ("maps",))) == ["maps"]
    for served in (by_onnx, by_jax):
        assert served.check_golden() <= 1e-5
        np.testing.assert_allclose(
            served.probabilities(images[:1]), found["probabilities"][:1], atol=1e-5
        )


def test_the_backend_is_chosen_by_what_is_there(folder, tmp_path, monkeypatch):
    assert load(folder).backend == "onnx"
    assert load(OLD[0]).backend == "jax"
    with pytest.raises(InputError, match=r"has no model\.onnx"):
        load(OLD[0], "onnx")
    with pytest.raises(InputError, match="choose one of auto, onnx, jax"):
        load(folder, "tensorrt")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert load(folder).backend == "jax"
    with pytest.raises(InputError, match="pip install numpy onnxruntime safetensors"):
        load(folder, "onnx")


def test_onnx_imports_neither_jax_nor_what_trains(folder):
    code = (
        "import sys\n"
        "hidden = ('jax', 'flax', 'absl', 'ml_collections', 'etils', 'tensorflow', 'onnx')\n"
        "for name in hidden: sys.modules[name] = None\n"
        "from hpa_jax.serving import load\n"
        "from hpa_jax.serving.__main__ import main\n"
        "assert load(sys.argv[1]).check_golden() < 1e-5\n"
        "sys.exit(main(['check', sys.argv[1]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "reproduced by onnx" in done.stdout
    assert "forward.jaxexport was not run" in done.stdout


def test_wrong_images_and_outputs_are_refused_in_one_line(folder, images):
    for backend in ("onnx", "jax"):
        served = load(folder, backend)
        for wrong in (images[..., :3], images.astype(np.float32), images[:, :16], images[0]):
            with pytest.raises(InputError, match="the net takes uint8"):
                served.run(wrong)
        with pytest.raises(InputError, match="has no output 'logits' .* probabilities, embedding"):
            served.run(images, ("logits",))


@pytest.mark.parametrize("old", OLD)
def test_older_exports_give_probabilities_alone(old):
    served = load(old)
    assert served.outputs == ("probabilities",)
    assert served.check_golden() <= 1e-5


def test_an_expected_digest_of_the_manifest(folder, capsys):
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert load(folder, expect_sha256=digest.upper()).backend == "onnx"
    with pytest.raises(InputError, match=f"has the SHA-256 {digest}, and not the expected 00"):
        load(folder, expect_sha256="00")
    assert check.main([str(folder), "--backend=onnx", f"--expect-sha256={digest}"]) == 0
    assert check.main([str(folder), "--expect-sha256=abc"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_check_and_verify_cover_the_model(folder, tmp_path, capsys):
    assert check.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "reproduced by jax" in out and "reproduced by onnx" in out
    assert main(["--mode=verify", f"--workdir={folder}"]) == 0
    assert "8 files of an export, model.onnx, README.md" in capsys.readouterr().out
    damaged = shutil.copytree(folder, tmp_path / "export")
    content = bytearray((damaged / export_manifest.ONNX).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / export_manifest.ONNX).write_bytes(content)
    assert check.main([str(damaged)]) == 2
    assert "model.onnx is not what was exported" in capsys.readouterr().err
    assert main(["--mode=verify", f"--workdir={damaged}"]) == 2


@pytest.mark.slow
def test_another_net_under_right_digests_misses_the_golden_output(folder, tmp_path):
    other = tiny_export(tmp_path / "other", data__channel_mix="green")
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    shutil.copy(other / export_manifest.ONNX, mixed / export_manifest.ONNX)
    export_manifest.write_manifest(mixed)
    with pytest.raises(
        InputError, match=r"by onnx, .* differ from the golden output .*do not serve"
    ):
        load(mixed, "onnx").check_golden()


@pytest.mark.slow
def test_other_heads_have_maps_by_jax_only(tmp_path, images):
    folder = tiny_export(tmp_path / "pooled", model__head="pooled")
    assert load(folder, "onnx").outputs == OUTPUTS[:2]
    by_jax = load(folder, "jax")
    assert by_jax.outputs == OUTPUTS
    maps = by_jax.run(images, ("maps",))["maps"]
    assert maps.shape[0] == 3 and maps.min() >= 0 and maps.max() > 0
    assert load(folder, "onnx").check_golden() <= 1e-5 and by_jax.check_golden() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_weights_of_fewer_bits(tmp_path, kind, folder, images):
    smaller = tiny_export(tmp_path / kind, export__onnx=kind)
    served = load(smaller, "onnx")
    assert served.description["onnx"]["weights"] == kind
    served.check_golden()
    assert (smaller / export_manifest.ONNX).stat().st_size < 0.65 * (
        folder / export_manifest.ONNX
    ).stat().st_size
    # The other files are those of the same net.
    assert load(smaller, "jax").check_golden() <= 1e-5


@pytest.mark.slow
def test_an_export_without_it(tmp_path, capsys):
    folder = tiny_export(tmp_path / "plain", export__onnx="none")
    assert not (folder / export_manifest.ONNX).exists()
    assert "onnx" not in json.loads((folder / "model.json").read_text())
    assert load(folder).backend == "jax" and load(folder).outputs == OUTPUTS
    assert check.main([str(folder)]) == 0
