"""What a user says of the probe to start from."""

from __future__ import annotations

import pytest

from ptycho_dist.config.probe_choice import AUTO, FILE, parse_probe
from ptycho_dist.errors import ConfigError


def test_nothing_said_is_left_to_the_scan() -> None:
    assert parse_probe(None).kind == AUTO


def test_numbers_are_read_by_name() -> None:
    choice = parse_probe("zone_plate:diameter_m=150e-6, outermost_zone_m=3e-8,defocus_m=-1e-4")
    assert choice.kind == "zone_plate"
    assert choice.numbers == {"diameter_m": 150e-6, "outermost_zone_m": 3e-8, "defocus_m": -1e-4}


@pytest.mark.parametrize("text", ["probe.npy", "runs/one/reconstruction.h5", "zone_plates.npz"])
def test_anything_else_is_a_file(text: str) -> None:
    assert (parse_probe(text).kind, parse_probe(text).path) == (FILE, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zone_plate:diameter_m=1e-4", "outermost_zone_m=NUMBER"),
        ("pinhole:radius_m=1e-6", "diameter_m, distance_m; found 'radius_m=1e-6'"),
        ("pinhole:diameter_m=wide", "a number for diameter_m; found 'wide'"),
        ("electron:semi_angle_rad=-0.02", "a number above zero for semi_angle_rad"),
        ("gaussian:fwhm_m=nan", "a number above zero for fwhm_m"),
        ("", "a kind of probe"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.probe = ") as error:
        parse_probe(text)
    assert said in str(error.value)
