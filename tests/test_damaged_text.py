"""Every file of a run that is read back, damaged 500 times: one line, or the same values.

Checkpoints and exports have tests of their own (tests/training, tests/serving), and so have the
files of a dataset of version 3.0.0 (tests/data).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.made_datasets import build_dataset
from support.made_reports import made_table
from support.mutations import mutations

from hpa_jax.config import Config, Data
from hpa_jax.data.catalog import load_dataset, read_channel_statistics, read_digests
from hpa_jax.data.pipeline import identify, open_sources
from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table
from hpa_jax.evaluation.ensemble_file import FittedEnsemble
from hpa_jax.files import sealed, write_json
from hpa_jax.main import main
from hpa_jax.plan.run import _earlier_rows
from hpa_jax.tracking.metrics_file import DAMAGED_NAME, format_record, read_records, reopen
from hpa_jax.workdir import claim, read_config, read_learned_ids, read_record

GOLDEN = Path(__file__).resolve().parent / "golden" / "version_0_1"
COUNT = 500

slow = pytest.mark.slow


def check_every(path, read, *, count=COUNT, may_differ=None):
    """Reads a damaged `path` again and again; returns how many forms were refused.

    Args:
      path: of the file.
      read: returns what can be compared with `==`.
      count: number of damaged forms.
      may_differ: whether a value that differs from that of the file as it was is allowed.
    """
    content = path.read_bytes()
    expected = read()
    refused = 0
    for damaged in mutations(content, count):
        path.write_bytes(damaged)
        try:
            found = read()
        except InputError as error:
            assert len(str(error).splitlines()) == 1 and str(error).isprintable(), damaged
            refused += 1
            continue
        if found != expected:
            assert may_differ is not None and may_differ(found, expected), damaged
    path.write_bytes(content)
    assert read() == expected
    return refused


@pytest.fixture
def run(tmp_path):
    build_dataset(tmp_path / "data", "small")
    data = Data(data_dir=str(tmp_path / "data"), name="small")
    workdir = tmp_path / "run"
    workdir.mkdir()
    claim(workdir, Config(data=data), identify(data, open_sources(data)))
    return workdir


@slow
def test_config_json(run):
    refused = check_every(
        run / "config.json", lambda: (read_config(run), read_record(run)), count=3 * COUNT
    )
    # The others are of white space, or of a number that is spelt in another way.
    assert refused > 2.5 * COUNT


@slow
def test_config_json_of_an_older_run_is_never_a_traceback(tmp_path):
    shutil.copytree(GOLDEN / "run", tmp_path / "run")
    read = lambda: read_config(tmp_path / "run")  # noqa: E731
    path = tmp_path / "run" / "config.json"
    refused = check_every(path, read, count=2 * COUNT, may_differ=lambda *_: True)
    assert refused > COUNT / 2


@slow
def test_config_json_on_the_command_line(run, capsys):
    path = run / "config.json"
    for damaged in mutations(path.read_bytes(), 60, seed=1):
        path.write_bytes(damaged)
        try:
            read_config(run)
        except InputError:
            assert main(["--mode=export", f"--workdir={run}"]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("error: ") and "config.json" in line


@slow
def test_learned_ids(run):
    assert check_every(run / "learned_ids.npy", lambda: read_learned_ids(run).tolist()) > 400


def records():
    for step in range(20, 220, 20):
        yield {"step": step, "split": "train", "loss": 1 / step, "lr": 1e-3, "data_wait": 0.25}
        yield {"step": step, "split": "validation", "macro_f1": step / 1000}


@slow
def test_metrics_jsonl_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(map(format_record, records())))
    # A file that ends within a line is one of a run that was killed.
    refused = check_every(
        path, lambda: read_records(path), may_differ=lambda found, all: found == all[: len(found)]
    )
    assert refused > 0.8 * COUNT


@slow
def test_metrics_jsonl_is_resumed(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    aside = tmp_path / DAMAGED_NAME
    content = "".join(map(format_record, records())).encode()
    intact = set(content.splitlines())
    for damaged in mutations(content, COUNT):
        path.write_bytes(damaged)
        aside.unlink(missing_ok=True)
        capsys.readouterr()
        reopen(path, last_step=220).close()
        kept = path.read_bytes().splitlines()
        assert set(map(json_of, kept)) <= set(map(json_of, intact))
        if aside.exists():
            (line,) = capsys.readouterr().err.splitlines()
            assert str(aside) in line
        elif damaged.endswith(b"\n"):
            # Nothing is dropped without a word.
            assert len(kept) == len(damaged.splitlines())


def json_of(line):
    return json.dumps(json.loads(line), sort_keys=True)


@slow
def test_scores(tmp_path):
    path = tmp_path / "validation.npz"
    score_table.save(path, made_table(40))

    def read():
        table = vars(score_table.load(path))
        return {name: np.asarray(value).tolist() for name, value in table.items()}

    assert check_every(path, read) > COUNT / 4


@slow
def test_ensemble_json(tmp_path):
    path = tmp_path / "ensemble.json"
    folders = ["/runs/a", "/runs/b"]
    models = []
    for number, folder in enumerate(folders):
        runs = [{"folder": folder, "checkpoint": 10 + number}]
        models.append({"name": "densenet", "weight": 0.25 + number / 2, "runs": runs})
    content = {
        "models": models,
        "fitted_on": "validation",
        "views": "none",
        "thresholds": {"Nucleoplasm": 0.5, "Cytosol": 0.25},
    }
    write_json(path, sealed(content))

    def read():
        return vars(FittedEnsemble(path, folders))

    assert check_every(path, read) > COUNT / 2
    # Those of older versions have no digest.
    write_json(path, content)
    check_every(path, read, may_differ=lambda *_: True)


@slow
def test_plan_json(tmp_path):
    path = tmp_path / "plan.json"
    rows = [{"key": key, "fits": True, "measured": False, "peak_hbm_gb": 3.25} for key in "abc"]
    write_json(path, [sealed(row) for row in rows])
    check_every(
        path,
        lambda: _earlier_rows(path),
        # A row that is damaged is compiled again.
        may_differ=lambda found, all: found.items() <= all.items(),
    )


@slow
@pytest.mark.parametrize(
    "name", ["metadata.json", "dataset_info.json", "features.json", "labels.labels.txt"]
)
def test_an_older_dataset_is_never_a_traceback(tmp_path, name):
    shutil.copytree(GOLDEN / "data", tmp_path / "data")
    data_dir = tmp_path / "data"

    def read():
        dataset = load_dataset(data_dir, "synthetic_32", split="all")
        statistics = read_channel_statistics(data_dir, "synthetic_32")
        return dataset.ids(), statistics, read_digests(data_dir, "synthetic_32")

    path = data_dir / "hpa" / "synthetic_32" / "2.0.0" / name

    # Its statistics have no digest; they are within what images can have.
    def statistics_alone(found, expected):
        return (found[0], found[2]) == (expected[0], expected[2])

    check_every(path, read, count=150, may_differ=statistics_alone)


def test_some_of_each_are_refused(run, tmp_path):
    """A few forms of each, so that every run of the tests damages something."""
    assert check_every(run / "config.json", lambda: read_record(run), count=20) > 10
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(map(format_record, records())))
    read = lambda: read_records(path)  # noqa: E731
    prefix = lambda found, all: found == all[: len(found)]  # noqa: E731
    assert check_every(path, read, count=40, may_differ=prefix) > 20
