"""Checkpoints that are damaged, swapped, foreign or incomplete: refused in one line, never read."""

import json
import os
import shutil

import numpy as np
import pytest
from support.made_checkpoints import (
    METRICS,
    RUN,
    Flips,
    all_files,
    array_files,
    equal,
    made_state,
    opened,
    save_steps,
)

from hpa_jax.errors import InputError
from hpa_jax.training.manifest import DamagedCheckpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "checkpoints"
    save_steps(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy, to be injured."""
    return shutil.copytree(made, tmp_path / "run" / "checkpoints")


@pytest.fixture(scope="module")
def older(made, tmp_path_factory):
    """As versions without manifests wrote them."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("older") / "checkpoints")
    for path in folder.glob("*/manifest.json"):
        path.unlink()
    return folder


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def change_values(folder):
    """Another valid checkpoint's arrays, under this one's manifest."""
    state = folder / "state"
    shutil.rmtree(state)
    shutil.copytree(folder.parent / "1" / "state", state)


def outcome(folder, step=3):
    """'equal' or 'refused'; anything else fails."""
    checkpoints = opened(folder)
    try:
        chosen = checkpoints.choose(str(step))
        restored = checkpoints.restore(chosen, made_state(0))
        facts = (checkpoints.position(step), checkpoints.metrics(step))
    except InputError as error:
        assert "\n" not in str(error) and not isinstance(error, DamagedCheckpoint)
        return "refused"
    assert equal(restored, made_state(step)) and facts == (8 * step, METRICS[step])
    return "equal"


def flip_and_restore(folder, flips, files, times):
    outcomes = []
    for _ in range(times):
        path, before = flips(files)
        outcomes.append(outcome(folder))
        path.write_bytes(before)
    assert outcome(folder) == "equal"
    return outcomes


def test_a_flipped_bit_in_an_array_is_refused_or_changes_nothing(folder):
    outcomes = flip_and_restore(folder, Flips(1), array_files(folder / "3"), 8)
    assert "refused" in outcomes


@pytest.mark.slow
def test_flipped_bits_in_arrays_many_times(folder):
    outcomes = flip_and_restore(folder, Flips(2), array_files(folder / "3"), 100)
    # Half of what Orbax keeps are earlier copies, which nobody reads.
    assert outcomes.count("refused") > 20


@pytest.mark.slow
def test_flipped_bits_in_any_file_of_a_checkpoint(folder):
    """500 bits, as many in each file; the best is refused, or is the best."""
    flips = Flips(3)
    files = all_files(folder / "3")
    for number in range(500):
        path, before = flips([files[number % len(files)]])
        outcome(folder)
        try:
            assert opened(folder).choose("best") == 2
        except InputError as error:
            assert "the best cannot be told" in str(error) and "\n" not in str(error)
        path.write_bytes(before)
    assert outcome(folder) == "equal"


def swapped(folder):
    for before, after in (("2", "x"), ("3", "2"), ("x", "3")):
        os.rename(folder / before, folder / after)


def foreign(folder):
    save_steps(folder.parent / "other", (3,), run_id="f" * 32)
    shutil.rmtree(folder / "3")
    shutil.copytree(folder.parent / "other" / "3", folder / "3")


def without_manifest(folder):
    (folder / "3" / "manifest.json").unlink()


def without_arrays(folder):
    shutil.rmtree(folder / "3" / "state" / "d")


def with_other_arrays(folder):
    change_values(folder / "3")


def with_edited_manifest(folder):
    path = folder / "3" / "manifest.json"
    content = json.loads(path.read_text())
    content["position"] += 8
    path.write_text(json.dumps(content, indent=1))


def a_file(folder):
    shutil.rmtree(folder / "3")
    (folder / "3").write_text("")


def an_empty_folder(folder):
    shutil.rmtree(folder / "3")
    (folder / "3").mkdir()


INJURIES = {
    swapped: "step 2 under another name",
    foreign: "a step of another run",
    without_manifest: "no manifest.json",
    without_arrays: "cannot be read",
    with_other_arrays: "has other values than were saved",
    with_edited_manifest: "manifest.json is not as it was written",
    a_file: "it is a file",
    an_empty_folder: "no manifest.json",
}


@pytest.mark.parametrize("injury", INJURIES, ids=lambda injury: injury.__name__)
def test_an_injured_step_is_refused_and_a_run_falls_back_with_one_warning(folder, injury, capsys):
    injury(folder)
    # To name it: refused.
    assert outcome(folder) == "refused"
    with pytest.raises(InputError, match=INJURIES[injury]) as refused:
        checkpoints = opened(folder)
        checkpoints.restore(checkpoints.choose("3"), made_state(0))
    assert "\n" not in str(refused.value) and str(folder / "3") in str(refused.value)
    # To resume: from the newest complete one, which the one warning says.
    expected = 1 if injury is swapped else 2
    capsys.readouterr()
    latest = opened(folder).choose("latest")
    assert latest == expected and f"step {expected} is read" in one_line(capsys)
    checkpoints = opened(folder, keep=3)
    state, step = checkpoints.restore_newest(made_state(0))
    assert step == expected and equal(state, made_state(expected))
    warning = one_line(capsys)
    assert f"3 ({reason_in(warning)})" in warning and INJURIES[injury] in warning
    assert f"resumes from step {expected}" in warning and "3.damaged" in warning
    # The damaged one is kept, and in nobody's way.
    assert "3.damaged" in names(folder) and "3" not in names(folder)
    checkpoints.save(3, made_state(3), 24, METRICS[3])
    checkpoints.close()
    assert outcome(folder) == "equal"
    assert "3.damaged" in names(folder)


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.startswith("warning: ") and len(err.splitlines()) == 1, err
    return err


def reason_in(warning):
    return warning.partition("3 (")[2].partition(")")[0]


def test_where_no_step_is_complete_the_run_does_not_start_from_nothing(folder):
    for path in folder.glob("*/manifest.json"):
        path.write_bytes(b"")
    for call in (lambda: opened(folder).choose("latest"), resume(folder)):
        with pytest.raises(InputError, match="3 .*, 2 .*, 1 .*, and there is no other; put one"):
            call()
    assert names(folder) == ["1", "2", "3"]
    # A run that was killed before its first save has nothing to lose.
    assert opened(folder.parent / "new", keep=1).restore_newest("state") == ("state", None)


def resume(folder):
    return lambda: opened(folder, keep=2).restore_newest(made_state(0))


def test_a_step_that_was_set_aside_twice_is_kept_twice(folder):
    for name in ("3.damaged", "3.damaged.2"):
        without_manifest(folder)
        resume(folder)()
        assert name in names(folder)
        checkpoints = opened(folder, keep=3)
        checkpoints.save(3, made_state(3), 24, METRICS[3])
        checkpoints.close()


def test_another_step_never_becomes_the_best_without_a_word(folder, capsys):
    shutil.rmtree(folder / "2" / "metrics")
    assert opened(folder).choose("best") == 2
    assert "2 is without its file of metrics" in one_line(capsys)
    assert opened(folder).metrics(2) == METRICS[2]
    moved = folder.parent / "2"
    os.rename(folder / "2", moved)
    with pytest.raises(InputError, match="2 was the best, and is not there; .*metrics: 1, 3"):
        opened(folder).choose("best")
    os.rename(moved, folder / "2")
    (folder / "2" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="best cannot be told, since .*2 is damaged"):
        opened(folder).choose("best")
    assert opened(folder).choose("3") == 3


def test_metrics_that_are_not_numbers_are_as_they_were(tmp_path, capsys):
    checkpoints = opened(tmp_path / "checkpoints", keep=1)
    checkpoints.save(1, made_state(1), 8, METRICS[1] | {"auc": float("nan")})
    checkpoints.close()
    reader = opened(tmp_path / "checkpoints")
    assert reader.choose("best") == 1 and np.isnan(reader.metrics(1)["auc"])
    assert capsys.readouterr().err == ""


def test_the_best_with_other_values_is_refused_when_it_is_read(folder):
    change_values(folder / "2")
    checkpoints = opened(folder)
    with pytest.raises(InputError, match="2 is damaged: .*name another step.*there: 1, 3"):
        checkpoints.restore(checkpoints.choose("best"), made_state(0))


def test_steps_of_older_versions_are_read(older, capsys):
    checkpoints = opened(older, run_id="")
    assert checkpoints.choose("best") == 2
    assert equal(checkpoints.restore(2, made_state(0)), made_state(2))
    assert checkpoints.position(2) == 16 and checkpoints.metrics(2) == METRICS[2]
    assert checkpoints.datasets(2) == {} and checkpoints.written(2) > 1e18
    assert checkpoints.choose("latest") == 3
    # That the run is older is said where its config.json is read.
    assert capsys.readouterr().err == ""
    # A step of a later run is not one of an older run.
    shutil.copytree(older, older.parent / "mixed")
    save_steps(older.parent / "mixed", (4,), run_id=RUN)
    with pytest.raises(InputError, match="4 is damaged: it is a step of another run"):
        opened(older.parent / "mixed", run_id="").choose("4")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"macro', bytes([255, 254]), b"7"])
def test_damaged_metrics_and_metadata_of_older_versions_are_refused(older, tmp_path, content):
    folder = shutil.copytree(older, tmp_path / "checkpoints")
    (folder / "3" / "metrics" / "metrics").write_bytes(content)
    (folder / "2" / "_CHECKPOINT_METADATA").write_bytes(content)
    with pytest.raises(InputError, match="3 is damaged.*its metrics cannot be read"):
        opened(folder, run_id="").choose("3")
    with pytest.raises(InputError, match="cannot be told, since .*2 is damaged"):
        opened(folder, run_id="").choose("best")
    with pytest.raises(DamagedCheckpoint, match="_CHECKPOINT_METADATA cannot be read"):
        opened(folder, run_id="").position(2)


def test_the_best_that_thresholds_name_is_not_lost_without_a_word_in_an_older_run(older, tmp_path):
    folder = shutil.copytree(older, tmp_path / "checkpoints")
    (tmp_path / "thresholds.json").write_text(json.dumps({"checkpoint": 2}))
    assert opened(folder, run_id="").choose("best") == 2
    shutil.rmtree(folder / "2" / "metrics")
    with pytest.raises(InputError, match="2 was the best, and is without its metrics"):
        opened(folder, run_id="").choose("best")
    # One that is gone has been beaten by a later one.
    shutil.rmtree(folder / "2")
    assert opened(folder, run_id="").choose("best") == 3
    shutil.rmtree(folder / "3")
    with pytest.raises(InputError, match="2 was the best, and is not there"):
        opened(folder, run_id="").choose("best")


def test_the_state_that_was_damaged_is_the_one_that_is_named(folder):
    """A whole checkpoint of the right step and run with one array of another."""
    state = made_state(3)
    kernel = np.array(state.params["conv1"]["kernel"])
    kernel[0, 0, 0, 0] += 1e-6
    state.params["conv1"]["kernel"] = kernel
    manifest = (folder / "3" / "manifest.json").read_bytes()
    checkpoints = opened(folder, keep=3)
    checkpoints.save(3, state, 24, METRICS[3])
    checkpoints.close()
    (folder / "3" / "manifest.json").write_bytes(manifest)
    with pytest.raises(DamagedCheckpoint, match="params/conv1/kernel has other values"):
        opened(folder).verify(3)
