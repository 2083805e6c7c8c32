"""No csv of this project runs a formula in a spreadsheet or moves the cursor of a terminal."""

import csv
import io
from pathlib import Path

import pytest

from hpa_jax.files import csv_cell, csv_text, plain_cell, write_csv
from hpa_jax.report.tables import Table

ROOT = Path(__file__).resolve().parents[2]

FORMULAS = [
    '=HYPERLINK("http://a.invalid","b")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "  =1+1",
    "'=1+1",
    "' @A1",
    "\uff1d1+1",
    "-A1",
]
HARMLESS = ["", "a-1", "3", "-1", "+4.5", "-.5e-3", "it's", "'quoted'", "a=b", "caf\u00e9 \u4e2d"]
UNPRINTABLE = {
    "a\u202egpj.exe": r"a\u202egpj.exe",
    "\x1b[31mred": r"\x1b[31mred",
    "two\nlines\r": r"two\nlines\r",
    "\tcell": r"\tcell",
    "zero\0": r"zero\x00",
    "not UTF-8 \udcff": r"not UTF-8 \udcff",
}


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_as_text_and_read_again(text):
    assert csv_cell(text) == f"'{text}"
    assert plain_cell(csv_cell(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_written_as_it_is(text):
    assert csv_cell(text) == text and plain_cell(text) == text


@pytest.mark.parametrize("text", UNPRINTABLE)
def test_what_cannot_be_printed_is_escaped(text):
    assert csv_cell(text) == UNPRINTABLE[text]


@pytest.mark.parametrize("value", [None, True, -1, 0.5, -2.5])
def test_values_that_are_no_text_stay_what_they_are(value):
    assert csv_cell(value) is value


def test_every_cell_of_a_table_is_safe(tmp_path):
    rows = [FORMULAS, [*UNPRINTABLE, -1, None, 0.5]]
    write_csv(tmp_path / "a.csv", ("=id", "x"), rows)
    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert text == csv_text(("=id", "x"), rows) == Table("a", ("=id", "x"), rows).to_csv()
    assert text.replace("\n", "").isprintable()
    header, formulas, _ = csv.reader(io.StringIO(text))
    assert header == ["'=id", "x"]
    assert [plain_cell(cell) for cell in formulas] == FORMULAS


def test_nothing_writes_a_csv_in_another_way():
    writers = []
    for folder in ("hpa_jax", "tfds_builder", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            if "csv.writer" in source or "DictWriter" in source:
                writers.append(path.relative_to(ROOT).as_posix())
    # The others: one draws the images of a test, under names of its own; one joins two tables for
    # the builder alone, which must find each cell as it was.
    assert sorted(writers) == [
        "hpa_jax/files/csv_table.py",
        "tfds_builder/hpa/dummy_data/make_dummy_data.py",
        "tfds_builder/hpa/files/s_biad2443.py",
    ]
