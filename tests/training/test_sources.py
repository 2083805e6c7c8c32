"""A run on two datasets of different codecs, with a channel mix, trained by a real process."""

import json
import shutil

import numpy as np
import pytest

from hpa_jax.data.catalog import load_dataset, read_channel_statistics
from hpa_jax.data.metadata import seal
from hpa_jax.main import main
from hpa_jax.transforms.channel_mix import CHANNEL_MIXES, mixed_statistics

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def two(small_data, tmp_path_factory):
    """A data_dir with `synthetic_32` and, in the other codec, `other`: 40 more images."""
    from tfds_builder.hpa.__main__ import main as build

    data_dir = tmp_path_factory.mktemp("two")
    shutil.copytree(small_data / "hpa", data_dir / "hpa")
    flags = (
        "--config=synthetic_32",
        "--images=40",
        "--seed=9",
        "--name=other",
        "--codec=zstd",
        "--workers=1",
    )
    assert build([*flags, f"--data_dir={data_dir}"]) == 0
    return data_dir


@pytest.fixture(scope="module")
def workdir(run_recorded, small_run, two, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    done = run_recorded(
        *small_run,
        f"--config.data.data_dir={two}",
        "--config.data.sources=('synthetic_32','other:3')",
        "--config.data.channel_mix=hpa_densenet_iii",
        "--config.data.fold=2",
        "--config.augment.channel_dropout=0.2",
        "--config.augment.only_rare=True",
        "--config.train.steps=30",
        f"--workdir={path}",
    )
    assert done.returncode == 0, done.stderr
    return path


def test_each_source_is_drawn_by_its_weight(workdir, two):
    seen = [
        i
        for line in (workdir / "ids.jsonl").read_text().splitlines()
        for i in json.loads(line)["ids"]
    ]
    first, other = (
        load_dataset(two, name, split="train", fold=2).ids() for name in ("synthetic_32", "other")
    )
    epoch = seen[: len(first) + 3 * len(other)]
    assert len(epoch) == len(first) + 3 * len(other)
    assert sorted(epoch) == sorted(first + 3 * other)


def test_the_run_records_the_channel_statistics_of_each(workdir, two):
    data = json.loads((workdir / "config.json").read_text())["data"]
    wanted = [read_channel_statistics(two, name) for name in ("synthetic_32", "other")]
    assert data["mean"] == [*wanted[0].mean, *wanted[1].mean] and data["std"] == [
        *wanted[0].std,
        *wanted[1].std,
    ]


@pytest.mark.parametrize("name", [pytest.param("synthetic_32", marks=pytest.mark.slow), "other"])
def test_an_export_is_for_one_of_them(workdir, two, tmp_path, name):
    folder = tmp_path / name
    flags = [f"--config.data.name={name}", f"--config.export.folder={folder}"]
    assert main(["--mode=export", f"--workdir={workdir}", *flags]) == 0
    description = json.loads((folder / "model.json").read_text())
    figures = read_channel_statistics(two, name)
    mean, std = mixed_statistics(CHANNEL_MIXES["hpa_densenet_iii"], figures.mean, figures.std)
    assert description["normalisation"]["figures_of"] == name
    np.testing.assert_allclose(description["normalisation"]["mean"], mean)
    np.testing.assert_allclose(description["normalisation"]["std"], std)
    assert description["channel_mix"] == {
        "name": "hpa_densenet_iii",
        "matrix": [list(row) for row in CHANNEL_MIXES["hpa_densenet_iii"]],
    }


def test_evaluating_takes_the_channel_mix_of_the_run_and_refuses_another(workdir, capsys):
    evaluate = ["--mode=evaluate", f"--workdir={workdir}"]
    assert main([*evaluate, "--config.data.name=other", "--config.data.eval_split=all"]) == 0
    assert json.loads((workdir / "evaluation.json").read_text())["images"] == 40
    assert main([*evaluate, "--config.data.channel_mix=rgb"]) == 2
    refused = "trained with config.data.channel_mix='hpa_densenet_iii', not 'rgb'"
    assert refused in capsys.readouterr().err


def test_a_source_without_channel_statistics_is_refused(small_run, two, tmp_path, capsys):
    data_dir = shutil.copytree(two, tmp_path / "data")
    metadata = data_dir / "hpa/other/3.0.0/metadata.json"
    known = json.loads(metadata.read_text())
    metadata.write_text(json.dumps(seal({**known, "statistics": {}})))
    flags = ("--config.data.sources=('synthetic_32','other')", f"--workdir={tmp_path / 'run'}")
    assert main([*small_run, f"--config.data.data_dir={data_dir}", *flags]) == 2
    assert "no channel statistics: build it again" in capsys.readouterr().err
