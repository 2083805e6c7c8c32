"""The command line: what it takes, and what it refuses in one line with exit status 2."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpa_jax import main as command
from hpa_jax.config import Config, from_dict, to_dict
from hpa_jax.recipes.command_line import MODES, parse
from hpa_jax.workdir import claim

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPES = sorted(path for path in (REPOSITORY / "configs").glob("*.py") if path.stem != "__init__")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def refusal(capsys, *arguments):
    assert command.main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1, error
    return error


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_complete_and_has_source_expectation_and_command(path):
    mode, _, config = parse([f"--config={path}", "--workdir=somewhere"])
    assert mode == "train"
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    text = path.read_text()
    assert all(word in text for word in ("Source:", "Expected:", "Command:"))


def test_overrides_are_typed():
    flags = (
        "optim.lr=3e-4",
        "data.channel_mix=red,blue",
        "data.labels=(3,1)",
        "augment.scale=(0.5,1.0)",
    )
    flags += ("data.sources=('a','b:0.5')",)
    _, _, config = parse(
        ["--config=configs/lowres.py", "--workdir=x", *(f"--config.{f}" for f in flags)]
    )
    assert config.optim.lr == 3e-4 and config.data.channel_mix == "red,blue"
    assert config.label_ids() == (3, 1)
    assert config.source_names() == ("a", "b") and config.source_weights() == (1.0, 0.5)
    assert config.augment.scale == (0.5, 1.0)


@pytest.mark.parametrize(
    "flag, named",
    [
        ("--config.optim.learning_rate=1", "learning_rate"),
        ("--config.optimizer.lr=1", "optimizer"),
        ("--config.optim.lr=fast", "fast"),
        ("--config.data.batch_size=1.5", "1.5"),
        ("--config.data.batch_size=0", "batch_size=0"),
        ("--config.data.image_size=16", "image_size=16"),
        ("--config.data.channel_mix=red,purple", "purple"),
        ("--config.data.sources=('a','a:2')", "sources=('a', 'a:2')"),
        ("--config.data.sources=('a:0',)", "sources=('a:0',)"),
        ("--config.data.mean=(0.1,0.2)", "mean=(0.1, 0.2)"),
        ("--config.data.labels=(1000,)", "1000"),
        ("--config.model.dropout=1.0", "dropout"),
        ("--config.augment.scale=(1.0,0.5)", "scale"),
        ("--mode=training", "training"),
        ("--nonsense=1", "nonsense"),
        ("stray", "stray"),
        ("--conf=configs/quickstart.py", "conf"),
        ("--mode", "mode"),
    ],
)
def test_wrong_flags_are_refused_by_name(capsys, tmp_path, flag, named):
    assert named in refusal(
        capsys, "--config=configs/lowres.py", f"--workdir={tmp_path / 'run'}", flag
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flag, named",
    [
        ("--config.model.name=resnet", "densenet121"),
        ("--config.model.head=flat", "hpa_densenet, pooled"),
        ("--config.model.dtype=float16", "bfloat16"),
        ("--config.train.loss=mse", "bce"),
        ("--config.optim.schedule=cosine", "cosine_decay"),
        ("--config.optim.name=lion", "adam, adamw, sgd"),
        ("--config.checkpoint.metric=loss", "micro_f1"),
        ("--config.data.name=hpav18", "synthetic_32"),
        ("--config.data.train_split=training", "train"),
        ("--config.data.batch_size=9", "multiple of 8"),
    ],
)
def test_names_that_are_not_in_their_tables_are_refused_with_the_table(
    capsys, tmp_path, small_run, flag, named
):
    assert named in refusal(capsys, *small_run, f"--workdir={tmp_path}", flag)
    assert not (tmp_path / "checkpoints").exists()


def test_missing_things_are_named(capsys, tmp_path):
    assert "--workdir" in refusal(capsys, "--config=configs/lowres.py")
    assert "configs/lowres.py" in refusal(capsys, f"--workdir={tmp_path}")
    assert "configs/lowres.py" in refusal(
        capsys, f"--workdir={tmp_path}", "--config=configs/lowers.py"
    )
    assert "holds no run" in refusal(
        capsys, f"--workdir={tmp_path}", "--mode=export", "--config=configs/lowres.py"
    )
    for scores, targets in (("S.npy", ""), ("", "T.npy")):
        flags = (f"--config.evaluate.scores={scores}", f"--config.evaluate.targets={targets}")
        refusal(capsys, f"--workdir={tmp_path}", "--mode=evaluate", *flags)


def test_a_recipe_that_fails_is_refused_in_one_line(capsys, tmp_path):
    for text in (
        "get_config = 1 +",
        "def get_config():\n    return {}\n",
        "raise RuntimeError('a\\nb')",
        "",
    ):
        (tmp_path / "recipe.py").write_text(text)
        assert "recipe.py" in refusal(
            capsys, f"--config={tmp_path / 'recipe.py'}", f"--workdir={tmp_path}"
        )


def test_a_config_json_that_was_edited_is_refused(capsys, tmp_path):
    for text in ("{", "[]", '{"data": {"batch": 1}}', '{"dta": {"batch_size": 1}}', '{"data": 3}'):
        (tmp_path / "config.json").write_text(text)
        assert "config.json" in refusal(capsys, f"--workdir={tmp_path}", "--mode=evaluate")


def test_a_run_cannot_be_read_as_another_net(capsys, tmp_path):
    claim(tmp_path, Config())
    error = refusal(capsys, f"--workdir={tmp_path}", "--mode=export", "--config.model.head=linear")
    assert "model.head='pooled'" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config=configs/lowres.py", "--workdir=a b", "--mode=plan", "--config.optim.lr=0.5"],
        ["--config", "configs/lowres.py", "--workdir", "a b", "--mode", "plan"]
        + ["--config.optim.lr", "0.5"],
        ["-config=configs/lowres.py", "-workdir=a b", "-mode=plan", "-config.optim.lr=0.5"],
        ["-config.optim.lr", "0.5", "-mode", "plan", "-workdir", "a b"]
        + ["-config", "configs/lowres.py"],
        # The last one given holds.
        ["--workdir=x", "--mode=train", "--config=none.py", "--config.optim.lr=1"]
        + ["--config=configs/lowres.py", "--workdir=a b", "--mode=plan", "--config.optim.lr=0.5"],
    ],
)
def test_flags_have_one_dash_or_two_and_a_value_behind_or_after(arguments):
    mode, workdir, config = parse(arguments)
    assert (mode, workdir, config.optim.lr) == ("plan", Path("a b"), 0.5)
    assert config.data.name == "kaggle_512"


def test_values_may_look_like_other_things(tmp_path):
    flags = (
        *("--config.devices.process", "-1"),
        *("--config.data.labels", "(3, 1)"),
        *("--config.optim.schedule_options", '{"boundaries_and_scales": {0: 1e-30}}'),
        "--config.evaluate.runs=",
    )
    _, _, config = parse(["--config=configs/lowres.py", "--workdir=x", *flags])
    assert config.devices.process == -1 and config.data.labels == (3, 1)
    assert config.optim.schedule_options == '{"boundaries_and_scales": {0: 1e-30}}'


@pytest.mark.parametrize("flag", ["--help", "-help", "-h"])
def test_help_lists_modes_and_every_field_with_its_meaning(capsys, flag):
    assert command.main(["--config=configs/lowres.py", flag]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in (*MODES, "Exit status"))
    assert "--config.optim.lr=0.01\n      peak learning rate" in text


def test_scores_of_a_file_need_no_recipe(capsys, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "S.npy", rng.random((50, 28)))
    np.save(tmp_path / "T.npy", rng.integers(0, 2, (50, 28)))
    flags = (
        f"--config.evaluate.scores={tmp_path / 'S.npy'}",
        f"--config.evaluate.targets={tmp_path / 'T.npy'}",
    )
    assert command.main(["--mode=evaluate", f"--workdir={tmp_path / 'out'}", *flags]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    keys = {"macro_f1", "micro_f1", "macro_f1_crossfit", "macro_f1_in_sample", "per_label"}
    assert keys <= report.keys()
    assert "macro" in capsys.readouterr().out


def test_memory_that_runs_out_is_refused_with_what_helps(capsys, tmp_path, monkeypatch):
    def allocate(call, group, traces):
        np.ones(2**60, np.uint8)

    monkeypatch.setattr(command, "_run", allocate)
    error = refusal(capsys, "--config=configs/quickstart.py", f"--workdir={tmp_path}")
    assert error.startswith("error: out of memory (Unable to allocate 1.00 EiB ")
    assert "try a smaller config.data.batch_size (now 16) with config.optim.accumulate" in error
