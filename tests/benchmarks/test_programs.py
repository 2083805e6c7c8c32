"""What all benchmarks have in common: help, rows, and how they end."""

import ast
import importlib
import json
from pathlib import Path

import command_line
import pytest
import results

from hpa_jax.errors import InputError, RunStopped

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def programs():
    """The modules with a function `main`."""
    names = []
    for path in sorted(BENCHMARKS.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        if "main" in functions:
            names.append(path.stem)
    return names


def test_there_are_programs():
    assert {"input", "learning", "nets", "train_step"} < set(programs())


@pytest.mark.parametrize("name", programs())
def test_help_is_the_docstring_with_the_command(name, capsys):
    program = importlib.import_module(name)
    try:
        status = program.main(["--help"])
    except SystemExit as exit:
        status = exit.code
    assert status == 0
    shown = capsys.readouterr().out
    assert program.__doc__.strip() in shown
    assert f"python benchmarks/{name}.py" in shown


@pytest.mark.parametrize("name", ["bootstrap", "input_million", "splits"])
def test_the_old_flag_for_a_number_of_images_is_accepted(name, monkeypatch):
    program = importlib.import_module(name)
    asked = []
    for function in ("compare", "report"):
        monkeypatch.setattr(program, function, asked.append, raising=False)
    assert program.main(["--fields=7"]) == program.main(["--images=7"]) == 0
    assert [args.images for args in asked] == [7, 7]


def test_rows(tmp_path):
    alone = results.make_row("a", 3.0, "s", device="cpu", workers=2)
    assert alone == {
        "name": "a",
        "value": 3.0,
        "unit": "s",
        "peer": None,
        "ratio_to_peer": None,
        "device": "cpu",
        "workers": 2,
    }
    beside = results.make_row("b", 3.0, "s", peer="other", peer_value=2.0, device="cpu")
    assert (beside["peer_value"], beside["ratio_to_peer"]) == (2.0, 1.5)
    of_nothing = results.make_row("c", 3.0, "s", peer="other", peer_value=0.0, device="cpu")
    assert (of_nothing["peer_value"], of_nothing["ratio_to_peer"]) == (0.0, None)

    path = tmp_path / "rows.json"
    results.write_rows(path, [alone, beside])
    assert json.loads(path.read_text()) == [alone, beside]
    results.write_rows(None, [alone])


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("no images"), 2, "error: no images\n"),
        (RunStopped("full disk"), 1, "stopped: full disk\n"),
    ],
)
def test_expected_errors_are_one_line(error, status, line, capsys):
    def work():
        raise error

    assert command_line.run(work) == status
    assert capsys.readouterr().err == line
    assert command_line.run(lambda: None) == 0
