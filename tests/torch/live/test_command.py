"""The command and the call that follow a scan, and what they refuse at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import ptycho_dist as pd
from ptycho_dist.cli import main
from ptycho_dist.errors import ConfigError, LaunchError
from tests.support.live_writers import running
from tests.torch.live.conftest import LiveCase


def test_call_from_python_gives_the_object_of_the_whole_file(case: LiveCase, tmp_path: Path) -> None:
    target, out = tmp_path / "running.h5", tmp_path / "out"
    with running("swmr", case.scan, target, "--per_s", 1000):
        result = pd.infer(follow=str(target), output_dir=out, model_path=case.bundle, accelerator="cpu", timeout_s=30.0)
    assert result.object_.tobytes() == case.offline.tobytes()
    assert result.metrics["live_received"] == 150


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--follow", "a.h5", "--zmq", "tcp://a:1"), "live.follow = 'a.h5' and live.zmq = 'tcp://a:1'; expected one"),
        (("--zmq", "detector:9999"), "live.zmq = 'detector:9999'; expected an address such as tcp://"),
        (("--follow", ""), "live.follow is empty"),
        (("b.h5", "--follow", "a.h5"), "the scan b.h5 and one to follow"),
        (("--follow", "a.h5", "--write_every_s", "0"), "live.write_every_s = 0"),
        ((), "infer got no scan"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    assert main(["infer", *flags, "--output_dir", str(tmp_path / "out")]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_stream_without_pyzmq_names_the_extra(case: LiveCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(ConfigError, match=r"expected the extra live. Run pip install 'ptycho-dist\[live\]'"):
        pd.infer(zmq="tcp://127.0.0.1:9", output_dir=tmp_path, model_path=case.bundle, accelerator="cpu")


def test_several_ranks_are_refused(case: LiveCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 9, "TORCHELASTIC_RUN_ID": "x", "GROUP_WORLD_SIZE": 1}
    for name, value in (place | meeting).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(LaunchError, match="followed on 2 ranks; expected one"):
        pd.infer(follow=case.scan, output_dir=tmp_path, model_path=case.bundle, accelerator="cpu")
