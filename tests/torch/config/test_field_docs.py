"""Tests of the generated reference page."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.field_docs import ACTS_ON, execution_page, field_docs, main
from ptycho_dist.config.sections import ALL_SECTIONS

PAGE = Path(__file__).parents[3] / "docs" / "execution_config.md"


def test_page_in_the_repository_is_what_the_code_says(tmp_path: Path) -> None:
    main([str(tmp_path / "page.md")])
    assert PAGE.read_text() == (tmp_path / "page.md").read_text() == execution_page()


def test_page_has_a_row_for_every_field() -> None:
    names = [field.name for field in fields(PyTorchExecutionConfig)]
    assert list(ACTS_ON) == names
    assert all(f"| `{name}` |" in execution_page() for name in names)


@pytest.mark.parametrize("section", ALL_SECTIONS)
def test_every_field_has_a_docstring(section: str) -> None:
    config = ALL_SECTIONS[section]
    docs = field_docs(config)
    assert set(docs) == {field.name for field in fields(config)}
    assert all(text.endswith(".") for text in docs.values())
