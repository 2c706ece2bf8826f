"""Prove before any work that all ranks hold the same payload."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ptycho_dist.errors import AgreementError

logger = logging.getLogger(__name__)

Gather = Callable[[Any], Sequence[Any]]
_ABSENT = "(absent)"


def require_agreement(payload: Mapping[str, Any], gather: Gather) -> None:
    """Raise on every rank unless all ranks hold equal payloads.

    Parameters
    ----------
    payload
        The payload of this rank as nested plain mappings.
    gather
        Gathers an object from all ranks to all ranks, in rank order.

    Raises
    ------
    AgreementError
        On every rank, naming the fields, values and ranks that differ.
    """
    difference = describe_disagreement(gather(dict(payload)))
    if difference:
        msg = f"Ranks hold different payloads: {difference}. Start every rank with the same arguments and files."
        raise AgreementError(msg)
    logger.debug("all ranks hold the same payload")


def describe_disagreement(payload_dicts: Sequence[Mapping[str, Any]]) -> str:
    """Say which fields differ between ranks, with values and ranks; empty if none does.

    Parameters
    ----------
    payload_dicts
        One nested mapping of plain values for each rank, in rank order. NaN equals NaN.
    """
    flat = [_flatten(payload) for payload in payload_dicts]
    fields = dict.fromkeys(name for one in flat for name in one)
    found = (_describe_field(name, [one.get(name, _ABSENT) for one in flat]) for name in fields)
    return "; ".join(text for text in found if text)


def _describe_field(name: str, values: Sequence[str]) -> str:
    ranks: dict[str, list[int]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(value, []).append(rank)
    if len(ranks) <= 1:
        return ""
    parts = [f"{value} on rank{'s' if len(who) > 1 else ''} {_join(who)}" for value, who in ranks.items()]
    return f"{name} is {' but '.join(parts)}"


def _join(ranks: Sequence[int], most: int = 8) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:most])
    return shown if len(ranks) <= most else f"{shown} and {len(ranks) - most} more"


def _flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested mappings to dotted names and the text of their values."""
    if not isinstance(value, Mapping):
        return {prefix: repr(value)}
    flat: dict[str, str] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
