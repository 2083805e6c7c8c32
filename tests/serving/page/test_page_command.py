"""`python -m hpa_jax.serving page`: a page of a real export, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.exports import SIZE, tiny_export
from support.image_files import smooth
from support.written_files import png

from hpa_jax import serving
from hpa_jax.errors import InputError
from hpa_jax.images.folder import find_images
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.serving.__main__ import main

OLD_EXPORT = Path(__file__).resolve().parents[2] / "golden" / "version_0_1" / "run" / "export"


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("net") / "export")


def test_a_real_export_gives_the_scores_of_its_net(export, runtime, browser, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["page", str(export), str(out)]) == 0
    assert "one file that needs no server" in capsys.readouterr().out
    folder = tmp_path / "field"
    folder.mkdir()
    for number, channel in enumerate(CHANNELS):
        image = smooth((SIZE, SIZE), seed=number)
        (folder / f"A1_{channel}.png").write_bytes(png(image, 8))
    net = serving.load(export)
    pixels, _ = find_images(folder).read(0)
    prepared = Preparation.from_description(net.description).prepare(pixels)
    browser.open(out)
    browser.until("document.documentElement.dataset.ready === 'yes'")
    browser.choose("#files", sorted(folder.iterdir()))
    browser.until("/1 field scored/.test(document.getElementById('status').textContent)")
    rows = browser.value(
        "[...document.querySelectorAll('.labels tbody tr')].map((row) => "
        "[row.querySelector('th').textContent, Number(row.querySelector('data').value)])"
    )
    found = np.zeros(len(LABELS))
    for name, score in rows:
        found[LABELS.index(name)] = score
    np.testing.assert_allclose(found, net.probabilities(prepared[None])[0], atol=1e-5)
    assert "How sure that is, is not known" in browser.value("document.body.textContent")
    # It writes over its own page, and gives the same bytes.
    before = out.read_bytes()
    assert main(["page", str(export), str(out)]) == 0
    assert out.read_bytes() == before


def refused(*arguments):
    with pytest.raises(InputError) as caught:
        main(["page", *map(str, arguments)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_input_is_one_line(export, tmp_path):
    out = tmp_path / "page.html"
    (tmp_path / "file").write_bytes(b"")
    assert "choose another place" in refused(export, tmp_path / "file" / "page.html")
    assert "no complete export" in refused(tmp_path / "none", out)
    assert "see python -m hpa_jax.serving page --help" in refused(export)
    assert "invalid choice" in refused(export, out, "--weights=int4")
    out.write_text("<html>a page of somebody else's</html>")
    assert "is not written over" in refused(export, out)
    assert "is no file" in refused(export, tmp_path)
    assert out.read_text() == "<html>a page of somebody else's</html>"


def test_a_changed_net_makes_no_page(export, tmp_path):
    copy = tmp_path / "export"
    shutil.copytree(export, copy)
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    assert "model.onnx is not what was exported" in refused(copy, tmp_path / "page.html")


def test_an_export_without_onnx_says_what_to_do(tmp_path):
    line = refused(OLD_EXPORT, tmp_path / "page.html")
    assert "has no model.onnx" in line and "--mode=export" in line


def test_it_imports_neither_jax_nor_absl(export, tmp_path):
    program = (
        "import sys\n"
        "from hpa_jax.serving.page import command\n"
        f"description, model = command._read_export(command.Path({str(export)!r}))\n"
        "from hpa_jax.serving.page.render import render\n"
        "render(description)\n"
        "names = ('jax', 'flax', 'absl', 'ml_collections', 'etils', 'tensorflow')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_help_names_its_flags(capsys):
    with pytest.raises(SystemExit):
        main(["page", "--help"])
    text = capsys.readouterr().out
    for word in ("EXPORT", "OUT.html", "--runtime", "--weights"):
        assert word in text
    assert "fp16" in text
