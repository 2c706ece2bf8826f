"""Wrong input of a new user is answered with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

import ptycho_dist as ptd
from ptycho_dist.cli import main
from ptycho_dist.commands.habits import HABITS, meant_by
from ptycho_dist.commands.parsing import parse, spellings
from ptycho_dist.commands.registry import commands
from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.registry import find_network
from tests.support.runs import simulate_tiny

BY_NAME = commands()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("refine s --max_epochs 3", r"setting of .*train, .*'ptycho-dist refine' .*. Did you mean --iterations"),
        ("refine s --epochs 3", "Did you mean --iterations"),
        ("refine s --n-epochs 3", "unknown flag --n-epochs.*Did you mean --iterations"),
        ("infer s --max_epochs 3", "'ptycho-dist infer' does not use it. Remove it"),
        ("train s --iterations 3", "setting of reconstruct, refine, plan; 'ptycho-dist train'"),
        ("train s --num_epochs 3", "Did you mean --max_epochs"),
        ("train s --gpus 2", "Did you mean --devices"),
        ("train s --model_path m", "Did you mean --init_from"),
        ("infer s --ckpt m", "Did you mean --model_path"),
        ("refine s --engine lsqml", "Did you mean --method"),
        ("evaluate s --truth t", "Did you mean --reference"),
        ("simulate s --force", "Did you mean --overwrite"),
        ("infer s --region 10 20 30 40", r"got 10 20 30 40; expected one word. Write --region \[10,20,30,40\]"),
        ("infer s --region 10, 20, 30, 40", r"Write --region \[10,20,30,40\]"),
        ("train s --train_rows 0 0.5", r"Write --train_rows \[0,0.5\]"),
        ("infer s --region 10", r"--region got 10; expected \[INT,INT,INT,INT\]"),
    ],
)  # fmt: skip
def test_flags_that_are_typed_out_of_habit_are_answered(line: str, words: str) -> None:
    name, *arguments = line.split()
    with pytest.raises(ConfigError, match=words):
        parse(BY_NAME[name], arguments)


def test_numbers_after_a_flag_for_one_number_are_operands() -> None:
    with pytest.raises(ConfigError, match="train got s and 4; expected one scan"):
        parse(BY_NAME["train"], ["s", "--max_epochs", "3", "4"])


@pytest.mark.parametrize("name", sorted(HABITS))
def test_every_habit_is_answered_by_some_command(name: str) -> None:
    known = [spellings(command) for command in BY_NAME.values()]
    assert all(any(meant in names for names in known) for meant in HABITS[name])
    assert any(meant_by(name, names) in HABITS[name] for names in known)


def test_python_calls_are_answered_alike(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5", n_patterns=4)
    with pytest.raises(ConfigError, match=r"max_epochs is a setting of .*train, .*Did you mean iterations"):
        ptd.refine_object(scan, output_dir=tmp_path / "out", max_epochs=3)
    with pytest.raises(ConfigError, match=r"unknown keyword 'gpus'.*Did you mean 'devices'"):
        ptd.train(scan, output_dir=tmp_path / "out", gpus=2)


def test_a_network_that_is_not_known_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"expected one of 'lean', .*Did you mean 'ptychopinn_cnn'"):
        find_network("unet")


def test_doubts_are_told_once_and_the_work_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["simulate", str(tmp_path / "s.h5"), "--n_patterns", "4", "--N", "16", "--energy_eV", "8"]
    assert main([*line, "--quiet"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("simulate.energy_eV = 8 eV is unusual") == 1
    assert (tmp_path / "s.h5").is_file()
