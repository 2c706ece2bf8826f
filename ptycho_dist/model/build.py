"""Build the model that a payload describes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ptycho_dist.config.schema import DataConfig, ModelConfig
from ptycho_dist.errors import ConfigError
from ptycho_dist.model.ptycho_model import OUTPUTS, PatchSizes, PtychoModel
from ptycho_dist.nn.registry import NetworkSpec, find_network
from ptycho_dist.physics.optics import Optics, OpticsOptions
from ptycho_dist.physics.probe import orthogonalise, select_modes
from ptycho_dist.types import FAR_FIELD, Propagation

PROBE = "optics.probe_parts"
"""Name of the probe among the weights of a model; real and imaginary parts, shape (P, N, N, 2)."""
_OPTICS, _MASK = "optics.", "mask"
_FIELD_SHARE = 0.5
_FIELD_STEP = 16


def build_model(
    data: DataConfig,
    model: ModelConfig,
    probe_PNN: Tensor,
    mask_NN: Tensor | None = None,
    probe_mask_NN: Tensor | None = None,
    propagation: Propagation = FAR_FIELD,
) -> PtychoModel:
    """Build network and physics, untrained.

    Parameters
    ----------
    data, model
        Resolved settings (N, nphotons, n_modes and output_px are set).
    probe_PNN
        Supplied probe modes, complex, shape (P, N, N).
    mask_NN
        Valid detector pixels, bool, shape (N, N).
    probe_mask_NN
        Where the probe may differ from zero, bool, shape (N, N).
    propagation
        From the object to the detector.

    Raises
    ------
    ConfigError
        If a setting is unresolved or sizes do not fit.
    """
    if model.output_px is None or data.n_modes is None or data.nphotons is None:
        msg = "model.output_px, data.n_modes and data.nphotons must be set; expected a payload made by the factory."
        raise ConfigError(msg)
    network = find_network(model.architecture)
    sizes = PatchSizes(
        N=data.N,
        field_px=data.N if network.sees_whole_frame else field_side(data.N, model.output_px),
        output_px=model.output_px,
        patterns_per_sample=patterns_together(data, model),
        exchange=model.exchange,
    )
    optics = Optics(
        select_modes(probe_PNN, data.n_modes),
        data.nphotons,
        OpticsOptions(
            probe_trainable=data.probe_trainable,
            scale_trainable=model.intensity_scale_trainable,
            support_px=data.probe_support_px,
            probe_mask_NN=probe_mask_NN,
            background=data.background,
            propagation=propagation,
        ),
    )
    networks = [network.build(_network_spec(model, sizes)) for _ in range(model.stages)]
    return PtychoModel(networks, optics, sizes, mask_NN)


def patterns_together(data: DataConfig, model: ModelConfig) -> int:
    """Count the patterns that the network sees together: 1, or all of a group of gridsize squared.

    Raises
    ------
    ConfigError
        If groups are to be seen together, but have no fixed size.
    """
    if not model.group_as_channels:
        return 1
    if data.gridsize is None:
        msg = (
            "model.group_as_channels = True, but data.gridsize is not set; expected groups of one size. Set "
            "data.gridsize = 2, or remove model.group_as_channels."
        )
        raise ConfigError(msg)
    return data.gridsize**2


def _network_spec(model: ModelConfig, sizes: PatchSizes) -> NetworkSpec:
    return NetworkSpec(
        in_channels=sizes.features * sizes.patterns_per_sample,
        out_channels=OUTPUTS * sizes.patterns_per_sample,
        in_px=sizes.field_px,
        out_px=sizes.output_px,
        width=model.width,
        depth=model.depth,
        n_filters_scale=model.n_filters_scale,
    )


def empty_model(
    data: DataConfig, model: ModelConfig, *, has_mask: bool, propagation: Propagation = FAR_FIELD
) -> PtychoModel:
    """Build a model whose weights, probe and mask are about to be loaded."""
    modes = data.n_modes or 1
    probe = torch.ones(modes, data.N, data.N, dtype=torch.complex64)
    mask = torch.ones(data.N, data.N, dtype=torch.bool) if has_mask else None
    return build_model(data, model, probe, mask, propagation=propagation)


def network_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select what a network has learnt of all scans: probe, scale and mask of one scan are left out."""
    return {name: value for name, value in state.items() if not name.startswith(_OPTICS) and name != _MASK}


def settled_probe(parts_PNN2: Tensor, *, is_trained: bool) -> Tensor:
    """Probe of a finished training: modes that were trained are made orthogonal, the strongest first.

    What the model predicts stays, for it looks at the strongest orthogonal mode and at sums over all modes only.
    """
    return torch.view_as_real(orthogonalise(torch.view_as_complex(parts_PNN2))) if is_trained else parts_PNN2


def load_network(model: PtychoModel, state: Mapping[str, Tensor]) -> None:
    """Give a model the weights of a network; its probe, scale and mask stay.

    Raises
    ------
    RuntimeError
        If names or shapes of the weights are not those of this network.
    """
    own = model.state_dict()
    kept = {name: value for name, value in own.items() if name not in network_state(own)}
    model.load_state_dict(kept | network_state(state))


def field_side(N: int, output_px: int) -> int:
    """Side of the square that the network sees: half of N, at least the output."""
    wanted = max(output_px, math.ceil(_FIELD_SHARE * N))
    return min(N, _FIELD_STEP * math.ceil(wanted / _FIELD_STEP))
