"""docs/tour.ipynb runs from its first cell to its last."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "tour.ipynb"


def test_the_notebook_is_kept_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_the_notebook_walks_the_sample_corpus(sample_extra, tmp_path, monkeypatch):
    monkeypatch.setenv("DMD_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(REPOSITORY)}}).execute()
    said = "\n".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "12 segments" in said and "predicted" in said
    assert (tmp_path / "sample" / "report.html").exists() and (tmp_path / "sample" / "tour" / "result.json").exists()
