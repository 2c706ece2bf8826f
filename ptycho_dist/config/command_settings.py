"""Settings of commands that have some of their own: doctor, plan, watch, demo, and those that only handle files."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators
from ptycho_dist.errors import ConfigError

SPATIAL, AS_MEASURED = ORDERS = ("spatial", "as_measured")
"""Orders in which the patterns of a scan are stored."""
LAUNCHERS = ("srun", "torchrun", "mpirun", None)
_LAST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Under which launcher to examine, and the form of the report."""

    under: str | None = None
    """Start the examination under this launcher: srun, torchrun or mpirun; as it is where not set."""

    ranks: int = 2
    """Ranks to start under that launcher."""

    json: bool = False
    """Report as JSON, with all facts."""

    def __post_init__(self) -> None:
        validators.require_choice("doctor.under", self.under, LAUNCHERS)
        validators.require_int("doctor.ranks", self.ranks, 1)
        validators.require_bool("doctor.json", self.json)


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """For which numbers of ranks to predict, and the form of the report."""

    ranks: str = "1,2,4,8,16,32,64,128,256,512,1024"
    """Numbers of ranks to predict, with commas."""

    json: bool = False
    """Report as JSON, with what was measured."""

    def __post_init__(self) -> None:
        validators.require_bool("plan.json", self.json)
        words = self.ranks.split(",") if isinstance(self.ranks, str) else []
        if not words or not all(word.strip().isdigit() and int(word) > 0 for word in words):
            msg = f"plan.ranks = {self.ranks!r}; expected numbers of ranks such as 1,2,4. Change plan.ranks."
            raise ConfigError(msg)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of ranks, ascending."""
        return tuple(sorted({int(word) for word in self.ranks.split(",")}))


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """In which format the converted file is written, and how it is stored."""

    to: str = "ptycho_dist"
    """Format: ptycho_dist, cxi, ptyd, ptychodus, ptychopinn_npz, tike_npz; of a result ptyr, cxi, tiff, npz."""

    order: str = SPATIAL
    """Order of patterns in ptycho_dist: spatial (neighbours side by side) or as_measured. Numbers stay the same."""

    def __post_init__(self) -> None:
        if not isinstance(self.to, str):
            msg = f"convert.to = {self.to!r}; expected the name of a format. Change it."
            raise ConfigError(msg)
        validators.require_choice("convert.order", self.order, ORDERS)


@dataclass(frozen=True, kw_only=True)
class RanksConfig:
    """How many ranks share the work."""

    devices: int | str = "auto"
    """Ranks per node. auto: what the launcher started on this node, else 1."""

    timeout_s: float = 300.0
    """Longest wait of one rank for the others, in seconds."""

    def __post_init__(self) -> None:
        if self.devices != "auto":
            validators.require_int("ranks.devices", self.devices, 1)
        validators.require_positive("ranks.timeout_s", self.timeout_s)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How much a demonstration does."""

    devices: int = 2
    """Ranks that train together."""

    n_patterns: int = 300
    """Diffraction patterns that are simulated."""

    max_epochs: int | None = None
    """Passes of the training over all patterns; until more do not pay where not set."""

    def __post_init__(self) -> None:
        validators.require_int("demo.devices", self.devices, 1)
        validators.require_int("demo.n_patterns", self.n_patterns, 2)
        validators.require_optional_int("demo.max_epochs", self.max_epochs, 1)


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """How a job is shown while it runs."""

    once: bool = False
    """Print one frame and end, as where the output is no terminal."""

    interval_s: float = 1.0
    """Seconds between two looks at the files."""

    stay: bool = False
    """Go on after the job has ended, for the next one in the same folder."""

    serve: bool = False
    """Show a page instead, until Ctrl-C; its address is printed."""

    host: str = "127.0.0.1"
    """Address to serve the page at; that of this host alone where not set."""

    port: int = 0
    """Port to serve the page at; 0 takes a free one."""

    def __post_init__(self) -> None:
        for name in ("once", "stay", "serve"):
            validators.require_bool(f"watch.{name}", getattr(self, name))
        validators.require_positive("watch.interval_s", self.interval_s)
        validators.require_int("watch.port", self.port, 0)
        if self.port > _LAST_PORT:
            msg = f"watch.port = {self.port}; expected at most {_LAST_PORT}. Change it, or set 0 for a free one."
            raise ConfigError(msg)
        if not isinstance(self.host, str) or not self.host:
            msg = f"watch.host = {self.host!r}; expected an address of this host, such as 127.0.0.1. Change it."
            raise ConfigError(msg)

    @property
    def is_local(self) -> bool:
        """Whether only this host can see the page."""
        return self.host in ("127.0.0.1", "localhost")
