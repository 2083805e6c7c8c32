"""The page of a server, in a real browser: it asks the server for scores, and for its token."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest
import requests
from support.exports import SIZE, tiny_export
from support.image_files import smooth
from support.page_use import Page
from support.written_files import png

from hpa_jax import serving
from hpa_jax.images.folder import find_images
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS

TOKEN = "a1b2c3"


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("net") / "export")


@pytest.fixture(scope="module")
def address(export, tmp_path_factory):
    """A server with a token."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    command = [sys.executable, "-m", "hpa_jax.serving", "serve", str(export), "--port=0"]
    server = subprocess.Popen(
        [*command, f"--token-file={token}"], stdout=subprocess.PIPE, text=True
    )
    try:
        found = re.search(r"http://\S+", server.stdout.readline())[0]
        while not _answers(found):
            assert server.poll() is None
            time.sleep(0.1)
        yield found
    finally:
        server.terminate()
        server.wait(timeout=60)
        server.stdout.close()


def _answers(address):
    try:
        return requests.get(f"{address}/healthz", timeout=60).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def field(tmp_path):
    for number, channel in enumerate(CHANNELS):
        image = smooth((SIZE + 20, SIZE + 20), seed=number)
        (tmp_path / f"A1_{channel}.png").write_bytes(png(image, 8))
    return [tmp_path / f"A1_{channel}.png" for channel in CHANNELS]


def test_it_asks_for_the_token_and_shows_the_servers_scores(browser, address, export, field):
    page = Page(browser, f"{address}/")
    page.choose(*field)
    assert "wants its token" in page.text("#status")
    page.give_token("wrong")
    assert "That is not this server's token" in page.text("#token-label")
    page.give_token(TOKEN)
    assert "1 field scored" in page.text("#status")
    scores, _ = page.scores()
    net = serving.load(export)
    pixels, _ = find_images(field[0].parent).read(0)
    prepared = Preparation.from_description(net.description).prepare(pixels)
    np.testing.assert_allclose(scores, net.probabilities(prepared[None])[0], atol=1e-5)
    page.click("[data-label]")
    assert "Orange" in page.text("#picture-caption") or "Nothing" in page.text("#picture-caption")
    outside = [url for url in page.tab.requests if not url.startswith((address, "blob:"))]
    assert outside == []

    page.clear()
    page.choose(*field[:3])
    assert "no part yellow" in page.text("#status")
    page.set("black", True)
    assert "without yellow" in page.text("#field")
    page.set("black", False)

    page.clear()
    field[0].write_bytes(field[0].read_bytes()[:200])
    page.choose(*field)
    assert "is cut short" in page.text("#status")
    # Refusals are logged by the browser as well, and nothing else is.
    assert all("status of 4" in text for text in page.tab.complaints), page.tab.complaints
