"""Units that a map or an attribute of a file may name, as factors to metres, eV, radians and pixels."""

from __future__ import annotations

from typing import Any

from ptycho_dist.errors import DataFormatError

LENGTH, ENERGY, ANGLE, FREQUENCY = "length", "energy", "angle", "spatial frequency"
PIXEL = "px"
_EV_J = 1.602176634e-19
_PI = 3.141592653589793
_SPELLINGS: dict[str, dict[float, tuple[str, ...]]] = {
    LENGTH: {
        1.0: ("m", "metre", "metres", "meter", "meters"),
        1e-2: ("cm", "centimetre", "centimeter"),
        1e-3: ("mm", "millimetre", "millimetres", "millimeter", "millimeters"),
        1e-6: ("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometre", "micrometer", "micrometers"),
        1e-9: ("nm", "nanometre", "nanometres", "nanometer", "nanometers"),
        1e-10: ("a", "ang", "angstrom", "angstroms", "\u00e5", "\u212b", "\u00e5ngstr\u00f6m"),
        1e-12: ("pm", "picometre", "picometer"),
    },
    ENERGY: {
        1.0: ("ev", "electronvolt", "electronvolts"),
        1e3: ("kev",),
        1e6: ("mev",),
        1e9: ("gev",),
        1 / _EV_J: ("j", "joule", "joules"),
    },
    ANGLE: {1.0: ("rad", "radian", "radians"), 1e-3: ("mrad",), _PI / 180: ("deg", "degree", "degrees")},
    FREQUENCY: {1.0: ("1/m", "m^-1"), 1e9: ("1/nm", "nm^-1"), 1e10: ("1/a", "a^-1", "1/angstrom", "1/ang")},
}
_DEFAULT = {LENGTH: "m", ENERGY: "eV", ANGLE: "rad", FREQUENCY: "1/m"}
_PIXELS = ("px", "pixel", "pixels")
_KNOWN = {
    spelling: (kind, factor)
    for kind, factors in _SPELLINGS.items()
    for factor, names in factors.items()
    for spelling in names
}


def default_unit(kind: str) -> str:
    """Return the unit of a plain number: m, eV, rad or 1/m."""
    return _DEFAULT[kind]


def unit_text(value: Any) -> str:
    """Return the text of an attribute or dataset that names a unit (bytes, str, or an array of one)."""
    while hasattr(value, "ravel"):
        flat = value.ravel()
        value = flat[0] if flat.size else ""
        if not hasattr(value, "ravel") or not getattr(value, "shape", ()):
            break
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value).strip().strip("\x00").strip()


def is_unit(text: str) -> bool:
    """Tell whether a text names a unit."""
    return text.strip().lower() in (*_KNOWN, *_PIXELS)


def is_pixel(text: str) -> bool:
    """Tell whether a text names pixels."""
    return text.strip().lower() in _PIXELS


def factor(text: str, kind: str, where: str) -> float:
    """Return the factor from a unit to metres, eV, radians or 1/m.

    Parameters
    ----------
    text
        The unit.
    kind
        ``LENGTH``, ``ENERGY``, ``ANGLE`` or ``FREQUENCY``.
    where
        What has the unit, for the message.

    Raises
    ------
    DataFormatError
        If it is no unit of that kind.
    """
    found = _KNOWN.get(text.strip().lower())
    if found is None or found[0] != kind:
        known = ", ".join(names[0] if names[0] != "a" else "A" for names in _SPELLINGS[kind].values())
        msg = f"{where} has the unit {text!r}; expected a {kind} ({known}). Name its unit in the map (unit:)."
        raise DataFormatError(msg)
    return found[1]
