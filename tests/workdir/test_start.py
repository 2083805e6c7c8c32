"""A run's folder: whole files, one process, the same settings and data at each start."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.made_datasets import IDS, build_dataset, pixels_of

import hpa_jax
from hpa_jax.config import Config, Data
from hpa_jax.data.pipeline import identify, open_sources
from hpa_jax.errors import InputError
from hpa_jax.files import locked, write_json
from hpa_jax.labels import HPA_2018, HPA_2021
from hpa_jax.workdir import (
    RunRecord,
    claim,
    config_file,
    read_config,
    read_learned_ids,
    read_record,
    with_aspect_of_run,
    write_record,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "version_0_1" / "run"


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
    first = claim(tmp_path, Config())
    longer = Config()
    longer.train.epochs, longer.checkpoint.keep, longer.data.threads = 60.0, 5, 1
    assert claim(tmp_path, longer) == first
    assert read_config(tmp_path) == longer
    other = Config()
    other.data.batch_size = 7
    with pytest.raises(InputError, match="config.data.batch_size=32, now 7"):
        claim(tmp_path, other)
    assert read_config(tmp_path) == longer


def test_a_run_is_not_resumed_with_another_vocabulary(tmp_path):
    config = Config()
    config.data.vocabulary = HPA_2018.labels
    claim(tmp_path, config)
    other = Config()
    other.data.vocabulary = HPA_2021.labels
    with pytest.raises(InputError) as error:
        claim(tmp_path, other)
    message = str(error.value)
    assert "the 28 labels of hpa2018, and those of the dataset kaggle_512 are the 19" in message
    assert "label 8 is 'Peroxisomes' and 'Intermediate filaments'" in message
    # Left to the data, it is not another one.
    assert claim(tmp_path, Config()).id == read_record(tmp_path).id


def test_a_run_of_before_has_the_labels_of_2018_and_stretches(tmp_path):
    claim(tmp_path, Config())
    content = content_of(tmp_path)
    del content["data"]["vocabulary"]
    del content["data"]["aspect"]
    del content["run"]
    write_json(tmp_path / "config.json", content)
    config = read_config(tmp_path)
    assert config.data.vocabulary == HPA_2018.labels and config.data.aspect == "stretch"
    # A recipe that names no aspect goes on as the run was started.
    assert with_aspect_of_run(Config(), tmp_path).data.aspect == "stretch"
    assert with_aspect_of_run(Config(), tmp_path / "new").data.aspect == ""
    padded = Config()
    padded.data.aspect = "pad"
    assert with_aspect_of_run(padded, tmp_path).data.aspect == "pad"


def content_of(workdir):
    return json.loads((workdir / "config.json").read_text())


def refused(workdir) -> str:
    """The one line with which a run is refused, wherever it is read."""
    messages = set()
    for read in (read_config, read_record, lambda folder: claim(folder, Config())):
        with pytest.raises(InputError) as error:
            read(workdir)
        messages.add(str(error.value))
    (message,) = messages
    assert "\n" not in message and str(workdir) in message
    return message


def test_config_json_says_what_the_run_is_under_a_digest(tmp_path):
    record = claim(tmp_path, Config())
    content = content_of(tmp_path)
    run = content["run"]
    assert run["format"] == 2 and run["hpa_jax"] == hpa_jax.__version__
    assert run["id"] == record.id and len(bytes.fromhex(record.id)) == 16
    digest = run.pop("sha256")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert read_record(tmp_path) == record
    (tmp_path / "another").mkdir()
    assert claim(tmp_path / "another", Config()).id != record.id


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("optim", "lr", 0.02),
        ("data", "batch_size", 16),
        ("train", "epochs", 31.0),
        ("data", "data_dir", "elsewhere"),
        ("run", "id", "0" * 32),
        ("run", "datasets", {}),
        ("run", "hpa_jax", "0.0"),
        ("run", "sha256", "0" * 64),
        ("run", "sha256", None),
    ],
)
def test_an_edit_is_told_and_taken_back(tmp_path, section, name, value):
    data = identity_of(tmp_path / "data")
    claim(tmp_path, Config(), data)
    before = content_of(tmp_path)
    content = content_of(tmp_path)
    content[section][name] = value
    write_json(tmp_path / "config.json", content)
    assert "was changed after training wrote it" in refused(tmp_path)
    # Its values count, not how they are written.
    (tmp_path / "config.json").write_text(json.dumps(before, sort_keys=True))
    assert read_config(tmp_path) == Config()


def test_a_run_of_a_newer_format_is_refused_by_its_version(tmp_path):
    claim(tmp_path, Config())
    content = content_of(tmp_path) | {"flights": "of fancy"}
    content["run"] |= {"format": 3, "hpa_jax": "9.1"}
    write_json(tmp_path / "config.json", content)
    message = refused(tmp_path)
    assert "format 3" in message and "'9.1'" in message and "reads up to 2" in message


def test_an_older_run_is_read_with_one_warning(tmp_path, capsys):
    shutil.copytree(GOLDEN, tmp_path / "run")
    config = read_config(tmp_path / "run")
    assert read_record(tmp_path / "run") == RunRecord(format=1, id="")
    assert read_learned_ids(tmp_path / "run") is None
    # Resuming does not make it look like one that could prove itself.
    assert claim(tmp_path / "run", config, identity_of(tmp_path / "data")).format == 1
    assert "run" not in content_of(tmp_path / "run")
    (line,) = capsys.readouterr().err.splitlines()
    assert "--mode=verify --config.verify.seal=True" in line and "older version" in line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"data": 1}',
        '{"data": {"name": "\\ud800"}}',
        '{"optim": {"lr": "0.1"}}',
        '{"optim": {"lr": NaN}}',
        '{"optim": {"lr": 1e999}}',
        '{"optim": {"lr": -1}}',
        '{"train": {"steps": 1.5}}',
        '{"train": {"epochs": 1' + "0" * 400 + "}}",
        '{"data": {"labels": ["Nucleoplasm"]}}',
        '{"data": {"sources": [1]}}',
        '{"data": {"mean": [[0.5]]}}',
        '{"data": {"channel_mix": {}}}',
        '{"help": {}}',
        '{"data": {"label_ids": 1}}',
        '{"run": null}',
        '{"run": {"format": "2"}}',
        '{"run": {"format": 2}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "config.json").write_bytes(content)
    assert "config.json" in refused(tmp_path)


def test_a_folder_in_place_of_config_json_is_refused(tmp_path):
    (tmp_path / "config.json").mkdir()
    assert "Is a directory" in refused(tmp_path)


def identity_of(data_dir, **dataset):
    if not data_dir.exists():
        build_dataset(data_dir, "small", **dataset)
    data = Data(data_dir=str(data_dir), name="small")
    return identify(data, open_sources(data))


def config_at(data_dir):
    return Config(data=Data(data_dir=str(data_dir), name="small"))


def test_data_may_be_moved_between_two_starts(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    there = tmp_path / "there"
    first = claim(run, config_at(there), identity_of(there))
    elsewhere = there.rename(tmp_path / "elsewhere")
    assert claim(run, config_at(elsewhere), identity_of(elsewhere)) == first
    assert read_config(run).data.data_dir == str(elsewhere)
    # Where nobody has looked at the data, another place is another run's.
    with pytest.raises(InputError, match="config.data.data_dir"):
        claim(run, config_at("nowhere"))


OTHER_FOLDS = {**IDS, "train": IDS["train"][1:], "test": [*IDS["test"], "train-0"]}


@pytest.mark.parametrize(
    ("dataset", "split", "what"),
    [
        ({"ids": OTHER_FOLDS}, "train", "other Ids, labels or folds"),
        ({"ids": {name: IDS[name] for name in ("train", "validation")}}, "test", "other Ids"),
        ({"image_of": lambda i: pixels_of(i) ^ np.uint8(1)}, "train", "other images"),
    ],
)
def test_data_that_were_built_anew_are_refused(tmp_path, dataset, split, what):
    run = tmp_path / "run"
    run.mkdir()
    claim(run, config_at(tmp_path / "there"), identity_of(tmp_path / "there"))
    before = (run / "config.json").read_bytes()
    anew = tmp_path / "anew"
    with pytest.raises(InputError, match=f"its split {split} has {what}") as error:
        claim(run, config_at(anew), identity_of(anew, **dataset))
    assert str(anew) in str(error.value) and (run / "config.json").read_bytes() == before


def test_a_split_that_was_not_there_before_is_no_change(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    without_test = {name: IDS[name] for name in ("train", "validation")}
    there = tmp_path / "there"
    first = claim(run, config_at(there), identity_of(there, ids=without_test))
    more = tmp_path / "more"
    assert claim(run, config_at(more), identity_of(more)) == first


@pytest.mark.parametrize("damage", ["missing", "a folder", "empty", "flipped", "of another run"])
def test_what_a_run_has_learnt_from_is_checked_and_written_anew(tmp_path, damage):
    data = identity_of(tmp_path / "data")
    claim(tmp_path, config_at(tmp_path / "data"), data)
    assert (read_learned_ids(tmp_path) == data.learned).all() and len(data.learned) == 23
    path = tmp_path / "learned_ids.npy"
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        content[-3] ^= 4
        path.write_bytes(content)
    elif damage == "of another run":
        np.save(path, data.learned[1:])
    with pytest.raises(InputError, match="learned_ids.npy is not what training wrote"):
        read_learned_ids(tmp_path)
    if damage == "a folder":
        path.rmdir()
    claim(tmp_path, config_at(tmp_path / "data"), data)
    assert (read_learned_ids(tmp_path) == data.learned).all()


def test_the_warning_of_an_older_run_is_given_once_for_each(tmp_path, capsys):
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        write_json(tmp_path / name / "config.json", {})
        read_config(tmp_path / name)
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert (tmp_path / "a").resolve() in config_file._warned


def test_the_paths_of_one_call_are_not_read_back(tmp_path):
    """Somebody else may have written config.json, with right digests too."""
    config = Config()
    for name in ("scores", "targets", "groups", "runs"):
        setattr(config.evaluate, name, "/somewhere/else")
    config.export.folder = config.report.compare = "/somewhere/else"
    config.evaluate.tta = "symmetries"
    claim(tmp_path, config)
    assert "/somewhere/else" in (tmp_path / "config.json").read_text()
    found = read_config(tmp_path)
    assert "/somewhere/else" not in str(found) and found.evaluate.tta == "symmetries"


def test_a_run_that_was_sealed_without_its_data_knows_them_from_its_next_start(tmp_path):
    data = identity_of(tmp_path / "data")
    config = config_at(tmp_path / "data")
    first = write_record(tmp_path, config, "0" * 32, None)
    assert first.datasets == {} and read_learned_ids(tmp_path) is None
    record = claim(tmp_path, config, data)
    assert record.id == first.id and record.datasets == data.datasets
    assert (read_learned_ids(tmp_path) == data.learned).all()


def test_a_value_of_another_type_is_refused_before_anything_is_written(tmp_path):
    config = Config()
    config.augment.flips = 1
    with pytest.raises(InputError, match="config.augment.flips=1 is of another type"):
        claim(tmp_path, config)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("name", ["checkpoints", "metrics.jsonl"])
def test_a_run_without_its_config_json_is_not_started_anew(tmp_path, name):
    path = tmp_path / name
    if name == "checkpoints":
        (path / "8").mkdir(parents=True)
    else:
        path.write_text('{"step": 1, "split": "train"}\n')
    with pytest.raises(InputError, match=f"holds {name} and no config.json"):
        claim(tmp_path, Config())
    assert os.listdir(tmp_path) == [name]
