"""Train the network that ships with the package: ``python -m pretraining.run``.

Every step sees a new group of simulated patterns of any optics, dose and overlap; the loss is the error of the object
after each stage against the truth, so the network learns what objects are like, and not the noise.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from pretraining.samples import Group, Samples
from ptycho_dist.bundle import save_bundle
from ptycho_dist.config.schema import DataConfig, ModelConfig
from ptycho_dist.factory.payload import plain
from ptycho_dist.model.build import build_model, network_state
from ptycho_dist.model.ptycho_model import PatchSizes, PtychoModel
from ptycho_dist.physics.optics import Optics, OpticsOptions

logger = logging.getLogger(__name__)

PRETRAINED = Path(__file__).parents[1] / "ptycho_dist" / "pretrained"
"""Where the package keeps it."""
_GROUP, _RATE, _WARMUP, _DECAY = 24, 2e-3, 100, 0.5
_EARLIER, _WORST, _TINY = 0.3, 50.0, 1e-4
_PICTURES, _LINE_EVERY = 400, 200


def model_for(network: PtychoModel, group: Group) -> PtychoModel:
    """Return the network with the optics of a group, whatever the side of its frames."""
    N = group.counts_BNN.shape[-1]
    energy = float(group.probe_PNN.abs().square().sum())
    sizes = PatchSizes(N=N, field_px=N // 2, output_px=N // 2, exchange=True)
    model = PtychoModel(tuple(network.networks), Optics(group.probe_PNN, energy, OpticsOptions()), sizes, group.mask_NN)
    model.steps = network.steps
    return model


def object_error(canvas_HW: Tensor, truth_HW: Tensor, weight_HW: Tensor) -> Tensor:
    """Error against the truth at the best global phase, relative to the contrast of the truth; a real scalar."""
    share = weight_HW / weight_HW.max()
    weight = share / (share + 0.05)
    overlap = (weight * truth_HW.conj() * canvas_HW).sum().abs()
    squares = (weight * (canvas_HW.abs().square() + truth_HW.abs().square())).sum()
    mean = (weight * truth_HW).sum() / weight.sum()
    contrast = (weight * (truth_HW - mean).abs().square()).sum()
    return (squares - 2 * overlap) / contrast.clamp_min(1e-6 * weight.sum())


def group_loss(network: PtychoModel, group: Group) -> Tensor:
    """Errors after all stages, added up; the last counts most."""
    model = model_for(network, group)
    rows, columns = group.truth_HW.shape
    weight = model.neighbours(group.corners_px, (rows, columns)).weight_HW
    canvases = [one.canvas_HW for one in model.stages(group.counts_BNN, group.corners_px, (rows, columns))]
    errors = [(object_error(one, group.truth_HW, weight).clamp_max(_WORST) + _TINY).sqrt() for one in canvases]
    return errors[-1] + _EARLIER * torch.stack(errors[:-1]).sum()


def rate_factor(share: float, step: int) -> float:
    """Learning rate over its peak: warm-up, constant, then falling to nothing over the last half."""
    late = max(0.0, (share - (1 - _DECAY)) / _DECAY)
    return min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * min(late, 1.0)))


def train(minutes: float, seed: int, network: PtychoModel) -> dict[str, float]:
    """Train in place for so many minutes of processor time; returns what is told of it."""
    samples, began = Samples(seed + 1, _PICTURES), time.process_time()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    step, mean = 0, 0.0
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        for settings in optimizer.param_groups:
            settings["lr"] = _RATE * rate_factor(share, step)
        loss = group_loss(network, samples.draw(_GROUP))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step, mean = step + 1, mean + (loss.item() - mean) / min(step + 1, _LINE_EVERY)
        if step % _LINE_EVERY == 0:
            logger.info("step %d, %.0f %% of the time: loss %.4f", step, 100 * share, mean)
    return {"steps": step, "patterns": step * _GROUP, "loss": mean}


def build(seed: int) -> PtychoModel:
    """Build the untrained network; optics of one frame of ones, which are not kept."""
    torch.manual_seed(seed)
    data = DataConfig(N=64, nphotons=1.0, n_modes=1)
    return build_model(data, _resolved(), torch.ones(1, 64, 64, dtype=torch.complex64))


def save(network: PtychoModel, folder: Path, told: dict[str, float]) -> Path:
    """Write the bundle; its weights are of half precision, which changes predictions by less than noise does."""
    state = {name: value.half() for name, value in network_state(network.state_dict()).items()}
    data = DataConfig(N=64, nphotons=1.0, n_modes=1)
    settings = {"data": plain(data), "model": plain(_resolved()), "holds_probe": False, "fits_any_size": True}
    return save_bundle(folder, state, settings | {"history": told})


def _resolved() -> ModelConfig:
    """Shape of the network: that of the defaults, so that trainings start from it."""
    return ModelConfig(output_px=32)


def main() -> None:
    """Train, and write the bundle into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=PRETRAINED)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    network = build(asked.seed)
    told = train(asked.minutes, asked.seed, network)
    logger.info("%s; bundle in %s", told, save(network, asked.folder, told))


if __name__ == "__main__":
    main()
