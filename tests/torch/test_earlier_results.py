"""Results of an earlier job in the folder of a new one: what stays, and what is set aside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ptycho_dist import job_marker
from ptycho_dist.cli import main
from ptycho_dist.earlier_results import RESULTS, TOLD_OF_ALL, found_in, settle
from tests.support.runs import simulate_tiny

ALL = ("bundle/w", "shards/s", "network.h5", "network_metrics.json", "reconstruction.h5", "metrics.json",
       "logs/metrics.csv", "logs/refine.csv")  # fmt: skip


def write(folder: Path, *names: str, content: str = "old") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def job(folder: Path, command: str, scan: str, makes: Mapping[str, str], *inputs: Path) -> Path | None:
    """Do as a job does: look what is there, write, settle."""
    before = found_in(folder)
    for name, content in makes.items():
        (folder / name).unlink(missing_ok=True)
        write(folder, name, content=content)
    return settle(folder, before, command, scan, inputs)


def names_in(folder: Path | None) -> set[str]:
    assert folder is not None
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


REFINED = {"reconstruction.h5": "new", "metrics.json": "new", "logs/refine.csv": "new"}
PREDICTED = {"shards/s": "new", "reconstruction.h5": "new", "metrics.json": "new"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a whole reconstruction of scan A."""
    assert job(tmp_path, "reconstruct", "A", dict.fromkeys(ALL, "old")) is None
    return tmp_path


def test_results_of_another_scan_are_set_aside(folder: Path) -> None:
    aside = job(folder, "refine", "B", REFINED)
    assert names_in(aside) == {"bundle/w", "shards/s", "network.h5", "network_metrics.json", "logs/metrics.csv"}
    assert (folder / "reconstruction.h5").read_text() == "new"
    assert not (folder / "network.h5").exists()


def test_results_of_the_same_scan_stay(folder: Path) -> None:
    assert job(folder, "refine", "A", REFINED) is None


def test_kinds_that_the_command_makes_are_set_aside_for_the_same_scan_too(folder: Path) -> None:
    assert names_in(job(folder, "infer", "A", PREDICTED)) == {"network.h5", "network_metrics.json", "logs/refine.csv"}


@pytest.mark.parametrize("model", ["bundle", ".", "bundle/w"])
def test_what_the_job_has_read_stays(folder: Path, model: str) -> None:
    aside = job(folder, "infer", "B", PREDICTED, folder / model)
    assert names_in(aside) == {"network.h5", "network_metrics.json", "logs/refine.csv"}
    assert (folder / "bundle" / "w").read_text() == "old"


def test_start_of_a_refinement_stays_with_what_belongs_to_it(folder: Path) -> None:
    job(folder, "refine", "B", REFINED, folder / "network.h5")
    assert (folder / "network_metrics.json").is_file()


def test_results_of_unknown_origin_are_set_aside(tmp_path: Path) -> None:
    write(tmp_path, *ALL)
    assert "network.h5" in names_in(job(tmp_path, "refine", "A", REFINED))


def test_scan_of_a_training_alone_is_known_afterwards(folder: Path) -> None:
    assert "reconstruction.h5" in names_in(job(folder, "train", "B", {"bundle/w": "new"}))
    assert job(folder, "refine", "B", REFINED) is None
    assert job(folder, "refine", "C", REFINED) is not None


def test_resumed_job_keeps_what_it_made_before_it_was_stopped(tmp_path: Path) -> None:
    write(tmp_path, "network.h5")
    job_marker.begin(tmp_path, "reconstruct", {}, resume=True)
    write(tmp_path, "bundle/w", content="new")
    assert job_marker.begin(tmp_path, "reconstruct", {}, resume=True) == {}
    write(tmp_path, "reconstruction.h5", content="new")
    job_marker.finish(tmp_path, "A")
    assert (tmp_path / "bundle" / "w").is_file()
    assert not (tmp_path / "network.h5").exists()
    assert len(list(tmp_path.glob("earlier-*/network.h5"))) == 1


@pytest.mark.slow
def test_network_of_another_scan_does_not_stand_beside_a_new_result(tmp_path: Path) -> None:
    scans = [simulate_tiny(tmp_path / f"{seed}.h5", seed=seed) for seed in (1, 2)]
    out = ["--output_dir", str(tmp_path / "out"), "--devices", "1", "--accelerator", "cpu"]
    small = ["--width", "8", "--depth", "1", "--max_epochs", "1", "--refine.iterations", "1"]
    assert main(["reconstruct", str(scans[0]), *out, *small]) == 0
    assert (tmp_path / "out" / "network.h5").is_file()
    known = {name for names in RESULTS.values() for name in names} | {"logs", *TOLD_OF_ALL}
    written = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert written <= known, "a new kind of result is to be named in earlier_results.RESULTS"
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert main(["refine", str(scans[1]), *out, "--iterations", "1"]) == 0
    assert [path.read_bytes() for path in (tmp_path / "out").glob("earlier-*/report.html")] == [page]
    assert not (tmp_path / "out" / "network.h5").exists()
    assert not (tmp_path / "out" / "bundle").exists()
    assert len(list((tmp_path / "out").glob("earlier-*/network.h5"))) == 1
