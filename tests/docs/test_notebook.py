"""docs/quickstart.ipynb runs from its first cell to its last, and is stored without outputs."""

from pathlib import Path

import nbclient
import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "docs/quickstart.ipynb"


def read_notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_without_outputs():
    notebook = read_notebook()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = read_notebook()
    client = nbclient.NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()

    printed = ""
    pictures = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            printed += output.get("text", "")
            pictures += "image/png" in output.get("data", {})
    assert "golden output reproduced" in printed
    assert "macro_f1_crossfit" in printed
    assert pictures == 2
    assert list(tmp_path.iterdir()) == []
