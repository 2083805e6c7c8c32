"""A dataset of 35 images in three splits, and copies of it to damage."""

import shutil
from pathlib import Path

import pytest
from support.made_datasets import build_dataset


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    build_dataset(path, "small")
    return path


@pytest.fixture
def own_copy(data_dir, tmp_path):
    """The folder of a copy of the dataset `small`, to damage; its data_dir is `parents[2]`."""
    folder = Path("hpa", "small", "1.0.0")
    return Path(shutil.copytree(data_dir / folder, tmp_path / folder))
