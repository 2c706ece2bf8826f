"""Parts of a model that a training leaves as they are."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ptycho_dist.errors import ConfigError
from ptycho_dist.model.ptycho_model import PtychoModel

logger = logging.getLogger(__name__)

SHORT_NAMES = {
    "optics.probe_parts": "probe",
    "optics.log_scale": "intensity_scale",
    "optics.scan_log_scales": "intensity_scale",
    "optics.background_root": "background",
}
"""Parameters that are known by a plain name, too."""


def freeze(model: PtychoModel, patterns: Sequence[str]) -> tuple[str, ...]:
    """Take parameters out of the training; they keep their bits.

    Parameters
    ----------
    model
        Its parameters no longer ask for a gradient where a pattern names them.
    patterns
        Names of parameters, or of the modules that hold them, or patterns of such names with ``*``, ``?`` and
        ``[]``: ``networks``, ``networks.0.stem``, ``*.bias``, ``steps``, ``probe``.

    Returns
    -------
    tuple of str
        Names of the frozen parameters.

    Raises
    ------
    ConfigError
        If a pattern names nothing that is trained, or nothing is left to train.
    """
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    frozen: set[str] = set()
    for pattern in patterns:
        found = {name for name in trained if any(fnmatchcase(one, pattern) for one in _known_as(name))}
        if not found:
            raise ConfigError(_nothing_matches(pattern, list(trained)))
        frozen |= found
    if len(frozen) == len(trained):
        msg = (
            f"training.freeze = {list(patterns)} leaves nothing to train; expected to keep some of "
            f"{', '.join(_tops(trained))}. Name fewer parts."
        )
        raise ConfigError(msg)
    for name in frozen:
        trained[name].requires_grad_(False)
    if frozen:
        _spare_group_norms(model)
        logger.info("%d of %d parameters are frozen", len(frozen), len(trained))
    return tuple(sorted(frozen))


def _spare_group_norms(model: PtychoModel) -> None:
    """Let the input of each group normalisation ask for a gradient.

    On a CPU, torch (2.13) ends with a segmentation fault in the backward pass of a group normalisation whose input is
    laid out channels last and asks for none, as behind a frozen layer.
    """
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(_ask_for_gradient)


def _ask_for_gradient(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    (x,) = inputs
    return inputs if x.requires_grad or not torch.is_grad_enabled() else (x.detach().requires_grad_(),)


def _known_as(name: str) -> Iterator[str]:
    """Name of a parameter, of the modules that hold it, and its plain name."""
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    if name in SHORT_NAMES:
        yield SHORT_NAMES[name]


def _tops(names: Iterable[str]) -> list[str]:
    return sorted({SHORT_NAMES.get(name, name.partition(".")[0]) for name in names})


def _nothing_matches(pattern: str, names: list[str]) -> str:
    listed = [*_tops(names), *names]
    near = difflib.get_close_matches(pattern, listed, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else "Correct the pattern."
    return f"training.freeze: {pattern!r} names nothing that is trained; expected one of {', '.join(listed)}. {hint}"
