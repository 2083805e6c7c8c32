"""Weights of an export are those that were exported, or they are refused."""

import shutil
from pathlib import Path

import pytest

from hpa_jax.errors import InputError
from hpa_jax.folders import export_manifest
from hpa_jax.pretrained.locate import locate

EXPORT = Path(__file__).resolve().parents[1] / "golden" / "version_0_1" / "run" / "export"


def test_a_damaged_export_starts_no_run(tmp_path):
    folder = shutil.copytree(EXPORT, tmp_path / "export")
    path = folder / export_manifest.PARAMETERS
    sound = path.read_bytes()
    for source in (folder, path):
        assert locate(str(source), "densenet121", None).path == path
    damaged = bytearray(sound)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    for source in (folder, path):
        with pytest.raises(InputError, match="is not what was exported"):
            locate(str(source), "densenet121", None)
    path.write_bytes(sound)
    manifest = folder / export_manifest.MANIFEST
    manifest.write_text(manifest.read_text().replace("0", "1", 1))
    with pytest.raises(InputError, match="is not what was exported"):
        locate(str(folder), "densenet121", None)


@pytest.mark.parametrize("manifest", [None, '{"name": "an app"}', "{", "[]", '{"sha256": 3}'])
def test_weights_beside_another_manifest_are_weights(tmp_path, manifest):
    path = tmp_path / export_manifest.PARAMETERS
    shutil.copy(EXPORT / export_manifest.PARAMETERS, path)
    if manifest is not None:
        (tmp_path / export_manifest.MANIFEST).write_text(manifest)
    for source in (tmp_path, path):
        assert locate(str(source), "densenet121", None).path == path
