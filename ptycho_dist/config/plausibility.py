"""Values that cannot be meant: impossible ones are refused, unlikely or idle ones are told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_dist.errors import ConfigError

_LENGTH = "Lengths are in metres: 20 nm is 20e-9, 75 um is 75e-6."
_ENERGY = "Energies are in electronvolts: 8 keV is 8000."


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """What a quantity can be.

    Parameters
    ----------
    unit
        Its unit.
    possible, usual
        Least and largest value that can be at all, and that is met with.
    hint
        How to write it.
    """

    unit: str
    possible: tuple[float, float]
    usual: tuple[float, float]
    hint: str


MAGNITUDES: Mapping[str, Magnitude] = {
    "pixel_size_m": Magnitude(unit="m", possible=(1e-13, 1e-3), usual=(1e-12, 2e-5), hint=_LENGTH),
    "energy_eV": Magnitude(unit="eV", possible=(0.05, 1e7), usual=(100, 3.1e5), hint=_ENERGY),
    "detector_distance_m": Magnitude(unit="m", possible=(1e-6, 1e3), usual=(1e-4, 100), hint=_LENGTH),
    "detector_pixel_m": Magnitude(unit="m", possible=(1e-8, 0.1), usual=(3e-7, 2e-3), hint=_LENGTH),
    "scan_step_m": Magnitude(unit="m", possible=(1e-13, 1e-2), usual=(1e-12, 1e-4), hint=_LENGTH),
    "source_distance_m": Magnitude(unit="m", possible=(1e-6, 1e4), usual=(1e-4, 500), hint=_LENGTH),
    "angle_per_pixel_rad": Magnitude(
        unit="rad", possible=(1e-8, 0.5), usual=(1e-6, 0.02), hint="Angles are in radians: 1 mrad is 1e-3."
    ),
    "learning_rate": Magnitude(
        unit="", possible=(1e-12, 100), usual=(1e-7, 0.5), hint="The default is 0.002; try other rates by factors of 3."
    ),
}
"""Quantities by the name of their field, in whatever section."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a setting needs to change anything.

    Parameters
    ----------
    other
        Dotted name of another setting.
    values
        Values of that with which the setting is used; all but those of ``not_`` where empty.
    not_
        Values of that with which it is idle.
    """

    other: str
    values: tuple[Any, ...] = ()
    not_: tuple[Any, ...] = ()

    def is_met(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the setting is used, with the values in force by dotted name."""
        found = values.get(self.other)
        return found in self.values if self.values else found not in self.not_

    def __str__(self) -> str:
        wanted = " or ".join(repr(one) for one in self.values)
        return f"{self.other} = {wanted}" if self.values else f"a {self.other}"


_ADAM, _SGD = (Needs(other="training.optimizer", values=names) for names in (("adam", "adamw"), ("sgd",)))
_COSINE, _DECAY, _PLATEAU = (
    Needs(other="execution.scheduler", values=(name,)) for name in ("WarmupCosine", "Exponential", "ReduceLROnPlateau")
)
_MIXED = Needs(other="training.mode", values=("mixed",))
_PREVIEW = Needs(other="execution.recon_log_every_n_epochs", not_=(None,))
_REFINED = Needs(other="refine.iterations", not_=(0,))
_SEARCH = Needs(other="inference.probe_search", not_=("never",))
NEEDS: Mapping[str, Needs] = {
    "training.momentum": _SGD,
    "training.adam_beta1": _ADAM,
    "training.adam_beta2": _ADAM,
    "training.warmup_fraction": _COSINE,
    "training.lr_min_ratio": _COSINE,
    "training.lr_gamma": _DECAY,
    **{f"training.plateau_{name}": _PLATEAU for name in ("factor", "patience", "threshold", "min_lr")},
    **{f"training.{name}": _MIXED for name in ("stage_1_epochs", "stage_2_epochs", "physics_weight_schedule")},
    "training.label_weight": Needs(other="training.mode", values=("mixed", "supervised")),
    **{
        f"execution.recon_log_{name}": _PREVIEW
        for name in ("num_patches", "fixed_indices", "stitch", "max_stitch_samples")
    },
    **{f"refine.{name}": _REFINED for name in ("method", "batch_size", "object_step", "probe_step", "tiles")},
    **{f"refine.{name}": _REFINED for name in ("position_start", "flux", "regularisation", "uncertainty")},
    "refine.alpha": Needs(other="refine.method", values=("pie",)),
    "refine.position_step": Needs(other="refine.position_start", not_=(None,)),
    "refine.regularised_passes": Needs(other="refine.regularisation", not_=("none",)),
    "inference.probe_patterns": _SEARCH,
    "inference.probe_iterations": _SEARCH,
}
"""Settings that are used only together with another one."""
NO_LONGER_THAN: Mapping[str, str] = {
    "execution.recon_log_every_n_epochs": "training.max_epochs",
    "execution.early_stop_patience": "training.max_epochs",
    "training.plateau_patience": "training.max_epochs",
    "training.stage_2_epochs": "training.max_epochs",
    "training.held_out_every": "training.max_steps",
}
"""Settings that count epochs or steps, and the total of these."""


def require_possible(name: str, value: float | None) -> None:
    """Refuse a quantity that cannot be.

    Parameters
    ----------
    name
        Dotted name of a setting whose field is in :data:`MAGNITUDES`.
    value
        What was given, a finite number; None where nothing was.

    Raises
    ------
    ConfigError
        With the range, its unit, and how to write it.
    """
    magnitude = MAGNITUDES[name.rpartition(".")[2]]
    low, high = magnitude.possible
    if value is not None and not low <= value <= high:
        unit = f" {magnitude.unit}".rstrip()
        msg = f"{name} = {value!r}{unit}; expected {low:g} to {high:g}{unit}. {magnitude.hint} Change {name}."
        raise ConfigError(msg)


def doubts(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Say which values are unlikely to be meant, in sentences.

    Parameters
    ----------
    given
        Values that were given, by dotted name.
    defaults
        Values where nothing is given, of all settings that the command has.
    """
    values = {**defaults, **given}
    chosen = {name: value for name, value in given.items() if value != defaults.get(name)}
    for name, value in chosen.items():
        magnitude = MAGNITUDES.get(name.rpartition(".")[2])
        if magnitude is not None and value is not None and not magnitude.usual[0] <= value <= magnitude.usual[1]:
            low, high = magnitude.usual
            unit = f" {magnitude.unit}".rstrip()
            yield f"{name} = {value:g}{unit} is unusual; most are {low:g} to {high:g}{unit}. {magnitude.hint}"
        needed = NEEDS.get(name)
        if needed is not None and needed.other in values and not needed.is_met(values):
            yield f"{name} = {value!r} changes nothing: it is used with {needed}, not {values[needed.other]!r}."
        total = values.get(NO_LONGER_THAN.get(name, ""))
        if total is not None and value is not None and value >= total:
            yield f"{name} = {value!r} is not reached: {NO_LONGER_THAN[name]} = {total!r}."
