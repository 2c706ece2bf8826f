"""Networks by name. A network joins with one decorated function, in a file of its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ptycho_dist.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What a network is asked to map.

    Parameters
    ----------
    in_channels, out_channels
        Real channels of input and output.
    in_px, out_px
        Side of the (square) input and output; the output is centred on the input.
    width
        Channels at the working resolution.
    depth
        Residual blocks at the working resolution.
    """

    in_channels: int
    out_channels: int
    in_px: int
    out_px: int
    width: int
    depth: int


NetworkBuilder = Callable[[NetworkSpec], nn.Module]
_BUILDERS: dict[str, NetworkBuilder] = {}


def register_network(name: str) -> Callable[[NetworkBuilder], NetworkBuilder]:
    """Register a function that builds a network mapping (B, C_in, in, in) to (B, C_out, out, out)."""

    def add(builder: NetworkBuilder) -> NetworkBuilder:
        if name in _BUILDERS:
            msg = f"network {name!r} is registered twice; expected one builder a name. Rename one."
            raise ConfigError(msg)
        _BUILDERS[name] = builder
        return builder

    return add


def network_names() -> tuple[str, ...]:
    """Names of all networks, those in this folder included."""
    _load_folder()
    return tuple(sorted(_BUILDERS))


def build_network(name: str, spec: NetworkSpec) -> nn.Module:
    """Build the network of that name.

    Raises
    ------
    ConfigError
        If no network has that name.
    """
    known = network_names()
    if name not in known:
        msg = f"model.architecture = {name!r}; expected one of {', '.join(known)}. Change model.architecture."
        raise ConfigError(msg)
    return _BUILDERS[name](spec)


def _load_folder() -> None:
    package = importlib.import_module("ptycho_dist.nn")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"ptycho_dist.nn.{module.name}")
