"""Make the notebook of the documentation, ``docs/notebook.ipynb``, by running ``docs/notebook.py`` in a kernel."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat

SOURCE, TARGET = (Path(__file__).with_name(name) for name in ("notebook.py", "notebook.ipynb"))
_CELL = re.compile(r"^# %%(?P<kind> \[markdown\])?\n", re.MULTILINE)
_TIMEOUT_S = 300


def cells_of(text: str) -> Iterator[Any]:
    """Part a script at its ``# %%`` lines into cells of a notebook."""
    marks = [*_CELL.finditer(text)]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for number, (mark, end) in enumerate(zip(marks, ends, strict=True)):
        body = text[mark.end() : end].strip()
        if mark["kind"]:
            plain = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
            yield nbformat.v4.new_markdown_cell(plain, id=f"cell-{number}")
        else:
            yield nbformat.v4.new_code_cell(body, id=f"cell-{number}")


def executed(text: str, folder: Path) -> Any:
    """Run a script as a notebook in a folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=list(cells_of(text)), metadata=kernel)
    client = nbclient.NotebookClient(notebook, timeout=_TIMEOUT_S, resources={"metadata": {"path": folder}})
    client.execute()
    for cell in notebook.cells:
        cell["metadata"].pop("execution", None)
    return notebook


def main() -> None:
    """Write the notebook with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(SOURCE.read_text(encoding="ascii"), Path(folder)), TARGET)


if __name__ == "__main__":
    main()
