"""Errors on one line."""

import pytest

from hpa_jax.errors import InputError, RunStopped, one_line
from tfds_builder.hpa.sources import Fault


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("two\nlines  and\ttabs "), "two lines and tabs"),
        (ValueError(), "ValueError"),
        (KeyError("name"), "'name'"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "No such file or directory"),
        (OSError("of a library"), "of a library"),
        ("a \x1b[31mtext\x1b[0m", "a ?[31mtext?[0m"),
        ("µm, 荧光", "µm, 荧光"),
    ],
)
def test_an_error_on_one_line(error, line):
    assert one_line(error) == line


def test_a_long_error_is_cut():
    assert one_line("x" * 20, limit=20) == "x" * 20
    assert one_line("x" * 21, limit=20) == "x" * 17 + "..."


@pytest.mark.parametrize("kind", [InputError, RunStopped])
def test_names_in_a_message_cannot_break_its_line_or_steer_a_terminal(kind):
    # White space that can be printed is a path's own.
    assert str(kind("of two\n\x1b[31mfolders\x7f: a  µ")) == "of two??[31mfolders?: a  µ"


def test_a_faulty_image_cannot_either():
    assert str(Fault("1", "a\x7f.png", "is empty")) == "Id 1: a?.png is empty"
