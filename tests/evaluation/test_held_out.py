"""What a run has learnt from is told where it is evaluated on it."""

import json
import shutil

import pytest
from support.made_datasets import IDS, build_dataset, pixels_of
from support.made_runs import made_run

from hpa_jax import main as command
from hpa_jax.data.identity import id_hashes
from hpa_jax.workdir import LEARNED_IDS, read_learned_ids

pytestmark = pytest.mark.usefixtures("compiled_once")

MOVED = IDS["train"][:3]
ANEW = {
    "train": [*IDS["train"][3:], IDS["test"][0]],
    "validation": IDS["validation"],
    "test": [*IDS["test"][1:], *MOVED],
}


def pixels(image_id):
    return pixels_of(image_id, (32, 32))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """`small`, and the same images in `anew`, three of them moved from train to test."""
    folder = tmp_path_factory.mktemp("data")
    build_dataset(folder / "first", "small", image_of=pixels)
    build_dataset(folder / "anew", "small", ids=ANEW, image_of=pixels)
    build_dataset(folder / "first", "other", ids=ANEW, image_of=pixels)
    return folder


@pytest.fixture(scope="module")
def made(data_dir):
    statistics = {"data__mean": (0.5,) * 4, "data__std": (0.3,) * 4}
    made_run(data_dir / "run", data_dir / "first", data__name="small", **statistics)
    return data_dir / "run"


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run, as its modes write into it."""
    return shutil.copytree(made, tmp_path / "run")


def evaluated(run, capsys, *flags, mode="evaluate"):
    """evaluation.json, and what was printed on stderr."""
    capsys.readouterr()
    settings = ("--config.evaluate.replicates=0", "--config.evaluate.folds=2")
    assert command.main([f"--mode={mode}", f"--workdir={run}", *settings, *flags]) == 0
    warnings = capsys.readouterr().err.splitlines()
    path = run / "evaluation.json"
    return json.loads(path.read_text()) if path.exists() else {}, warnings


def test_a_run_knows_which_images_it_has_learnt_from(run):
    assert (read_learned_ids(run) == id_hashes(IDS["train"])).all()


def test_held_out_images_of_the_same_build_are_told_of_as_such(run, capsys):
    report, warnings = evaluated(run, capsys, "--config.data.eval_split=test")
    assert report["learned_images"] == 0 and report["changed_splits"] == {} and not warnings
    report, warnings = evaluated(run, capsys, "--config.data.eval_split=all")
    assert report["learned_images"] == 23 and report["images"] == 35
    (warning,) = warnings
    assert "has learnt from 23 of these 35 images of all" in warning


@pytest.mark.parametrize("mode", ["evaluate", "predict"])
def test_a_dataset_that_was_built_anew_is_told_of(run, data_dir, capsys, mode):
    flags = (f"--config.data.data_dir={data_dir / 'anew'}", "--config.data.eval_split=test")
    report, warnings = evaluated(run, capsys, *flags, mode=mode)
    changed, learned = warnings
    assert "other Ids, labels or folds in train, test" in changed
    assert str(data_dir / "anew") in changed
    assert "has learnt from 3 of these 7 images of test" in learned
    if mode == "evaluate":
        assert report["learned_images"] == 3
        assert report["changed_splits"] == {"small": ["train", "test"]}


def test_images_of_the_same_ids_in_another_dataset_are_counted(run, capsys):
    flags = ("--config.data.name=other", "--config.data.eval_split=test")
    report, (warning,) = evaluated(run, capsys, *flags)
    assert report["learned_images"] == 3 and report["changed_splits"] == {}
    assert "3 of these 7" in warning


def test_it_is_told_where_the_record_is_lost(run, capsys):
    (run / LEARNED_IDS).unlink()
    report, (warning,) = evaluated(run, capsys, "--config.data.eval_split=test")
    assert "learned_images" not in report and report["changed_splits"] == {}
    assert "cannot be told" in warning and LEARNED_IDS in warning


def test_an_ensemble_is_not_fitted_on_images_that_a_run_has_learnt_from(
    run, data_dir, tmp_path, capsys
):
    # The run has learnt from fold 0 of this build.
    ids = {"train": IDS["validation"], "validation": IDS["train"], "test": IDS["test"]}
    if not (data_dir / "swapped").exists():
        build_dataset(data_dir / "swapped", "small", ids=ids, image_of=pixels)
    flags = (
        "--mode=evaluate",
        f"--workdir={tmp_path / 'ensemble'}",
        f"--config.evaluate.runs={run}",
        f"--config.data.data_dir={data_dir / 'swapped'}",
    )
    assert command.main(list(flags)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {run} has learnt from 23 of the images")
    assert not (tmp_path / "ensemble" / "ensemble.json").exists()
