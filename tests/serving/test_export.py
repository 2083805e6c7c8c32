"""Evaluate, predict and export a run, then serve it without the training code."""

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file
from support.foreign_folders import snapshot
from support.made_runs import first_variables, made_run

from hpa_jax import main as command
from hpa_jax.config import to_dict
from hpa_jax.data.pipeline import open_split
from hpa_jax.errors import InputError
from hpa_jax.folders import export_manifest
from hpa_jax.labels import LABELS
from hpa_jax.parallel import memory
from hpa_jax.parallel.host_memory import Room
from hpa_jax.serving import artifact, worker
from hpa_jax.serving.served import TOLERANCE
from hpa_jax.workdir import read_config

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden" / "version_0_1" / "run" / "export"

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def workdir(small_data, compiled_once, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    made_run(workdir, small_data, model__dtype="bfloat16", model__head="hpa_densenet")
    for mode in ("evaluate", "predict", "export"):
        flags = [f"--mode={mode}", f"--workdir={workdir}", "--config.data.eval_split=test"]
        assert command.main(flags) == 0
    return workdir


@pytest.fixture(scope="module")
def test_images(workdir):
    config = read_config(workdir)
    return open_split(config.data, "test")


def test_predictions_are_one_row_per_image(workdir, test_images):
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(test_images.ids())
    assert list(rows[0]) == ["id", *LABELS, "labels"]
    description = json.loads((workdir / "export" / "model.json").read_text())
    thresholds = dict(zip(LABELS, description["thresholds"], strict=True))
    for row in rows:
        chosen = [str(i) for i, name in enumerate(LABELS) if float(row[name]) > thresholds[name]]
        assert row["labels"].split() == chosen


def test_evaluation_counts_the_predictions(workdir, test_images):
    from sklearn.metrics import f1_score

    report = json.loads((workdir / "evaluation.json").read_text())
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        scores = np.array([[float(row[name]) for name in LABELS] for row in csv.DictReader(file)])
    expected = f1_score(test_images.targets(), scores > 0.5, average="macro", zero_division=0)
    assert report["split"] == "test" and report["images"] == len(test_images)
    assert report["macro_f1"] == pytest.approx(expected, abs=1e-6)
    assert (
        report["stored_thresholds_fitted_on"] == "validation"
        and "macro_f1_stored_thresholds" in report
    )


def test_a_fresh_process_reproduces_the_golden_output(workdir, tmp_path):
    moved = shutil.copytree(workdir / "export", tmp_path / "elsewhere")
    code = (
        "import sys\n"
        "hidden = ('flax', 'optax', 'orbax', 'tensorflow', 'grain', 'ml_collections')\n"
        "for name in hidden: sys.modules[name] = None\n"
        "from hpa_jax.serving.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "golden output reproduced" in done.stdout


def test_the_export_is_the_net_in_float32(workdir, test_images):
    served = artifact.load(workdir / "export")
    images = np.stack([test_images[i]["image"] for i in range(5)])
    one, many = served.probabilities(images[:1]), served.probabilities(images)
    assert many.shape == (5, len(LABELS)) and many.dtype == np.float32
    np.testing.assert_allclose(many[:1], one, atol=1e-5)
    with open(workdir / "predictions.csv", newline="", encoding="utf-8") as file:
        scores = np.array(
            [[float(row[name]) for name in LABELS] for row in list(csv.DictReader(file))[:5]]
        )
    np.testing.assert_allclose(many, scores, atol=0.02)  # the run computed in bfloat16
    assert {
        a.dtype for a in load_file(workdir / "export" / export_manifest.PARAMETERS).values()
    } == {np.dtype(np.float32)}


def test_the_description_says_what_a_server_needs(workdir):
    description = json.loads((workdir / "export" / "model.json").read_text())
    assert [label["name"] for label in description["labels"]] == list(LABELS)
    assert (
        len(description["thresholds"]) == 28 and description["thresholds_fitted_on"] == "validation"
    )
    assert description["input"]["channels"] == ["red", "green", "blue", "yellow"]
    assert description["input"]["shape"] == ["B", 32, 32, 4]
    assert description["provenance"]["config"]["model"]["dtype"] == "bfloat16"


def test_the_description_says_how_sure_a_score_is(workdir, test_images):
    description = json.loads((workdir / "export" / "model.json").read_text())
    calibration = description["calibration"]
    assert calibration["split"] == "test" and calibration["images"] == len(test_images)
    total = np.array(calibration["total"])
    np.testing.assert_array_equal(total.sum(axis=1), len(test_images))
    positives = np.array(calibration["positives"]).sum(axis=1)
    np.testing.assert_array_equal(positives, test_images.targets().sum(axis=0))


def test_what_lies_beside_the_net_is_listed_and_has_the_figures_of_the_evaluation(workdir):
    digests = export_manifest.check_digests(workdir / "export")
    assert set(digests) == {*export_manifest.FILES, *export_manifest.OPTIONAL}
    card = (workdir / "export" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    (result,) = head["model-index"][0]["results"]
    evaluated = json.loads((workdir / "evaluation.json").read_text())
    found = {metric["name"].partition(";")[0]: metric for metric in result["metrics"]}
    for name, key in (
        ("macro F1, thresholds cross-fitted", "macro_f1_crossfit"),
        ("macro average precision", "macro_average_precision"),
    ):
        assert found[name]["value"] == pytest.approx(evaluated[key], abs=1e-6)
        interval = found[name]["args"]["interval"]
        assert interval == pytest.approx(evaluated["intervals"][key], abs=1e-6)
    stored = found["macro F1 at the thresholds of this export"]["value"]
    assert stored == pytest.approx(evaluated["macro_f1_stored_thresholds"], abs=1e-6)
    assert str(workdir) not in card


def test_a_missing_file_and_wrong_images_are_refused_in_one_line(workdir, tmp_path):
    served = artifact.load(workdir / "export")
    for wrong in (
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 4), np.float32),
        np.zeros((1, 64, 64, 4), np.uint8),
    ):
        with pytest.raises(InputError, match="the net takes uint8"):
            served.probabilities(wrong)
    folder = shutil.copytree(workdir / "export", tmp_path / "export")
    (folder / export_manifest.FORWARD).unlink()
    with pytest.raises(InputError, match=export_manifest.FORWARD):
        artifact.load(folder)


def test_nothing_in_the_export_is_a_pickle(workdir):
    for path in (workdir / "export").iterdir():
        assert not path.read_bytes().startswith(b"\x80"), (
            path
        )  # the first byte of every binary pickle


def test_exporting_twice_gives_the_same_bytes_whatever_the_shell_says(workdir, tmp_path):
    """Variables that change what JAX traces and computes, another folder, another umask."""
    before = {path.name: path.read_bytes() for path in (workdir / "export").iterdir()}
    hostile = {
        "HOME": str(tmp_path),
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "JAX_ENABLE_X64": "1",
        "JAX_NUM_CPU_DEVICES": "4",
        "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "20",
        "JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_PLATFORMS": "cpu",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(REPOSITORY),
        "SOURCE_DATE_EPOCH": "1",
        "TZ": "Pacific/Kiritimati",
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
    }
    # A module by this name in the folder that the user stands in is not the program's.
    (tmp_path / "safetensors.py").write_text("1 / 0")
    command = [sys.executable, "-P", "-m", "hpa_jax.main", "--mode=export", f"--workdir={workdir}"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]} | hostile,
        umask=0o027,
    )
    assert done.returncode == 0, done.stderr
    after = {path.name: path.read_bytes() for path in (workdir / "export").iterdir()}
    assert before == after
    assert not list(workdir.glob(".export*"))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (workdir / "export").iterdir()}
    assert modes == {0o640}


def test_an_export_names_no_path(workdir, small_data):
    for path in (workdir / "export").iterdir():
        content = path.read_bytes()
        for place in (workdir, small_data, REPOSITORY, sys.prefix):
            assert str(place).encode() not in content, path
        assert b"/hpa_jax/" not in content, path


@pytest.mark.slow
def test_a_path_in_a_config_that_somebody_else_wrote_is_not_heeded(tmp_path):
    """An older run: its config.json has no digest, and may say anything."""
    run = tmp_path / "run"
    shutil.copytree(GOLDEN.parent, run)
    theirs = tmp_path / "theirs"
    shutil.copytree(GOLDEN, theirs)
    before = snapshot(theirs)
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["export"]["folder"] = str(theirs)
    config["evaluate"]["runs"] = config["report"]["compare"] = str(tmp_path)
    path.write_text(json.dumps(config))
    shutil.rmtree(run / "export")
    assert command.main(["--mode=export", f"--workdir={run}"]) == 0
    assert snapshot(theirs) == before and export_manifest.check_digests(run / "export")


def test_a_foreign_folder_is_refused_before_anything_is_read(tmp_path, capsys, workdir):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text("{}")
    before = snapshot(tmp_path)
    flags = [f"--config.export.folder={tmp_path / 'app'}", f"--workdir={workdir}"]
    assert command.main(["--mode=export", *flags]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert "is not replaced" in message and "--config.export.folder" in message
    assert snapshot(tmp_path) == before


def test_averaged_weights_are_exported(tmp_path, small_data):
    """Twice the weights of the run's own: the kernels tell which were exported."""

    def doubled(state):
        return state.replace(average=jax.tree.map(lambda a: a * 2, state.average))

    config = made_run(tmp_path, small_data, train__ema=0.9, changed=doubled)
    own = flatten_dict(first_variables(config), sep="/")
    assert command.main(["--mode=export", f"--workdir={tmp_path}"]) == 0
    averaged = load_file(tmp_path / "export" / export_manifest.PARAMETERS)
    assert own.keys() == averaged.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(averaged[name], 2 * np.asarray(array), err_msg=name)
    description = json.loads((tmp_path / "export" / "model.json").read_text())
    assert description["empty"] == "no label" and "not part of the export" in description["tta"]


def test_scores_that_are_not_numbers_are_refused_and_nothing_is_written(
    tmp_path, small_data, capsys
):
    """As of a run that has blown up: each mode says so in one line."""

    def broken(state):
        last = jax.tree.map(lambda a: a * np.nan, state.params["head"])
        return state.replace(params={**state.params, "head": last})

    made_run(tmp_path, small_data, changed=broken)
    before = snapshot(tmp_path)
    for mode in ("predict", "evaluate", "export"):
        flags = [f"--mode={mode}", f"--workdir={tmp_path}", "--config.data.eval_split=test"]
        assert command.main(flags) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and "not finite" in message
        assert "--config.evaluate.checkpoint" in message
        if mode != "export":
            assert "28 of 28 labels, the first of them Nucleoplasm" in message
        assert snapshot(tmp_path).keys() == before.keys()


def test_a_net_without_batch_norm_is_exported_as_well(tmp_path, small_data):
    made_run(tmp_path, small_data, model__name="all_cnn", model__head="all_cnn")
    # Test-time augmentation is not exported.
    flags = ["--config.evaluate.tta=symmetries", "--config.evaluate.fill_empty=True"]
    assert command.main(["--mode=export", f"--workdir={tmp_path}", *flags]) == 0
    served = artifact.load(tmp_path / "export")
    stored = load_file(tmp_path / "export" / export_manifest.PARAMETERS)
    assert {name.partition("/")[0] for name in stored} == {"params"}
    assert served.check_golden() <= TOLERANCE and served.description["empty"].startswith(
        "the label"
    )
    assert (
        command.main(["--mode=predict", f"--workdir={tmp_path}", "--config.data.eval_split=test"])
        == 0
    )
    dataset = open_split(read_config(tmp_path).data, "test")
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        scores = np.array([[float(row[name]) for name in LABELS] for row in csv.DictReader(file)])
    images = np.stack([dataset[i]["image"] for i in range(len(dataset))])
    np.testing.assert_allclose(served.probabilities(images), scores, atol=1e-5)


def test_a_defect_of_the_process_that_writes_is_told_by_its_name():
    """Its input stays open meanwhile, as that of an export does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hpa_jax.serving.worker"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        process.stdin.write(b'{"unknown": 1}\n')
        process.stdin.flush()
        assert process.stdout.read() == b""
        errors = process.stderr.read().decode()
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("TypeError: ")


def test_an_export_that_does_not_fit_into_memory_is_refused(workdir, tmp_path, monkeypatch):
    """What the process that writes exports does, in this one."""
    left = iter([10**12, 0])
    monkeypatch.setattr(memory, "host_room", lambda: Room(next(left), "on this machine"))
    config = to_dict(read_config(workdir))
    with pytest.raises(InputError, match=r"^the golden output needs .*more memory$"):
        worker._write(str(tmp_path), str(workdir), config, [])
    assert list(tmp_path.iterdir()) == []
