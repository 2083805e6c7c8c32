"""Files that grow, as objects that do not."""

import json

import pytest

from hpa_jax.buckets import parts

BUCKET = "bucket"
LOG = "metrics.jsonl"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 10)


def append(mount, text):
    with open(mount.folder / LOG, "a") as file:
        file.write(text)


def contents(gcs):
    return json.loads(gcs.get(BUCKET, "run/contents.json"))


def test_names():
    assert parts.part_name("a/metrics.jsonl", 0) == "a/metrics.jsonl"
    assert parts.part_name("a/metrics.jsonl", 12) == "a/metrics.jsonl.part-00012"
    assert parts.part_of("a/metrics.jsonl.part-00012") == ("a/metrics.jsonl", 12)
    assert parts.part_of("a/metrics.jsonl") is None
    assert parts.part_of("a/data.part-00012") is None
    assert parts.is_appended("tensorboard/events.out.tfevents.17.host.4")
    assert not parts.is_appended("metrics.jsonl.part-00001")
    counts = [parts.count_parts(size) for size in (0, 1, 10, 11, 20, 21)]
    assert counts == [1, 1, 1, 2, 2, 3]


def test_a_line_costs_the_last_part(connected, mount):
    made = mount()
    with made.held():
        for number in range(5):
            append(made, f"line {number}\n")
            made.push()
        assert connected.get(BUCKET, f"run/{LOG}") == b"line 0\nlin"
        assert contents(connected)["files"][LOG]["parts"] == 4
        connected.clear_requests()
        append(made, "x")
        made.push()
        assert connected.count("POST", f"{LOG}.part-00003") == 1
        assert connected.count("POST", LOG) == 1
        # Somebody who reads meanwhile has it whole.
        reader = mount()
        text = (made.folder / LOG).read_text()
        assert (reader.folder / LOG).read_text() == text
    assert connected.get(BUCKET, f"run/{LOG}").decode() == text
    assert connected.names(BUCKET, f"run/{LOG}") == [f"run/{LOG}"]
    assert "parts" not in contents(connected)["files"][LOG]


def killed(made, connected, text):
    """A run that was killed when it had logged a text; the names that it held."""
    made._give_up = lambda end: end()
    with pytest.raises(KeyboardInterrupt):
        with made.held():
            append(made, text)
            made.push()
            raise KeyboardInterrupt


def test_a_run_that_resumes_loses_nothing_of_it(connected, mount, monkeypatch):
    text = "line 0\nline 1\nline 2\n"
    killed(mount(), connected, text)
    assert contents(connected)["files"][LOG]["parts"] == 3
    second = mount()
    assert (second.folder / LOG).read_text() == text
    with second.held():
        # Something else is uploaded, and the log has no new line yet.
        (second.folder / "config.json").write_text("{}")
        second.push()
        assert contents(connected)["files"][LOG]["parts"] == 3
        assert (mount().folder / LOG).read_text() == text
    assert connected.get(BUCKET, f"run/{LOG}").decode() == text


def test_a_log_that_became_shorter(connected, mount):
    killed(mount(), connected, "line 0\nline 1\nline 2\n")
    second = mount()
    with second.held():
        # A run that resumes drops the lines of steps that it does again.
        (second.folder / LOG).write_text("line 0\n")
        second.push()
        assert connected.names(BUCKET, f"run/{LOG}") == [f"run/{LOG}"]
        assert (mount().folder / LOG).read_text() == "line 0\n"


def test_a_kill_between_joining_and_saying_so(connected, mount):
    text = "line 0\nline 1\n"
    killed(mount(), connected, text)
    connected.put(BUCKET, f"run/{LOG}", text.encode())
    second = mount()
    assert (second.folder / LOG).read_text() == text
    with second.held():
        append(second, "line 2\n")
    assert connected.get(BUCKET, f"run/{LOG}").decode() == text + "line 2\n"


def test_a_damaged_part_is_named(connected, mount):
    killed(mount(), connected, "line 0\nline 1\n")
    connected.flip_bit(BUCKET, f"run/{LOG}.part-00001", 0)
    with pytest.raises(Exception, match=f"gs://bucket/run/{LOG}.part-00001 is damaged"):
        mount()
