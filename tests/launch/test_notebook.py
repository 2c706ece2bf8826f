"""The Python interface in a real notebook kernel, on two ranks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.launch import calm_environment

SETTINGS = 'accelerator="cpu", width=8, max_epochs=2, iterations=2'
CELLS = (
    "import os, signal, logging\nimport ptycho_dist as ptd\nbefore = dict(os.environ)",
    "scan = ptd.open_scan('{scan}')\nscan",
    "try:\n    ptd.reconstruct(scan, output_dir='wrong', devices=2, file_format='nosuch')\n"
    "except ptd.PtychoDistError as error:\n    print(type(error).__name__, error)\n    get_ipython().showtraceback()",
    f"result = ptd.reconstruct(scan, output_dir='two', devices=2, {SETTINGS})\nresult",
    f"alone = ptd.reconstruct(scan, output_dir='one', devices=1, progress=False, {SETTINGS})\n"
    "print(result.metrics['ranks'], alone.metrics['ranks'], len(list(result.path.parent.glob('logs/rank-*'))))\n"
    "print(abs(result.object_ - alone.object_).max() < 1e-3)",
    "print(before == dict(os.environ), logging.getLogger('ptycho_dist').handlers, signal.getsignal(signal.SIGTERM))",
)


@pytest.fixture
def outputs(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """Run the cells in a kernel of this Python; what each of them has shown."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name, value in calm_environment().items():
        monkeypatch.setenv(name, value)
    sources = [cell.replace("{scan}", str(scan)) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(
        notebook, timeout=90, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    return [cell["outputs"] for cell in notebook.cells]


def text_of(shown: list[Any]) -> str:
    """Text of an output without its colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", "".join(output.get("text", "") for output in shown))


def printed(shown: list[Any]) -> list[Any]:
    """Give what went to the standard output."""
    return [output for output in shown if output.get("name") == "stdout"]


def test_notebook_reconstructs_on_two_ranks_after_an_error(outputs: list[list[Any]]) -> None:
    _imported, opened, refused, result, compared, kept = outputs
    assert "25 patterns of 32 x 32" in opened[0]["data"]["text/plain"]
    assert "DataFormatError data.file_format = 'nosuch'" in text_of(refused)
    shown = [output for output in refused if output["output_type"] == "error"]
    assert [len(output["traceback"]) for output in shown] == [1]
    assert shown[0]["traceback"][0].startswith("DataFormatError: data.file_format = 'nosuch'")
    displays = [output for output in result if output["output_type"] == "display_data"]
    assert [output["data"]["text/plain"].partition(" after ")[0] for output in displays] == [
        "reconstruct on 2 ranks finished"
    ]
    assert "<progress" in displays[0]["data"]["text/html"]
    assert "INFO" not in text_of(result)
    assert "data:image/png;base64," in result[-1]["data"]["text/html"]
    assert text_of(printed(compared)).split() == ["2", "1", "2", "True"]
    assert text_of(kept).split() == ["True", "[]", "0"]


def test_notebook_of_the_documentation_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    from docs.make_notebook import SOURCE, TARGET, executed

    for name, value in calm_environment().items():
        monkeypatch.setenv(name, value)
    made = executed(SOURCE.read_text(encoding="ascii"), tmp_path)
    kept = nbformat.read(TARGET, as_version=4)
    assert [cell["source"] for cell in kept.cells] == [cell["source"] for cell in made.cells]
    assert [kinds_of(cell) for cell in kept.cells] == [kinds_of(cell) for cell in made.cells]
    assert TARGET.stat().st_size < 500_000
    shown = "".join(text_of(cell.get("outputs", [])) for cell in made.cells)
    assert "True (64, 2)" in shown
    assert "Did you mean 'iterations'?" in shown
    before, after = map(float, re.findall(r"Fourier error ([\d.]+) at first, ([\d.]+) at last", shown)[0])
    assert after < before / 2


def kinds_of(cell: Any) -> list[tuple[str, list[str]]]:
    """Tell what a cell has shown, without its content."""
    return [(one["output_type"], sorted(one.get("data", {}))) for one in cell.get("outputs", [])]
