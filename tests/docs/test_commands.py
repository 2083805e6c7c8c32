"""The commands in the documentation are accepted as they stand: their flags, values and recipes."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from hpa_jax.config import Config, check
from hpa_jax.recipes import override, parse
from hpa_jax.serving import __main__ as serving
from tfds_builder.hpa import arguments

REPOSITORY = Path(__file__).resolve().parents[2]
BUILDER = REPOSITORY / "tfds_builder/hpa/README.md"
PAGES = [REPOSITORY / "README.md", BUILDER, *sorted((REPOSITORY / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_TRAINER = re.compile(
    r"(?:python -m hpa_jax\.main|local\.sh train|(local\.sh plan)|slurm\.sh) (.*)"
)
_SERVING = re.compile(r"python -m hpa_jax\.serving (.*)")
_FLAG = re.compile(r"--[a-z][a-z0-9_-]*")
_BUILDER = re.compile(r"python -m tfds_builder\.hpa (.*)")


def commands(pattern: re.Pattern) -> list[tuple[str, list[str]]]:
    """Page and arguments of every command in a block of shell that the pattern matches."""
    found = []
    for page in PAGES:
        name = page.relative_to(REPOSITORY).as_posix()
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                match = pattern.search(line)
                if match is None:
                    continue
                text = match.groups()[-1].replace("$fold", "1")
                # Which would be looked for.
                text = text.replace("gs://BUCKET/", "in_a_bucket/")
                words = shlex.split(text, comments=True)
                if pattern is _TRAINER and match.group(1):
                    words.append("--mode=plan")
                found.append((name, words))
    return found


@pytest.mark.parametrize("page, words", commands(_TRAINER))
def test_the_trainer_takes_its_commands(page, words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(REPOSITORY)
    if "--help" in words:
        return
    if any(word.startswith("--config=") for word in words):
        workdir = f"--workdir={tmp_path}"
        _, _, config = parse([word for word in words if "--workdir=" not in word] + [workdir])
    else:
        # About a run, which is not here: only its flags can be checked.
        config = override(Config(), [word for word in words if word.startswith("--config.")])
    check(config)
    # No old name of a setting, of which a line on stderr would tell.
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("page, words", commands(_BUILDER))
def test_the_builder_takes_its_commands(page, words, capsys):
    flags = arguments.parser().parse_args(arguments.rename_old_flags(words))
    assert flags.config
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["check", "page", "predict", "serve", "similar"])
def test_the_flags_of_an_exports_commands_are_in_its_help(command, capsys):
    # argparse ends the program after its help.
    with contextlib.suppress(SystemExit):
        serving.main([command, "--help"])
    offered = set(_FLAG.findall(capsys.readouterr().out))
    named = set()
    for _, words in commands(re.compile(rf"python -m hpa_jax\.serving {command} (.*)")):
        named |= set(_FLAG.findall(" ".join(words)))
    assert named <= offered


def test_there_are_commands():
    assert len(commands(_TRAINER)) > 30
    assert len(commands(_SERVING)) > 15
    assert len(commands(_BUILDER)) > 10
