"""A rank does not outlive its supervisor."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = """
import os, pathlib, time
from ptycho_dist.launching.supervisor import end_with_parent
end_with_parent(os.environ, poll_s=0.05)
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(60)
"""
PARENT = """
import os, pathlib, subprocess, sys, time
from ptycho_dist.launching.supervisor import PARENT_VARIABLE
subprocess.Popen([sys.executable, "child.py"], env={**os.environ, PARENT_VARIABLE: str(os.getpid())})
while not pathlib.Path("pid").exists():
    time.sleep(0.02)
time.sleep(0.3)
assert pathlib.Path("/proc", pathlib.Path("pid").read_text()).exists(), "ended before its parent"
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_end_with_parent_ends_the_child_of_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=tmp_path, timeout=30, check=False)
    assert done.returncode == -9
    stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    deadline = time.monotonic() + 5
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)
