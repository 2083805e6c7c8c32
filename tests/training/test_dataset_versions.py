"""A dataset of version 2.0.0, as 0.1 wrote it, beside one of 3.0.0 of the same name."""

import json
import shutil
from pathlib import Path

import pytest

from hpa_jax.config import Data
from hpa_jax.data.catalog import fitting_version, load_dataset, read_digests
from hpa_jax.errors import InputError
from hpa_jax.main import main

NAME = "synthetic_32"
OLDER = Path(__file__).resolve().parents[1] / "golden/version_0_1/data/hpa" / NAME / "2.0.0"


@pytest.fixture
def data_dir(tmp_path):
    """With the older version alone."""
    shutil.copytree(OLDER, tmp_path / "data/hpa" / NAME / "2.0.0")
    return tmp_path / "data"


@pytest.fixture
def add_newer(data_dir, small_data):
    def add():
        shutil.copytree(small_data / "hpa" / NAME / "3.0.0", data_dir / "hpa" / NAME / "3.0.0")

    return add


def test_a_name_is_the_newest_version_and_may_name_another(data_dir, add_newer, small_data):
    older = load_dataset(data_dir, NAME, split="all").ids()
    add_newer()
    newer = load_dataset(small_data, NAME, split="all").ids()
    assert older != newer
    assert load_dataset(data_dir, NAME, split="all").ids() == newer
    assert load_dataset(data_dir, f"{NAME}:3.0.0", split="all").ids() == newer
    assert load_dataset(data_dir, f"{NAME}:2.0.0", split="all").ids() == older
    with pytest.raises(InputError, match=r"no version '1.0.0' \(there: 2.0.0, 3.0.0\)"):
        load_dataset(data_dir, f"{NAME}:1.0.0")


def test_the_version_is_the_one_whose_digests_fit(data_dir, add_newer):
    older = read_digests(data_dir, NAME)
    assert fitting_version(data_dir, NAME, *older) == NAME
    add_newer()
    assert fitting_version(data_dir, NAME, *older) == f"{NAME}:2.0.0"
    newer = read_digests(data_dir, NAME)
    assert fitting_version(data_dir, NAME, *newer) == NAME
    # Neither; and the same Ids and labels of other images.
    assert fitting_version(data_dir, NAME, {"train": "0" * 64}, {}) == NAME
    assert fitting_version(data_dir, NAME, older.splits, newer.images) == NAME
    assert fitting_version(data_dir, f"{NAME}:3.0.0", *older) == f"{NAME}:3.0.0"


def test_a_source_may_have_a_version_and_a_weight():
    data = Data(sources=("a", "b:2", "c:2.0.0", "d:2.0.0:0.5"))
    assert data.source_names() == ("a", "b", "c:2.0.0", "d:2.0.0")
    assert data.source_weights() == (1, 2, 1, 0.5)


def test_a_run_goes_on_with_the_version_that_it_was_started_on(
    data_dir, add_newer, small_run, compiled_once, tmp_path, capfd
):
    workdir = tmp_path / "run"
    flags = [*small_run, f"--workdir={workdir}", f"--config.data.data_dir={data_dir}"]
    assert main([*flags, "--config.train.steps=2"]) == 0
    config = json.loads((workdir / "config.json").read_text())
    assert config["run"]["versions"] == {NAME: "2.0.0"}
    older = load_dataset(data_dir, NAME, split="test").ids()
    add_newer()
    assert main([*flags, "--config.train.steps=4"]) == 0
    resumed = json.loads((workdir / "config.json").read_text())
    assert resumed["data"] == config["data"]
    assert resumed["run"]["versions"] == {NAME: "2.0.0"}

    reading = [f"--workdir={workdir}", "--config.data.eval_split=test"]
    assert main(["--mode=evaluate", *reading]) == 0
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["dataset"] == f"{NAME}:2.0.0" and found["images"] == len(older)
    assert found["changed_splits"] == {} and found["learned_images"] == 0
    assert main(["--mode=predict", *reading]) == 0
    assert main(["--mode=export", f"--workdir={workdir}"]) == 0
    assert main(["--mode=report", *reading]) == 0

    # Asked for, the newer one is evaluated; it is not resumed on.
    newer = f"--config.data.name={NAME}:3.0.0"
    assert main(["--mode=evaluate", *reading, newer]) == 0
    found = json.loads((workdir / "evaluation.json").read_text())
    assert found["changed_splits"][f"{NAME}:3.0.0"]
    capfd.readouterr()
    assert main([*flags, newer, "--config.train.steps=6"]) == 2
    assert "was built anew" in capfd.readouterr().err

    # Named or alone, the older one is the run's.
    assert main([*flags, f"--config.data.name={NAME}:2.0.0", "--config.train.steps=5"]) == 0
    shutil.rmtree(data_dir / "hpa" / NAME / "3.0.0")
    assert main([*flags, "--config.train.steps=6"]) == 0
