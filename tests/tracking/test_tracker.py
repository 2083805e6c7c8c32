"""Trackers: what is refused, and Weights & Biases offline, where it is installed."""

import importlib.util

import pytest

from hpa_jax.errors import InputError
from hpa_jax.tracking.tracker import check_tracker, open_tracker

RUN_ID = "0123456789abcdef0123456789abcdef"


def shown(folder, name, first_step):
    """Shows the loss of three steps after `first_step`."""
    settings = {"optim": {"lr": 0.01}}
    tracker = open_tracker(name, folder, first_step=first_step, run_id=RUN_ID, settings=settings)
    for step in range(first_step + 1, first_step + 4):
        tracker.write_scalars(step, {"train/loss": 1 / step})
    tracker.close()


def test_none_writes_nothing(tmp_path):
    shown(tmp_path, "none", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name)
    )
    check_tracker("tensorboard")
    with pytest.raises(InputError, match=r"pip install 'hpa_jax\[wandb\]'"):
        check_tracker("wandb")


def test_wandb_keeps_the_id_of_the_run_when_it_resumes(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    shown(tmp_path, "wandb", 0)
    shown(tmp_path, "wandb", 2)
    files = list((tmp_path / "wandb").glob(f"offline-run-*/run-{RUN_ID}.wandb"))
    assert len(files) == 2
    for file in files:
        content = file.read_bytes()
        assert b"train/loss" in content and b"0.01" in content
        assert RUN_ID.encode() in content
