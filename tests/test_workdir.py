"""A run's folder: whole files, one process."""

import json
import os

import pytest

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.files import locked, write_json
from hpa_jax.workdir import claim, read_config


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "evaluation.json"
    write_json(path, {"macro_f1": 0.1 + 0.2})
    with pytest.raises(ValueError):
        write_json(path, {"macro_f1": float("nan")})
    assert json.loads(path.read_text()) == {"macro_f1": 0.30000000000000004}
    assert os.listdir(tmp_path) == ["evaluation.json"]


def test_the_lock_holds_while_it_is_held(tmp_path):
    with locked(tmp_path / "run"):
        with pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
            with locked(tmp_path / "run"):
                pass
    with locked(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Not a directory; check the path"):
        with locked(tmp_path / "file" / "run"):
            pass


def test_what_may_change_between_two_starts(tmp_path):
    claim(tmp_path, Config())
    longer = Config()
    longer.train.epochs, longer.checkpoint.keep, longer.data.threads = 60.0, 5, 1
    claim(tmp_path, longer)
    assert read_config(tmp_path) == longer
    other = Config()
    other.data.batch_size = 7
    with pytest.raises(InputError, match="config.data.batch_size=32, now 7"):
        claim(tmp_path, other)
    assert read_config(tmp_path) == longer
