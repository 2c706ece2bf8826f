"""Every setting says what it means."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ptycho_dist.config.fields import field_docs
from ptycho_dist.config.sections import ALL_SECTIONS


@pytest.mark.parametrize("section", ALL_SECTIONS)
def test_every_field_has_a_docstring(section: str) -> None:
    config = ALL_SECTIONS[section]
    docs = field_docs(config)
    assert set(docs) == {field.name for field in fields(config)}
    assert all(text.endswith(".") for text in docs.values())
