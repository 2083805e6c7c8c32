"""The files of a page's numbers."""

import contextlib
import json

import numpy as np
import pytest

from hpa_jax.errors import InputError
from hpa_jax.folders.results import refuse_foreign_results
from hpa_jax.report import tables
from hpa_jax.report.tables import Table, write_tables


def test_what_is_not_defined_is_empty_and_null(tmp_path):
    table = Table("t", ("a", "b", "c"), [[np.nan, np.float32(0.1), None], ["x", np.int64(3), True]])
    assert write_tables(tmp_path, [table]) == ["t.csv", "report.json"]
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n,0.1,\nx,3,True\n"
    found = json.loads((tmp_path / "report.json").read_text())["t"]
    assert found == [{"a": None, "b": 0.1, "c": None}, {"a": "x", "b": 3, "c": True}]


@pytest.mark.parametrize("written", range(4))
def test_tables_that_a_kill_cuts_short_are_known_as_ours(tmp_path, monkeypatch, written):
    """Else the next call would refuse to write over them."""
    folder = tmp_path / "report"
    left = iter(range(written))

    def write(path, text):
        if next(left, None) is None:
            (path.parent / f".{path.name}.0123456789abcdef.part").write_text("half")
            raise KeyboardInterrupt
        path.write_text(text)

    monkeypatch.setattr(tables, "write_atomically", write)
    with contextlib.suppress(KeyboardInterrupt):
        write_tables(folder, [Table("a", ("x",), [[1]]), Table("b", ("y",), [[2]])])
    refuse_foreign_results(tmp_path, ["report"], "")
    (folder / "mine.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="this program did not write it"):
        refuse_foreign_results(tmp_path, ["report"], "")
