"""Examine a launch, by itself or at the start of a job."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.sections import TRAINING_SECTIONS
from ptycho_dist.distributed.collectives import all_gather_object, from_rank_0, process_group
from ptycho_dist.distributed.devices import device_of, process_group_backend
from ptycho_dist.doctor.checks import check_all
from ptycho_dist.doctor.collect import Subject, facts_of_all
from ptycho_dist.doctor.facts import Needs, RankFacts
from ptycho_dist.doctor.needs import needs_of
from ptycho_dist.doctor.outcome import FAIL, WARN, Result
from ptycho_dist.doctor.scan_check import scan_results
from ptycho_dist.errors import LaunchError, PtychoDistError
from ptycho_dist.factory.devices import count_gpus
from ptycho_dist.factory.payload import Payload, TrainingPayload
from ptycho_dist.factory.settings import reader_options
from ptycho_dist.factory.training import training_payload
from ptycho_dist.launching.environment import RankContext

logger = logging.getLogger(__name__)

WAIT_S = 60.0
"""How long the examination waits for other ranks, where no timeout_s is given."""


@dataclass(frozen=True)
class Diagnosis:
    """What an examination found; the same on every rank.

    Parameters
    ----------
    results
        Outcomes of all checks.
    ranks
        What each rank knows.
    """

    results: tuple[Result, ...]
    ranks: tuple[RankFacts, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether no check failed."""
        return not any(one.status == FAIL for one in self.results)


def examine(request: RunRequest, context: RankContext) -> Diagnosis:
    """Run all checks of a launch; with a scan also those of a training on it.

    Raises
    ------
    LaunchError
        If the ranks do not find each other, or rank 0 cannot write where results go.
    """
    folder = (request.output_dir or Path()).absolute()
    payload, problem = _payload(request, folder)
    accelerator = payload.execution_config.accelerator if payload else "cuda" if count_gpus() else "cpu"
    wait_s = float(request.overrides.get("execution.timeout_s", WAIT_S))
    subject = Subject(
        context=context,
        folder=folder,
        accelerator=accelerator,
        fingerprint=payload.fingerprint() if payload else "",
        problem=problem,
    )
    device = device_of(accelerator, context.local_rank)
    with process_group(context, process_group_backend(accelerator), wait_s, device):
        facts = facts_of_all(subject, os.environ, all_gather_object)
        own = needs_of(payload, context.world) if payload else _needs_without_scan(request, accelerator)
        needs = all_gather_object(own)[0]
        of_scan = from_rank_0(lambda: _of_scan(request)) if payload else ()
    return Diagnosis((*check_all(facts, needs), *of_scan), tuple(facts))


def _of_scan(request: RunRequest) -> tuple[Result, ...]:
    path = Path(str(request.scan))
    return () if path.is_dir() else scan_results(path, reader_options(request.levels(TRAINING_SECTIONS)))


def _payload(request: RunRequest, folder: Path) -> tuple[TrainingPayload | None, str]:
    """Payload of a training on the scan, if there is one; or why not."""
    if request.scan is None:
        return None, ""
    try:
        payload = training_payload(request.scan, folder, request.levels(TRAINING_SECTIONS))
    except PtychoDistError as error:
        return None, str(error)
    return payload, ""


def _needs_without_scan(request: RunRequest, accelerator: str) -> Needs:
    devices = request.overrides.get("execution.devices", "auto")
    return Needs(devices=None if devices == "auto" else int(devices), accelerator=accelerator)


def require_healthy(payload: Payload, context: RankContext) -> None:
    """Run all checks at the start of a job, inside the process group; the same outcome on every rank.

    Warnings are logged on rank 0.

    Raises
    ------
    LaunchError
        On every rank, with the numbers and the fix of each check that failed.
    """
    subject = Subject(
        context=context, folder=payload.output_dir.absolute(), accelerator=payload.execution_config.accelerator
    )
    facts = facts_of_all(subject, os.environ, all_gather_object)
    needs = all_gather_object(needs_of(payload, context.world))[0]
    results = check_all(facts, needs)
    for one in results:
        if one.status == WARN and context.rank == 0:
            logger.warning("%s: %s. %s", one.name, one.found, one.fix)
        else:
            logger.debug("%s: %s, %s", one.name, one.status, one.found)
    require_no_failure(results)


def require_no_failure(results: tuple[Result, ...]) -> None:
    """Raise if a check failed.

    Raises
    ------
    LaunchError
        With the numbers and the fix of each check that failed.
    """
    failed = [f"{one.name}: {one.found}. {one.fix}" for one in results if one.status == FAIL]
    if failed:
        raise LaunchError(" ".join(failed))
