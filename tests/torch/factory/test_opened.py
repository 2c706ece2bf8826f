"""Factories take a scan that is open already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist import create_refine_payload, create_training_payload
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.errors import ConfigError
from tests.support.scans import make_scan, write_tike
from tests.support.sets import simulate_small_set

GIVEN = {"accelerator": "cpu"}


@pytest.mark.parametrize("create", [create_training_payload, create_refine_payload])
def test_payload_of_an_opened_scan_is_that_of_its_path(create: Callable[..., Any], tiny_path: Path) -> None:
    with open_scan(tiny_path) as scan:
        opened = create(scan, "out", GIVEN)
    assert opened.fingerprint() == create(tiny_path, "out", GIVEN).fingerprint()


def test_options_of_an_opened_scan_hold_and_others_are_refused(tmp_path: Path) -> None:
    path = write_tike(tmp_path / "scan.npz", make_scan())
    with open_scan(path, ScanOptions(pixel_size_m=2e-8)) as scan:
        for given in (GIVEN, GIVEN | {"pixel_size_m": 2e-8}):
            assert create_training_payload(scan, "out", given).data_config.pixel_size_m == 2e-8
        with pytest.raises(ConfigError, match=r"was opened with pixel_size_m = 2e-08, but data\.pixel_size_m = 3e-08"):
            create_training_payload(scan, "out", GIVEN | {"pixel_size_m": 3e-8})
    named = create_training_payload(path, "out", GIVEN | {"file_format": "tike_npz"})
    assert named.data_config.file_format == "tike_npz"


def test_set_is_trained_on_but_not_refined(tmp_path: Path) -> None:
    with open_set(simulate_small_set(tmp_path / "set")) as scans:
        assert create_training_payload(scans, "out", GIVEN).scan_checksum == scans.header.checksum
        with pytest.raises(ConfigError, match="is a set of scans; expected one scan"):
            create_refine_payload(scans, "out", GIVEN)
