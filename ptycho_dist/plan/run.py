"""Calibrate on the ranks of this launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import TRAINING_SECTIONS
from ptycho_dist.data.scan import open_scan
from ptycho_dist.distributed.collectives import process_group
from ptycho_dist.distributed.devices import process_group_backend
from ptycho_dist.doctor.needs import needs_of
from ptycho_dist.factory.devices import require_launch
from ptycho_dist.factory.settings import reader_options
from ptycho_dist.factory.training import training_payload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.plan.calibrate import job_of, measure
from ptycho_dist.plan.model import Job, Measurement


@dataclass(frozen=True)
class Calibration:
    """What a prediction starts from.

    Parameters
    ----------
    job
        Size of the job.
    measurement
        What was measured on the ranks of this launch.
    memory_bytes
        Estimate of the memory of a rank, for each number of ranks asked for.
    """

    job: Job
    measurement: Measurement
    memory_bytes: dict[int, int]


def calibrate(request: RunRequest, context: RankContext, numbers: Sequence[int]) -> Calibration:
    """Measure short trainings and a prediction on all ranks of this launch.

    Raises
    ------
    LaunchError
        If ranks and devices differ, or the ranks do not find each other.
    """
    given = request.levels(TRAINING_SECTIONS)
    with open_scan(str(request.scan), reader_options(given)) as scan:
        payload = training_payload(scan, request.output_dir or ".", given)
        execution = payload.execution_config
        require_launch(execution, context)
        memory = {ranks: needs_of(payload, ranks).memory_bytes or 0 for ranks in numbers}
        with process_group(context, process_group_backend(execution.accelerator), execution.timeout_s):
            return Calibration(job_of(payload, scan), measure(request, payload, scan, context), memory)
