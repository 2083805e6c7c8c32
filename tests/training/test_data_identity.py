"""A real run whose data are moved, lost and built anew between two starts."""

import json
import shutil

import jax
import numpy as np
import pytest
from support.made_runs import restored_state

from tfds_builder.hpa.__main__ import main as build

pytestmark = pytest.mark.slow
SHORT = ("--config.train.eval_every=2", "--config.train.log_every=1")


def leaves(workdir, step):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(restored_state(workdir, step))]


def test_moving_data_is_free_and_changing_them_is_not(
    run_recorded, small_run, small_data, tmp_path
):
    def start(workdir, steps, data_dir, *flags):
        settings = (f"--config.train.steps={steps}", f"--config.data.data_dir={data_dir}")
        return run_recorded(*small_run, *SHORT, *settings, *flags, f"--workdir={workdir}")

    stayed = tmp_path / "stayed"
    assert start(stayed, 2, small_data).returncode == 0
    assert start(stayed, 4, small_data).returncode == 0

    run = tmp_path / "run"
    there = tmp_path / "there"
    shutil.copytree(small_data, there)
    assert start(run, 2, there).returncode == 0
    elsewhere = there.rename(tmp_path / "elsewhere")

    anew = tmp_path / "anew"
    flags = ["--config=synthetic", "--size=32", "--images=80", "--workers=1", "--seed=7"]
    assert build([*flags, f"--data_dir={anew}"]) == 0
    before = (run / "config.json").read_bytes()
    refused = start(run, 4, anew)
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert refused.returncode == 2 and "synthetic_32" in line and "was built anew" in line
    assert (run / "config.json").read_bytes() == before

    done = start(run, 4, elsewhere)
    assert done.returncode == 0 and "resuming at step 2" in done.stdout, done.stderr
    assert json.loads((run / "config.json").read_text())["data"]["data_dir"] == str(elsewhere)
    for found, expected in zip(leaves(run, 4), leaves(stayed, 4), strict=True):
        np.testing.assert_array_equal(found, expected)
