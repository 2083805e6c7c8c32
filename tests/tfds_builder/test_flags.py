"""Flags of the builder's command line that changed their names."""

import hashlib
import shutil
from pathlib import Path

import pytest

from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.arguments import RENAMED_FLAGS, parser, rename_old_flags
from tfds_builder.hpa.prepare import version_dir

REQUIRED = ["--config=synthetic", "--data_dir=data"]


@pytest.mark.parametrize(
    ("old", "value", "parsed"),
    [("--fields", "40", 40), ("--like", "other", "other"), ("--family_column", "donor", "donor")],
)
@pytest.mark.parametrize("equals", [True, False])
def test_an_old_name_sets_the_new_flag(old, value, parsed, equals, capsys):
    arguments = [f"{old}={value}"] if equals else [old, value]
    new = RENAMED_FLAGS[old]
    flags = parser().parse_args(rename_old_flags([*REQUIRED, *arguments]))
    assert getattr(flags, new.removeprefix("--")) == parsed
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert old in err and new in err


def test_every_renamed_flag_is_tested_above():
    assert set(RENAMED_FLAGS) == {"--fields", "--like", "--family_column"}
    help = parser().format_help()
    for old, new in RENAMED_FLAGS.items():
        assert f"{new} " in help and f"{old} " not in help


def test_new_names_print_nothing(capsys):
    flags = [*REQUIRED, "--images=3", "--match_splits_of", "other"]
    assert rename_old_flags(flags) == flags
    assert capsys.readouterr() == ("", "")


def test_a_dataset_built_with_old_names_is_the_same(tmp_path, capsys):
    """Its settings too: a build with the new names finds it there."""
    build = ["--config=synthetic_32", f"--data_dir={tmp_path}", "--workers=1"]
    assert main([*build, "--fields=12"]) == 0
    table = (version_dir(tmp_path, "synthetic_32") / "images.csv").read_bytes()
    assert main([*build, "--images=12"]) == 0
    assert "is there already, with these settings" in capsys.readouterr().out
    assert main([*build, "--name=second", "--images=12", "--like=synthetic_32"]) == 0
    second = version_dir(tmp_path, "second")
    assert hashlib.sha256(table).hexdigest() in (second / "metadata.json").read_text()
    assert main([*build, "--name=second", "--images=12", "--match_splits_of=synthetic_32"]) == 0
    assert "is there already, with these settings" in capsys.readouterr().out


def test_a_dataset_of_the_version_before_is_followed_and_left_alone(tmp_path, capsys):
    golden = Path(__file__).parents[1] / "golden/version_0_1/data/hpa/synthetic_32"
    shutil.copytree(golden, tmp_path / "hpa/synthetic_32")
    before = tmp_path / "hpa/synthetic_32/2.0.0"
    table = hashlib.sha256((before / "fields.csv").read_bytes()).hexdigest()
    build = ["--config=synthetic_32", "--images=12", f"--data_dir={tmp_path}", "--workers=1"]
    assert main([*build, "--name=second", "--match_splits_of=synthetic_32"]) == 0
    assert table in (version_dir(tmp_path, "second") / "metadata.json").read_text()
    capsys.readouterr()
    assert main(build) == 0
    assert f"{before} is left as it is; from now on 3.0.0 is read" in capsys.readouterr().out
    assert hashlib.sha256((before / "fields.csv").read_bytes()).hexdigest() == table
