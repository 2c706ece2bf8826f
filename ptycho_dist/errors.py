"""Errors that a user can act on.

Every message says what was found, what was expected, where, and what to do.
The command line prints them as one line and exits with code 2.
"""


class PtychoDistError(Exception):
    """Base of all errors this package raises on purpose; a notebook shows one as a line, without its traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ConfigError(PtychoDistError):
    """A setting is unknown, ambiguous, out of range or cannot be had here."""


class DataFormatError(PtychoDistError):
    """A scan or product file does not hold what its format promises."""


class ShardError(PtychoDistError):
    """Prediction shards are missing, foreign, damaged or do not fit together."""


class BundleError(PtychoDistError):
    """A model bundle is damaged, newer than this program, or incomplete."""


class LaunchError(PtychoDistError):
    """Ranks, devices and nodes of a launch disagree, or a rank has failed."""


class FolderInUseError(LaunchError):
    """Another job holds the output folder."""


class AgreementError(LaunchError):
    """Ranks hold different payloads."""


class TrainingError(PtychoDistError):
    """A training went wrong in a way that settings can fix."""


class RefinementError(PtychoDistError):
    """A refinement went wrong in a way that settings can fix."""


class PhysicsError(PtychoDistError):
    """Tensors given to the physics do not fit together."""


class OtherRankError(LaunchError):
    """Another rank has failed, and this one stops with it."""
