"""What a job leaves for people: the record of its settings and times, and the report."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_gather_object, from_rank_0
from ptycho_dist.factory.payload import Payload
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.run_record import begin_record, note_stage, note_times

if TYPE_CHECKING:
    from ptycho_dist.evaluate.figures import Overview


@dataclass(frozen=True)
class Reporter:
    """Records the stages of a job and writes its report; every rank has one and calls it at the same places.

    Parameters
    ----------
    folder
        Folder of results.
    progress
        What this rank reports to; it knows how long each stage took.
    is_wanted
        Whether a report is to be written.
    """

    folder: Path
    progress: Progress
    is_wanted: bool

    def begin(self, command: Sequence[str], payload: Payload) -> None:
        """Begin the record of a job."""
        scan = {"path": str(payload.scan_path), "checksum": payload.scan_checksum, "n_patterns": payload.n_patterns}
        from_rank_0(lambda: begin_record(self.folder, command, scan))

    def settings(self, stage: str, payload: Payload) -> None:
        """Record the settings of a stage and where they came from."""
        from_rank_0(
            lambda: note_stage(
                self.folder,
                stage,
                settings=payload.to_dict(),
                provenance=payload.provenance,
                fingerprint=payload.fingerprint(),
                result_fingerprint=payload.result_fingerprint(),
            )
        )

    def write(self, scan: Scan | None, reference: Path | None, overview: Overview | None = None) -> None:
        """Record times and memory of all ranks; write the report on rank 0, which may know what the picture shows."""
        gathered = all_gather_object(self._own_times())
        times = {name: [seconds.get(name) for seconds, _ in gathered] for name in gathered[0][0]}

        def write() -> None:
            note_times(self.folder, {"seconds": times, "peak_memory_MiB": [memory for _, memory in gathered]})
            if self.is_wanted:
                from ptycho_dist.report.source import read_source
                from ptycho_dist.report.write import write_report

                with self.progress.stage("report", is_shared=False):
                    write_report(read_source(self.folder), scan=scan, reference=reference, overview=overview)

        from_rank_0(write)

    def _own_times(self) -> tuple[dict[str, float], float]:
        """Seconds of each stage of this rank, and the largest memory in MiB that it has held."""
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ended = self.progress.snapshot().stages
        return {stage.name: stage.seconds for stage in ended if stage.seconds is not None}, held
