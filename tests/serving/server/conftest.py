"""A server for the tests of this folder, and what to send to it."""

import numpy as np
import pytest
from support.exports import tiny_export
from support.http_server import Server
from support.image_files import encoded

from hpa_jax.labels import CHANNELS


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    return tiny_export(tmp_path_factory.mktemp("export") / "export")


@pytest.fixture(scope="session")
def server(export):
    """With the limits of every user."""
    running = Server(export, "--metrics-port=0", "--max-body=4").wait()
    yield running
    assert running.stop() == 0, running.log()
    assert "Traceback" not in running.log() and "internal error" not in running.log()


@pytest.fixture(scope="session")
def field() -> dict[str, bytes]:
    """PNG files of one image, by channel."""
    values = np.random.default_rng(5)
    files = {}
    for channel in CHANNELS:
        files[channel] = encoded(values.integers(0, 256, (48, 40), np.uint8), "PNG")
    return files
