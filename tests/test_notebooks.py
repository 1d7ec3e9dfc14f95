"""Every notebook of the docs runs from its first cell to its last, and shows what it promises."""

from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def shown(notebook):
    """Return the HTML, pictures and text that the cells show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(str(output.get("data", output.get("text", ""))) for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    text = shown(notebook)
    assert "<b>Data for" in text and "epoch" in text and "written" in text
    assert "Traceback" not in text
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip().endswith((".show_batch()", ".show_results()")):
            assert any("data:image/png;base64" in str(output) for output in cell.outputs), cell.source
    assert list((tmp_path / "runs").rglob("*.dlpk"))


def test_they_are_kept_without_outputs():
    assert {path.stem for path in NOTEBOOKS} >= {"detection", "segmentation", "tables"}
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert all(not cell.get("outputs") for cell in notebook.cells), path.name
