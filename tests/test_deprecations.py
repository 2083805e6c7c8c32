"""Every entry of the tables: the old spelling is read, and one line names the new one."""

import json

import pytest

from hpa_jax import deprecations
from hpa_jax.config import Config, Data, Model, Train, check, from_dict
from hpa_jax.deprecations import (
    EVALUATION_KEYS,
    EXPORT_KEYS,
    METRICS_KEYS,
    REMOVED_SETTINGS,
    RENAMED_SETTINGS,
    RENAMED_VALUES,
    current_keys,
)
from hpa_jax.recipes import load_recipe, parse
from hpa_jax.workdir import read_config

# A value for each old name, as a flag has it and as Python has it.
VALUES = {
    "data.mix": ("green,blue", "green,blue"),
    "data.shown_mean": ("(0.5,)", (0.5,)),
    "data.shown_std": ("(0.25,)", (0.25,)),
    "plan.fields": ("1000", 1000),
    "train.log_ids": ("True", True),
}
OF_VALUES = [
    (setting, old, new) for setting, values in RENAMED_VALUES.items() for old, new in values.items()
]


@pytest.fixture(autouse=True)
def nothing_warned_of_yet(monkeypatch):
    monkeypatch.setattr(deprecations, "_warned", set())


def value_of(config, setting):
    section, _, field = setting.partition(".")
    return getattr(getattr(config, section), field)


def check_one_line(capsys, *names):
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    assert error.endswith("is accepted until version 0.4\n")
    assert all(name in error for name in names), error


@pytest.mark.parametrize("old", RENAMED_SETTINGS)
@pytest.mark.parametrize("dashes", ["--", "-"])
@pytest.mark.parametrize("joined", [True, False])
def test_a_renamed_flag_is_accepted(capsys, old, dashes, joined):
    text, value = VALUES[old]
    # A std belongs to a mean, which here is written as it is now.
    flags = ["--config.data.channel_mix=green"] if "shown" in old else []
    flags += ["--config.data.input_mean=(0.5,)"] if old == "data.shown_std" else []
    flags += ["--config.data.input_std=(0.5,)"] if old == "data.shown_mean" else []
    flag = f"{dashes}config.{old}"
    flags += [f"{flag}={text}"] if joined else [flag, text]
    _, _, config = parse(["--config=configs/quickstart.py", "--workdir=none", *flags])
    new = RENAMED_SETTINGS[old]
    assert value_of(config, new) == value
    check_one_line(capsys, f"config.{old} is now config.{new}")


@pytest.mark.parametrize("old", REMOVED_SETTINGS)
@pytest.mark.parametrize("joined", [True, False])
def test_a_removed_flag_is_accepted_without_effect(capsys, old, joined):
    flag = f"--config.{old}"
    flags = [f"{flag}=True"] if joined else [flag, "True"]
    command = ["--config=configs/quickstart.py", "--workdir=none"]
    assert parse([*command, *flags, "--config.optim.lr=0.5"]) == parse(
        [*command, "--config.optim.lr=0.5"]
    )
    check_one_line(capsys, f"config.{old} has no effect now")


@pytest.mark.parametrize(("setting", "old", "new"), OF_VALUES)
def test_a_renamed_value_is_accepted(capsys, setting, old, new):
    command = ["--config=configs/quickstart.py", "--workdir=none", f"--config.{setting}={old}"]
    _, _, config = parse(command)
    assert value_of(config, setting) == new
    check_one_line(capsys, f"config.{setting}={old} is now config.{setting}={new}")


@pytest.mark.parametrize("old", [*RENAMED_SETTINGS, *REMOVED_SETTINGS])
def test_recipes_may_still_use_old_names(capsys, tmp_path, old):
    """As an argument of the section, and as an attribute of it."""
    section, _, field = old.partition(".")
    value = VALUES[old][1]
    statements = (
        f"Config({section}={section.title()}({field}={value!r}))",
        f"Config()\n    config.{old} = {value!r}",
    )
    for statement in statements:
        deprecations._warned.clear()
        recipe = tmp_path / "recipe.py"
        recipe.write_text(
            "from hpa_jax.config import Config, Data, Plan, Train\n\n"
            f"def get_config():\n    config = {statement}\n    return config\n"
        )
        # Not checked: a std without its mean is out of range.
        config = load_recipe(str(recipe))
        if old in RENAMED_SETTINGS:
            assert value_of(config, RENAMED_SETTINGS[old]) == value
            check_one_line(capsys, f"config.{old} is now config.{RENAMED_SETTINGS[old]}")
            assert value_of(config, old) == value  # and may be read by its old name
        else:
            assert config == Config()
            check_one_line(capsys, f"config.{old} has no effect now")


@pytest.mark.parametrize(("setting", "old", "new"), OF_VALUES)
def test_recipes_may_still_use_old_values(capsys, setting, old, new):
    section, _, field = setting.partition(".")
    made = {"data": Data, "model": Model}[section](**{field: old})
    assert getattr(made, field) == new
    check_one_line(capsys, f"config.{setting}={old} is now config.{setting}={new}")
    deprecations._warned.clear()
    setattr(made, field, "")
    setattr(made, field, old)
    assert getattr(made, field) == new
    check_one_line(capsys, f"config.{setting}={old} is now config.{setting}={new}")


def test_config_json_of_an_older_version_is_read_without_a_word_about_names(capsys, tmp_path):
    sections = {}
    for old, (_, value) in VALUES.items():
        section, _, field = old.partition(".")
        sections.setdefault(section, {})[field] = value
    for setting, old, _ in OF_VALUES:
        section, _, field = setting.partition(".")
        if setting == "data.channel_mix":
            field = "mix"
        sections.setdefault(section, {})[field] = old
    (tmp_path / "config.json").write_text(json.dumps(sections))
    config = read_config(tmp_path)
    check(config)
    for setting, _, new in OF_VALUES[:2]:
        assert value_of(config, setting) == new
    assert config.data.channel_mix == "hpa_densenet_iii"
    assert config.data.input_mean == (0.5,) and config.data.input_std == (0.25,)
    assert config.plan.images == 1000
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: the run in {tmp_path} is of an older version")
    assert from_dict({"data": {"mix": "rgb"}}) == Config(data=Data(channel_mix="rgb"))


@pytest.mark.parametrize("keys", [EVALUATION_KEYS, METRICS_KEYS, EXPORT_KEYS])
def test_renamed_keys_of_json_files_are_read(keys):
    for old, new in keys.items():
        record = {old: 1, "macro_f1": 0.5}
        assert current_keys(record, keys) == {new: 1, "macro_f1": 0.5}
        assert current_keys({new: 1, "macro_f1": 0.5}, keys) == {new: 1, "macro_f1": 0.5}
        assert record == {old: 1, "macro_f1": 0.5}


def test_a_line_comes_once_and_unknown_names_are_refused(capsys):
    for _ in range(3):
        Data(mix="green")
    check_one_line(capsys, "config.data.mix")
    with pytest.raises(TypeError, match="mixed"):
        Data(mixed="green")
    with pytest.raises(AttributeError, match="mixed"):
        Data().mixed  # noqa: B018
    with pytest.raises(AttributeError, match="log_ids"):
        Train().log_ids  # noqa: B018
    with pytest.raises(AttributeError):
        Data().mixed = "green"
