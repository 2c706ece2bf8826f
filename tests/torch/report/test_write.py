"""What a report holds, made from folders of results and from real jobs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.cli import main
from ptycho_dist.errors import DataFormatError
from ptycho_dist.report.compare import write_comparison
from ptycho_dist.report.source import read_source
from ptycho_dist.report.write import write_report
from ptycho_dist.run_record import read_record
from tests.support.results import hermite_probe, smooth_object, write_product, write_results

QUICK = ["--devices", "1", "--accelerator", "cpu", "--quiet"]


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


@pytest.fixture(scope="module")
def refined(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refine positions and all, through the command line."""
    out = tmp_path_factory.mktemp("refined")
    settings = ["--iterations", "4", "--position_start", "2", "--batch_size", "5"]
    assert main(["refine", str(tiny_path), "--output_dir", str(out), *settings, *QUICK]) == 0
    return out


def test_a_job_writes_a_page_that_loads_nothing(refined: Path) -> None:
    text = (refined / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!data:|\#)""", text)
    assert "default-src 'none'" in text
    data = data_of(refined / "report.html")
    assert {"amplitude", "phase", "reference_phase", "phase_error"} <= {one["name"] for one in data["object"]["maps"]}
    assert len(data["probe"]["modes"]) == 1
    assert [one["name"] for one in data["scan"]["patterns"][:3]] == ["best", "median", "worst"]
    assert data["convergence"]["refinement"]["pass"] == [1, 2, 3, 4]
    assert data["rings"]["frequency"][0] > 0, "the ring at zero says nothing"


def test_a_report_says_how_to_make_it_again(refined: Path, tiny_path: Path) -> None:
    record, text = read_record(refined), (refined / "report.html").read_text(encoding="utf-8")
    assert record["command"][:2] == ["refine", str(tiny_path)]
    assert "ptycho-dist refine" in text
    stage = record["stages"]["refinement"]
    assert stage["settings"]["refine"]["iterations"] == 4
    assert stage["provenance"]["iterations"] == "override"
    assert stage["fingerprint"] in text
    assert record["times"]["seconds"]["refinement"][0] > 0
    changed = text.partition("Refinement:")[2].partition("<details>")[0]
    assert "refine.iterations" in changed
    assert "refine.seed" not in changed


def test_shifts_of_positions_leave_a_trace(refined: Path) -> None:
    metrics = json.loads((refined / "metrics.json").read_text())
    assert 0 < metrics["position_shift_rms_px"] <= metrics["position_shift_largest_px"]
    shifts = data_of(refined / "report.html")["scan"]["shifts"]
    assert shifts["position_shift_rms_px"] == pytest.approx(metrics["position_shift_rms_px"])
    assert "Positions were refined" in (refined / "report.html").read_text(encoding="utf-8")


def test_report_command_makes_the_page_again(refined: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = data_of(refined / "report.html")
    (refined / "report.html").unlink()
    assert main(["report", str(refined), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{refined / 'report.html'}\n"
    after = data_of(refined / "report.html")
    assert after["object"]["maps"] == before["object"]["maps"]
    assert after["scan"] == before["scan"]


def test_report_is_left_out_on_request(tiny_path: Path, tmp_path: Path) -> None:
    command = [
        "refine",
        str(tiny_path),
        "--output_dir",
        str(tmp_path),
        "--iterations",
        "1",
        "--report",
        "false",
        *QUICK,
    ]
    assert main(command) == 0
    assert (tmp_path / "reconstruction.h5").is_file()
    assert not (tmp_path / "report.html").exists()
    assert main(["evaluate", str(tmp_path), "--report", "false", "--quiet"]) == 0
    assert not (tmp_path / "report.html").exists()
    assert main(["evaluate", str(tmp_path), "--quiet"]) == 0
    assert (tmp_path / "report.html").exists()


def test_a_training_alone_has_a_report(tiny_path: Path, tmp_path: Path) -> None:
    settings = ["--max_epochs", "2", "--width", "8", "--depth", "1", "--stages", "1"]
    assert main(["train", str(tiny_path), "--output_dir", str(tmp_path), *settings, *QUICK]) == 0
    data = data_of(tmp_path / "report.html")
    assert data["object"] is None
    assert len(data["convergence"]["training"]["error"]) == 2
    assert all(one is not None for one in data["convergence"]["training"]["seconds"])


def test_without_the_scan_the_page_says_why_it_shows_no_patterns(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "made")
    assert main(["report", str(folder), "--quiet"]) == 0
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert data_of(folder / "report.html")["scan"]["patterns"] == []
    assert "Patterns are not shown: the scan is not known" in text
    assert "39" in text.partition("What to watch")[2].partition("</section>")[0]


def test_a_large_object_and_many_patterns_fit_on_a_page(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "large", (4096, 4000), count=100_000)
    page = write_report(read_source(folder))
    data = data_of(page)
    assert page.stat().st_size < 10e6
    assert all(max(one["rows"], one["columns"]) <= 1500 for one in data["object"]["maps"])
    assert data["object"]["step"] == 3
    assert data["scan"]["n_shown"] == 100_000


def test_names_from_files_are_text_on_the_page(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "made")
    odd = "</script><script>alert(1)</script>"
    metrics = json.loads((folder / "metrics.json").read_text()) | {"verdict": odd}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = write_report(read_source(folder)).read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert odd not in text


def test_another_product_in_a_folder_does_not_take_its_numbers(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "made")
    (folder / "logs").mkdir()
    (folder / "logs" / "refine.csv").write_text("iteration,fourier_error,seconds\n1,0.5,1\n2,0.4,2\n")
    assert data_of(write_report(read_source(folder)))["convergence"] is not None
    beside = write_product(folder / "beside.h5", smooth_object((96, 128), 2), hermite_probe(32, 1), 40)
    source = read_source(beside)
    assert (source.metrics, source.frames, source.refinement, source.record) == ({}, {}, {}, {})


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "made")
    (folder / "frames.csv").write_text("pattern,counts\n1,many\n")
    with pytest.raises(DataFormatError, match=r"frames\.csv is not a table of numbers"):
        write_report(read_source(folder))
    with pytest.raises(DataFormatError, match="expected a product, or the output folder"):
        write_report(read_source(tmp_path))


def test_results_are_compared(tmp_path: Path, refined: Path, tiny_path: Path) -> None:
    other = tmp_path / "other"
    command = ["refine", str(tiny_path), "--output_dir", str(other), "--iterations", "3", "--batch_size", "5", *QUICK]
    assert main(command) == 0
    page = tmp_path / "comparison.html"
    assert main(["report", str(refined), str(other), "--output", str(page), "--quiet"]) == 0
    data, text = data_of(page), page.read_text(encoding="utf-8")
    names = {one["name"] for one in data["pairs"][0]["maps"]}
    assert {"first_phase", "other_phase", "phase_difference", "amplitude_difference"} <= names
    differing = text.partition('id="settings"')[2]
    assert "refine.iterations" in differing
    assert "refine.batch_size" not in differing
    assert main(["report", str(refined), str(other), "--output", str(page), "--quiet"]) == 2


def test_an_object_differs_from_itself_by_nothing(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "made")
    page = write_comparison([folder, folder / "reconstruction.h5"], tmp_path / "c.html")
    difference = next(one for one in data_of(page)["pairs"][0]["maps"] if one["name"] == "phase_difference")
    assert max(abs(difference["low"]), abs(difference["high"])) < 1e-3 or difference["high"] - difference["low"] == 1
    assert all(one > 0.999 for one in data_of(page)["pairs"][0]["rings"]["frc"])


@pytest.mark.parametrize(("seed", "pixel_size_m", "said"), [(9, 1e-8, "was not found in that of"), (0, 2e-8, "equal")])
def test_results_that_do_not_belong_together_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int, pixel_size_m: float, said: str
) -> None:
    folder, page = write_results(tmp_path / "made"), tmp_path / "c.html"
    foreign = write_product(
        tmp_path / "foreign.h5", smooth_object((96, 128), seed), hermite_probe(32, 1), 40, pixel_size_m
    )
    assert main(["report", str(folder), str(foreign), "--output", str(page), "--quiet"]) == 2
    assert said in capsys.readouterr().err
    assert not page.exists()
