"""Networks by name. A network joins with one decorated function, in a file of its own, here or anywhere else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ptycho_dist.config.nearest import nearest
from ptycho_dist.errors import ConfigError
from ptycho_dist.registry import Registry


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
        Residual blocks (or layers) at the working resolution.
    n_filters_scale
        Factor of the channels of a network that has no working resolution, such as PtychoPINN's.
    """

    in_channels: int
    out_channels: int
    in_px: int
    out_px: int
    width: int
    depth: int
    n_filters_scale: int = 2


NetworkBuilder = Callable[[NetworkSpec], nn.Module]


@dataclass(frozen=True)
class NetworkEntry:
    """A network that is known by name.

    Parameters
    ----------
    build
        Makes the network.
    sees_whole_frame
        Whether its input is the N by N frame; else the middle of it that holds the probe.
    """

    build: NetworkBuilder
    sees_whole_frame: bool


_NETWORKS: Registry[NetworkEntry] = Registry("network", "ptycho_dist.nn")


def register_network(name: str, *, sees_whole_frame: bool = False) -> Callable[[NetworkBuilder], NetworkBuilder]:
    """Register a function that builds a network mapping (B, C_in, in, in) to (B, C_out, out, out).

    Output channels come in pairs, one pair for each pattern: the change to the logarithm of the object's
    amplitude, and to its phase in radians.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _NETWORKS.register_as(name, lambda builder: NetworkEntry(builder, sees_whole_frame))


def network_names() -> tuple[str, ...]:
    """Names of all networks, those in this folder included."""
    return tuple(_NETWORKS.entries())


def find_network(name: str) -> NetworkEntry:
    """Find a network by its name, or by ``module:name`` where a module of the user's registers it.

    Raises
    ------
    ConfigError
        If no network has that name, or there is no such module.
    """
    known = network_names()
    module, colon, own = name.partition(":")
    if colon:
        _import(module, name)
    elif name not in known:
        listed, near = ", ".join(repr(one) for one in known), nearest(name, known)
        hint = "Change model.architecture." if near is None else f"Did you mean {near!r}?"
        msg = (
            f"model.architecture = {name!r}; expected one of {listed}, or 'module:name' of a network of your own. "
            f"{hint}"
        )
        raise ConfigError(msg)
    wanted = own or module
    if wanted not in _NETWORKS.entries():
        msg = (
            f"model.architecture = {name!r}, but module {module!r} registers no network {wanted!r}; expected a "
            f'function decorated with @register_network("{wanted}") in it. Add it, or change the name.'
        )
        raise ConfigError(msg)
    return _NETWORKS.entries()[wanted]


def _import(module: str, name: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        msg = (
            f"model.architecture = {name!r}, but there is no module {module!r}; expected one that Python finds. Put "
            "its folder on PYTHONPATH (export PYTHONPATH=FOLDER), where the training and the prediction run."
        )
        raise ConfigError(msg) from error
