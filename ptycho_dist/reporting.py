"""What a job leaves for people: the record of its settings and times, and the report."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_gather_object, from_rank_0
from ptycho_dist.factory.payload import Payload
from ptycho_dist.run_record import begin_record, note_stage, note_times

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reporter:
    """Records the stages of a job and writes its report; every rank has one and calls it at the same places.

    Parameters
    ----------
    folder
        Folder of results.
    is_wanted
        Whether a report is to be written.
    seconds
        Time that this rank has spent in each stage so far.
    """

    folder: Path
    is_wanted: bool
    seconds: dict[str, float] = field(default_factory=dict)

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

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage on this rank."""
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def write(self, scan: Scan | None, reference: Path | None) -> None:
        """Record times and memory of all ranks; write the report on rank 0."""
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        gathered = all_gather_object((self.seconds, held))
        times = {name: [seconds[name] for seconds, _ in gathered] for name in self.seconds}
        memory = [MiB for _, MiB in gathered]

        def write() -> None:
            note_times(self.folder, {"seconds": times, "peak_memory_MiB": memory})
            if self.is_wanted:
                from ptycho_dist.report.write import write_report

                write_report(self.folder, scan=scan, reference=reference)

        from_rank_0(write)
