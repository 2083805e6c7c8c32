"""bioimageio.zip: the collection's own validator takes it, and its model gives its test arrays."""

import io
import json
import os
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import onnxruntime
import pytest
import yaml
from support.card_facts import description, facts
from support.strange_names import STRANGE

from hpa_jax.errors import InputError
from hpa_jax.serving.bioimage.cover import draw_cover
from hpa_jax.serving.bioimage.description import channel_names
from hpa_jax.serving.bioimage.package import check_package, make_package
from hpa_jax.serving.onnx.convert import convert
from hpa_jax.serving.onnx.write import as_bytes

SIZE = 32

# Without a network, as the check of an export has none; prints what it found as JSON.
VALIDATE = """
import json, socket, sys

def refuse(*arguments, **options):
    raise OSError("there is no network")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
from bioimageio.spec import load_description
found = []
for path in sys.argv[1:]:
    summary = load_description(path, perform_io_checks=True).validation_summary
    details = summary.details
    errors = [error.msg for detail in details for error in detail.errors]
    warnings = [".".join(map(str, w.loc)) for detail in details for w in detail.warnings]
    found.append([summary.status, summary.type, errors, warnings])
print(json.dumps(found))
"""


def small_net(labels):
    """A net of a few sums, and its golden output."""
    import jax
    import jax.numpy as jnp

    weights = np.random.default_rng(0).normal(0, 1, (4, labels)).astype(np.float32)

    def forward(images):
        maps = images.astype(jnp.float32) / 255
        embedding = maps.mean((1, 2))
        # Small scores: an absolute tolerance of a thousandth would be refused.
        probabilities = jax.nn.sigmoid(embedding @ weights - 6)
        return {"probabilities": probabilities, "embedding": embedding}

    images = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 4), np.uint8)
    outputs = {name: np.asarray(array) for name, array in forward(images).items()}
    return as_bytes(convert(forward, (SIZE, SIZE, 4))), {"images": images, **outputs}


def package(**changed):
    given = facts(**changed)
    model, golden = small_net(len(given.labels))
    settings = json.dumps(given.description).encode()
    return make_package(given, model, settings, golden), given, golden


def strange():
    labels = [{"id": number, "name": name} for number, name in enumerate(STRANGE)]
    return package(
        labels=labels,
        thresholds=[0.5] * len(labels),
        authors=",".join(STRANGE),
        folders=(),
    )


def test_the_validator_of_the_collection_takes_it(tmp_path):
    paths = []
    for name, content in (
        ("plain", package(licence="CC-BY-SA-4.0", authors="A. Uthor")[0]),
        ("strange", strange()[0]),
        ("unstated", package()[0]),
    ):
        paths.append(tmp_path / f"{name}.zip")
        paths[-1].write_bytes(content)
    environment = os.environ | {"BIOIMAGEIO_CACHE_PATH": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE, *paths], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for status, kind, errors, _ in found:
        assert (status, kind, errors) == ("valid-format", "model", [])
    # Sample images are advised: an export holds none of the images that it was trained on.
    plain, strange_names, unstated = (warnings for *_, warnings in found)
    assert all(place.endswith("sample_tensor") for place in plain)
    assert set(unstated) == {*plain, "license"}
    assert set(strange_names) == set(unstated)


def test_its_model_gives_its_test_arrays():
    content, given, golden = package()
    archive = zipfile.ZipFile(io.BytesIO(content))
    rdf = yaml.safe_load(archive.read("rdf.yaml"))
    session = onnxruntime.InferenceSession(archive.read(rdf["weights"]["onnx"]["source"]))
    arrays = {}
    for tensor in (*rdf["inputs"], *rdf["outputs"]):
        arrays[tensor["id"]] = np.load(io.BytesIO(archive.read(tensor["test_tensor"]["source"])))
    found = session.run(["probabilities", "embedding"], {"images": arrays["images"]})
    np.testing.assert_allclose(found[0], arrays["probabilities"], atol=1e-6)
    np.testing.assert_allclose(arrays["probabilities"], golden["probabilities"][:1], atol=1e-6)
    np.testing.assert_allclose(found[1], arrays["embedding"], atol=1e-6)
    assert "## Validation" in archive.read("README.md").decode()
    assert json.loads(archive.read("model.json")) == given.description


def test_the_same_export_gives_the_same_bytes():
    assert package()[0] == package()[0]


def test_labels_are_identifiers_each_once():
    names = channel_names(["Nuclear membrane", "Nuclear-membrane", "1 a", "", "中文", "class"])
    assert names == ["Nuclear_membrane", "label_1_Nuclear_membrane", "label_2_1_a", "label_3"] + [
        "中文",
        "class",
    ]
    strange_names = channel_names(STRANGE)
    assert len(set(strange_names)) == len(STRANGE)
    assert all(name.isidentifier() for name in strange_names)


def rewritten(content, name, change):
    """The archive with another content of a file."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as changed:
        for entry in archive.namelist():
            data = archive.read(entry)
            changed.writestr(entry, change(data) if entry == name else data)
    return result.getvalue()


def test_a_package_with_a_changed_file_is_refused():
    content, given, golden = package()
    check_package(content, given, golden)
    for name in ("model.onnx", "model.json", "test_probabilities.npy"):
        changed = rewritten(content, name, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(InputError, match=f"bioimageio.zip is not the net .{name} has another"):
            check_package(changed, given, golden)


def test_a_package_of_another_net_is_refused():
    content, given, golden = package()
    wrong = golden | {"probabilities": golden["probabilities"] + np.float32(0.01)}
    with pytest.raises(InputError, match="its probabilities differ by 1.0e-02"):
        check_package(content, given, wrong)


def test_the_cover_is_what_the_collection_wants():
    cover = draw_cover()
    pixels = cv2.imdecode(np.frombuffer(cover, np.uint8), cv2.IMREAD_COLOR)
    height, width = pixels.shape[:2]
    assert width == 2 * height
    assert len(cover) < 500_000
    # Each colour is in it.
    assert (pixels.reshape(-1, 3).max(0) > 100).all()
    assert description()["labels"]
