"""Drives PtychoPINN's PyTorch backend; runs in PtychoPINN's own Python, imports nothing of ours.

``python ptychopinn.py train REQUEST.json`` or ``predict REQUEST.json``; the request names the folder of the
scan, where to work, and how long to train; the answer is written beside it as ``REQUEST.answer.json``.
"""

from __future__ import annotations

import json
import math
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.dataloader import PtychoDataset
from ptycho_torch.lightning_utils import CIStatisticsCallback
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.reassembly import reconstruct_image_barycentric
from ptycho_torch.train_utils import PtychoDataModuleLightning

WARM_BATCHES = 3


class Speed(L.Callback):
    """Patterns per second of training, validation and the first batches left out."""

    def __init__(self, patterns_per_batch: int) -> None:
        super().__init__()
        self._per_batch = patterns_per_batch
        self._batches, self._seconds, self._began = 0, 0.0, 0.0
        self.patterns = 0

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock of a step."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        self.patterns += self._per_batch
        self._batches += 1
        if self._batches > WARM_BATCHES:
            self._seconds += time.perf_counter() - self._began

    @property
    def patterns_per_s(self) -> float:
        """Over all steps but the first ones; not a number where there were no others."""
        return (
            math.nan
            if self._batches <= WARM_BATCHES
            else (self._batches - WARM_BATCHES) * self._per_batch / self._seconds
        )


def configs(request: dict[str, Any]) -> tuple[DataConfig, ModelConfig, TrainingConfig, InferenceConfig]:
    """PtychoPINN's own defaults, but for what the request changes."""
    data = DataConfig(nphotons=request["photons"], n_subsample=request["n_subsample"], **request["data"])
    model = ModelConfig(**request["model"])
    training = TrainingConfig(
        device="cpu", num_workers=0, n_devices=1, strategy="auto", orchestrator="Lightning", **request["training"]
    )
    return data, model, training, InferenceConfig(batch_size=request["inference_batch"])


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Train for some seconds of wall time or some epochs; keep the weights."""
    data, model, training, inference = configs(request)
    L.seed_everything(request["seed"])
    began = time.perf_counter()
    module = PtychoDataModuleLightning(request["scan_dir"], model, data, training)
    network = PtychoPINN_Lightning(model, data, training, inference)
    network.training = True
    network.lr = training.learning_rate
    speed = Speed(training.batch_size * data.C)
    limit = {"max_time": timedelta(seconds=request["seconds"])} if request.get("seconds") else {}
    trainer = L.Trainer(
        max_epochs=request["epochs"], accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[CIStatisticsCallback(), speed], **limit,
    )  # fmt: skip
    trainer.fit(network, datamodule=module)
    torch.save(network.state_dict(), request["weights"])
    return {
        "wall_s": time.perf_counter() - began,
        "patterns": speed.patterns,
        "patterns_per_s": speed.patterns_per_s,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def predict(request: dict[str, Any]) -> dict[str, Any]:
    """From the scan file to a written object, along the barycentric route."""
    data, model, training, inference = configs(request)
    network = PtychoPINN_Lightning(model, data, training, inference)
    network.load_state_dict(torch.load(request["weights"]))
    began = time.perf_counter()
    dataset = PtychoDataset(
        request["scan_dir"], model, data, training_config=TrainingConfig(device="cpu", num_workers=0),
        data_dir=str(Path(request["map_dir"]) / "memmap"), remake_map=True,
    )  # fmt: skip
    result, _, stats = reconstruct_image_barycentric(
        network, dataset, training, data, model, inference, verbose=False, use_mixed_precision=False
    )
    canvas = np.squeeze(result.cpu().numpy())
    anchor = stats[-1]
    centre_xy = np.asarray(anchor["scan_com"].cpu()).reshape(-1)
    np.savez(request["object"], object=canvas, centre_xy=centre_xy)
    return {
        "wall_s": time.perf_counter() - began,
        "groups": len(dataset),
        "network_s": float(stats[0]),
        "stitching_s": float(stats[1]),
        "anchor": {name: np.asarray(value).tolist() for name, value in anchor.items()},
    }


def main() -> None:
    """Read a request, do it, write the answer."""
    path = Path(sys.argv[2])
    request = json.loads(path.read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    answer = {"train": train, "predict": predict}[sys.argv[1]](request)
    path.with_suffix(".answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
