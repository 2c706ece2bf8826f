"""Simulate a scan, reconstruct it with and without a network, and set both beside the truth.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ptycho_dist.commands.parsing import parse
from ptycho_dist.commands.registry import Command, Typed, commands, register_command
from ptycho_dist.commands.startup import own_section, write_alone
from ptycho_dist.config.command_settings import DemoConfig
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import launcher_name
from ptycho_dist.run_folder import METRICS, product_of

DEFAULT_FOLDER = Path("runs/demo")
WITHOUT_NETWORK = "ones"
"""Folder, in that of the demonstration, of the result without a network."""
_STEP_PX = 9
"""Wide enough that the network pays, and that both results have something left to be told apart by."""

COMMAND = Command(
    name="demo",
    summary="simulate a scan, reconstruct it with and without a network, compare",
    description="Simulate a scan of a known object, reconstruct it with the network, refine it once more without one,\n"
    "and set both beside the truth. Takes about two minutes on two cores.",
    example="ptycho-dist demo\n  ptycho-dist demo runs/demo --devices 4 --overwrite",
    order=0,
    operand="folder",
    operand_help=f"Folder for all results; {DEFAULT_FOLDER} where not given.",
    operand_is_optional=True,
    stages=(),
    sections={"demo": DemoConfig},
    main_flags=("devices", "n_patterns", "max_epochs", "overwrite"),
    replaces="Replace what an earlier demonstration left in the folder.",
)


@register_command(COMMAND)
def demo(typed: Typed) -> int:
    """Run the commands of a first session, one after the other."""
    if launcher_name(os.environ) != "plain":
        msg = "demo was started by a launcher; expected one process, which starts its ranks itself. Use --devices."
        raise ConfigError(msg)
    config = DemoConfig(**own_section(typed, "demo", DemoConfig))
    folder = typed.paths.get("folder", DEFAULT_FOLDER)
    general = [f"--{name}" for name in ("overwrite", "quiet", "debug") if getattr(typed, name)]
    for words in _steps(config, folder):
        code = _run([*words, *general])
        if code:
            return code
    code = write_alone(typed, lambda: _draw(folder))
    sys.stdout.write(_closing(folder))
    return code


def _steps(config: DemoConfig, folder: Path) -> list[list[str]]:
    scan, alone = str(folder / "scan.h5"), str(folder / WITHOUT_NETWORK)
    size = ["--step_px", str(_STEP_PX), "--n_patterns", str(config.n_patterns)]
    epochs = [] if config.max_epochs is None else ["--max_epochs", str(config.max_epochs)]
    return [
        ["simulate", scan, *size],
        ["reconstruct", scan, "--output_dir", str(folder), "--devices", str(config.devices), *epochs],
        ["refine", scan, "--start_from", "ones", "--output_dir", alone, "--devices", "1"],
        ["report", alone, str(folder), "--output", str(folder / "comparison.html")],
    ]


def _run(words: list[str]) -> int:
    name, *flags = words
    sys.stdout.write(f"$ ptycho-dist {' '.join(words)}\n")
    sys.stdout.flush()
    command = commands()[name]
    return command.run(parse(command, flags))


def _draw(folder: Path) -> Path:
    from ptycho_dist.results import run_figure

    request = RunRequest(scan=None, output_dir=None, reference=product_of(folder))
    return run_figure(folder / WITHOUT_NETWORK, "comparison", folder / "comparison.png", request)


def _closing(folder: Path) -> str:
    with_network, alone = (_phase_ssim(place) for place in (folder, folder / WITHOUT_NETWORK))
    return (
        f"phase SSIM against the truth: {with_network:.3f} with the network, {alone:.3f} without\n"
        f"look at   {folder / 'report.html'}\n"
        f"          {folder / 'comparison.html'}   (first without the network, then with it)\n"
        f"          {folder / 'overview.png'}\n"
        f"object in {folder / 'reconstruction.h5'}\n"
        "next: ptycho-dist inspect YOUR_SCAN\n"
    )


def _phase_ssim(folder: Path) -> float:
    return float(json.loads((folder / METRICS).read_text(encoding="utf-8"))["ssim_phase"])
