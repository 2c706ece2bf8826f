"""The Lightning module: one global step on this rank's share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ptycho_dist.data.datamodule import ScanBatch, StepBatch
from ptycho_dist.distributed.collectives import all_gather_object, all_reduce_sum
from ptycho_dist.errors import TrainingError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.optics import Optics, OpticsOptions
from ptycho_dist.physics.probe import select_modes
from ptycho_dist.training import loggers
from ptycho_dist.training.captured import CapturedTerms
from ptycho_dist.training.checkpoints import STATE_KEY
from ptycho_dist.training.objective import Objective, Terms, add_terms, weigh
from ptycho_dist.training.optim import (
    PLATEAU,
    build_optimizer,
    build_plateau,
    build_scheduler,
    learning_rates,
    plateau_state,
)
from ptycho_dist.training.pace import Pace
from ptycho_dist.training.said import WISHES, Agreed, Said, Step
from ptycho_dist.training.watch import Watch
from ptycho_dist.training.weights import weight_norms
from ptycho_dist.types import Propagation


@dataclass(frozen=True)
class _Own:
    """Terms of this rank in a step, their weights, and patterns of the step over all ranks."""

    terms: Terms
    weights: dict[str, float]
    patterns: float


@dataclass
class EpochSums:
    """Sums over the steps of an epoch so far.

    Parameters
    ----------
    loss, terms
        Weighed loss, and each term, over all patterns.
    patterns
        Patterns seen.
    """

    loss: float = 0.0
    patterns: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)

    def add(self, loss: float, patterns: float, terms: Mapping[str, float]) -> None:
        """Add a step."""
        self.loss += loss
        self.patterns += patterns
        self.terms = {name: self.terms.get(name, 0.0) + term for name, term in terms.items()}


class PtychoModule(pl.LightningModule):
    """Minimises the misfit of overlapping patches to all their patterns, and what else the objective asks for.

    The loss of a step is its terms summed over all ranks' patterns, divided by the patterns of the global step
    (or of all steps whose gradients are added), so it does not depend on the number of ranks. With the amplitude
    likelihood alone it is the square of the Fourier error.

    With a set of scans the network is trained and, on request, a scale for each scan. The probe of each scan comes
    with its patterns and stays as supplied, scaled to the mean photons that all patterns are brought to; so the
    bundle does not grow with the set.

    Parameters
    ----------
    model
        Network and physics.
    payload
        Settings, the same on every rank.
    world
        Number of ranks (DDP divides gradients by it).
    """

    def __init__(self, model: PtychoModel, payload: TrainingPayload, world: int) -> None:
        super().__init__()
        self.model = model
        self._training, self._execution = payload.training_config, payload.execution_config
        self._photons = payload.photons
        self._fingerprint, self._scan_checksum = payload.result_fingerprint(), payload.scan_checksum
        self.objective = Objective(self._training, payload.photons)
        self._captured = CapturedTerms(self.objective, model) if self._execution.cuda_graphs is True else None
        self._support_px = payload.data_config.probe_support_px
        self._world = world
        self.train_losses: list[float] = []
        self.steps = 0
        """Batches done in all."""
        self.agreed = Agreed()
        """What became known with the last step."""
        self.watch = Watch()
        self.pace = Pace(0, self._training.min_gain)
        self._wishes = dict.fromkeys(WISHES, False)
        self._own: _Own | None = None
        self._said: list[Said] = []
        self._place = (0, 0)
        self._epoch_sums = EpochSums()
        self._val_sums = torch.zeros(2, dtype=torch.float64)
        self._val_loss = float("nan")
        self._plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None

    def wish(self, **wishes: bool) -> None:
        """Say what this rank wants after the coming step: ``stop``, ``save`` or ``is_late``; the others stay."""
        self._wishes |= wishes

    def mark_place(self, epoch: int, batch: int) -> None:
        """Say where in the order of training the state to be saved lies: batches done of which epoch."""
        self._place = (epoch, batch)

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        """Loss of this rank; its mean over ranks is the global loss."""
        terms, weights = self._terms(batch), self.objective.weights(self.current_epoch)
        self._own = _Own({name: term.detach() for name, term in terms.items()}, weights, batch.n_patterns_global)
        share = self._world * self._execution.accum_steps / batch.n_patterns_accumulated
        return weigh(terms, weights) * share

    def on_after_backward(self) -> None:
        """Say how the step went, and find out how the one before went: no step waits for its own numbers.

        What decides on the state to be kept, and the last of an epoch or of the training, is known at once.
        """
        own = self._own
        if own is None:
            msg = "no step was made before this backward pass; expected training_step to come first"
            raise TrainingError(msg)
        step = Step(self.steps, self.current_epoch, own.weights, own.patterns, learning_rates(self._optimizer))
        norm = self._gradient_norm(next(iter(own.terms.values())))
        self._said.append(Said.begin(step, own.terms, norm, self._wishes))
        self.steps += 1
        known = [*self._said] if self._must_know() else self._said[:-1]
        self._said = self._said[len(known) :]
        self.agreed = Agreed()
        for one in known:
            self._take_in(one)

    def _must_know(self) -> bool:
        """Whether the step just done decides on what comes next; the same on every rank."""
        is_last = self.trainer.is_last_batch or self.trainer.global_step + 1 >= self.pace.end
        return is_last or self.watch.is_full_with(len(self._said))

    def _take_in(self, said: Said) -> None:
        step, loss = said.step, said.loss
        fault = self.watch.look(loss / step.patterns, said.gradient_norm, step.weights)
        if fault and not self.agreed.fault:
            self.agreed = replace(self.agreed, fault=self._where(fault, said), fault_step=step.number + 1)
        stop, save, is_late = said.wishes()
        self.agreed = replace(self.agreed, stop=stop, save=save, is_late=is_late)
        if not fault:
            self._epoch_sums.add(loss, step.patterns, said.terms)
            self._log(said)

    @property
    def is_doubtful(self) -> bool:
        """Whether a step that was done is not finite; waits for its numbers."""
        return not all(one.is_finite for one in self._said)

    def forget(self) -> None:
        """Forget the steps whose numbers are on their way, and the present window: all were undone."""
        for one in self._said:
            one.read()
        self._said = []
        self.watch.forget()

    def latest_losses(self) -> dict[str, float]:
        """Losses that are known, by name: of the epoch so far, else of the one before; and of the last validation."""
        sums = self._epoch_sums
        known = [*self.train_losses, *([sums.loss / sums.patterns] if sums.patterns else [])][-1:]
        found = {"loss": known[0]} if known else {}
        return found if math.isnan(self._val_loss) else found | {"validation loss": self._val_loss}

    def close_books(self) -> None:
        """Log what is known of the steps so far, and do not do twice what the ranks wished, before a state is saved."""
        for one in self._said:
            one.void_wishes()
            if one.is_finite:
                self._log(one)

    def _log(self, said: Said) -> None:
        step, terms = said.step, self._each("{}_loss_step", said.terms, said.step.patterns)
        values = {"train_loss_step": said.loss / step.patterns} | terms | step.rates | {"epoch": step.epoch}
        if not said.is_logged:
            loggers.record(self.trainer.loggers, values, step.number)
        said.is_logged = True

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add this rank's share to the validation loss."""
        loss = weigh(self._terms(batch), self.objective.final_weights())
        self._val_sums += torch.tensor([float(loss), batch.weight * batch.n_patterns])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss over all ranks, and keep it in ``train_losses``; NaN where no step of it was good."""
        sums, self._epoch_sums = self._epoch_sums, EpochSums()
        self.train_losses.append(sums.loss / sums.patterns if sums.patterns else math.nan)
        self._log_epoch("train_loss", self.train_losses[-1])
        if self.trainer.is_global_zero and self.trainer.loggers:
            self._record(weight_norms(self.model), self.steps - 1)
        weights = self.objective.weights(self.current_epoch)
        if len(weights) > 1:
            means = self._each("train_{}", sums.terms, sums.patterns)
            self._record(means | {f"weight_{name}": value for name, value in weights.items()}, self.steps - 1)
        if self._plateau is not None:
            validates = self._execution.checkpoint_monitor_metric == "val_loss"
            self._plateau.step(self._val_loss if validates else self.train_losses[-1])

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss over all ranks."""
        loss, patterns = all_reduce_sum(self._val_sums).tolist()
        self._val_sums.zero_()
        self._val_loss = loss / patterns
        self._log_epoch("val_loss", self._val_loss)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what our part of the training needs to resume; the same on every rank."""
        epoch, batch = self._place
        checkpoint[STATE_KEY] = {
            "fingerprint": self._fingerprint,
            "scan_checksum": self._scan_checksum,
            "epoch": epoch,
            "batch": batch,
            "step": self.steps,
            "epoch_sums": asdict(self._epoch_sums),
            "watch": asdict(self.watch),
            "said": [one.state() for one in self._said],
            "pace": asdict(self.pace),
            "train_losses": list(self.train_losses),
            "plateau": None if self._plateau is None else plateau_state(self._plateau),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take our part of a saved training back."""
        state = checkpoint[STATE_KEY]
        self.steps, self._epoch_sums = state["step"], EpochSums(**state["epoch_sums"])
        self.train_losses = list(state["train_losses"])
        self.watch.restore(state["watch"])
        self._said = [Said.of_state(one) for one in state["said"]]
        self.pace.restore(state["pace"])
        self._plateau_state = state["plateau"]

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the payload."""
        self._optimizer = optimizer = build_optimizer(self.model, self._training, self._execution)
        every = int(self.trainer.estimated_stepping_batches)
        total, in_epoch = min(every, self._training.max_steps or every), every // self._training.epochs
        if self.pace.total != total:
            self.pace = Pace(total, self._training.min_gain)
        if self._execution.scheduler == PLATEAU:
            self._plateau = build_plateau(optimizer, self._training, self._execution, self._plateau_state)
            return optimizer
        scheduler = build_scheduler(optimizer, self._training, self._execution, self.pace, in_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _terms(self, batch: StepBatch) -> Terms:
        """Terms of this rank's share, summed over its patterns; 0 where it only joins the collectives."""
        summed = add_terms([self._terms_of(part) for part in batch.parts])
        return {name: term * batch.weight for name, term in summed.items()}

    def _terms_of(self, part: ScanBatch) -> Terms:
        """Terms of one scan's patterns; of a single scan's by a CUDA graph, where such are wanted."""
        if self._captured is None or part.probe is not None or not torch.is_grad_enabled():
            return self.objective.terms(self.model_of(part), part)
        return self._captured.terms(part)

    def model_of(self, part: ScanBatch) -> PtychoModel:
        """Return the network with the optics of one scan: the model's own, or those that come with the patterns."""
        if part.probe is None:
            return self.model
        modes = select_modes(part.probe, len(self.model.optics.probe))
        within = OpticsOptions(
            support_px=self._support_px, probe_mask_NN=part.probe_mask, propagation=Propagation(*part.propagation)
        )
        optics = Optics(modes, self._photons, within).to(self.model.steps)
        scales = self.model.optics.scan_log_scales
        if scales is not None:
            optics.log_scale = optics.log_scale + scales[part.number]
        return self.model.with_optics(optics, part.mask)

    def _each(self, name: str, terms: Mapping[str, float], patterns: float) -> dict[str, float]:
        """Mean of each term over patterns, where there is more than one."""
        return {name.format(one): term / patterns for one, term in terms.items()} if len(terms) > 1 else {}

    def _gradient_norm(self, like: Tensor) -> Tensor:
        """Norm of the gradient so far; zero with 16-mixed, whose scaler watches its own gradients."""
        if self._execution.precision == "16-mixed":
            return torch.zeros_like(like)
        return get_total_norm([one.grad for one in self.parameters() if one.grad is not None]).to(like)

    def _where(self, fault: str, said: Said) -> str:
        """Add to a fault on which ranks the loss is not finite."""
        losses = all_gather_object(said.own_loss)
        bad = [f"{loss} on rank {rank}" for rank, loss in enumerate(losses) if not math.isfinite(loss)]
        return f"{fault} ({', '.join(bad)})" if bad else fault

    def failure(self, why: str) -> str:
        """Say that the training cannot go on, and what to do."""
        fault = self.agreed.fault or "the weights are not finite"
        step = self.agreed.fault_step or self.steps
        return (
            f"step {step} (epoch {self.current_epoch + 1}): {fault}, and {why}; expected finite losses that "
            f"fall. Lower execution.learning_rate (now {self._execution.learning_rate}) or "
            f"training.probe_learning_rate (now {self._training.probe_learning_rate}), or set "
            f"execution.gradient_clip_val lower (now {self._execution.gradient_clip_val}); start anew with --resume "
            "false."
        )

    def _log_epoch(self, name: str, loss: float) -> None:
        self.log(name, loss, logger=False, sync_dist=False)  # equal on all ranks already
        self._record({name: loss}, self.steps - 1)

    def _record(self, values: dict[str, float], step: int | None = None) -> None:
        """Log values at once, so that a checkpoint never is ahead of the log."""
        loggers.record(
            self.trainer.loggers, values | {"epoch": self.current_epoch}, self.steps if step is None else step
        )
