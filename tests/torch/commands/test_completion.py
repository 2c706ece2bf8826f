"""Completion in a real bash, and what is printed for the other shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ptycho_dist.cli import main
from ptycho_dist.commands.completion import SHELLS, flags_of
from ptycho_dist.commands.parser import build_parser
from ptycho_dist.commands.registry import Command, commands
from ptycho_dist.config.ptychopinn import PTYCHOPINN

NEEDS = {name: pytest.mark.skipif(shutil.which(name) is None, reason=f"NOT RUN: there is no {name}") for name in SHELLS}


def completed(line: str, folder: Path) -> set[str]:
    """Ask what bash offers for the last word of a line."""
    (folder / "completion.bash").write_text(SHELLS["bash"](), encoding="ascii")
    words = " ".join(f"'{word}'" for word in line.split(" "))
    script = (
        f"source completion.bash\nCOMP_WORDS=({words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_ptycho_dist\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=folder, capture_output=True, text=True, check=True, timeout=30
    )
    assert not done.stderr
    return set(done.stdout.split())


def test_commands_are_completed(tmp_path: Path) -> None:
    assert completed("ptycho-dist re", tmp_path) == {"reconstruct", "refine", "report"}
    assert completed("ptycho-dist ", tmp_path) == set(commands())


def test_flags_are_completed(tmp_path: Path) -> None:
    assert "--max_epochs" in completed("ptycho-dist train scan.h5 --max", tmp_path)
    assert completed("ptycho-dist simulate scan.h5 --n_pat", tmp_path) == {"--n_patterns"}


def test_switches_and_files_are_completed(tmp_path: Path) -> None:
    (tmp_path / "scan.h5").touch()
    assert completed("ptycho-dist train --overwrite ", tmp_path) == {"true", "false"}
    assert completed("ptycho-dist train sc", tmp_path) == {"scan.h5"}


@pytest.mark.parametrize("shell", [pytest.param(name, marks=mark) for name, mark in NEEDS.items()])
def test_shell_can_read_what_is_printed(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out, encoding="ascii")
    done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_every_command_and_flag(shell: str) -> None:
    text = SHELLS[shell]()
    for name, command in commands().items():
        assert name in text
        assert all(flag in text for flag in flags_of(command)), name


@pytest.mark.parametrize("command", commands().values(), ids=lambda one: one.name)
def test_flags_are_those_of_the_parser(command: Command) -> None:
    options = {option.lstrip("-") for action in build_parser(command)._actions for option in action.option_strings}
    offered = set(flags_of(command))
    assert offered <= options
    assert {name for name in options - offered if name.rpartition(".")[2] not in PTYCHOPINN} == set()


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "expected bash, zsh, fish" in capsys.readouterr().err
