"""Settings: declared once, with a default in their range, help, and one line of refusal."""

import dataclasses

import pytest

from hpa_jax.config import (
    Config,
    Data,
    check,
    differences,
    from_dict,
    help_text,
    listed,
    profile_window,
    to_dict,
)
from hpa_jax.errors import InputError
from hpa_jax.recipes import load_config

SECTIONS = dataclasses.fields(Config)
SETTINGS = [
    (section.name, setting)
    for section in SECTIONS
    for setting in dataclasses.fields(section.default_factory)
]


@pytest.mark.parametrize(
    ("section", "setting"), SETTINGS, ids=[f"{name}.{field.name}" for name, field in SETTINGS]
)
def test_a_setting_has_help_and_a_default_that_is_allowed(section, setting):
    assert setting.metadata["help"]
    assert setting.metadata["accepts"](setting.default)
    line = f"  --config.{section}.{setting.name}={setting.default!r}\n"
    words = " ".join(help_text().partition(line)[2].split())
    assert words.startswith(" ".join(setting.metadata["help"].split()))
    if setting.metadata["allowed"]:
        assert f"[{setting.metadata['allowed']}]" in words


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("data.batch_size", 0, "at least 1"),
        ("data.image_size", 31, "0, or at least 32 and at most 8192"),
        ("data.image_size", 8193, "0, or at least 32 and at most 8192"),
        ("data.repeat_threshold", 0.0, "above 0 and at most 1"),
        ("data.labels", (1000,), "ids of the vocabulary's labels, from 0, each once"),
        ("data.labels", (1, 1), "ids of the vocabulary's labels, from 0, each once"),
        ("data.vocabulary", ("Golgi", "GOLGI"), "up to 1000 names, each once"),
        ("data.aspect", "squash", "'', pad, crop, stretch"),
        ("data.sources", ("a", "a:2"), "each name once"),
        ("data.sources", ("a:much",), "weights 0.001 to 1000"),
        ("data.mean", (0.1,), "four fractions of 255 for each source"),
        ("data.mean", (0.1, 0.1, 2.4e15, 0.1), "fractions of 255, from 0 to 1"),
        ("data.mean", (0.1, 0.1, float("nan"), 0.1), "fractions of 255, from 0 to 1"),
        ("data.input_mean", (0.5, float("inf")), "values from -10000 to 10000"),
        ("data.std", (0.1,) * 4, "as many fractions of 255 above 0 as data.mean has"),
        ("data.input_std", (0.1,), "as many values above 0 as data.input_mean has"),
        ("model.dropout", 1.0, "at least 0 and below 1"),
        ("model.dropout", float("nan"), "at least 0 and below 1"),
        ("augment.scale", (1.0, 0.5), "0 < low <= high"),
        ("optim.lr", 0.0, "above 0"),
        ("optim.plateau_factor", 1.0, "above 0 and below 1"),
        ("train.profile", "5:5", "START:STOP"),
        ("loss.focal_alpha", 1.5, "at most 1"),
        ("devices.process", 0, "devices.processes"),
        ("devices.process", 1, "devices.processes"),
        ("devices.coordinator", "host", "HOST:PORT"),
        ("evaluate.folds", 1, "at least 2"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_field_the_value_and_what_is_allowed(
    name, value, allowed
):
    config = Config()
    section, _, field = name.partition(".")
    setattr(getattr(config, section), field, value)
    if (name, value) == ("devices.process", 0):
        check(config)  # the one process of a run
        return
    with pytest.raises(InputError) as refused:
        check(config)
    text = str(refused.value)
    assert text.startswith(f"config.{name}={value!r} is out of range; allowed: ")
    assert allowed in text and "\n" not in text


def test_statistics_are_four_for_each_source_or_four_for_all():
    for sources, count in (((), 4), (("a", "b"), 8), (("a", "b"), 4)):
        data = Data(sources=sources, mean=(0.1,) * count, std=(0.2,) * count)
        check(Config(data=data))
    with pytest.raises(InputError, match="data.mean"):
        check(Config(data=Data(mean=(0.1,) * 8, std=(0.2,) * 8)))


def test_a_configuration_survives_its_json_form():
    config = Config()
    config.data.labels = (3, 1)
    config.optim.lr = 0.5
    assert to_dict(config)["data"]["labels"] == [3, 1]
    assert from_dict(to_dict(config)) == config
    assert differences(Config(), config) == {"data.labels": ([], [3, 1]), "optim.lr": (0.01, 0.5)}
    with pytest.raises(InputError, match="optim.learning_rate is no field"):
        from_dict({"optim": {"learning_rate": 1.0}})


def test_the_data_section_says_which_labels_and_sources():
    data = Data(name="own")
    assert data.label_ids() == tuple(range(28))
    assert data.source_names() == ("own",) and data.source_weights() == (1.0,)
    data = Data(name="own", labels=(3, 1), sources=("a", "b:0.5"))
    assert data.label_ids() == (3, 1)
    assert data.source_names() == ("a", "b") and data.source_weights() == (1.0, 0.5)
    config = Config(data=data)
    assert config.label_ids() == (3, 1) and config.source_names() == ("a", "b")
    assert config.source_weights() == (1.0, 0.5)


def test_lists_and_windows_in_text():
    assert listed(" a, b,,c ") == ("a", "b", "c") and listed("") == ()
    assert profile_window("3:7") == (3, 7)
    for text in ("", "3", "7:3", "3:3", "-1:3", "a:b", "3:4:5"):
        assert profile_window(text) is None


def test_a_configuration_is_loaded_with_overrides(tmp_path):
    config = load_config("configs/lowres.py", data__batch_size=8, optim__lr=1, data__labels=[3, 1])
    assert config.data.batch_size == 8 and config.model.name == "densenet121"
    assert config.optim.lr == 1.0 and config.data.labels == (3, 1)
    for overrides, named in (
        ({"data__batch": 8}, "data__batch=8"),
        ({"batch_size": 8}, "section__field"),
        ({"data__batch_size": "8"}, "is no int"),
        ({"data__batch_size": 0}, "data.batch_size=0"),
    ):
        with pytest.raises(InputError, match=named):
            load_config("configs/lowres.py", **overrides)
    with pytest.raises(InputError, match="holds no run"):
        load_config(tmp_path)
