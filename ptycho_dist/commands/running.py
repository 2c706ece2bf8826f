"""What the commands do: make a request, start ranks if need be, call the pipeline.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho_dist.commands.command import Typed
from ptycho_dist.commands.path_checks import require_output_folder, require_reference, require_scan, require_source
from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.request import RunRequest
from ptycho_dist.config.sections import INFERENCE_SECTIONS, REFINE_SECTIONS, TRAINING_SECTIONS
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import detect, launcher_name, require_whole_allocation
from ptycho_dist.launching.parent import end_with_parent

_FILE_KEYS = {
    "scan": ("training.train_data_file", "inference.test_data_file", "refine.scan"),
    "output_dir": ("training.output_dir", "inference.output_dir", "refine.output_dir"),
    "model_path": ("inference.model_path",),
    "start": ("refine.start",),
}
"""Where a path that was not typed may be in the config file."""
RANKS_PER_CORE = 8
"""Ranks that our supervisor starts for each CPU core at most; beyond, it is a typing error."""


def train(typed: Typed) -> int:
    """Train on a scan or a set of scans, on all ranks."""

    def run(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_train

        run_train(request)

    return _run_on_ranks(typed, ("scan", "output_dir"), run, require_source)


def infer(typed: Typed) -> int:
    """Predict a scan with a bundle, on all ranks, and stitch."""

    def run(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_infer

        run_infer(request)

    return _run_on_ranks(typed, ("scan", "output_dir", "model_path"), run)


def reconstruct(typed: Typed) -> int:
    """Train, predict, stitch and evaluate, on all ranks."""

    def run(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_reconstruct

        run_reconstruct(request)

    return _run_on_ranks(typed, ("scan", "output_dir"), run)


def refine(typed: Typed) -> int:
    """Refine a reconstruction (or ones) by physics, on all ranks."""

    def run(request: RunRequest) -> None:
        from ptycho_dist.pipeline import run_refine

        run_refine(request)

    return _run_on_ranks(typed, ("scan", "output_dir"), run)


def stitch(typed: Typed) -> int:
    """Join the shards of a folder into one object."""
    from ptycho_dist.commands.job_summary import reported
    from ptycho_dist.pipeline import run_stitch

    configure_logging(typed)
    folder = required_path(typed, "shard_dir")
    require_output_folder(folder.absolute().parent, "folder")
    with reported(folder.absolute().parent):
        run_stitch(folder)
    return 0


def evaluate(typed: Typed) -> int:
    """Compute the metrics of a product."""
    from ptycho_dist.commands.job_summary import reported
    from ptycho_dist.pipeline import run_evaluate

    configure_logging(typed)
    request = make_request(typed)
    folder = request.output_dir or required_path(typed, "product").parent
    require_output_folder(folder)
    require_reference(request.reference)
    with reported(folder):
        run_evaluate(request)
    return 0


def inspect(typed: Typed) -> int:
    """Say what a file or folder is."""
    from ptycho_dist.commands.inspection import describe

    sys.stdout.write(describe(required_path(typed, "file")))
    return 0


def read_settings(typed: Typed) -> dict[str, Any]:
    """Read the settings of ``--config``; empty without one."""
    from ptycho_dist.factory.config_file import read_config_file

    return {} if typed.config_file is None else read_config_file(typed.config_file)


def make_request(typed: Typed) -> RunRequest:
    """Request of a command line; paths not typed are looked up in the config file."""
    in_file = file_values(typed)
    paths = {name: _first(in_file, keys) for name, keys in _FILE_KEYS.items()} | dict(typed.paths)
    overrides = dict(typed.overrides)
    if typed.quiet:
        overrides.setdefault("execution.enable_progress_bar", False)
    overrides |= {f"training.{name}": typed.paths[name] for name in ("init_from", "label_file") if name in typed.paths}
    return RunRequest(
        scan=paths["scan"],
        output_dir=paths["output_dir"],
        overrides=overrides,
        config_file=typed.config_file,
        model_path=paths["model_path"],
        product=paths.get("product"),
        reference=paths.get("reference"),
        start=paths["start"],
    )


def ranks_to_start(typed: Typed) -> int:
    """Ranks to start on this host; 1 where a launcher has started them already.

    Raises
    ------
    ConfigError
        If an execution setting is out of range, or far more ranks are asked for than there are cores.
    """
    if launcher_name(os.environ) != "plain":
        return 1
    values = file_values(typed) | dict(typed.overrides)
    execution = PyTorchExecutionConfig(**precedence.Resolution(values, {}).section("execution"))
    if execution.devices != "auto":
        return sensible_ranks(int(execution.devices))
    if execution.accelerator == "cpu":
        return 1
    from ptycho_dist.factory.devices import count_gpus

    return max(1, count_gpus())


def sensible_ranks(ranks: int) -> int:
    """Return the number of ranks to start on this host.

    Raises
    ------
    ConfigError
        If there are far more than cores.
    """
    cores = os.cpu_count() or 1
    if ranks > RANKS_PER_CORE * cores:
        msg = (
            f"execution.devices = {ranks} would start {ranks} processes on this host of {cores} CPU cores; expected "
            f"at most {RANKS_PER_CORE * cores}. Set execution.devices = {cores} or less."
        )
        raise ConfigError(msg)
    return ranks


def _run_on_ranks(
    typed: Typed, required: tuple[str, ...], run: Callable[[RunRequest], object],
    require_input: Callable[[Path], None] = require_scan,
) -> int:  # fmt: skip
    request = make_request(typed)
    for name in required:
        if getattr(request, name) is None:
            spelled = "a scan file" if name == "scan" else f"--{name}"
            msg = f"{typed.argv[0]} got no {name}; expected {spelled}. See ptycho-dist {typed.argv[0]} --help."
            raise ConfigError(msg)
    if request.scan is not None and request.output_dir is not None:
        require_input(request.scan)
        require_output_folder(request.output_dir)
    require_reference(request.reference)
    ranks = ranks_to_start(typed)
    require_whole_allocation(os.environ, ranks)
    configure_logging(typed)
    if ranks > 1:
        return start_ranks(typed, ranks)
    end_with_parent(os.environ)
    from ptycho_dist.commands.job_summary import reported
    from ptycho_dist.launching.rank_logging import log_to_folder

    rank, folder = detect(os.environ).rank, Path(str(request.output_dir))
    log_to_folder(folder, rank)
    with reported(folder, rank):
        run(request)
    return 0


def start_ranks(typed: Typed, ranks: int) -> int:
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


def without_section(typed: Typed, section: str) -> Typed:
    """Leave out what was typed for a section that only one command knows."""
    kept = {name: value for name, value in typed.overrides.items() if not name.startswith(f"{section}.")}
    return replace(typed, overrides=kept)


def configure_logging(typed: Typed) -> None:
    """Send the log of this rank to standard error."""
    from ptycho_dist.launching import rank_logging

    rank_logging.configure_logging(detect(os.environ), debug=typed.debug, quiet=typed.quiet)


def file_values(typed: Typed) -> dict[str, Any]:
    """Values of the config file by dotted name, of every step."""
    settings = read_settings(typed)
    values: dict[str, Any] = {}
    for sections in (REFINE_SECTIONS, INFERENCE_SECTIONS, TRAINING_SECTIONS):
        level = precedence.canonicalise(settings, sections, precedence.CONFIG_FILE, drop_foreign=True)
        values |= level.values
    return values


def _first(values: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((values[key] for key in keys if key in values), None)


def required_path(typed: Typed, name: str) -> Path:
    """Return a path that was typed.

    Raises
    ------
    ConfigError
        If it was not.
    """
    if name not in typed.paths:
        msg = f"{typed.argv[0]} got no {name}; expected a path. See ptycho-dist {typed.argv[0]} --help."
        raise ConfigError(msg)
    return typed.paths[name]
