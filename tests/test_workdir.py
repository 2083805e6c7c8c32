"""A run's folder and its records: complete files, one process, a history without gaps."""

import json
import os

import pytest

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.files import locked, write_json
from hpa_jax.tracking.logger import RunLogger
from hpa_jax.workdir import claim, read_config


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def open_log(folder, first_step):
    return RunLogger(folder, first_step=first_step, total_steps=10)


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
    with pytest.raises(InputError, match="choose a folder"):
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


def test_a_resumed_log_reads_as_if_never_stopped(tmp_path):
    log = open_log(tmp_path, 0)
    for step in range(1, 7):
        log.log_metrics(step, "train", {"loss": 1 / step, "images_per_sec": 1.0})
    log.log_metrics(4, "validation", {"macro_f1": 0.5})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "spl')  # cut short by a kill
    log = open_log(tmp_path, 4)
    log.log_metrics(5, "train", {"loss": 0.2, "images_per_sec": 1.0})
    log.close()
    records = lines(tmp_path / "metrics.jsonl")
    assert [(r["step"], r["split"]) for r in records] == [
        *((s, "train") for s in range(1, 5)),
        (4, "validation"),
        (5, "train"),
    ]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_what_is_on_tensorboard_is_what_is_in_the_file(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    log = open_log(tmp_path, 0)
    log.log_metrics(3, "validation", {"macro_f1": 0.25})
    log.close()
    data = b"".join(
        path.read_bytes() for path in sorted((tmp_path / "tensorboard").glob("events*"))
    )
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += 16 + length
    assert found == [(3, "validation/macro_f1", 0.25)]
