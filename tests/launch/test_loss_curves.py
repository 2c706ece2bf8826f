"""One rank and two ranks follow the same loss curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.sampler import Chosen, Layout, StepSampler
from ptycho_dist.data.scan import open_scan
from ptycho_dist.types import FloatArray
from tests.support.launch import run_torchrun, run_well, step_losses
from tests.support.ranks import rank_context

STEPS = 20
SHAPE = {"group_size": 4, "batch_size": 2}
"""25 patterns make 7 groups: 4 steps an epoch, the last of one group, which leaves rank 1 of 2 without a share."""
CASES = {
    "sgd in float32": (["--optimizer", "sgd", "--precision", "32-true", "--learning_rate", "0.05"], 1e-5),
    "adamw in float64": (["--optimizer", "adamw", "--precision", "64-true"], 1e-9),
    "labels, priors, added and clipped gradients": (
        [
            "--mode",
            "mixed",
            "--tv_weight",
            "0.1",
            "--amplitude_weight",
            "0.1",
            "--accum_steps",
            "2",
            "--precision",
            "64-true",
            "--gradient_clip_val",
            "0.01",
            "--optimizer",
            "adam",
            "--ema_decay",
            "0.9",
            "--max_epochs",
            "10",
        ],
        1e-9,
    ),
}


def layout_of(positions_px: FloatArray) -> Callable[[int], Layout]:
    return lambda _: Layout(positions_px, 0.0)


@dataclass(frozen=True)
class Curve:
    """Losses of one rank, the flags that made them, and how far others may differ."""

    flags: list[str]
    tolerance: float
    losses: list[float]


def arguments(scan: Path, output_dir: Path, devices: int | None = None) -> list[object]:
    settings = [word for name, value in SHAPE.items() for word in (f"--{name}", value)]
    ranks = [] if devices is None else ["--devices", devices]
    return ["train", scan, "--output_dir", output_dir, *settings, "--max_steps", STEPS, "--accelerator", "cpu",
            "--width", 8, "--depth", 1, "--quiet", *ranks]  # fmt: skip


def test_last_batch_is_uneven(scan: Path) -> None:
    with open_scan(scan) as found:
        configs = (DataConfig(group_size=4), TrainingConfig(train_data_file=scan, output_dir=scan.parent, batch_size=2))
        positions = found.positions_px
        shares = [
            list(
                StepSampler(
                    layout_of(positions),
                    Chosen.of_one(np.arange(25)),
                    configs,
                    rank_context(rank, 2),
                    shuffle=True,
                )
            )
            for rank in (0, 1)
        ]
    assert [len(share.parts[0][1]) for share in shares[0]] == [1, 1, 1, 1]
    assert [share.weight for share in shares[1]] == [1.0, 1.0, 1.0, 0.0]


RICH = "labels, priors, added and clipped gradients"


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name == RICH else pytest.mark.exhaustive) for name in CASES],
)
def alone(request: pytest.FixtureRequest, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Curve:
    flags, tolerance = CASES[request.param]
    folder = tmp_path_factory.mktemp("alone")
    run_well([*arguments(scan, folder, 1), *flags])
    losses = step_losses(folder)
    assert losses[-4:] != pytest.approx(losses[:4], rel=1e-2), "the training changes nothing, so nothing is proven"
    return Curve(flags, tolerance, losses)


def require_same(alone: Curve, output_dir: Path) -> None:
    losses = step_losses(output_dir)
    assert len(losses) == len(alone.losses) >= STEPS
    assert losses == pytest.approx(alone.losses, rel=alone.tolerance, abs=0)


def test_two_ranks_follow_the_loss_curve_of_one(alone: Curve, scan: Path, tmp_path: Path) -> None:
    run_well([*arguments(scan, tmp_path, 2), *alone.flags])
    require_same(alone, tmp_path)


@pytest.mark.parametrize("alone", ["adamw in float64"], indirect=True)
def test_three_ranks_of_which_one_is_always_idle_follow_it_too(alone: Curve, scan: Path, tmp_path: Path) -> None:
    run_well([*arguments(scan, tmp_path, 3), *alone.flags])
    require_same(alone, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("alone", ["adamw in float64"], indirect=True)
def test_ranks_of_torchrun_follow_it_too(alone: Curve, scan: Path, tmp_path: Path) -> None:
    done = run_torchrun([*arguments(scan, tmp_path), *alone.flags], 2)
    assert done.returncode == 0, done.stderr
    require_same(alone, tmp_path)
