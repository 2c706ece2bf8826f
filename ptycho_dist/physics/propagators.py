"""Propagators with their inverse, in the detector order that needs no shifts of arrays.

A propagator is added by one decorated function, :func:`propagator`, that makes it from a
:class:`~ptycho_dist.types.Propagation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Complex
from torch import Tensor

from ptycho_dist.config.scan_options import GEOMETRY
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.errors import ConfigError, PhysicsError
from ptycho_dist.physics.wavelengths import wavelength_m
from ptycho_dist.registry import Registry
from ptycho_dist.types import FAR_FIELD, Propagation, ScanHeader

_AXES = (-2, -1)


@runtime_checkable
class Propagator(Protocol):
    """A unitary map from exit waves to detector waves.

    Where the detector's pixels lie in memory is up to the propagator; :meth:`arrange`
    brings patterns (DC, or the beam, at the array centre) into that order.
    """

    def forward(self, wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
        """Propagate from the object to the detector."""

    def backward(self, wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
        """Propagate from the detector to the object: inverse and adjoint of :meth:`forward`."""

    def arrange(self, values: Tensor) -> Tensor:
        """Bring detector values (..., N, N) from the order of scans into that of the propagated waves."""

    def rearrange(self, values: Tensor) -> Tensor:
        """Bring detector values back into the order of scans: inverse of :meth:`arrange`."""


Maker = Callable[[Propagation, int, Tensor], Propagator]
_PROPAGATORS: Registry[Maker] = Registry("propagator", "ptycho_dist.physics")
propagator = _PROPAGATORS.register
"""Decorator with a name, of what makes a propagator from its geometry, N, and a complex tensor of its type."""


def make_propagator(propagation: Propagation, N: int, like: Tensor) -> Propagator:
    """Make a propagator for N by N pixels; type and device are those of ``like`` (complex).

    Raises
    ------
    ConfigError
        If its kind is unknown.
    PhysicsError
        If its numbers are out of range.
    """
    _require_known(propagation.kind)
    return _PROPAGATORS.entries()[propagation.kind](propagation, N, like)


def _require_known(kind: str) -> None:
    if kind not in _PROPAGATORS.entries():
        msg = f"data.propagation = {kind!r}; expected one of {', '.join(_PROPAGATORS.entries())}. Change it."
        raise ConfigError(msg)


@dataclass(frozen=True)
class FarField:
    """Fraunhofer diffraction; DC at the corner (Goodman, Introduction to Fourier Optics, 3rd ed. (2005), Eq. 4-25)."""

    def forward(self, wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
        """Propagate from the object to the detector."""
        spectrum: Tensor = torch.fft.fft2(wave, norm="ortho")
        return spectrum

    def backward(self, wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
        """Propagate from the detector to the object."""
        exit_wave: Tensor = torch.fft.ifft2(wave, norm="ortho")
        return exit_wave

    def arrange(self, values: Tensor) -> Tensor:
        """Bring DC from the centre to the corner."""
        shifted: Tensor = torch.fft.ifftshift(values, dim=_AXES)
        return shifted

    def rearrange(self, values: Tensor) -> Tensor:
        """Bring DC from the corner to the centre."""
        shifted: Tensor = torch.fft.fftshift(values, dim=_AXES)
        return shifted


@dataclass(frozen=True)
class NearField:
    r"""Angular spectrum over a distance, on the pixels of the object.

    The transfer function is :math:`\exp(i k z \sqrt{1 - (\lambda f)^2})`, without the plane
    wave's own :math:`\exp(i k z)`, for waves that travel; evanescent ones are excluded by
    the sampling that is required (Goodman, Introduction to Fourier Optics, 3rd ed. (2005), Eq. 3-74).

    Parameters
    ----------
    transfer_NN
        complex, shape (N, N), DC at the corner; magnitude 1.
    """

    transfer_NN: Tensor

    @classmethod
    def over(cls, N: int, pixel_size_m: float, wavelength_m: float, distance_m: float, like: Tensor) -> NearField:
        """Prepare the propagation over ``distance_m``; type and device are those of ``like`` (complex).

        Raises
        ------
        PhysicsError
            If a number is not positive, or pixels are smaller than half a wavelength.
        """
        _require_sampled(pixel_size_m, wavelength_m, distance_m)
        frequency = torch.fft.fftfreq(N, pixel_size_m, dtype=torch.float64)
        square = (wavelength_m * frequency).square()
        across = square[:, None] + square
        path = torch.sqrt(1 - across) - 1
        phase = 2 * math.pi * distance_m / wavelength_m * path
        return cls(torch.polar(torch.ones_like(phase), phase).to(like.device, like.dtype))

    def forward(self, wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
        """Propagate from the object to the detector."""
        propagated: Tensor = torch.fft.ifft2(torch.fft.fft2(wave).mul_(self.transfer_NN))
        return propagated

    def backward(self, wave: Complex[Tensor, "*B N N"]) -> Complex[Tensor, "*B N N"]:
        """Propagate from the detector to the object."""
        propagated: Tensor = torch.fft.ifft2(torch.fft.fft2(wave).mul_(self.transfer_NN.conj()))
        return propagated

    def arrange(self, values: Tensor) -> Tensor:
        """Leave the order as it is."""
        return values

    def rearrange(self, values: Tensor) -> Tensor:
        """Leave the order as it is."""
        return values


@dataclass(frozen=True)
class ConeBeam:
    """Geometry of a cone beam, and the parallel beam that gives the same picture.

    By the Fresnel scaling theorem a point source at distance z1 before the object and a
    detector at z2 behind it act like a parallel beam over z1 z2 / (z1 + z2), seen with
    detector pixels smaller by the magnification (z1 + z2) / z1 (Paganin, Coherent X-Ray
    Optics (2006), Appendix B; Stockmar et al., Sci. Rep. 3, 1927 (2013), DOI 10.1038/srep01927).

    Parameters
    ----------
    source_distance_m, detector_distance_m
        From source to object, and from object to detector; the first infinite for a parallel beam.
    """

    source_distance_m: float
    detector_distance_m: float

    @property
    def magnification(self) -> float:
        """Size of a detector pixel over that of the object pixel it shows."""
        return 1 + self.detector_distance_m / self.source_distance_m

    @property
    def effective_distance_m(self) -> float:
        """Distance over which a parallel beam gives the same picture."""
        return self.detector_distance_m / self.magnification


def propagation_of(data: DataConfig, header: ScanHeader) -> Propagation:
    """Say how the waves of a scan travel, from settings and file.

    Raises
    ------
    ConfigError
        If the propagation is unknown, needs a number that the scan does not say, or does not use one that is set.
    """
    _require_known(data.propagation)
    if data.propagation == "far_field":
        if data.source_distance_m is not None:
            msg = (
                f"data.source_distance_m = {data.source_distance_m} with propagation far_field, which does not use it; "
                "expected near_field. Give --propagation near_field, or remove it."
            )
            raise ConfigError(msg)
        return FAR_FIELD
    numbers = {name: getattr(header, name) for name in GEOMETRY}
    missing = [name for name, value in numbers.items() if not value > 0]
    if missing:
        msg = (
            f"data.propagation = {data.propagation}, but {header.path} does not say {', '.join(missing)}; expected "
            f"numbers. Give {', '.join(f'--{name}' for name in missing)}."
        )
        raise ConfigError(msg)
    beam = ConeBeam(data.source_distance_m or math.inf, header.detector_distance_m)
    return Propagation(
        kind=data.propagation,
        pixel_size_m=header.pixel_size_m,
        energy_eV=header.energy_eV,
        distance_m=beam.effective_distance_m,
    )


@propagator("far_field")
def _far_field(propagation: Propagation, N: int, like: Tensor) -> Propagator:
    return FarField()


@propagator("near_field")
def _near_field(propagation: Propagation, N: int, like: Tensor) -> Propagator:
    wavelength = wavelength_m(propagation.energy_eV)
    return NearField.over(N, propagation.pixel_size_m, wavelength, propagation.distance_m, like)


def _require_sampled(pixel_size_m: float, wavelength_m: float, distance_m: float) -> None:
    if not (pixel_size_m > 0 and wavelength_m > 0 and math.isfinite(distance_m) and distance_m != 0):
        msg = (
            f"near field with pixels of {pixel_size_m} m, wavelength {wavelength_m} m, distance {distance_m} m; "
            "expected positive sizes and a distance. Give data.pixel_size_m, energy_eV and detector_distance_m."
        )
        raise PhysicsError(msg)
    if pixel_size_m < wavelength_m * math.sqrt(0.5):
        msg = (
            f"object pixels of {pixel_size_m} m carry waves that do not travel at wavelength {wavelength_m} m; "
            f"expected pixels of at least {wavelength_m * math.sqrt(0.5)} m. Check energy and pixel size."
        )
        raise PhysicsError(msg)
