"""What is done with results that are there, in one process: stitch shards, evaluate a product, write a report."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho_dist.config.precedence import Level, RunRequest
from ptycho_dist.config.scan_options import GEOMETRY, ScanOptions
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.product import scan_settings
from ptycho_dist.data.formats.product_h5 import read_product_metadata
from ptycho_dist.data.scan import Scan, open_scan, require_made_from
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.evaluate.again import evaluation_into
from ptycho_dist.evaluate.comparison import REFUSAL, overview_of
from ptycho_dist.evaluate.figures import Overview
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.factory.settings import reader_options
from ptycho_dist.inference.product import product_name, stitch_to_product
from ptycho_dist.inference.run import STITCHING
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.pipeline_stages import EVALUATION
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.report.compare import NAME as COMPARISON
from ptycho_dist.report.compare import write_comparison
from ptycho_dist.report.paper.kinds import Subject, write_figure
from ptycho_dist.report.source import Source, read_source
from ptycho_dist.report.write import NAME as REPORT
from ptycho_dist.report.write import write_report
from ptycho_dist.run_folder import REFERENCE, SCAN, prefix_of

logger = logging.getLogger(__name__)

_NAME_SCAN = "Name the scan that it was made from by --scan."


def run_stitch(shard_dir: Path, progress: Progress | None = None) -> Path:
    """Stitch a folder of shards, in this process alone; the product goes beside the folder."""
    folder, progress = shard_dir.resolve(), progress or Progress()
    with progress.stage(STITCHING):
        return stitch_to_product(folder, folder.parent / product_name(folder), progress)


def run_evaluate(request: RunRequest, *, report: bool = True) -> dict[str, Any]:
    """Metrics and pictures of a product, and a report where wanted, in this process alone.

    Raises
    ------
    ConfigError
        If the product cannot be compared with the reference that was given, the other metrics are written then; or if
        the folder has the metrics of something else.
    """
    product = Path(str(request.product))
    output_dir = request.output_dir or product.parent
    with ExitStack() as stack:
        scan = None if request.scan is None else stack.enter_context(_scan_of(product, request.scan, request))
        folder = stack.enter_context(evaluation_into(output_dir, product, overwrite=request.overwrite))
        context, prefix = replace(single_rank(), progress=request.progress), prefix_of(product)
        with request.progress.stage(EVALUATION):
            shown: list[Overview] = []
            metrics = evaluate_product(
                product, scan, folder, reference=request.reference, context=context, prefix=prefix, keep=shown.append
            )
        if report:
            source = read_source(product, evaluated_in=folder)
            write_report(source, scan=scan, overview=shown[0], output=folder / f"{prefix}{REPORT}")
    if request.reference is not None and REFUSAL in metrics:
        raise ConfigError(metrics[REFUSAL])
    return metrics


def run_report(places: Sequence[Path], request: RunRequest, output: Path | None = None) -> Path:
    """Write the report of a run again, or a page that compares several, in this process alone.

    Parameters
    ----------
    places
        Folders of results, or products.
    request
        Its ``scan`` and ``reference`` are looked for where they are not given.
    output
        Page to write, where it is not to be ``report.html`` or ``comparison.html`` beside the first.

    Raises
    ------
    ConfigError
        If several cannot be compared.
    DataFormatError
        If one holds no results, or a scan or reference that was given does not serve.
    """
    page = page_of(places, output)
    if len(places) > 1:
        return write_comparison(places, page)
    source = read_source(places[0])
    reference = request.reference or _there(source.metrics.get(REFERENCE))
    with _found_scan(source, request) as (scan, why):
        return write_report(source, scan=scan, reference=reference, output=page, why_no_scan=why)


def run_figure(place: Path, kind: str, output: Path, request: RunRequest) -> Path:
    """Draw a figure of a result, in this process alone.

    Parameters
    ----------
    place
        Folder of results, or a product.
    kind
        Name of the figure.
    output
        PNG or PDF file.
    request
        Its ``scan`` and ``reference`` are looked for where they are not given.

    Raises
    ------
    ConfigError
        If the kind is unknown, or the results do not hold what it shows.
    DataFormatError
        If there are no results, or a scan or reference that was given does not serve.
    """
    source = read_source(place)
    reference = request.reference or _there(source.metrics.get(REFERENCE))
    with _found_scan(source, request) as (scan, _):
        overview = None if source.product is None else overview_of(source.product, scan, reference)
        return write_figure(kind, Subject(source, overview), output)


@contextmanager
def _found_scan(source: Source, request: RunRequest) -> Iterator[tuple[Scan | None, str]]:
    """Open the scan that results are of, if it is where it was; else None, and why."""
    path = request.scan or _there(source.metrics.get(SCAN)) or _there(source.scan_path)
    scan, why = None, "the scan is not known, or not where it was; --scan names it"
    with ExitStack() as stack:
        if source.product_path is not None and path is not None:
            try:
                scan = stack.enter_context(_scan_of(source.product_path, path, request))
                require_made_from(scan.header, str(source.product_path), source.product_checksum, _NAME_SCAN)
            except DataFormatError as error:
                if request.scan is not None:
                    raise
                logger.warning("patterns are left out: %s", error)
                scan, why = None, str(error)
        yield scan, why


def page_of(places: Sequence[Path], output: Path | None) -> Path:
    """Place of the page that :func:`run_report` writes."""
    if output is not None:
        return output
    folder = places[0] if places[0].is_dir() else places[0].parent
    prefix = "" if places[0].is_dir() else prefix_of(places[0])
    return folder / f"{prefix}{COMPARISON if len(places) > 1 else REPORT}"


def _there(path: Any) -> Path | None:
    """Take a path that is known, if the file is still there."""
    return Path(path) if path and Path(path).is_file() else None


@contextmanager
def _scan_of(product: Path, path: Path, request: RunRequest) -> Iterator[Scan]:
    """Open the scan of a product as it was opened for it, but for what is asked for."""
    stored = scan_settings(read_product_metadata(product))
    options = reader_options([*request.levels({"data": DataConfig}), as_opened(stored)])
    _require_same_numbers(product, stored, options)
    with open_scan(path, options) as scan:
        yield scan


def options_of(product: Path) -> ScanOptions:
    """Tell how the scan of a product was opened for it, as far as the product says.

    Raises
    ------
    DataFormatError
        If the product is damaged.
    """
    return reader_options([as_opened(scan_settings(read_product_metadata(product)))])


def as_opened(stored: Mapping[str, Any]) -> Level:
    """Make a level of what a product stored of its scan, but for the reader and numbers that were not known."""
    unknown = [name for name in GEOMETRY if stored.get(name) is None or not math.isfinite(stored[name])]
    unsaid = ("file_format", *unknown)
    return Level("product", {f"data.{name}": value for name, value in stored.items() if name not in unsaid})


def _require_same_numbers(product: Path, stored: Mapping[str, Any], options: ScanOptions) -> None:
    """Refuse to leave out other patterns than a product was made without, for its rows are numbered without them.

    Raises
    ------
    ConfigError
        With both.
    """
    made = stored.get("drop_frames")
    if "drop_frames" in stored and not options.drops_alike(made):
        msg = (
            f"data.drop_frames = {options.drop_frames!r}, but {product} was made with {made!r}; expected the same, for "
            "its patterns are numbered without those. Leave --drop_frames out."
        )
        raise ConfigError(msg)
