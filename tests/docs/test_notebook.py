"""docs/quickstart.ipynb runs from its first cell to its last, and is stored without outputs."""

from pathlib import Path
from threading import Thread

import nbclient
import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "docs/quickstart.ipynb"

LONG_S = 3600
"""What a kernel on a busy machine may take to answer. A kernel that has died is noticed anyway."""


def read_notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_without_outputs():
    notebook = read_notebook()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Runs all cells in a kernel that starts in `folder`, however long they take."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=LONG_S,
        # The outputs of a cell are thrown away where they come later than this after its end.
        iopub_timeout=LONG_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    errors = []

    def execute():
        try:
            client.execute()
        except Exception as error:
            errors.append(error)

    # In the main thread nbclient takes SIGTERM and SIGINT for itself: it ends the kernel, reports
    # that it died, and the process that was to end goes on.
    thread = Thread(target=execute, daemon=True)
    thread.start()
    thread.join()
    for error in errors:
        raise error


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = read_notebook()
    run(notebook, tmp_path)

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
