"""Tests of the agreement between ranks."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ptycho_dist.distributed.agreement import describe_disagreement, require_agreement
from ptycho_dist.errors import AgreementError

PAYLOAD: dict[str, Any] = {"data": {"N": 64, "nphotons": float("nan")}, "training": {"seed": 0, "rows": (0.0, 1.0)}}


def test_describe_disagreement_is_empty_when_all_agree() -> None:
    other_nan = {**PAYLOAD, "data": {"N": 64, "nphotons": float("nan")}}
    assert describe_disagreement([PAYLOAD, copy.deepcopy(PAYLOAD), other_nan]) == ""


def test_describe_disagreement_names_fields_values_and_ranks() -> None:
    other = {**PAYLOAD, "training": {"seed": 7, "rows": (0.0, 1.0)}}
    text = describe_disagreement([PAYLOAD, other, PAYLOAD])
    assert text == "training.seed is 0 on ranks 0, 2 but 7 on rank 1"


def test_describe_disagreement_names_absent_fields_and_types() -> None:
    text = describe_disagreement([{"a": 1}, {"a": 1.0, "b": None}])
    assert "a is 1 on rank 0 but 1.0 on rank 1" in text
    assert "b is (absent) on rank 0 but None on rank 1" in text


def test_require_agreement_raises_on_every_rank() -> None:
    payloads = [PAYLOAD, {**PAYLOAD, "training": {"seed": 7, "rows": (0.0, 1.0)}}]
    for mine in payloads:
        with pytest.raises(AgreementError, match=r"training\.seed is 0 on rank 0 but 7 on rank 1"):
            require_agreement(mine, lambda _: payloads)


def test_require_agreement_sends_own_payload_and_passes() -> None:
    require_agreement(PAYLOAD, lambda mine: [mine, mine])
