"""Commands called twice: nothing of a user's is replaced unless that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ptycho_dist as ptd
from ptycho_dist.cli import main
from ptycho_dist.earlier_results import found_in, keep, settle
from ptycho_dist.finished_jobs import finished_job, note_finished
from tests.support.runs import simulate_tiny

QUICK = ["--devices", "1", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_tiny(tmp_path_factory.mktemp("scan") / "scan.h5")


def refine(scan: Path, out: Path, *more: str, iterations: int = 1) -> int:
    return main(["refine", str(scan), "--output_dir", str(out), "--iterations", str(iterations), *QUICK, *more])


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was logged, without blanks, for lines of a log may be broken anywhere."""
    return "".join(capsys.readouterr().err.split())


def asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("*earlier-*"))


def test_the_same_job_is_not_done_twice(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refine(scan, tmp_path) == 0
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*.*") if path.is_file()}
    capsys.readouterr()
    assert refine(scan, tmp_path, "--quiet") == 0
    said = told(capsys)
    assert "holdstheresultsofthis'refine'already" in said
    assert "--overwrite" in said
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert asides(tmp_path) == []


def test_results_of_other_settings_are_set_aside_under_a_dated_name(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(scan, tmp_path) == 0
    before = (tmp_path / "reconstruction.h5").read_bytes(), metrics(tmp_path)
    assert refine(scan, tmp_path, iterations=2) == 0
    (aside,) = asides(tmp_path)
    assert aside.name.startswith("earlier-2")
    assert str(aside) in told(capsys)
    assert ((aside / "reconstruction.h5").read_bytes(), metrics(aside)) == before
    assert metrics(tmp_path)["refine_iterations"] == 2
    assert len((aside / "logs" / "refine.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(("flags", "kept"), [(["--overwrite"], 0), (["--resume", "false"], 1)])
def test_a_job_is_done_anew_when_told_so(scan: Path, tmp_path: Path, flags: list[str], kept: int) -> None:
    assert refine(scan, tmp_path) == 0
    made = (tmp_path / "reconstruction.h5").stat().st_mtime_ns
    assert refine(scan, tmp_path, *flags) == 0
    assert (tmp_path / "reconstruction.h5").stat().st_mtime_ns > made
    assert len(asides(tmp_path)) == kept


def test_a_start_in_the_same_folder_is_kept(scan: Path, tmp_path: Path) -> None:
    assert refine(scan, tmp_path) == 0
    first = (tmp_path / "reconstruction.h5").read_bytes()
    assert refine(scan, tmp_path, "--start", str(tmp_path)) == 0
    (aside,) = asides(tmp_path)
    assert (aside / "reconstruction.h5").read_bytes() == first
    assert refine(scan, tmp_path, "--start", str(aside)) == 0
    assert asides(tmp_path) == [aside], "the same start, by another name"


def test_a_job_that_fails_leaves_earlier_results_as_they_are(tmp_path: Path) -> None:
    """What is kept is a second name until the job ends well."""
    for name in ("reconstruction.h5", "metrics.json", "logs/refine.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    before = found_in(tmp_path)
    kept = keep(tmp_path, "refine")
    assert found_in(tmp_path) == before
    assert kept is not None
    with (tmp_path / "logs" / "refine.csv").open("a") as stream:
        stream.write("new")
    (tmp_path / "reconstruction.h5").unlink()
    (tmp_path / "reconstruction.h5").write_text("new")
    aside = settle(tmp_path, before, "refine", "A", (), kept)
    assert aside is not None
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [aside.name, "logs"]
    assert {path.name: path.read_text() for path in aside.rglob("*.*")} == dict.fromkeys(
        ("reconstruction.h5", "metrics.json", "refine.csv"), "old"
    )


def test_a_finished_job_is_known_as_long_as_its_results_are_there(tmp_path: Path) -> None:
    for name in ("bundle/w", "shards/s", "reconstruction.h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    note_finished(tmp_path, "train", {"seed": (1, 2)})
    note_finished(tmp_path, "infer", {"seed": 1})
    found = finished_job(tmp_path, "train", {"seed": (1, 2)})
    assert found is not None
    assert found.results == ("bundle",)
    assert finished_job(tmp_path, "train", {"seed": (1, 3)}) is None
    note_finished(tmp_path, "refine", {"seed": 1})
    assert finished_job(tmp_path, "infer", {"seed": 1}) is None, "its product was replaced"
    (tmp_path / "reconstruction.h5").unlink()
    assert finished_job(tmp_path, "refine", {"seed": 1}) is None
    assert finished_job(tmp_path, "train", {"seed": (1, 2)}) is not None


@pytest.fixture(scope="module")
def reference(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    assert refine(scan, folder, iterations=3) == 0
    return folder / "reconstruction.h5"


@pytest.fixture
def evaluated(scan: Path, reference: Path, tmp_path: Path) -> Path:
    """Folder of a refinement that was compared with a reference."""
    assert refine(scan, tmp_path / "run", "--reference", str(reference)) == 0
    return tmp_path / "run"


def test_evaluate_finds_scan_and_reference_again(
    evaluated: Path, scan: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = metrics(evaluated)
    assert (before["scan"], before["reference"]) == (str(scan), str(reference))
    assert main(["evaluate", str(evaluated)]) == 0
    assert metrics(evaluated) == before
    assert f"comparingwith{scan}" in told(capsys)


def test_evaluate_without_a_scan_keeps_what_only_that_tells(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = metrics(evaluated)
    unsaid = {name: value for name, value in known.items() if name not in ("scan", "reference")}
    (evaluated / "metrics.json").write_text(json.dumps(unsaid))
    picture = (evaluated / "overview.png").read_bytes()
    assert main(["evaluate", str(evaluated / "reconstruction.h5")]) == 0
    assert metrics(evaluated) == unsaid
    assert (evaluated / "overview.png").read_bytes() == picture
    said = told(capsys)
    assert "noscanisknownof" in said
    assert "keepsfourier_error" in said
    assert "overview.png,report.html,whichshowsthem,staysasitis" in said
    assert main(["evaluate", str(evaluated), "--overwrite"]) == 0
    assert "fourier_error" not in metrics(evaluated)
    assert (evaluated / "overview.png").read_bytes() != picture
    assert [path.name for path in evaluated.iterdir() if path.name.startswith(".evaluation")] == []


def test_evaluate_leaves_a_scan_out_that_is_another_one_now(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = simulate_tiny(tmp_path / "own.h5")
    assert refine(own, tmp_path / "run") == 0
    own.write_bytes(simulate_tiny(tmp_path / "other.h5", seed=5).read_bytes())
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "nolongerserves,andisleftout" in told(capsys)
    assert main(["evaluate", str(tmp_path / "run"), "--scan", str(own)]) == 2


def test_evaluate_does_not_write_over_the_metrics_of_something_else(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.json").write_text('{"product": "reconstruction.h5", "fourier_error": 1.0}')
    line = ["evaluate", str(evaluated), "--output_dir", str(other)]
    assert main(line) == 2
    assert "exists,andisnotof" in told(capsys)
    assert metrics(other)["fourier_error"] == 1.0
    assert main([*line, "--overwrite"]) == 0
    assert metrics(other)["fourier_error"] != 1.0


def test_evaluate_names_the_files_of_a_network_product_after_it(evaluated: Path) -> None:
    (evaluated / "network.h5").write_bytes((evaluated / "reconstruction.h5").read_bytes())
    before = (evaluated / "metrics.json").read_bytes()
    assert main(["evaluate", str(evaluated / "network.h5")]) == 0
    assert (evaluated / "metrics.json").read_bytes() == before
    assert (evaluated / "network_metrics.json").is_file()
    assert (evaluated / "network_overview.png").is_file()


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("simulate s.h5 --n_patterns 2 --N 16", "s.h5"),
        ("simulate set --n_scans 2 --n_patterns 2 --N 16", "set/set.json"),
        ("convert scan.h5 c.h5", "c.h5"),
        ("inspect scan.h5 --figure p.png", "p.png"),
    ],
)
def test_files_that_are_written_are_new_unless_told_otherwise(
    line: str,
    there: str,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scan.h5").write_bytes(scan.read_bytes())
    assert main(line.split()) == 0
    before = (Path(there).read_bytes(), Path(there).stat().st_mtime_ns)
    capsys.readouterr()
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert f"{there} exists; expected a new file to write. Choose another name, or give --overwrite" in said
    assert (Path(there).read_bytes(), Path(there).stat().st_mtime_ns) == before
    assert main([*line.split(), "--overwrite"]) == 0
    assert Path(there).stat().st_mtime_ns > before[1]


def test_a_cell_that_is_run_again_returns_the_result(scan: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"output_dir": tmp_path, "iterations": 1, "devices": 1, "accelerator": "cpu"}
    first = ptd.refine_object(scan, **settings)
    made = first.path.stat().st_mtime_ns
    again = ptd.refine_object(scan, **settings)
    assert again.object_.tobytes() == first.object_.tobytes()
    assert first.path.stat().st_mtime_ns == made
    ptd.refine_object(scan, **settings, overwrite=True)
    assert first.path.stat().st_mtime_ns > made
    with pytest.raises(ptd.ConfigError, match=r"overwrite = 1 \(int\); expected True or False"):
        ptd.refine_object(scan, **settings, overwrite=1)  # type: ignore[arg-type]


def test_scans_from_python_are_new_files_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with ptd.simulate_scan(path, n_patterns=9, N=16, devices=1) as made:
        patterns, positions = made.counts(), made.positions_px
    for overwrite in (False, True):
        if overwrite:
            ptd.write_scan(path, patterns[:4], positions[:4], overwrite=True).close()
            ptd.simulate_scan(path, n_patterns=9, N=16, devices=1, overwrite=True).close()
            continue
        with pytest.raises(ptd.ConfigError, match=r"exists; expected a new file"):
            ptd.write_scan(path, patterns, positions)
        with pytest.raises(ptd.ConfigError, match=r"exists; expected a new file"):
            ptd.simulate_scan(path, n_patterns=9, N=16, devices=1)
