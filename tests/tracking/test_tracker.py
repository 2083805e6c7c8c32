"""Trackers: what is refused, and Weights & Biases offline."""

import importlib
import importlib.util
import time

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


@pytest.fixture
def wandb():
    """The package, which reads its variables once for each of its sessions."""
    package = importlib.import_module("wandb")
    package.teardown()
    yield package
    package.teardown()


def written(file, wanted):
    """The content of a file once it has what is wanted: another process writes it."""
    for _ in range(1200):
        if wanted in file.read_bytes():
            break
        time.sleep(0.05)
    assert wanted in file.read_bytes()
    return file.read_bytes()


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


def test_wandb_keeps_the_id_of_the_run_when_it_resumes(tmp_path, monkeypatch, wandb):
    monkeypatch.setenv("WANDB_MODE", "offline")
    shown(tmp_path, "wandb", 0)
    shown(tmp_path, "wandb", 2)
    files = list((tmp_path / "wandb").glob(f"offline-run-*/run-{RUN_ID}.wandb"))
    assert len(files) == 2
    for file in files:
        content = written(file, b"train/loss")
        assert b"0.01" in content and RUN_ID.encode() in content


@pytest.mark.slow
def test_a_host_of_wandb_that_is_away_does_not_stop_a_run(tmp_path, monkeypatch, capsys, wandb):
    monkeypatch.setenv("WANDB_MODE", "online")
    # Nothing listens there.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    shown(tmp_path, "wandb", 0)
    assert "warning: Weights & Biases cannot be reached" in capsys.readouterr().err
    (file,) = (tmp_path / "wandb").glob(f"offline-run-*/run-{RUN_ID}.wandb")
    assert written(file, b"train/loss")


def test_a_wandb_that_fails_meanwhile_is_told_of_once(tmp_path, monkeypatch, capsys, wandb):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = open_tracker("wandb", tmp_path, first_step=0, run_id=RUN_ID, settings={})
    # Its own process ends.
    wandb.teardown()
    tracker.write_scalars(1, {"train/loss": 1.0})
    tracker.write_scalars(2, {"train/loss": 0.5})
    tracker.close()
    assert capsys.readouterr().err.count("warning: Weights & Biases has failed") == 1
