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
    "except ptd.PtychoDistError as error:\n    print(type(error).__name__, error)",
    f"result = ptd.reconstruct(scan, output_dir='two', devices=2, progress=True, {SETTINGS})\nresult",
    f"alone = ptd.reconstruct(scan, output_dir='one', devices=1, {SETTINGS})\n"
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
    told = " ".join(text_of(result).split())
    assert "2 rank(s), launcher spawn" in told
    assert "epoch 2 of 2" in told
    assert "data:image/png;base64," in result[-1]["data"]["text/html"]
    assert text_of(printed(compared)).split() == ["2", "1", "2", "True"]
    assert text_of(kept).split() == ["True", "[]", "0"]
