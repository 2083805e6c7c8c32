"""The runtime of pages: from npm, once a machine."""

import os
import shutil

import pytest

from hpa_jax.environment.cache_folder import cache_folder
from hpa_jax.serving.page.runtime import ARCHIVE, load_runtime


@pytest.fixture(scope="session")
def runtime():
    """onnxruntime-web. Skips without npm, unless HPA_NPM is set: then there has to be one."""
    is_kept = (cache_folder() / "onnxruntime-web" / ARCHIVE).is_file()
    if not is_kept and shutil.which("npm") is None and "HPA_NPM" not in os.environ:
        pytest.skip("npm is not installed, and the page's runtime is not in the cache")
    return load_runtime()
