"""The files of a page's numbers."""

import json

import numpy as np

from hpa_jax.report.tables import Table, write_tables


def test_what_is_not_defined_is_empty_and_null(tmp_path):
    table = Table("t", ("a", "b", "c"), [[np.nan, np.float32(0.1), None], ["x", np.int64(3), True]])
    assert write_tables(tmp_path, [table]) == ["t.csv", "report.json"]
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n,0.1,\nx,3,True\n"
    found = json.loads((tmp_path / "report.json").read_text())["t"]
    assert found == [{"a": None, "b": 0.1, "c": None}, {"a": "x", "b": 3, "c": True}]
