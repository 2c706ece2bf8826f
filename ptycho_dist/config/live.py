"""Settings of a prediction that follows a scan while it is measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ptycho_dist.config import validators
from ptycho_dist.errors import ConfigError

_ADDRESS = re.compile(r"(tcp://[^\s:/]+:\d+|ipc://\S+)")


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """Where patterns come from while the scan is measured, and how often the object so far is written."""

    follow: str | None = None
    """Scan file that another process writes (HDF5 in SWMR form, DECTRIS master), or folder in which files appear."""

    zmq: str | None = None
    """Address of a ZeroMQ stream of a DECTRIS detector, such as tcp://host:9999; needs the extra live."""

    write_every_s: float = 5.0
    """Seconds between two products (interim.h5) of the object so far."""

    def __post_init__(self) -> None:
        validators.require_positive("live.write_every_s", self.write_every_s)
        if self.follow is not None and self.zmq is not None:
            msg = f"live.follow = {self.follow!r} and live.zmq = {self.zmq!r}; expected one of them. Leave one out."
            raise ConfigError(msg)
        if self.follow is not None and not self.follow:
            msg = "live.follow is empty; expected a file or a folder. Name it."
            raise ConfigError(msg)
        if self.zmq is not None and _ADDRESS.fullmatch(self.zmq) is None:
            msg = f"live.zmq = {self.zmq!r}; expected an address such as tcp://detector:9999. Change it."
            raise ConfigError(msg)

    @property
    def is_on(self) -> bool:
        """Whether a running scan is to be followed."""
        return self.follow is not None or self.zmq is not None
