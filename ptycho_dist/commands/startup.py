"""The one start-up of all commands: a request, logging, ranks if need be, then the work of a rank.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ptycho_dist.commands.path_checks import require_output_folder, require_reference, require_scan
from ptycho_dist.commands.registry import Typed
from ptycho_dist.config import precedence
from ptycho_dist.config.command_settings import RanksConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.precedence import RunRequest, settings_of_file
from ptycho_dist.errors import ConfigError, PtychoDistError
from ptycho_dist.launching.environment import (
    RankContext,
    detect,
    launcher_name,
    require_whole_allocation,
    single_rank,
)
from ptycho_dist.launching.open_files import raise_limit
from ptycho_dist.launching.supervisor import end_with_parent
from ptycho_dist.progress.snapshot import FINISHED
from ptycho_dist.progress.state_file import FOLDER, StateFile

if TYPE_CHECKING:
    from ptycho_dist.distributed.rank_group import RankGroup
    from ptycho_dist.progress.tracker import Progress

logger = logging.getLogger(__name__)

_FILE_KEYS = {
    "scan": ("training.train_data_file", "inference.test_data_file", "refine.scan"),
    "output_dir": ("training.output_dir", "inference.output_dir", "refine.output_dir"),
    "model_path": ("inference.model_path",),
    "start": ("refine.start",),
}
"""Where a path that was not typed may be in the config file."""
RANKS_PER_CORE = 8
"""Ranks that our supervisor starts for each CPU core at most; beyond, it is a typing error."""


def run_job(
    typed: Typed,
    work: Callable[[RunRequest], object],
    required: tuple[str, ...],
    require_input: Callable[[Path], None] = require_scan,
) -> int:
    """Do a job on all ranks, with a log in its output folder.

    Parameters
    ----------
    typed
        What was typed.
    work
        The job, called on each rank.
    required
        Fields of the request that must be there.
    require_input
        Checks the path of the scan.

    Raises
    ------
    ConfigError, DataFormatError, LaunchError
        If paths, settings or ranks cannot be as asked for.
    """
    request = make_request(typed)
    for name in required:
        if getattr(request, name) is None:
            _refuse_missing(typed, name, "a scan file" if name == "scan" else f"--{name}")
    if request.scan is not None and request.output_dir is not None:
        require_input(request.scan)
        require_output_folder(request.output_dir)
    require_reference(request.reference)
    ranks = ranks_of(request)
    require_whole_allocation(os.environ, ranks)

    def rank_work(context: RankContext) -> int:
        from ptycho_dist.commands.job_summary import reported
        from ptycho_dist.launching.rank_logging import log_to_folder

        folder = Path(str(request.output_dir))
        log_to_folder(folder, context.rank)
        with reported(folder, context.rank):
            _work_unless_finished(work, replace(request, progress=context.progress))
        return 0

    return on_ranks(
        typed, ranks, rank_work, bar=_execution_asked(request).enable_progress_bar, folder=request.output_dir
    )


def _work_unless_finished(work: Callable[[RunRequest], object], request: RunRequest) -> None:
    """Work, or tell on rank 0 that this was done before."""
    from ptycho_dist.finished_jobs import FinishedAlready

    try:
        work(request)
    except FinishedAlready as already:
        logger.warning("%s", already)


def run_alone(typed: Typed, folder: Path, work: Callable[[Progress], object]) -> int:
    """Do a job in this process alone, and say what it wrote into a folder."""
    from ptycho_dist.commands.job_summary import reported
    from ptycho_dist.commands.progress_display import followed
    from ptycho_dist.folder_claim import claimed

    with followed(typed, single_rank()) as progress, claimed(folder, typed.argv[0]), reported(folder):
        _tell_doubts(typed)
        if (folder / FOLDER).is_dir():  # a run's folder; others get no files but those that were asked for
            progress.listen(StateFile(folder, 0, 1))
        work(progress)
    return 0


def write_alone(typed: Typed, write: Callable[[], Path]) -> int:
    """Write a file in this process alone, and print its name."""
    from ptycho_dist.commands.progress_display import followed

    with followed(typed, single_rank()):
        written = write()
    if typed.listen is None:
        sys.stdout.write(f"{written}\n")
    return 0


def write_on_ranks(typed: Typed, write: Callable[[RankGroup], Path | tuple[Path, ...]]) -> int:
    """Let ranks write one file or more together, and say on rank 0 what was written."""
    config = RanksConfig(**own_section(typed, "ranks", RanksConfig))

    def rank_work(context: RankContext) -> int:
        from ptycho_dist.distributed.rank_group import open_rank_group
        from ptycho_dist.factory.devices import require_launch

        if config.devices != "auto":
            require_launch(PyTorchExecutionConfig(devices=config.devices), context)
        with open_rank_group(context, config.timeout_s) as ranks:
            written = write(ranks)
        context.progress.end(FINISHED)
        if context.rank == 0 and typed.listen is None:
            sys.stdout.writelines(f"{path}\n" for path in (written if isinstance(written, tuple) else (written,)))
        return 0

    return on_ranks(typed, ranks_to_start(config.devices), rank_work, bar="auto")


def on_ranks(
    typed: Typed,
    ranks: int,
    work: Callable[[RankContext], int],
    *,
    bar: bool | str = False,
    folder: Path | None = None,
) -> int:
    """Start ranks of this command and wait for them; in a process that is a rank, do its work.

    Parameters
    ----------
    typed
        What was typed.
    ranks
        Ranks to start on this host; with 1 this process is the rank.
    work
        What a rank does; returns its exit code.
    bar
        Whether rank 0 shows a progress bar, as of ``execution.enable_progress_bar``.
    folder
        Where ranks leave how far they are; None where they do not.
    """
    raise_limit()
    if ranks > 1:
        configure_logging(typed)
        from ptycho_dist.commands.progress_display import relayed

        with relayed(typed.on_progress, folder):
            return _start_ranks(typed, ranks)
    end_with_parent(os.environ)
    from ptycho_dist.commands.progress_display import followed

    context = detect(os.environ)
    with followed(typed, context, bar) as progress:
        if context.rank == 0:
            _tell_doubts(typed)
        return work(replace(context, progress=progress))


def _tell_doubts(typed: Typed) -> None:
    from ptycho_dist.commands.given import tell_doubts

    tell_doubts(typed)


def timeout_of(typed: Typed) -> float:
    """Longest wait of ranks for each other, in seconds, as given before the settings are checked; else the default."""
    try:
        given = settings_of_file(typed.file.settings()) | dict(typed.overrides)
        found = _first(given, ("execution.timeout_s", "ranks.timeout_s"))
        return PyTorchExecutionConfig().timeout_s if found is None else float(found)
    except (PtychoDistError, ValueError, TypeError):  # told where the settings are checked
        return PyTorchExecutionConfig().timeout_s


def make_request(typed: Typed) -> RunRequest:
    """Request of a command line; paths not typed are looked up in the config file."""
    in_file = settings_of_file(typed.file.settings())
    paths = {name: _first(in_file, keys) for name, keys in _FILE_KEYS.items()} | dict(typed.paths)
    overrides = dict(typed.overrides)
    if typed.quiet:
        overrides.setdefault("execution.enable_progress_bar", False)
    overrides |= {f"training.{name}": typed.paths[name] for name in ("init_from", "label_file") if name in typed.paths}
    return RunRequest(
        scan=paths["scan"],
        output_dir=paths["output_dir"],
        overrides=overrides,
        in_file=in_file,
        model_path=paths["model_path"],
        product=paths.get("product"),
        reference=paths.get("reference"),
        start=paths["start"],
        argv=typed.argv,
        overwrite=typed.overwrite,
    )


def ranks_of(request: RunRequest) -> int:
    """Ranks that a job starts on this host.

    Raises
    ------
    ConfigError
        If an execution setting is out of range, or far more ranks are asked for than there are cores.
    """
    execution = _execution_asked(request)
    return ranks_to_start(execution.devices, execution.accelerator)


def _execution_asked(request: RunRequest) -> PyTorchExecutionConfig:
    levels = request.levels({"execution": PyTorchExecutionConfig})
    return PyTorchExecutionConfig(**precedence.resolve(levels).section("execution"))


def ranks_to_start(devices: int | str, accelerator: str = "cpu") -> int:
    """Ranks to start on this host; 1 where a launcher has started them already.

    Raises
    ------
    ConfigError
        If there are far more than cores.
    """
    if launcher_name(os.environ) != "plain":
        return 1
    if devices == "auto" and accelerator == "cpu":
        return 1
    if devices == "auto":
        from ptycho_dist.factory.devices import count_gpus

        return max(1, count_gpus())
    cores = os.cpu_count() or 1
    if int(devices) > RANKS_PER_CORE * cores:
        msg = (
            f"execution.devices = {devices} would start {devices} processes on this host of {cores} CPU cores; "
            f"expected at most {RANKS_PER_CORE * cores}. Set execution.devices = {cores} or less."
        )
        raise ConfigError(msg)
    return int(devices)


def _start_ranks(typed: Typed, ranks: int) -> int:
    """Run the command line as ranks of our supervisor, on this host; returns its exit code.

    Raises
    ------
    PtychoDistError
        If a rank fails and Python code has called the command.
    """
    from ptycho_dist.launching.supervisor import run_ranks, supervise

    if typed.listen is None:
        return run_ranks(typed.argv, ranks)
    from ptycho_dist.commands.error_messages import raise_failure

    raise_failure(supervise(typed.argv, ranks, listen=typed.listen))
    return 0


def configure_logging(typed: Typed) -> None:
    """Send the log of this rank to standard error."""
    from ptycho_dist.launching import rank_logging

    rank_logging.configure_logging(detect(os.environ), debug=typed.debug, quiet=typed.quiet)


def own_section(typed: Typed, section: str, config: type[Any]) -> dict[str, Any]:
    """Values of a section that only this command knows: those typed, else those in the file of ``--config``."""
    dotted = {f"{section}.{name}": value for name, value in typed.file.section(section).items()}
    in_file = precedence.canonicalise(dotted, {section: config}, precedence.CONFIG_FILE)
    given = precedence.resolve([precedence.Level(precedence.OVERRIDE, typed.overrides), in_file])
    return given.section(section)


def required_path(typed: Typed, name: str) -> Path:
    """Return a path that was typed.

    Raises
    ------
    ConfigError
        If it was not.
    """
    if name not in typed.paths:
        _refuse_missing(typed, name, "a path")
    return typed.paths[name]


def _refuse_missing(typed: Typed, name: str, expected: str) -> NoReturn:
    msg = f"{typed.argv[0]} got no {name}; expected {expected}. See ptycho-dist {typed.argv[0]} --help."
    raise ConfigError(msg)


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((values[key] for key in keys if key in values), None)
