"""Steps of the refinement by compiled loops (:mod:`~ptycho_dist.refine.kernels`), for complex64 on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ptycho_dist.physics.propagators import Propagator
from ptycho_dist.physics.windows import Windows


@dataclass(frozen=True)
class Fused:
    """Compiled loops, their threads, and what they need of a detector.

    Parameters
    ----------
    threads
        Threads that share a loop; the results are the same for any number.
    mask_NN
        1 for valid pixels and 0 for others, float32, in detector order.
    worth_a_thread
        Pixels that are worth another thread.
    """

    threads: int
    mask_NN: Tensor
    worth_a_thread: int = 2**16

    @classmethod
    def of(cls, N: int, mask_NN: Tensor | None, threads: int) -> Fused:
        """Prepare for N by N pixels with a mask of valid ones; None where all are."""
        return cls(threads, torch.ones(N, N) if mask_NN is None else mask_NN.float().contiguous())

    def exit_waves(
        self,
        windows: Windows,
        object_HW: Tensor,
        probe_PNN: Tensor,
        propagator: Propagator,
        measured_BNN: Tensor,
        background_NN: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compare patterns with the forward model.

        Returns
        -------
        tuple of Tensor
            Object patches (B, N, N); change of the exit waves (P, B, N, N) that the measured amplitudes ask for;
            squared misfit (B,); modelled amplitudes (B, N, N).
        """
        count, N = len(windows), windows.n
        patches = object_HW.new_empty(count, N, N)
        waves = object_HW.new_empty(len(probe_PNN), count, N, N)
        modelled, squared = measured_BNN.new_empty(count, N, N), measured_BNN.new_empty(count)
        if not count:
            return patches, waves, squared, modelled
        places = windows.positions_px.numpy()
        self._run(self._kernels.illuminate, waves, object_HW, places, probe_PNN, patches, waves)
        waves = propagator.forward(waves).contiguous()
        background = self._zeros_NN if background_NN is None else background_NN
        self._run(
            self._kernels.compare, waves, waves, measured_BNN, self.mask_NN, background, modelled, squared
        )  # fmt: skip
        return patches, propagator.backward(waves), squared, modelled

    def object_direction(self, guide_PNN: Tensor, waves_PBNN: Tensor) -> Tensor:
        """Multiply exit waves by the conjugate guide, and sum over modes, (B, N, N)."""
        direction = waves_PBNN.new_empty(waves_PBNN.shape[1:])
        self._run(self._kernels.back_project, waves_PBNN, waves_PBNN, guide_PNN, direction)
        return direction

    def probe_direction(self, waves_PBNN: Tensor, patches_BNN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum over patterns: change of the probe (P, N, N), light of the patches (N, N), square of all changes."""
        modes, _, N, _ = waves_PBNN.shape
        change, light = waves_PBNN.new_empty(modes, N, N), self.mask_NN.new_empty(N, N)
        squared = self.mask_NN.new_empty(N)
        self._run(self._kernels.probe_change, waves_PBNN, waves_PBNN, patches_BNN, change, light, squared)
        return change, light, squared.sum()

    def add_to(self, canvas_HW: Tensor, windows: Windows, steps_BNN: Tensor, factor: float) -> None:
        """Add ``factor`` times the adjoint of the interpolation of patches to a canvas, in place."""
        places = windows.positions_px.numpy()
        self._run(self._kernels.add, steps_BNN, canvas_HW, places, steps_BNN, factor, self.threads)

    def agreement(self, canvas_HW: Tensor, windows: Windows, steps_BNN: Tensor) -> tuple[Tensor, Tensor]:
        """Square (B,) of each step, and its product (B,) with what a canvas has in its window."""
        found = self.mask_NN.new_empty(len(steps_BNN), 2)
        places = windows.positions_px.numpy()
        self._run(self._kernels.agreement, steps_BNN, canvas_HW, places, steps_BNN, found)
        return found[:, 0], found[:, 1]

    def step_products(
        self, direction_BNN: Tensor, probe_PNN: Tensor, patches_BNN: Tensor, probe_step_PNN: Tensor, waves_PBNN: Tensor
    ) -> tuple[Tensor, ...]:
        """Give the five inner products (B,) that decide on the lengths of steps of object and probe."""
        found = self.mask_NN.new_empty(len(direction_BNN), 5)
        arrays = (direction_BNN, probe_PNN, patches_BNN, probe_step_PNN, waves_PBNN)
        self._run(self._kernels.step_products, waves_PBNN, *arrays, found)
        return tuple(found.unbind(dim=1))

    @cached_property
    def _zeros_NN(self) -> Tensor:  # noqa: N802  # the letters of shapes
        return torch.zeros_like(self.mask_NN)

    @cached_property
    def _kernels(self) -> ModuleType:
        """Compiled loops; importing them compiles them where that has not been done."""
        from ptycho_dist.refine import kernels

        return kernels

    def _run(self, kernel: Callable[..., None], load: Tensor, *given: Any) -> None:
        """Run a kernel, by threads where there is enough to do; strided tensors are refused."""
        arrays = [_as_numbers(one) if isinstance(one, Tensor) else one for one in given]
        self._kernels.use_threads(min(self.threads, max(1, load.numel() // self.worth_a_thread)))
        kernel(*arrays)


def _as_numbers(values: Tensor) -> Any:
    """Show a tensor as an array; a complex one with real and imaginary parts in turn."""
    return (values.view(torch.float32) if values.is_complex() else values).numpy()
