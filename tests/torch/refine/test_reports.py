"""A refinement says how far it is: iterations, their parts, and errors, in the present stage of the job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ptycho_dist.data.scan import open_scan
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.progress.snapshot import Snapshot
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.refine.progress import StageReports
from ptycho_dist.refine.run import Control, run_refinement
from tests.support.runs import simulate_tiny


class Heard:
    """Keeps each report, as the stage is right after it."""

    def __init__(self, progress: Progress) -> None:
        self.reports: list[Snapshot] = []
        report = progress.report

        def kept(*given: object, **named: object) -> None:
            report(*given, **named)  # type: ignore[arg-type]  # passed on as they came
            self.reports.append(progress.snapshot())

        progress.report = kept  # type: ignore[method-assign]  # each report is of interest, not each tick


def test_parts_of_iterations_and_errors_of_both_starts_are_reported(tmp_path: Path) -> None:
    path, progress = simulate_tiny(tmp_path / "scan.h5"), Progress("refine")
    context = replace(single_rank(), progress=progress)
    heard = Heard(progress)
    with open_scan(path) as scan, progress.stage("refinement"), StopSignals() as stop:
        payload = create_refine_payload(scan, tmp_path / "out", {"iterations": 2, "accelerator": "cpu"})
        result = run_refinement(
            payload, context, scan, tmp_path / "out" / "product.h5", Control(stop, callbacks=[StageReports(progress)])
        )
        last = progress.snapshot()
    assert [one.done for one in heard.reports] == [0.25, 0.5, 0.75, 1, 1, 1.25, 1.5, 1.75, 2, 2]
    assert {(one.total, one.unit) for one in heard.reports} == {(2, "iterations")}
    assert last.history["Fourier error"] == result.fourier_errors
    assert last.note == f"from {result.start}"
    assert last.patterns_per_s is not None
