"""Nets and heads through every door: the export, the command, the server and the page agree."""

import csv
import json

import numpy as np
import pytest
import requests
from support.exports import tiny_export
from support.http_server import Server
from support.image_folders import write_images
from support.page_use import Page

from hpa_jax.images.folder import find_images
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.models import BACKBONES
from hpa_jax.models.heads import HEADS
from hpa_jax.serving import load
from hpa_jax.serving.__main__ import main
from hpa_jax.serving.maps import CLOSED_FORMS

SIZE = 96
SHAPE = (70, 90)
NETS = [
    *[("convnext_test", head) for head in HEADS if head not in BACKBONES],
    ("densenet_tiny", "norm_linear"),
    ("fusion", "fusion"),
]
# Of a net that is several.
PARTS = ("densenet_tiny", "convnext_test")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=NETS, ids="-".join)
def exported(request, tmp_path_factory):
    """A net's head, the folder of its export, and the folder of a field."""
    net, head = request.param
    folder = tmp_path_factory.mktemp(f"{net}-{head}")
    fields = {"model__name": net, "model__head": head, "data__image_size": SIZE}
    if net == "fusion":
        fields |= {"fusion__parts": PARTS, "fusion__images": 12, "fusion__neighbours": 5}
    export = tiny_export(folder / "export", **fields)
    write_images(folder / "images", ids=("A1", "B2"), shape=SHAPE)
    images = find_images(folder / "images")
    description = load(export, backend="onnx").description
    preparation = Preparation.from_description(description)
    prepared = [preparation.prepare(images.read(number)[0]) for number in range(2)]
    return head, export, folder / "images", np.stack(prepared)


@pytest.fixture(scope="module")
def expected(exported):
    """What JAX computes: all outputs of both fields."""
    _, export, _, prepared = exported
    return load(export, backend="jax").run(prepared, ("probabilities", "embedding", "maps"))


def test_the_export_is_verified_and_onnx_computes_what_jax_does(exported, expected):
    head, export, _, prepared = exported
    assert main([str(export)]) == 0
    net = load(export, backend="onnx")
    assert ("maps" in net.outputs) == (head in CLOSED_FORMS)
    found = net.run(prepared, net.outputs)
    # A net that says the same of all images would agree with anything.
    assert np.ptp(expected["probabilities"], axis=0).max() > 0.01
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    for name in net.outputs[1:]:
        largest = np.abs(expected[name]).max()
        assert largest > 0
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4 * largest)


@pytest.mark.parametrize("backend", ["onnx", "jax"])
def test_the_command_writes_its_scores_and_overlays(exported, expected, backend, tmp_path):
    head, export, images, _ = exported
    out = tmp_path / "scores.csv"
    flags = [f"--out={out}", f"--backend={backend}"]
    has_maps = backend == "jax" or head in CLOSED_FORMS
    if has_maps:
        flags.append(f"--overlays={tmp_path / 'overlays'}")
    assert main(["predict", str(export), str(images), *flags]) == 0
    with open(out, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = np.array([[float(row[name]) for name in LABELS] for row in rows])
    np.testing.assert_allclose(scores, expected["probabilities"], atol=1e-5)
    overlays = list(tmp_path.glob("overlays/*.png"))
    assert len(overlays) == (2 if has_maps else 0)


def test_the_server_answers_with_its_scores(exported, expected):
    _, export, images, _ = exported
    server = Server(export, program=("-m", "hpa_jax.serving", "serve")).wait()
    try:
        files = {name: (images / f"A1_{name}.png").read_bytes() for name in CHANNELS}
        address = f"{server.url}/v1/predict?outputs=embedding"
        answer = requests.post(address, files=files, timeout=60)
    finally:
        assert server.stop() == 0, server.log()
    assert answer.status_code == 200, answer.text
    (row,) = json.loads(answer.text)["images"]
    scores = [label["probability"] for label in row["labels"]]
    np.testing.assert_allclose(scores, expected["probabilities"][0], atol=1e-5)
    largest = np.abs(expected["embedding"]).max()
    np.testing.assert_allclose(row["embedding"], expected["embedding"][0], atol=1e-4 * largest)


def test_the_page_shows_its_scores_and_maps(exported, expected, runtime, browser, tmp_path):
    head, export, images, _ = exported
    out = tmp_path / "page.html"
    assert main(["page", str(export), str(out)]) == 0
    page = Page(browser, out)
    page.choose(*sorted(images.glob("A1_*.png")))
    scores, _ = page.scores()
    np.testing.assert_allclose(scores, expected["probabilities"][0], atol=1e-5)
    buttons = page.tab.value("document.querySelectorAll('[data-label]').length")
    assert buttons == (len(LABELS) if head in CLOSED_FORMS else 0)
