"""Every execution knob reaches what it names: set in a payload, read back from the real thing."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from skimage import io
from torch import Tensor, nn
from torch.optim import Optimizer

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.distributed.collectives import process_group
from ptycho_dist.errors import ConfigError, LaunchError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.inference.patch_store import place_model, predict_patches, recipe
from ptycho_dist.inference.run import load_model
from ptycho_dist.job_marker import begin, finish
from ptycho_dist.launching.environment import RankContext, detect
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.refine.candidates import make_candidates
from ptycho_dist.reporting import Reporter
from ptycho_dist.training.callbacks import Keeping
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.previews import Previews, build_previews
from ptycho_dist.training.run import build_module
from ptycho_dist.training.stage_reports import StageReports
from ptycho_dist.training.trainer import build_strategy, build_trainer, calm_lightning, own_devices
from tests.support.ranks import rank_context
from tests.support.runs import inference_payload, training_payload, untrained_bundle

pytestmark = pytest.mark.usefixtures("same_process_afterwards")


class Recorder(Callback):
    """Notes what each optimiser step really used."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.largest: list[float] = []
        self.group: tuple[str, timedelta] | None = None
        self.outputs: list[torch.dtype] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.optimizers[0].register_step_post_hook(self._note_step)
        last = [part for part in pl_module.modules() if isinstance(part, nn.Conv2d)][-1]
        last.register_forward_hook(self._note_output)
        if dist.is_initialized():
            backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
            self.group = (dist.get_backend(), backend.options._timeout)

    def _note_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.norms.append(float(torch.stack([grad.norm() for grad in grads]).norm()))
        self.largest.append(max(float(grad.abs().max()) for grad in grads))

    def _note_output(self, _layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.outputs.append(output.dtype)


@dataclass
class Run:
    """A run built from a payload with one knob turned."""

    payload: TrainingPayload
    context: RankContext
    trainer: pl.Trainer
    module: PtychoModule
    data: ScanDataModule
    seen: Recorder = field(default_factory=Recorder)

    def fit(self) -> Run:
        self.trainer.callbacks.append(self.seen)
        with calm_lightning():
            self.trainer.fit(self.module, datamodule=self.data)
        return self

    def callback(self, kind: type[Callback]) -> Any:
        found = [one for one in self.trainer.callbacks if isinstance(one, kind)]
        return found[0] if found else None

    @property
    def files(self) -> list[str]:
        folder = self.payload.training_config.output_dir
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


Make = Callable[..., Run]


@pytest.fixture
def make(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> Make:
    def build(**overrides: Any) -> Run:
        payload = training_payload(tiny_path, tmp_path / "run", **({"max_epochs": 1} | overrides))
        context = detect(os.environ)
        configs = (payload.data_config, payload.training_config, payload.execution_config)
        with calm_lightning():
            previews = build_previews(payload, tiny_scan, context)
            trainer = build_trainer(payload, context, Keeping(payload.output_dir), previews)
        module = build_module(payload, tiny_scan, context.world)
        return Run(
            payload, context, trainer, module, ScanDataModule(tiny_scan, configs, rank_context(0, 1), payload.photons)
        )

    return build


def check_accelerator(make: Make) -> None:
    trainer = make(accelerator="cpu").trainer
    assert isinstance(trainer.accelerator, CPUAccelerator)
    assert trainer.strategy.root_device == torch.device("cpu")


def check_devices(make: Make) -> None:
    assert make(devices=1).trainer.world_size == 1
    spawn = {"PTYCHO_DIST_LAUNCHER": "spawn", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "NODE_RANK": "0",
             "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}  # fmt: skip
    os.environ.update(spawn)
    trainer = make(devices=2).trainer
    assert (trainer.num_devices, trainer.num_nodes, trainer.world_size) == (2, 1, 2)
    assert isinstance(trainer.strategy, DDPStrategy)


@pytest.mark.parametrize(("visible", "index"), [(1, 0), (2, 1)])
def test_lightning_is_given_the_gpu_of_this_rank(monkeypatch: pytest.MonkeyPatch, visible: int, index: int) -> None:
    """A stand-in counts the GPUs; what Lightning would use is read from its Trainer."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    for module in ("lightning.fabric.accelerators.cuda", "lightning.pytorch.accelerators.cuda"):
        monkeypatch.setattr(f"{module}.num_cuda_devices", lambda: visible)
    monkeypatch.setattr("lightning.fabric.accelerators.cuda._check_cuda_matmul_precision", lambda _: None)
    context = replace(rank_context(1, 2), launcher="mpi")
    execution = PyTorchExecutionConfig(accelerator="cuda", devices=2, strategy="ddp")
    strategy = build_strategy(execution, context)
    trainer = pl.Trainer(accelerator="cuda", devices=own_devices(execution, context), strategy=strategy, logger=False)
    assert (trainer.world_size, trainer.num_devices, trainer.global_rank) == (2, 2, 1)
    assert trainer.strategy.root_device == torch.device("cuda", index)


def check_strategy(make: Make) -> None:
    assert isinstance(make(strategy="single_device").trainer.strategy, SingleDeviceStrategy)
    run = make(strategy="ddp", max_steps=1).fit()
    assert isinstance(run.trainer.strategy, DDPStrategy)
    assert run.seen.group is not None
    assert run.seen.group[0] == "gloo"


def check_timeout_s(make: Make) -> None:
    run = make(strategy="ddp", timeout_s=17.0, max_steps=1).fit()
    assert run.seen.group == ("gloo", timedelta(seconds=17))


def check_deterministic(make: Make) -> None:
    for value, state in ((True, (True, False)), ("warn", (True, True)), (False, (False, False))):
        make(deterministic=value)
        found = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        assert found == state


def check_precision(make: Make) -> None:
    kinds = {
        "32-true": (torch.float32, torch.float32),
        "64-true": (torch.float64, torch.float64),
        "bf16-mixed": (torch.float32, torch.bfloat16),
    }
    for precision, (parameters, outputs) in kinds.items():
        run = make(precision=precision, max_steps=1).fit()
        assert run.trainer.precision == precision
        assert {parameter.dtype for parameter in run.module.parameters()} == {parameters}
        assert set(run.seen.outputs) == {outputs}


def check_gradient_clip_val(make: Make) -> None:
    free = make(max_steps=2, gradient_clip_val=None).fit()
    assert free.trainer.gradient_clip_val is None
    clipped = make(max_steps=2, gradient_clip_val=1e-3).fit()
    assert min(free.seen.norms) > 2e-3
    assert clipped.seen.norms == pytest.approx([1e-3] * 2, rel=1e-3)


def check_gradient_clip_algorithm(make: Make) -> None:
    run = make(max_steps=2, gradient_clip_val=1e-3, gradient_clip_algorithm="value").fit()
    assert run.seen.largest == pytest.approx([1e-3] * 2, rel=1e-3)
    assert min(run.seen.norms) > 2e-3


def check_accum_steps(make: Make) -> None:
    batches = len(make().data.train_dataloader())
    assert batches == 4
    assert make(accum_steps=1).fit().trainer.global_step == 4
    assert make(accum_steps=3).fit().trainer.global_step == 2


def check_num_workers(make: Make) -> None:
    run = make(num_workers=2)
    assert run.data.train_dataloader().num_workers == 2
    before = set(multiprocessing.active_children())
    batches = iter(run.data.train_dataloader())
    assert len(set(multiprocessing.active_children()) - before) == 2
    del batches


def check_pin_memory(make: Make) -> None:
    assert make(pin_memory=True).data.train_dataloader().pin_memory
    assert not make().data.train_dataloader().pin_memory


def check_persistent_workers(make: Make) -> None:
    assert make(persistent_workers=True, num_workers=1).data.train_dataloader().persistent_workers
    assert not make(num_workers=1).data.train_dataloader().persistent_workers


def check_prefetch_factor(make: Make) -> None:
    assert make(prefetch_factor=5, num_workers=1).data.train_dataloader().prefetch_factor == 5


def check_learning_rate(make: Make) -> None:
    run = make(learning_rate=3e-4, scheduler="Default", max_steps=1).fit()
    rates = {group["name"]: group["initial_lr"] for group in run.trainer.optimizers[0].param_groups}
    assert rates["matrices"] == rates["vectors"] == 3e-4
    assert run.seen.rates == [3e-4]


def check_scheduler(make: Make) -> None:
    constant = make(scheduler="Default", learning_rate=1e-3, max_epochs=5).fit().seen.rates
    assert constant == [1e-3] * 20
    rates = make(scheduler="WarmupCosine", learning_rate=1e-3, max_epochs=5, warmup_fraction=0.25).fit().seen.rates
    assert rates[:5] == pytest.approx([0.2e-3, 0.4e-3, 0.6e-3, 0.8e-3, 1e-3])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.05e-3


def check_enable_progress_bar(make: Make) -> None:
    for wanted in (True, False):
        made = make(enable_progress_bar=wanted)
        assert made.payload.execution_config.enable_progress_bar is wanted
        assert made.callback(ProgressBar) is None
        assert made.callback(StageReports) is not None


def check_report(make: Make) -> None:
    for wanted in (True, False):
        run = make(report=wanted)
        with open_scan(run.payload.scan_path) as scan:
            untrained_bundle(run.payload, scan)
        reporter = Reporter(run.payload.output_dir, Progress(), run.payload.execution_config.report)
        reporter.begin(("train",), run.payload)
        reporter.write(None, None)
        page = run.payload.output_dir / "report.html"
        assert page.exists() is wanted
        page.unlink(missing_ok=True)


def check_enable_checkpointing(make: Make) -> None:
    off = make(enable_checkpointing=False).fit()
    assert off.callback(ModelCheckpoint) is None
    assert not [name for name in off.files if name.endswith(".ckpt")]
    assert "checkpoints/last.ckpt" in make(enable_checkpointing=True).fit().files


def check_checkpoint_interval_s(make: Make) -> None:
    for interval_s, places in ((0.0, 2), (1e6, 0)):
        run = make(checkpoint_interval_s=interval_s).fit()
        assert len([name for name in run.files if "/step-" in name and name.endswith(".ckpt")]) == places
        for path in run.payload.output_dir.glob("checkpoints/step-*"):
            path.unlink()


def check_resume(make: Make) -> None:
    for resume, begun in ((True, {}), (False, None)):
        payload = make(resume=resume).payload
        for _ in range(2):
            found = begin(
                payload.output_dir, "train", payload.result_settings(), resume=payload.execution_config.resume
            )
        assert found == begun
        finish(payload.output_dir)


def check_checkpoint_save_top_k(make: Make) -> None:
    for top_k in (0, 2):
        run = make(checkpoint_save_top_k=top_k, max_epochs=4).fit()
        kept = [name for name in run.files if name.endswith(".ckpt")]
        assert len(kept) == top_k + 1
        assert "checkpoints/last.ckpt" in kept


def check_checkpoint_monitor_metric(make: Make) -> None:
    for metric in ("train_loss", "val_loss"):
        run = make(checkpoint_monitor_metric=metric, val_fraction=0.3).fit()
        assert run.callback(EarlyStopping).monitor == metric
        best = run.callback(ModelCheckpoint).best_model_score
        assert float(best) == pytest.approx(float(run.trainer.callback_metrics[metric]), rel=1e-6)
    assert run.trainer.callback_metrics["val_loss"] != run.trainer.callback_metrics["train_loss"]


def check_checkpoint_mode(make: Make) -> None:
    for mode, choose in (("min", min), ("max", max)):
        run = make(checkpoint_mode=mode, max_epochs=3).fit()
        assert run.callback(EarlyStopping).mode == mode
        best = float(run.callback(ModelCheckpoint).best_model_score)
        assert best == pytest.approx(choose(run.module.train_losses), rel=1e-6)


def check_early_stop_patience(make: Make) -> None:
    for patience in (1, 3):
        run = make(early_stop_patience=patience, checkpoint_mode="max", max_epochs=9).fit()
        assert run.callback(EarlyStopping).patience == patience
        assert run.trainer.current_epoch == patience + 1


def check_logger_backend(make: Make) -> None:
    none = make(logger_backend="none").fit()
    assert none.trainer.loggers == []
    assert not [name for name in none.files if name.startswith("logs")]
    csv = make(logger_backend="csv").fit()
    assert isinstance(csv.trainer.logger, CSVLogger)
    assert "logs/metrics.csv" in csv.files
    board = make(logger_backend="tensorboard").fit()
    assert isinstance(board.trainer.logger, TensorBoardLogger)
    assert "logs/metrics.csv" in board.files
    assert [name for name in board.files if name.startswith("logs/events")]


def check_recon_log_every_n_epochs(make: Make) -> None:
    assert make().callback(Previews) is None
    run = make(max_epochs=5, recon_log_every_n_epochs=2).fit()
    assert [name for name in run.files if "previews" in name] == ["previews/epoch-0002.png", "previews/epoch-0004.png"]


def check_recon_log_num_patches(make: Make) -> None:
    shown = make(recon_log_every_n_epochs=1, recon_log_num_patches=3).callback(Previews)._preview.shown
    assert shown.tolist() == [0, 12, 24]


def check_recon_log_fixed_indices(make: Make) -> None:
    shown = make(recon_log_every_n_epochs=1, recon_log_fixed_indices=(7, 3)).callback(Previews)._preview.shown
    assert shown.tolist() == [7, 3]
    with pytest.raises(ConfigError, match=r"names \[25\]; expected pattern numbers from 0 to 24"):
        make(recon_log_every_n_epochs=1, recon_log_fixed_indices=(3, 25))


def check_recon_log_stitch(make: Make) -> None:
    sizes = []
    for stitched in (False, True):
        run = make(recon_log_every_n_epochs=1, recon_log_stitch=stitched).fit()
        sizes.append(io.imread(run.payload.output_dir / "previews" / "epoch-0001.png").shape[1])
    assert sizes[1] == pytest.approx(sizes[0] * 5 / 4, abs=4)


def check_recon_log_max_stitch_samples(make: Make) -> None:
    areas = []
    for most in (6, None):
        run = make(recon_log_every_n_epochs=1, recon_log_max_stitch_samples=most)
        sums = run.callback(Previews)._preview.share_of_sums(run.module.model.requires_grad_(requires_grad=False))
        areas.append(int((sums[2] > 0).sum()))
    assert 16 * 16 < areas[0] < areas[1] <= 25 * 17 * 17


def check_inference_batch_size(make: Make) -> None:
    for size, expected in ((7, [7, 7, 7, 4]), (25, [25])):
        payload, model = _prediction(make, inference_batch_size=size)
        inputs: list[int] = []
        first = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
        first.register_forward_pre_hook(lambda _layer, args, inputs=inputs: inputs.append(len(args[0])))
        order = torch.arange(25).numpy()
        with open_scan(payload.scan_path) as scan:
            assert [len(rows) for _patches, rows in predict_patches(model, scan, order, payload)] == expected
        assert set(inputs) == {size}


def check_middle_trim(make: Make) -> None:
    for trim, side in ((0, 16), (3, 10)):
        payload, model = _prediction(make, middle_trim=trim)
        how = recipe(model, payload)
        assert (how.trim_px, how.side, how.offset_px) == (trim, side, 8 + trim)


def check_cuda_graphs(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"execution\.cuda_graphs = True on cpu"):
        make(cuda_graphs=True)
    for wanted in ("auto", False):
        run = make(cuda_graphs=wanted)
        assert run.payload.execution_config.cuda_graphs is False
        run.fit()


def check_cpu_loops(make: Make) -> None:
    for loops, expected in (("auto", "compiled"), ("compiled", "compiled"), ("torch", "torch")):
        payload, _ = _prediction(make, cpu_loops=loops)
        assert payload.execution_config.cpu_loops == expected
        settings = {"start_from": "ones", "cpu_loops": loops}
        refinement = create_refine_payload(payload.scan_path, payload.output_dir / loops, settings)
        with open_scan(payload.scan_path) as scan:
            (candidate,) = make_candidates(refinement, rank_context(0, 1), scan).going
        assert (candidate.refiner.fused is not None) == (expected == "compiled")


def _prediction(make: Make, **overrides: Any) -> tuple[Any, Any]:
    run = make()
    path = run.payload.training_config.train_data_file
    with open_scan(path) as scan:
        bundle = untrained_bundle(run.payload, scan)
        payload = inference_payload(bundle, path, bundle.parent / "out", **overrides)
        return payload, place_model(load_model(payload, scan)[0], payload.execution_config, 0)


KNOBS = [knob.name for knob in fields(PyTorchExecutionConfig)]
CHECKS = {name.removeprefix("check_"): value for name, value in globals().items() if name.startswith("check_")}


def test_every_knob_has_a_check() -> None:
    assert set(CHECKS) == set(KNOBS), "a new knob needs a function check_NAME here; a knob that went leaves none"


@pytest.mark.parametrize("knob", KNOBS)
def test_knob_reaches_what_it_names(knob: str, make: Make) -> None:
    CHECKS[knob](make)


def test_training_again_into_the_same_folder_replaces_the_last_checkpoint(make: Make) -> None:
    first, second = make(max_epochs=1).fit(), make(max_epochs=2).fit()
    names = [name for name in second.files if "last" in name]
    assert names == ["checkpoints/last.ckpt", "checkpoints/last.ckpt.sha256"]
    folder = second.payload.training_config.output_dir
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)["global_step"] == 8
    assert first.trainer.global_step == 4


def test_timeout_ends_the_wait_for_ranks_that_never_come() -> None:
    alone = RankContext(
        rank=0, world=2, local_rank=0, local_world=2, node_rank=0, nodes=1, launcher="spawn", why="test",
        main_address="127.0.0.1", main_port=0,
    )  # fmt: skip
    with pytest.raises(LaunchError, match=r"rank 0 of 2 .*within 1\.0 s"), process_group(alone, "gloo", 1.0):
        pytest.fail("a group of two opened with one rank")
