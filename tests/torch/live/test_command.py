"""The command and the call that follow a scan, and what they refuse at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import ptycho_dist as ptd
from ptycho_dist.cli import main
from ptycho_dist.errors import ConfigError
from tests.support.live_writers import running
from tests.torch.live.conftest import LiveCase


def test_call_from_python_gives_the_object_of_the_whole_file(case: LiveCase, tmp_path: Path) -> None:
    target, out = tmp_path / "running.h5", tmp_path / "out"
    with running("swmr", case.scan, target, "--per_s", 1000):
        result = ptd.infer(
            follow=str(target), output_dir=out, model_path=case.bundle, accelerator="cpu", timeout_s=30.0
        )
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
        ptd.infer(zmq="tcp://127.0.0.1:9", output_dir=tmp_path, model_path=case.bundle, accelerator="cpu")


@pytest.mark.exhaustive
def test_rank_0_follows_and_all_ranks_predict_the_whole_scan(case: LiveCase, tmp_path: Path) -> None:
    target, out = tmp_path / "running.h5", tmp_path / "out"
    with running("swmr", case.scan, target, "--per_s", 300):
        result = ptd.infer(
            follow=target, output_dir=out, model_path=case.bundle, accelerator="cpu", devices=2, timeout_s=60.0
        )
    assert result.object_.tobytes() == case.offline.tobytes()
    assert (result.metrics["live_received"], result.metrics["ranks"]) == (150, 2)


def test_frames_of_a_job_that_was_killed_are_kept(
    case: LiveCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "frames.h5").write_bytes(b"frames")
    ptd.infer(follow=case.scan, output_dir=tmp_path, model_path=case.bundle, accelerator="cpu")
    (kept,) = tmp_path.glob("live-*")
    assert (kept / "frames.h5").read_bytes() == b"frames"
