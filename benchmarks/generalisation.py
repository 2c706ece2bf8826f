"""One network, trained on simulated scans only, on scans that it has not seen.

Run ``python -m benchmarks.generalisation --data FOLDER`` (``--minutes`` says how long the network is trained). It
simulates a set of scans with the probe of the Siemens star, trains on it, and predicts without further training: a
simulated scan of other pictures, the star with the probe supplied, and the star with a probe that was refined. Then it
trains on for half a minute on the star, beside a network that starts from scratch. What is finished is kept in
``--output_dir``: the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.common import command_of, environment, ptycho_dist, write_results
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.launching.signals import EXIT_RESUMABLE

_STAR, _REFERENCE = "siemens_star_tike.npz", "siemens_star_reference.npz"
_OPTICS = ("--N", "128", "--photons", "5e5", "--step_px", "11", "--jitter_px", "1", "--phase_range_rad", "1",
           "--amplitude_min", "0.8")  # fmt: skip
_SET = ("--n_patterns", "100", "--photons_factor", "3", "--aberration_rad", "1.2",
        "--pictures", "[astronaut,brick,grass,gravel,moon,page,text]")  # fmt: skip
_UNSEEN = ("--n_patterns", "300", "--aberration_rad", "0.6", "--seed", "77")
_NETWORK = ("--stages", "3")
_TUNING = ("--learning_rate", "1e-3")
_TRIAL_STEPS, _PATTERNS_IN_STEP = 60, 16
_CHUNK = 64


@dataclass(frozen=True)
class Run:
    """Where everything lies, and what was asked for.

    Parameters
    ----------
    data, folder
        Folder of the star; folder of what is made.
    ranks
        Ranks of each command.
    minutes, tune_s
        Duration of the training on the set, and of that on the star.
    piece_s
        Longest duration of training in this call.
    """

    data: Path
    folder: Path
    ranks: int
    minutes: float
    tune_s: float
    piece_s: float | None

    @property
    def star(self) -> Path:
        """The scan of the star, with the probe supplied."""
        return self.data / _STAR

    @property
    def reference(self) -> Path:
        """A reconstruction of the star, to compare with."""
        return self.data / _REFERENCE

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of commands that use devices."""
        return ("--devices", str(self.ranks), "--accelerator", "cpu")


@dataclass(frozen=True)
class Outcome:
    """What was found on one scan.

    Parameters
    ----------
    scan, network
        What was predicted, and how the network was trained.
    fourier_error
        Of the stitched object.
    ssim_phase, frc_px
        Against truth or reference; None where there is none or it is not resolved.
    training_s
        Duration of training on this scan.
    """

    scan: str
    network: str
    fourier_error: float
    ssim_phase: float | None
    frc_px: float | None
    training_s: float


def prepare(run: Run) -> None:
    """Simulate the set and the unseen scan; write the star with its refined probe."""
    probe = ("--probe_file", str(run.star), *_OPTICS)
    ranks = ("--devices", str(run.ranks))
    _once(run.folder / "set" / "set.json", lambda: ptycho_dist(
        "simulate", str(run.folder / "set"), "--n_scans", "48", *_SET, *probe, *ranks))  # fmt: skip
    unseen = run.folder / "unseen.h5"
    _once(unseen, lambda: ptycho_dist("simulate", str(unseen), *_UNSEEN, *probe))
    refined = run.folder / "star_refined_probe.h5"
    _once(refined, lambda: _write_refined(run, refined))


def steps_of(run: Run) -> int:
    """Count the steps that take the minutes asked for, by a trial on this machine; decided once."""
    plan = run.folder / "steps.json"
    if not plan.is_file():
        trial = run.folder / "trial"
        ptycho_dist("train", str(run.folder / "set"), "--output_dir", str(trial), *_NETWORK, *run.flags,
                    "--max_steps", str(_TRIAL_STEPS))  # fmt: skip
        steps = max(1, round(60 * run.minutes * _speed(trial) / _PATTERNS_IN_STEP))
        plan.write_text(json.dumps({"minutes": run.minutes, "steps": steps}), encoding="utf-8")
    found = json.loads(plan.read_text(encoding="utf-8"))
    if found["minutes"] != run.minutes:
        msg = f"{plan} is of {found['minutes']} minutes; expected {run.minutes}. Choose another --output_dir."
        raise SystemExit(msg)
    return int(found["steps"])


def pretrain(run: Run) -> bool:
    """Train on the set; False if the time of this call is up before it is finished."""
    folder = run.folder / "pretrained"
    if (folder / "bundle" / "bundle.json").is_file():
        return True
    steps = steps_of(run)
    command = command_of("train", str(run.folder / "set"), "--output_dir", str(folder), *_NETWORK, *run.flags,
                         "--max_steps", str(steps), "--max_epochs", str(steps))  # fmt: skip
    process = subprocess.Popen(command, env=environment())
    try:
        code = process.wait(run.piece_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        code = process.wait()
    if code not in (0, EXIT_RESUMABLE):
        raise subprocess.CalledProcessError(code, command)
    return code == 0


def outcomes(run: Run) -> Iterator[Outcome]:
    """Predict without training, then train on the star for a while."""
    pretrained, supplied = run.folder / "pretrained", ("star, supplied probe", run.star)
    refined = ("star, refined probe", run.folder / "star_refined_probe.h5")
    for number, scan in enumerate((("simulated, unseen", run.folder / "unseen.h5"), supplied, refined)):
        yield predict(run, scan, run.folder / f"predicted-{number}", (pretrained, "simulated scans", 0.0))
    epochs = str(max(1, round(run.tune_s * _speed(pretrained) / _n_patterns(run.star))))
    starts = {"simulated scans, then this": ("--init_from", str(pretrained)), "this scan only": _NETWORK}
    for number, (name, start) in enumerate(starts.items()):
        folder, began = run.folder / f"tuned-{number}", time.monotonic()
        ptycho_dist("train", str(run.star), "--output_dir", str(folder), *start, *run.flags, *_TUNING, "--max_epochs",
                    epochs)  # fmt: skip
        yield predict(run, supplied, folder, (folder, name, time.monotonic() - began))


def predict(run: Run, scan: tuple[str, Path], folder: Path, network: tuple[Path, str, float]) -> Outcome:
    """Predict a scan (name and file) with a network (folder, how it was trained, seconds on this scan)."""
    ptycho_dist("infer", str(scan[1]), "--model_path", str(network[0]), "--output_dir", str(folder), *run.flags)
    reference = ("--reference", str(run.reference)) if "star" in scan[0] else ()
    ptycho_dist("evaluate", str(folder / "reconstruction.h5"), "--scan", str(scan[1]), *reference)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Outcome(
        scan=scan[0],
        network=network[1],
        fourier_error=metrics["fourier_error"],
        ssim_phase=metrics.get("ssim_phase"),
        frc_px=metrics.get("frc_resolution_half_bit_px"),
        training_s=network[2],
    )


def table(found: Sequence[Outcome]) -> Table:
    """Show what was found."""
    result = Table(title="one network on scans that it was not trained on")
    for column in ("scan", "trained on", "Fourier error", "phase SSIM", "FRC 1/2 bit, px", "training on it, s"):
        result.add_column(column)
    for one in found:
        quality = (f"{one.fourier_error:.4f}", _shown(one.ssim_phase, 3), _shown(one.frc_px, 2))
        result.add_row(one.scan, one.network, *quality, f"{one.training_s:.0f}")
    return result


def main() -> None:
    """Simulate, train, predict, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help=f"folder of {_STAR} and {_REFERENCE}")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/generalisation"), help="folder of what is made")
    parser.add_argument("--minutes", type=float, default=7.0, help="duration of the training on simulated scans")
    parser.add_argument("--tune_s", type=float, default=30.0, help="duration of the training on the star")
    parser.add_argument("--ranks", type=int, default=2, help="ranks of each command")
    parser.add_argument("--piece_s", type=float, help="train at most so long in this call; another call goes on")
    given = parser.parse_args()
    run = Run(given.data, given.output_dir, given.ranks, given.minutes, given.tune_s, given.piece_s)
    run.folder.mkdir(parents=True, exist_ok=True)
    prepare(run)
    if not pretrain(run):
        sys.stdout.write("the training is not finished; the same command goes on\n")
        return
    found = list(outcomes(run))
    Console().print(table(found))
    content = {"minutes": run.minutes, "steps": steps_of(run), "outcomes": [asdict(one) for one in found]}
    sys.stdout.write(f"written to {write_results('generalisation', content)}\n")


def _once(result: Path, make: Callable[[], object]) -> None:
    if not result.is_file():
        make()


def _write_refined(run: Run, path: Path) -> None:
    """Write the star with the probe that 100 iterations of ePIE found."""
    with np.load(run.reference) as reference, open_scan(run.star) as star:
        write_scan_h5(path, ScanContent(
            patterns=_chunks(star), positions_px=star.positions_px, probe=reference["probe"]))  # fmt: skip


def _chunks(scan: Scan) -> Iterator[NDArray[np.float32]]:
    count = scan.header.n_patterns
    return (scan.read_patterns(np.arange(start, min(start + _CHUNK, count))) for start in range(0, count, _CHUNK))


def _n_patterns(path: Path) -> int:
    with open_scan(path) as scan:
        return scan.header.n_patterns


def _speed(folder: Path) -> float:
    """Patterns a second, in the last epoch of a training."""
    with (folder / "logs" / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row["patterns_per_s"]) for row in csv.DictReader(file) if row.get("patterns_per_s")][-1]


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
