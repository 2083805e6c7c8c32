import pytest
from support.tpu_cloud import Cloud


@pytest.fixture
def cloud(tmp_path):
    """A Google Cloud project without a slice."""
    cloud = Cloud(tmp_path)
    yield cloud
    cloud.kill_workers()
