"""Examples in the documentation run as they stand, and pages made from the code are as the code says."""

from __future__ import annotations

import doctest
from dataclasses import fields
from pathlib import Path

import pytest

from docs.make_pages import ACTS_ON, pages
from ptycho_dist.config.execution import PyTorchExecutionConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md") if ">>> " in path.read_text(encoding="utf-8"))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_ONLY_FIRST_FAILURE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run_as_they_stand(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=OPTIONS, encoding="utf-8")
    assert tried
    assert not failed, f"{failed} of {tried} examples in {page.name} fail; see above"


def test_pages_with_examples_are_found() -> None:
    assert DOCS / "python_api.md" in PAGES


@pytest.mark.parametrize("name", pages())
def test_page_made_from_the_code_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="ascii") == pages()[name], "run python docs/make_pages.py"


def test_execution_page_says_where_every_field_acts() -> None:
    assert list(ACTS_ON) == [field.name for field in fields(PyTorchExecutionConfig)]
