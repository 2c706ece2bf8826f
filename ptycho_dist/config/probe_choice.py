"""What a user says of the probe to start from: a kind with its numbers, or a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ptycho_dist.errors import ConfigError

AUTO, FILE, MEAN_PATTERN = "auto", "file", "mean_pattern"
DEFOCUS = "defocus_m"
KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    AUTO: ((), ()),
    MEAN_PATTERN: ((), (DEFOCUS,)),
    "zone_plate": (("diameter_m", "outermost_zone_m"), ("central_stop_m", DEFOCUS)),
    "pinhole": (("diameter_m",), ("distance_m",)),
    "gaussian": (("fwhm_m",), ("fwhm_x_m", DEFOCUS)),
    "electron": (("semi_angle_rad",), ("spherical_aberration_m", DEFOCUS)),
}
"""Numbers that each kind of probe needs, and those that it may have; in metres and radians."""
_MAY_BE_NEGATIVE = (DEFOCUS, "spherical_aberration_m", "distance_m")


@dataclass(frozen=True)
class ProbeChoice:
    """Which probe to start from.

    Parameters
    ----------
    kind
        One of :data:`KINDS`, or ``file``.
    numbers
        Its numbers by name.
    path
        Name of the file, else empty.
    """

    kind: str
    numbers: Mapping[str, float]
    path: str = ""


def parse_probe(text: str | None) -> ProbeChoice:
    """Read a choice such as ``zone_plate:diameter_m=150e-6,outermost_zone_m=30e-9``, or the name of a file.

    Raises
    ------
    ConfigError
        If a number is missing, unknown, not a number, or not positive where it must be.
    """
    if text is None:
        return ProbeChoice(AUTO, {})
    if not isinstance(text, str) or not text:
        raise _refused(text, f"a kind of probe ({', '.join(KINDS)}) or the name of a file")
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        return ProbeChoice(FILE, {}, text)
    needed, optional = KINDS[kind]
    numbers = dict(_number(text, part, kind, (*needed, *optional)) for part in rest.split(",") if part.strip())
    missing = [name for name in needed if name not in numbers]
    if missing:
        raise _refused(text, f"{', '.join(f'{name}=NUMBER' for name in missing)} as well")
    return ProbeChoice(kind, numbers)


def _number(text: str, part: str, kind: str, known: tuple[str, ...]) -> tuple[str, float]:
    name, _, value = (one.strip() for one in part.partition("="))
    if name not in known:
        raise _refused(text, f"numbers of {kind}: {', '.join(known) or 'none'}; found {part.strip()!r}")
    try:
        number = float(value)
    except ValueError:
        raise _refused(text, f"a number for {name}; found {value!r}") from None
    if not math.isfinite(number) or (number <= 0 and not (name in _MAY_BE_NEGATIVE or name == "central_stop_m")):
        raise _refused(text, f"a number above zero for {name}; found {value}")
    return name, number


def _refused(text: object, expected: str) -> ConfigError:
    return ConfigError(f"data.probe = {text!r}; expected {expected}. Change it.")
