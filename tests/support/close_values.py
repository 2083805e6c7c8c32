"""Comparison of what one version wrote with what another one makes of it."""

import csv
import json
import math
from pathlib import Path

import pytest

# Other processors round differently.
TOLERANCE = 1e-4

# Of a log line: what the clock says, and the checksum of the line.
NOT_REPEATED = ("images_per_sec", "data_wait", "goodput", "crc")


def assert_close(found, expected, where: str = "") -> None:
    """Equal values in nested dicts and lists, numbers within TOLERANCE."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_close(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for position, value in enumerate(expected):
            assert_close(found[position], value, f"{where}/{position}")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, abs_tol=TOLERANCE), where
    else:
        assert found == expected, where


def assert_same_predictions(path: Path, expected_path: Path) -> None:
    """The same Ids and labels in two files of predictions, and scores within TOLERANCE."""
    found = _rows(path)
    expected = _rows(expected_path)
    assert found[0] == expected[0] and len(found) == len(expected)
    for row, expected_row in zip(found[1:], expected[1:], strict=True):
        assert (row[0], row[-1]) == (expected_row[0], expected_row[-1])
        scores = [float(cell) for cell in row[1:-1]]
        assert scores == pytest.approx([float(c) for c in expected_row[1:-1]], abs=TOLERANCE)


def assert_same_log(path: Path, expected_path: Path) -> None:
    """The same lines in two metrics.jsonl, but for speeds."""
    found = _lines(path)
    expected = _lines(expected_path)
    assert len(found) == len(expected)
    for line, expected_line in zip(found, expected, strict=True):
        assert_close(line, expected_line)


def _rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _lines(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        for name in NOT_REPEATED:
            line.pop(name, None)
    return lines
