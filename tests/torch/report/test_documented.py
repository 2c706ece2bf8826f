"""Every command on the page about reports runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ptycho_dist.cli import main
from tests.support.runs import simulate_tiny

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reports.md"
SMALL = "--max_epochs 1 --width 8 --depth 1 --stages 1 --refine.iterations 2 --devices 1"
QUICK = {"reconstruct": SMALL, "refine": "--iterations 2 --devices 1"}


@pytest.mark.slow
def test_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simulate_tiny(tmp_path / "runs" / "scan.h5")
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) >= 6
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "ptycho-dist"
        assert main([*words, *shlex.split(QUICK.get(words[0], "")), "--quiet"]) == 0, command
    made = {path.name for path in (tmp_path / "runs").glob("*.*")}
    assert made >= {"comparison.html", "object.pdf", "difference.pdf"}
