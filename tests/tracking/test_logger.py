"""A run's records: a history without gaps or repeats, and the same numbers on TensorBoard."""

import inspect
import json

import pytest
from tensorboardX.proto.event_pb2 import Event

from hpa_jax.tracking.logger import RunLogger, SilentLogger
from hpa_jax.tracking.tracker import open_tracker


def open_logger(folder, first_step=0):
    tracker = open_tracker("tensorboard", folder, first_step=first_step, run_id="", settings={})
    return RunLogger(folder, first_step=first_step, total_steps=10, tracker=tracker)


def records(folder):
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def training_metrics(step):
    return {"loss": 1 / step, "images_per_sec": 1.0}


def test_a_resumed_log_reads_as_if_never_stopped(tmp_path):
    logger = open_logger(tmp_path)
    for step in range(1, 7):
        logger.log_metrics(step, "train", training_metrics(step))
    logger.log_metrics(4, "validation", {"macro_f1": 0.5})
    logger.log_metrics(4, "train", {"macro_f1": 0.9})  # config.data.eval_split=train
    logger.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "spl')  # cut short by a kill
    logger = open_logger(tmp_path, first_step=4)
    logger.log_metrics(5, "train", training_metrics(5))
    logger.close()
    found = [(record["step"], record["split"]) for record in records(tmp_path)]
    assert found == [
        *((step, "train") for step in range(1, 5)),
        (4, "validation"),
        (4, "train"),
        (5, "train"),
    ]
    assert len(list((tmp_path / "tensorboard").glob("events*"))) > 0


def events(folder):
    """Those of all TensorBoard files, read with another library's parser."""
    for path in sorted((folder / "tensorboard").glob("events*")):
        data = path.read_bytes()
        start = 0
        while start < len(data):
            length = int.from_bytes(data[start : start + 8], "little")
            yield Event.FromString(data[start + 12 : start + 12 + length])
            start += 16 + length


def test_what_is_on_tensorboard_is_what_is_in_the_file(tmp_path):
    logger = open_logger(tmp_path)
    logger.log_metrics(3, "validation", {"macro_f1": 0.25})
    logger.close()
    found = []
    for event in events(tmp_path):
        for value in event.summary.value:
            found.append((event.step, value.tag, value.simple_value))
    assert found == [(3, "validation/macro_f1", 0.25)]


def test_tensorboard_is_told_where_a_run_resumes(tmp_path):
    open_logger(tmp_path, first_step=4).close()
    (restart,) = [event for event in events(tmp_path) if event.HasField("session_log")]
    assert restart.step == 5 and restart.session_log.status == restart.session_log.START


def test_progress_in_a_file_is_a_line_now_and_then_and_at_the_end(tmp_path, capsys):
    logger = open_logger(tmp_path)
    for step in range(1, 11):
        metrics = training_metrics(step) | {"data_wait": 0.25, "mfu": 0.1}
        logger.log_metrics(step, "train", metrics)
    logger.info("finished")
    logger.close()
    first, last, message = capsys.readouterr().out.splitlines()
    summary = "1 images/s, 25% waiting for data, MFU 10.0%"
    assert first == f"step 1 of 10: loss 1.0000, {summary}"
    assert last == f"step 10 of 10: loss 0.1000, {summary}, 00:00 left"
    assert message == "finished"


def test_everything_is_closed_even_if_something_fails(tmp_path):
    logger = open_logger(tmp_path)

    def fail():
        raise OSError("no space left")

    logger._tracker.close = fail
    with pytest.raises(OSError, match="no space left"):
        logger.close()
    assert logger._metrics.closed


def test_the_silent_logger_takes_the_same_calls():
    for name, method in inspect.getmembers(RunLogger, inspect.isfunction):
        if not name.startswith("_"):
            silent = getattr(SilentLogger, name)
            assert inspect.signature(silent) == inspect.signature(method)
