"""Tests of config files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.config_file import read_config_file


def test_read_config_file_gives_dotted_and_plain_names(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("training:\n  seed: 3\ndevices: 2\nsimulate: {anything: 1}\nmodel:\nlearning_rate: 5e-4\n")
    assert read_config_file(path).settings() == {"training.seed": 3, "devices": 2, "learning_rate": 5e-4}


def test_read_config_file_reads_json(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"execution": {"learning_rate": 1e-4, "logger_backend": null}}')
    assert read_config_file(path).settings() == {"execution.learning_rate": 1e-4, "execution.logger_backend": None}


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_read_config_file_is_empty_when_the_file_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert read_config_file(tmp_path / "run.yaml").settings() == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nseed: 2\n", "seed given twice"),
        ("trainer: {seed: 1}\n", "section 'trainer'"),
        ("- 1\n", "holds a list"),
        ("a: [1\n", "is not YAML or JSON"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not YAML or JSON"),
    ],
)
def test_read_config_file_refuses_when_the_text_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config_file(tmp_path / "run.yaml").settings()


def test_read_config_file_refuses_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config_file(tmp_path / "none.yaml")


def test_section_gives_one_section_by_plain_name(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("simulate: {seed: 3}\ntraining: {seed: 4}\nmodel: 5\n")
    assert read_config_file(path).section("simulate") == {"seed": 3}
    assert read_config_file(path).section("data") == {}
    with pytest.raises(ConfigError, match=r"section 'model' of .* is 5"):
        read_config_file(path).section("model")
