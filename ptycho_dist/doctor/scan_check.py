"""What is wrong or odd in the scan of a job, as outcomes of checks."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.data.formats.base import ScanOptions
from ptycho_dist.data.scan import open_looked_at
from ptycho_dist.data.survey.findings import NOTE, ODD, WRONG
from ptycho_dist.doctor.outcome import FAIL, OK, WARN, Result
from ptycho_dist.errors import DataFormatError

_STATUS = {WRONG: FAIL, ODD: WARN}


def scan_results(path: Path, options: ScanOptions) -> tuple[Result, ...]:
    """Look at all patterns of a scan; one outcome for each thing that is wrong or odd, else one that all is well."""
    try:
        with open_looked_at(path, options) as scan:
            findings = [one for one in scan.findings if one.severity != NOTE]
            count = len(scan)
    except DataFormatError as error:
        return (Result("scan", FAIL, str(error)),)
    if not findings:
        return (Result("scan", OK, f"{count} patterns looked at"),)
    return tuple(Result("scan", _STATUS[one.severity], one.text, f"{one.fix}.") for one in findings)
